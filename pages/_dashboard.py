"""The dashboard script: page settings, style, sidebar, and the page that the address names."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from detector.storage.folder import missing_pictures
from pages._failures import show_failure
from pages._rerun_guard import drawing
from pages._sidebar import sidebar
from pages._sign_in import pages_here, require_sign_in
from pages._state import escape, workspace
from pages._style import apply_style

# A file of ours: browsers fetch an emoji or ":material/...:" icon from an outside host at every page.
_ICON = Path(__file__).parent / "_icon.svg"

st.set_page_config(page_title="AI Image Detector", page_icon=str(_ICON), layout="wide")
apply_style()
page = st.navigation(
    [
        st.Page(script, title=title, url_path=path, default=position == 0)
        for position, (script, title, path) in enumerate(pages_here())
    ],
    position="hidden",
)
try:
    with drawing():
        # After st.navigation: without it Streamlit would look for pages itself.
        require_sign_in()
        sidebar(page.title)
        # Looked for again: somebody may have put the two together since the start.
        if workspace().warning and (warning := missing_pictures(workspace().db, workspace().blobs)):
            st.warning(escape(warning))
        page.run()
except Exception as error:
    if not show_failure(error):
        raise
