"""The Metrics page's part on training: which settings won, and the versions before."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from detector.charts import training as training_charts
from detector.charts.palette import Theme
from detector.charts.training import HistoryPoint
from detector.formatting import ago, count, duration, rate_of
from detector.storage.acting import MANAGE, may
from detector.storage.functions import FunctionSummary
from detector.storage.models import ModelRow
from detector.training.options import SweepRow
from pages._figure import plot
from pages._state import escape, workspace
from pages._style import card


def sweep(live: ModelRow, theme: Theme) -> None:
    """Every combination that was tried, and the one that won."""
    with card("sweep"):
        st.markdown(
            "**Which settings won**",
            help="Training has a few settings that nobody knows in advance. All sensible combinations are tried on the "
            "same folds; the one that gives the right labels the highest probability (the lowest log loss) wins. Where "
            "enough is known of the sources, those that are about as good decide it on sources left out.",
        )
        rows = [SweepRow(**row) for row in live.sweep]
        left, right = st.columns(2)
        with left:
            plot(training_charts.sweep(rows, theme, live.sample_count), "sweep-curves")
        with right:
            plot(training_charts.sweep_ranking(rows, theme, n=live.sample_count), "sweep-ranking")
        st.caption(
            f"{len(live.sweep):,} settings were tried on the same {count(live.hyperparameters['folds'], 'fold')}, "
            f"{count(live.sample_count, 'image')}, out-of-fold; lower log loss is better, the marked one won."
        )
        tried = sum(row.unseen_log_loss is not None for row in rows)
        if tried:
            plot(training_charts.sweep_on_sources(rows, theme), "sweep-on-sources")
            st.caption(_decided_by_sources(tried))


def _decided_by_sources(tried: int) -> str:
    if tried == 1:
        return "No other setting comes near the best one on these images, so sources left out had nothing to decide."
    return (
        f"On these images {count(tried, 'setting')} are as good as the best one, as far as so many images can tell. So "
        "each source in turn was left out and judged by what was trained on the others; every source counts alike "
        "within its label, and every label alike. What does best on sources left out was taken."
    )


def versions_card(chosen: FunctionSummary, versions: list[ModelRow], theme: Theme) -> None:
    """All versions with their accuracy, and the way back to each."""
    live = chosen.function.live_model_id
    with card("versions"):
        st.markdown(
            "**Versions**",
            help="Each training makes a new version; none is lost. The dot is the share given the right label in its "
            "cross-validation, the line the range in which the true share plausibly lies. Versions that were measured "
            "on other images or labels cannot be compared by a point or two. Invoke and the API use the live "
            "version.",
        )
        if sum(row.cross_validation is not None for row in versions) > 1:
            points = [_history_point(row, live) for row in reversed(versions)]
            plot(training_charts.training_history(points, theme), "history")
            st.caption(
                "Cross-validated accuracy of each version with its 95 % interval, out-of-fold; its images and folds "
                "are in the list. Samples and labels may differ."
            )
        for row in versions[:12]:
            _version(chosen, row, live)


def _version(chosen: FunctionSummary, row: ModelRow, live: str | None) -> None:
    left, right = st.columns([6, 2], vertical_alignment="center")
    measured = row.cross_validation
    score = f"{rate_of(measured['accuracy'], measured['n'])} right" if measured else "not validated"
    when = ago(datetime.fromtimestamp(row.created_at, UTC))
    folds = f" · {count(row.cross_validation['folds'], 'fold')}" if row.cross_validation else ""
    left.markdown(
        f"**Model {row.version}** · {score}  :gray[{count(row.sample_count, 'labelled sample')}{folds} · "
        f"{escape(row.backbone_id)} · trained {when} in {duration(row.seconds)}]"
    )
    if row.id == live:
        right.caption("live")
    elif right.button("Make live again", disabled=not may(MANAGE), key=f"put-back-{row.id}"):
        with st.spinner(f"Making model {row.version} live again"):
            from detector.pipeline.build import put_back

            put_back(workspace(), chosen.function.id, row.id)
        st.rerun()


def _history_point(row: ModelRow, live: str | None) -> HistoryPoint:
    scores = row.cross_validation
    return HistoryPoint(
        row.version,
        scores["accuracy"] if scores else None,
        scores["n"] if scores else 0,
        tuple(scores["interval"]) if scores else None,
        row.id == live,
    )
