"""The switch for inner blocks of the backbone, among the expert settings."""

from __future__ import annotations

import streamlit as st

from detector.backbones.inner import why_no_inner_blocks
from detector.backbones.registry import SPECS
from detector.errors import DetectorError
from detector.operations.inner_blocks import use_inner_blocks
from detector.storage.acting import MANAGE, may
from detector.storage.functions import Function
from pages._state import escape, workspace

_HELP = (
    "The network is a stack of blocks, and by default only what comes out of the last one is used. With this switch "
    "four blocks on the way become features of their own, and so does the average over all parts of the picture. "
    "Published trials found that this helps with unseen generators; whether it does with yours, Metrics and the "
    "command `measure` tell."
)


def inner_blocks_switch(function: Function) -> None:
    """Draw the switch; when it is moved, a new model follows."""
    spec = SPECS.get(function.backbone_id)
    why_not = why_no_inner_blocks(spec) if spec is not None else None
    used = function.inner_features and why_not is None
    wanted = st.toggle(
        "Use inner blocks of the backbone too",
        value=used,
        # What was decided elsewhere is shown, and not what this window showed before.
        key=f"inner-blocks-{function.id}-{used}",
        disabled=spec is None or why_not is not None or not may(MANAGE),
        help=_HELP,
    )
    st.caption(
        escape(why_not)
        if why_not is not None
        else "All images are looked at again when it is switched on; the live model answers until then."
    )
    if wanted == used:
        return
    try:
        use_inner_blocks(workspace(), function.id, wanted)
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    st.rerun()
