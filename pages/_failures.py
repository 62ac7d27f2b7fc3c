"""What went wrong, in words: at the edge of the dashboard, where no traceback and no path of the machine is shown."""

from __future__ import annotations

import logging

import streamlit as st

from detector.errors import DetectorError, StorageTrouble
from detector.storage.trouble import storage_trouble
from detector.system.counters import count_one
from detector.web.failures import note_trouble, said_over_the_network
from pages._state import escape

log = logging.getLogger(__name__)


def show_failure(error: Exception) -> bool:
    """Show the sentence of an error; returns False, with nothing shown, where it has none.

    Streamlit calls it too, for what goes wrong outside a page's script: in callbacks, dialogs and clocks.
    """
    found = error if isinstance(error, DetectorError) else storage_trouble(error)
    if found is None:
        return False
    count_one("errors", kind=type(found).__name__)
    if isinstance(found, StorageTrouble):
        note_trouble(found)
    else:
        log.info("shown on the page: %s", found)
    st.error(escape(said_over_the_network(found)))
    return True
