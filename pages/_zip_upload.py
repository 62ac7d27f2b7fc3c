"""A drop zone that streams one archive to the server's upload route: nothing is held whole in any memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from detector.web.addresses import from_page
from detector.web.signing import upload_name, upload_path, upload_token
from pages._sign_in import ticket_here
from pages._state import workspace

_HTML = """
<div class="zone" tabindex="0" role="button" aria-label="Choose a ZIP archive">
  <div class="idle"><strong>Drop a ZIP here</strong> or choose one. It goes straight to disk.
    A parquet file of images works as well.</div>
  <div class="busy" hidden>
    <div class="words" aria-live="polite"></div>
    <div class="bar"><div class="filled"></div></div>
  </div>
  <div class="problem" role="alert" hidden></div>
  <input type="file" accept=".zip,.parquet,application/zip" hidden>
</div>
"""

_component = st.components.v2.component(
    "detector_zip_upload",
    html=_HTML,
    css=(Path(__file__).parent / "_zip_upload.css").read_text(encoding="utf-8"),
    js=(Path(__file__).parent / "_zip_upload.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Upload:
    """An archive that has arrived in the spool; ``title`` is its name on the person's machine."""

    path: Path
    title: str
    byte_count: int


def zip_upload(function_id: str, place: str = "zip") -> Upload | None:
    """Show a function's drop zone; returns the archive that arrived last for it, until `forget_upload`.

    What was dropped for one function is never offered to another: address and memory are each function's own. An
    address is good for one upload. So the zone gets a new one as soon as an archive is here, and another archive can
    be dropped in its place. So it is with each ``place``: what arrived in one of them is for that one alone.
    """
    ws = workspace()
    key = f"{place}-{function_id}"
    token_key, arrived_key = f"{key}-token", arrived_at(function_id, place)
    token = st.session_state.setdefault(token_key, upload_token(ws.db, function_id, ticket_here()))
    uploaded = (st.session_state.get(f"{key}-{token[:12]}") or {}).get("uploaded")
    name = upload_name(ws.db, token)
    if name is None or uploaded:
        path = ws.spool / f"{name}.zip"
        if name is not None and uploaded and path.exists():
            replaced: Upload | None = st.session_state.get(arrived_key)
            if replaced is not None:
                replaced.path.unlink(missing_ok=True)
            title = str(uploaded["name"])[:200]
            st.session_state[arrived_key] = Upload(path, title, path.stat().st_size)
        token = st.session_state[token_key] = upload_token(ws.db, function_id, ticket_here())
    _component(
        key=f"{key}-{token[:12]}",
        data={"address": from_page(upload_path(token))},
        on_uploaded_change=lambda: None,
    )
    arrived: Upload | None = st.session_state.get(arrived_key)
    return arrived if arrived is not None and arrived.path.exists() else None


def forget_upload(function_id: str, place: str = "zip") -> None:
    """Ready for the next archive; the last one now belongs to its import."""
    st.session_state.pop(arrived_at(function_id, place), None)


def arrived_at(function_id: str, place: str = "zip") -> str:
    """Where the session keeps the archive that arrived for a function."""
    return f"{place}-{function_id}-arrived"
