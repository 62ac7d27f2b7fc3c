"""The Metrics page's card of degraded copies: what training on them brought, or how long they will take."""

from __future__ import annotations

import streamlit as st

from detector.evaluation.summary import hardening_sentences
from detector.jobs import COPIES
from detector.operations.hardening import change_copies
from detector.pipeline.speed import expected_time
from detector.serving.stored_copies import wanted_copies
from detector.settings import MOST_COPIES
from detector.storage import functions, jobs
from detector.storage.acting import MANAGE, may
from detector.storage.models import ModelRow
from detector.training.copies import Hardening
from pages._state import escape, workspace
from pages._style import card


def hardening_card(live: ModelRow) -> None:
    """Whether the live model learned from copies, and what they brought."""
    ws = workspace()
    function = functions.get_function(ws.db, live.function_id)
    wanted = wanted_copies(ws, function, live.sample_count)
    coming = any(job.kind == COPIES for job in jobs.list_jobs(ws.db, live.function_id))
    if live.hardening is None and not wanted:
        return
    with card("hardening"):
        st.markdown(
            "**Pictures that were passed on**",
            help="On the web pictures are saved again, shrunk, cropped and blurred. The function makes such copies of "
            "your labelled images, a fixed recipe for each, and learns from them too. The copies are not stored, and a "
            "copy is always in the same fold as its original.",
        )
        if live.hardening is not None:
            st.markdown(escape(" ".join(hardening_sentences(Hardening.from_json(live.hardening)))))
        elif coming:
            time = expected_time(ws, function.backbone_id, wanted * live.sample_count)
            st.markdown(
                f"It is looking at {wanted} degraded {'copy' if wanted == 1 else 'copies'} of each image"
                f"{f', {time}' if time else ''}. A model that learned from them too follows; until then this one "
                "answers."
            )
        else:
            st.markdown(
                "This model has not learned from degraded copies of your images. The next training brings them."
            )


def copies_setting(function_id: str) -> None:
    """The expert's choice of how many copies are made."""
    ws = workspace()
    function = functions.get_function(ws.db, function_id)
    now = ws.settings.copies if function.copies is None else function.copies
    with st.form(f"copies-{function_id}", border=False):
        chosen = st.number_input(
            "Degraded copies of each labelled image (0: none)",
            0,
            MOST_COPIES,
            now,
            help="Each takes as long as a further image. Above 5,000 images fewer are made.",
        )
        if st.form_submit_button("Train with these copies", disabled=not may(MANAGE)) and chosen != now:
            change_copies(ws, function_id, int(chosen))
            st.rerun()
