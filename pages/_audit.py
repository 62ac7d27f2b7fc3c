"""The Metrics page's cards of the audit: changed copies, unseen sources, data size, near-duplicates."""

from __future__ import annotations

import streamlit as st

from detector.charts import audit as audit_charts
from detector.charts.palette import Theme
from detector.evaluation.duplicates import Duplicates
from detector.evaluation.report import Audit
from detector.evaluation.summary import large_sources
from detector.formatting import count, listed, rate_of, share
from detector.gallery.filters import ANY
from pages._figure import figure_card
from pages._state import escape
from pages._style import card

_SOURCES = "Known sources vs. unseen sources"
_EXPLAIN_SOURCES = (
    "A source is a generator or a collection. New generators appear all the time, so what counts is how the function "
    "does on one that it does not know. Each source in turn is left out of the training altogether and then judged. "
    "The further the dot lies to the left of the ring, the worse the function does on sources it does not know."
)
_STRESS = "After re-saving, resizing or messaging"
_EXPLAIN_STRESS = (
    "Pictures on the web have been saved again, shrunk and cut. Here copies of your images were treated the same way "
    "and judged by models that had seen neither the image nor its copy. Messenger: at most 1,280 pixels, JPEG quality "
    "70. Centre crop: four fifths of each side."
)


def stress_card(audit: Audit, theme: Theme) -> None:
    """Accuracy after a picture has travelled."""
    if not audit.stress:
        with card("stress"):
            st.markdown(f"**{_STRESS}**", help=_EXPLAIN_STRESS)
            st.caption("Not measured yet; it appears here when the audit gets to it.")
        return
    first = audit.stress[0]
    of = "all" if first.n == first.of else f"chosen at random from {count(first.of)}"
    figure_card(
        _STRESS,
        audit_charts.stress(audit.stress, theme),
        f"Accuracy with its 95 % interval. Out-of-fold, {count(first.n, 'image')} each ({of}){_folds(audit)}. For "
        f"{count(audit.flipped, 'image')} the answer changes after at least one of these.",
        "stress",
        _EXPLAIN_STRESS,
        below=lambda: _flipping(audit),
    )


def _flipping(audit: Audit) -> None:
    if audit.flipped:
        query = {"function": audit.model.function_id, "flips": ANY}
        words = "Look at it in Review" if audit.flipped == 1 else f"Look at these {count(audit.flipped)} in Review"
        st.page_link("review.py", label=words, query_params=query, icon=":material/arrow_forward:")


def _folds(audit: Audit) -> str:
    validation = audit.model.cross_validation
    return f", {count(validation['folds'], 'fold')}" if validation else ""


def sources_card(audit: Audit, labels: list[str], theme: Theme) -> None:
    """Seen against never seen, by source."""
    assert audit.sources is not None
    rows = audit.sources.sources
    if all(row.accuracy_unseen is None for row in rows):
        with card("sources"):
            st.markdown(f"**{_SOURCES}**", help=_EXPLAIN_SOURCES)
            st.caption(
                "Unseen sources cannot be tested yet: no source can be left out, because all images of some label come "
                "from it. Import each label from at least two sources."
            )
        return
    drawn = audit_charts.drawn_sources(rows)
    rest = f" The {count(len(drawn))} largest of {count(len(rows))} are shown." if len(drawn) < len(rows) else ""
    untagged = f" {count(audit.sources.untagged, 'image')} without a source." if audit.sources.untagged else ""
    alone = [row.source for row in rows if row.accuracy_unseen is None]
    only = f" {', '.join(alone[:3])} cannot be left out: a label has no other source." if alone else ""
    figure_card(
        _SOURCES,
        audit_charts.unseen_sources(rows, labels, theme),
        f"Dot: judged by a model trained without that source, with its 95 % interval. Ring: with other images of it, "
        f"out-of-fold{_folds(audit)}. {count(sum(row.n for row in rows), 'image')}, one training per source."
        f"{_missed(audit)}{only}{rest}{untagged}",
        "sources",
        _EXPLAIN_SOURCES,
    )


def _missed(audit: Audit) -> str:
    """Which sources are so large that without them the training has clearly fewer images."""
    large = large_sources(audit)[:2]
    if not large:
        return ""
    names = listed(f"{row.source} ({share(row.n, total)} {row.label} images)" for row, total in large)
    return f" Without {names} the training is also smaller, which costs accuracy by itself."


def learning_card(audit: Audit, theme: Theme) -> None:
    """How much data is enough."""
    curve = audit.learning_curve
    assert curve is not None
    title = "How much data is enough"
    explain = (
        "The function is trained on fewer and fewer of your images, several times with different ones. A curve that "
        "still rises at the right says that more images help; a flat one says that other things do: better labels, "
        "more sources, another backbone."
    )
    if not curve.points:
        with card("learning"):
            st.markdown(f"**{title}**", help=explain)
            st.caption(escape(curve.sentence))
        return
    figure_card(
        title,
        audit_charts.learning_curve(curve, theme),
        f"{curve.sentence} Out-of-fold, {count(curve.measured, 'image')}, {count(curve.folds, 'fold')}, "
        f"{curve.repeats} repeats; the band holds 95 % of repeats.",
        "learning",
        explain,
    )


def duplicates_line(audit: Audit) -> None:
    """How many near-duplicates there are, and what they would have done."""
    found = audit.duplicates
    if found is None:
        return
    with card("duplicates"):
        st.markdown(
            "**Near-duplicates**",
            help="Two pictures that are nearly the same always share a fold. Otherwise the model would be tested on "
            "pictures whose twins it has learned by heart, and the figures would look too good.",
        )
        if found.groups:
            _near_duplicates(found)
        else:
            st.caption(f"None among {count(found.n, 'image')}.")
        if audit.conflicts:
            st.markdown("The very same image came with two labels; the first one was kept:")
            _table([{"File": row.file, "What happened": row.reason} for row in audit.conflicts])


def _near_duplicates(found: Duplicates) -> None:
    words = f"{share(found.samples, found.n)} images have a near-duplicate ({count(found.groups, 'group')})."
    if found.accuracy_grouped is not None and found.accuracy_ungrouped is not None:
        words += f" Each group is kept in one fold: {rate_of(found.accuracy_grouped, found.n)} right."
        if found.measurable:
            words += (
                f" Without this, the score would look better than it is: {rate_of(found.accuracy_ungrouped, found.n)}."
            )
        else:
            words += " Without this, there would be no measurable difference."
    st.caption(escape(words))
    if found.contradictions:
        n = found.contradiction_count
        st.markdown(f"{count(n, 'pair of them carries', 'pairs of them carry')} different labels:")
        _table(
            [
                {"File": pair.file, "Label": pair.label, "Other file": pair.other_file, "Its label": pair.other_label}
                for pair in found.contradictions
            ]
        )


def _table(rows: list[dict[str, str]]) -> None:
    st.dataframe(rows, hide_index=True, height=min(38 * (len(rows) + 1), 260))
