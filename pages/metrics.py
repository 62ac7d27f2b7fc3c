"""Metrics: how good the live model is, on what it was measured, why this model won, and the versions before it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import streamlit as st

from detector import charts, training_charts
from detector.jobs import request_build
from detector.palette import Theme, label_inks
from detector.storage import functions, models
from detector.storage.functions import FunctionSummary
from detector.storage.models import ModelRow
from detector.training.metrics import CrossValidation
from detector.training.options import SweepRow
from detector.training_charts import HistoryPoint
from detector.words import ago, count, decimal, duration, interval, percent, share
from pages._expert import expert_settings
from pages._jobs import jobs_of
from pages._state import escape, function_labels, go, heading, require_function, workspace
from pages._style import card, current_theme

_EXPLAIN = (
    "**Cross-validation.** The labelled samples are dealt into folds. Each fold is judged by a model that was trained "
    "on the others only, so every figure here is about images that the model had not seen. Near-duplicates always stay "
    "together in one fold.\n\n"
    "**Interval.** The range in which the true share plausibly lies, given how few or many images were measured: made "
    "this way, it holds the true share 95 times in 100.\n\n"
    "**Confidence** is calibrated: of the images with confidence 90 %, about 90 of 100 should be right.\n\n"
    "**What it does not say.** How it does on generators and cameras that are not among your images."
)


def _empty(chosen: FunctionSummary) -> None:
    heading("Metrics", f"How good {chosen.function.name} is will stand here, measured on images it had not seen.")
    if chosen.busy:
        with card("running"):
            jobs_of(chosen.function.id)
            st.caption("You may leave this page; the work goes on.")
    else:
        note = chosen.function.training_note
        st.info(escape(note or "There is nothing to measure yet. Import labelled images first."))
    if st.button("Import images", type="primary"):
        go("import_images.py", chosen.function.id)
    st.stop()


def _tiles(cv: CrossValidation, theme: Theme) -> None:
    inks = label_inks(cv.label_names, theme)
    columns = st.columns(min(len(cv.label_names) + 1, 4))
    called = {"synthetic": "AI images called synthetic", "real": "Real photos called real"}
    order = sorted(cv.labels, key=lambda name: name != "synthetic")
    for column, name in zip(columns, order, strict=False):
        score = cv.labels[name]
        with column, card(f"label-{name}", height="stretch"):
            st.caption(escape(called.get(name, f"{name} called {name}")))
            st.html(f'<div class="figure" style="color:{inks[name].text}">{percent(score.accuracy)}</div>')
            st.caption(f"{share(score.correct, score.n)} · {interval(score.interval)}")
    with columns[-1], card("all", height="stretch"):
        st.caption("All images right")
        st.html(f'<div class="figure">{percent(cv.accuracy)}</div>')
        st.caption(
            f"{count(cv.n, 'image')} · {interval(cv.interval)} · mean of the labels {percent(cv.balanced_accuracy)}"
        )
    for name, score in cv.labels.items():
        if score.accuracy < 0.6 and score.n < 0.35 * cv.n:
            st.warning(
                f"Only {percent(score.accuracy)} of the images labelled {escape(name)} were called so: just "
                f"{share(score.n, cv.n)} images have that label, so calling it seldom pays. Import more of them."
            )


def _figure(title: str, figure: Any, sentence: str, key: str, **options: Any) -> None:
    with card(key, **options):
        st.markdown(f"**{title}**")
        st.plotly_chart(figure, key=key, config=charts.PLOTLY_CONFIG, theme=None, width="stretch")
        st.caption(sentence)


def _figures(cv: CrossValidation, theme: Theme, names: list[str]) -> None:
    measured = f"Out-of-fold, {count(cv.n, 'image')}, {cv.folds} folds."
    left, right = st.columns(2)
    with left:
        _figure(
            "How many are caught at which price",
            charts.roc(cv, theme, names),
            "Each point is a threshold: the more is caught, the more is falsely accused (ROC; area "
            f"{decimal(cv.roc_auc)}). {measured}",
            "roc",
        )
        _figure(
            "When it says it, is it so",
            charts.precision_recall(cv, theme, names),
            "How often it is right when it says a label, against how many of that label it finds (precision, recall). "
            f"{measured}",
            "precision",
        )
        _figure(
            "What is taken for what",
            charts.confusion(cv, theme, names),
            f"Rows are your labels, columns what the function says (confusion matrix). {measured}",
            "confusion",
        )
    with right:
        _figure(
            "Whether confidence can be believed",
            charts.reliability(cv, theme),
            "On the dashed line it is right as often as it says (reliability; mean distance, ECE, "
            f"{percent(cv.ece)}). {measured}",
            "reliability",
        )
        _figure(
            "How sure it was",
            charts.confidence_histogram(cv, theme, names),
            "Right answers upwards, wrong ones downwards, by confidence; heights are square roots of the counts. "
            f"{measured}",
            "histogram",
        )
        _figure(
            "Each label with its interval",
            charts.label_accuracy(cv, theme, names),
            f"The dot is the share given the right label, the line its 95 % interval. {measured}",
            "labels",
        )


def _history_point(row: ModelRow, live: str | None) -> HistoryPoint:
    scores = row.cross_validation
    return HistoryPoint(
        row.version,
        scores["accuracy"] if scores else None,
        scores["n"] if scores else 0,
        tuple(scores["interval"]) if scores else None,
        row.id == live,
    )


def _versions(chosen: FunctionSummary, versions: list[ModelRow]) -> None:
    live = chosen.function.live_model_id
    with card("versions"):
        st.markdown("**Versions**")
        if sum(row.cross_validation is not None for row in versions) > 1:
            st.plotly_chart(
                training_charts.training_history(
                    [_history_point(row, live) for row in reversed(versions)], current_theme()
                ),
                key="history",
                config=charts.PLOTLY_CONFIG,
                theme=None,
                width="stretch",
            )
            st.caption(
                "Cross-validated accuracy of each version with its 95 % interval; samples and labels may differ."
            )
        for row in versions[:12]:
            left, right = st.columns([6, 2], vertical_alignment="center")
            score = percent(row.cross_validation["accuracy"]) + " right" if row.cross_validation else "not validated"
            when = ago(datetime.fromtimestamp(row.created_at, UTC))
            left.markdown(
                f"**Model {row.version}** · {score}  :gray[{count(row.sample_count, 'labelled sample')} · "
                f"{escape(row.backbone_id)} · trained {when} in {duration(row.seconds)}]"
            )
            if row.id == live:
                right.caption("live")
            elif right.button("Put back", key=f"put-back-{row.id}"):
                with st.spinner(f"Putting model {row.version} back"):
                    from detector.build import put_back

                    put_back(workspace(), chosen.function.id, row.id)
                st.rerun()


chosen = require_function()
function_id = chosen.function.id
versions = models.list_models(workspace().db, function_id)
live = next((row for row in versions if row.id == chosen.function.live_model_id), None)
if live is None:
    _empty(chosen)
    st.stop()
theme = current_theme()
trained = f"trained {ago(datetime.fromtimestamp(live.created_at, UTC))} in {duration(live.seconds)}"
folds = (
    f"{live.cross_validation['folds']} folds, near-duplicates kept together" if live.cross_validation else "no folds"
)
heading("Metrics", f"Model {live.version} · {count(live.sample_count, 'labelled sample')}, {folds} · {trained}")
if chosen.function.is_simulation:
    st.info(
        "This function was built from the built-in sample, a simulation: its figures say nothing about real generators."
    )
if chosen.function.training_note:
    st.warning(escape(chosen.function.training_note))
if live.note:
    st.warning(escape(live.note))
if live.cross_validation is None:
    st.info("This model is not validated: nothing can be said about how good it is. Label more images with each label.")
else:
    cv = CrossValidation.from_json(live.cross_validation)
    _tiles(cv, theme)
    with st.expander("What do these figures mean?"):
        st.markdown(_EXPLAIN)
        if live.backbone_id == "efficientnet-lite0":
            st.markdown(
                "**Offline backbone.** It was trained on ImageNet: real images that come from ImageNet are easier for "
                "it than others."
            )
    _figures(cv, theme, [label.name for label in function_labels(function_id)])
    with card("sweep"):
        st.markdown("**Which settings won**")
        rows = [SweepRow(**row) for row in live.sweep]
        for column, figure, key in zip(
            st.columns(2),
            (training_charts.sweep(rows, theme), training_charts.sweep_ranking(rows, theme)),
            ("sweep-curves", "sweep-ranking"),
            strict=True,
        ):
            column.plotly_chart(figure, key=key, config=charts.PLOTLY_CONFIG, theme=None, width="stretch")
        st.caption(
            f"{len(live.sweep):,} settings were tried on the same folds; lower log loss is better, the marked one won."
        )
_versions(chosen, versions)
with st.expander("Expert settings"):
    wanted = expert_settings(chosen.function, live)
    if wanted is not None:
        functions.set_sweep_settings(workspace().db, function_id, wanted)
        request_build(workspace(), function_id)
        st.rerun()
