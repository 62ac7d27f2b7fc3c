"""The one entry: ``streamlit run streamlit_app.py`` serves the dashboard, the pictures, the uploads and the jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st

from detector.api.media import picture_routes
from detector.api.uploads import upload_routes
from detector.errors import DetectorError
from detector.jobs import JobRunner
from detector.workspace import Workspace

try:
    workspace = Workspace.open()
except DetectorError as error:
    # A sentence on the terminal, not a traceback: nobody has a page to read yet.
    raise SystemExit(str(error)) from None


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any] | None]:
    """Jobs run from the start of the server to its end; what a kill interrupts is resumed at the next start."""
    runner = JobRunner(workspace)
    runner.start()
    try:
        yield None
    finally:
        runner.stop()


app = st.App("pages/_dashboard.py", routes=[*picture_routes(workspace), *upload_routes(workspace)], lifespan=lifespan)
