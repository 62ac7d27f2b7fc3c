"""Metrics: how good the live model is, whether that can be believed, why this model won, and the versions before it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NoReturn

import streamlit as st

from detector.charts.palette import Theme
from detector.evaluation.report import read_audit
from detector.evaluation.summary import unseen_sources
from detector.formatting import ago, count, duration
from detector.operations.functions import change_sweep_settings
from detector.operations.sample_function import sample_limit_note
from detector.serving.thresholds import why_never_sure, with_thresholds
from detector.storage import models
from detector.storage.functions import FunctionSummary
from detector.storage.models import ModelRow
from detector.training.metrics import CrossValidation
from detector.training.thresholds import Thresholds
from pages._adapt import metrics_note
from pages._drift import drift_card
from pages._expert import expert_settings
from pages._hardening import copies_setting
from pages._holdout import holdout_card
from pages._inner_blocks import inner_blocks_switch
from pages._jobs import jobs_of
from pages._metrics_figures import Shown, draw_figures
from pages._rerun_guard import end_page
from pages._scores import tiles
from pages._state import escape, function_labels, go, heading, import_link, require_function, workspace
from pages._style import card, current_theme
from pages._trust import banner, summary
from pages._versions import versions_card

_EXPLAIN = (
    "**Cross-validation.** The labelled samples are split into folds. Each fold is judged by a model that was trained "
    "on the others only, so every figure here is about images that the model had not seen. Near-duplicates always stay "
    "together in one fold.\n\n"
    "**Recognised** means that the right label is the most probable one, however close the call. The verdict in Invoke "
    "and in the API is stricter and may be can't tell.\n\n"
    "**Interval.** The range in which the true share plausibly lies, given how few or many images were measured: made "
    "this way, it holds the true share 95 times in 100.\n\n"
    "**Confidence** is calibrated: of the images with confidence 90 %, about 90 of 100 should be right.\n\n"
    "**What it does not say.** How it does on generators and cameras that are not among your images: the figure of "
    "sources never seen comes closest to that."
)
_IMAGENET = (
    "**Offline backbone.** It was trained on ImageNet: real images that come from ImageNet are easier for it than "
    "others."
)


def _empty(chosen: FunctionSummary) -> NoReturn:
    heading("Metrics", f"Here you will see how good {chosen.shown} is, measured on images it had not seen.")
    if chosen.busy:
        with card("running"):
            jobs_of(chosen.function.id)
            st.caption("You may leave this page; the work goes on.")
    else:
        note = chosen.function.training_note
        st.info(escape(note or "There is nothing to measure yet. Import labelled images first."))
    if st.button("Import images", type="primary"):
        go("import_images.py", chosen.function.id)
    end_page()


def _heading(chosen: FunctionSummary, live: ModelRow) -> None:
    trained = f"trained {ago(datetime.fromtimestamp(live.created_at, UTC))} in {duration(live.seconds)}"
    validation = live.cross_validation
    folds = f"{validation['folds']} folds, near-duplicates kept together" if validation else "no folds"
    heading("Metrics", f"Model {live.version} · {count(live.sample_count, 'labelled sample')}, {folds} · {trained}")
    if chosen.function.is_simulation:
        st.info(
            "This function was built from the built-in sample, a simulation: its figures say nothing about real "
            f"generators. {sample_limit_note()}"
        )
    for note in (chosen.function.training_note, live.note):
        if note:
            st.warning(escape(note))
    metrics_note(live)


def _figures(live: ModelRow, theme: Theme, names: list[str]) -> None:
    audit = read_audit(workspace().db, live)
    banner(function_id, live, audit, versions)
    summary(function_id, audit)
    if live.cross_validation is None:
        st.markdown(escape(why_never_sure(workspace(), live)))
        import_link(function_id)
        return
    cv = CrossValidation.from_json(live.cross_validation)
    tiles(cv, unseen_sources(audit), theme)
    with st.expander("What do these figures mean?"):
        st.markdown(_EXPLAIN)
        if live.backbone_id == "efficientnet-lite0":
            st.markdown(_IMAGENET)
    thresholds = Thresholds.from_json(live.thresholds) if live.thresholds else None
    draw_figures(Shown(live, audit, cv, thresholds, theme, names))


chosen = require_function()
function_id = chosen.function.id
versions = models.list_models(workspace().db, function_id)
live = next((row for row in versions if row.id == chosen.function.live_model_id), None)
if live is None:
    _empty(chosen)
live = with_thresholds(workspace(), live)
theme = current_theme()
_heading(chosen, live)
_figures(live, theme, [label.name for label in function_labels(function_id)])
holdout_card(function_id, live)
drift_card(chosen.function, live, theme)
versions_card(chosen, versions, theme)
with st.expander("Expert settings"):
    wanted = expert_settings(chosen.function, live)
    if wanted is not None:
        change_sweep_settings(workspace(), function_id, wanted)
        st.rerun()
    copies_setting(function_id)
    inner_blocks_switch(chosen.function)
