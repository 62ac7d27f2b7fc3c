"""A drop zone that streams one archive to the server's upload route: nothing is held whole in any memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from detector.api.signing import upload_name, upload_token
from pages._state import workspace

_HTML = """
<div class="zone" tabindex="0" role="button" aria-label="Choose a ZIP archive">
  <div class="idle"><strong>Drop a ZIP here</strong> or choose one. It goes straight to disk.</div>
  <div class="busy" hidden>
    <div class="words" aria-live="polite"></div>
    <div class="bar"><div class="filled"></div></div>
  </div>
  <div class="problem" role="alert" hidden></div>
  <input type="file" accept=".zip,application/zip" hidden>
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


def zip_upload(key: str) -> Upload | None:
    """Show the drop zone; returns the archive once it is wholly here."""
    ws = workspace()
    token_key = f"{key}-token"
    if token_key not in st.session_state:
        st.session_state[token_key] = upload_token(ws.db)
    token = st.session_state[token_key]
    state = _component(
        key=f"{key}-{token[:12]}",
        data={"address": f"/uploads/{token}"},
        on_uploaded_change=lambda: None,
    )
    uploaded = getattr(state, "uploaded", None)
    name = upload_name(ws.db, token)
    path = ws.spool / f"{name}.zip"
    if name is None or not uploaded or not path.exists():
        return None
    return Upload(path, str(uploaded["name"])[:200], path.stat().st_size)


def forget_upload(key: str) -> None:
    """Ready for the next archive: the old token is spent."""
    st.session_state.pop(f"{key}-token", None)
