"""The files in Streamlit's memory that lie in the upload widgets of open pages."""

from __future__ import annotations

import streamlit as st
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager


class HeldFiles:
    """What `detector.web.dropped_files.DroppedFiles` asks."""

    def byte_count(self) -> int:
        return sum(len(file.data) for files in list(_store().file_storage.values()) for file in list(files.values()))

    def forget_closed(self) -> None:
        # Streamlit keeps a closed page for two minutes, and then until the next one is closed.
        for session_id in list(_store().file_storage):
            if not runtime.get_instance().is_active_session(session_id):
                _store().remove_session_files(session_id)


def largest_file() -> int:
    """In bytes, as the upload route counts."""
    return int(st.get_option("server.maxUploadSize")) * 1024 * 1024


def _store() -> MemoryUploadedFileManager:
    store = runtime.get_instance().uploaded_file_mgr
    assert isinstance(store, MemoryUploadedFileManager)
    return store
