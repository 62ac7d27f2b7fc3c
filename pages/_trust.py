"""The Metrics page's part on whether its figures can be believed: the red banner, and three sentences on top."""

from __future__ import annotations

from html import escape as escape_html

import streamlit as st

from detector.evaluation.parts import PARTS
from detector.evaluation.report import Audit, read_audit
from detector.evaluation.shortcut import FactEvidence, ShortcutAudit
from detector.evaluation.summary import summarise, told_apart
from detector.formatting import FEWEST_FOR_RATE, all_labels, count, decimal, rate_of
from detector.jobs import EVALUATE
from detector.operations.functions import examine_model
from detector.operations.normalisation import normalise_and_retrain, use_as_imported_and_retrain
from detector.storage import jobs
from detector.storage.acting import LABEL, MANAGE, may
from detector.storage.models import ModelRow
from pages._state import escape, workspace
from pages._style import card

_WHY = (
    "A model learns whatever tells the labels apart. If all real photos are JPEG and all AI images PNG, it need not "
    "look at the picture at all, and it will fail on the first AI image that somebody saved as JPEG. So a second, "
    "simple model is shown only the properties of the files, without a single pixel. Where that one succeeds, nobody "
    "knows what the detector has learned.\n\n"
    "**ROC AUC** is 0.5 for guessing and 1 for a perfect answer. The warning appears when the lower end of its 95 % "
    "interval is at least 0.65.\n\n"
    "**Normalising** re-encodes every image in memory to one size, format and quality before the model sees it, those "
    "given to Invoke too. Your files stay as they are."
)


def banner(chosen_id: str, live: ModelRow, audit: Audit, earlier: list[ModelRow]) -> None:
    """The red banner where the files give the answer away, and what normalising has changed."""
    found = audit.shortcut
    if found is not None and found.warning:
        with st.container(key="banner"):
            st.html(_words(found, live))
            with st.container(horizontal=True, vertical_alignment="center"):
                if live.normalise is None and st.button(
                    "Normalise and retrain", type="primary", disabled=not may(MANAGE), key=f"normalise-{chosen_id}"
                ):
                    normalise_and_retrain(workspace(), chosen_id)
                    st.rerun()
                with st.popover("Why does this matter?"):
                    st.markdown(_WHY)
    if live.normalise is not None:
        _normalised(chosen_id, live, audit, earlier)


def _words(found: ShortcutAudit, live: ModelRow) -> str:
    telling = found.telling[:3]
    rows = "".join(
        f"<li>{_fact(fact)} <span>(alone: ROC AUC {decimal(fact.roc_auc, 2)})</span></li>" for fact in telling
    )
    bounds = f"{decimal(found.interval[0], 2)} to {decimal(found.interval[1], 2)}"
    often = f" {round(100 * found.roc_auc)} times in 100" if found.n >= FEWEST_FOR_RATE else ""
    measured = (
        f"{escape_html(told_apart(found))} apart{often} (ROC AUC "
        f"{decimal(found.roc_auc, 2)}, {bounds}; {count(found.n, 'image')}, {count(found.folds, 'fold')})"
    )
    if live.normalise is not None:
        labels = all_labels(len(live.label_ids))
        return (
            "<p><b>Be careful: the pictures differ in more than what they show.</b> All files have one size, format "
            f"and quality now, and still how well each picture compresses tells {measured}. What is left is in the "
            "pictures themselves: how much fine detail they have, or traces of an earlier compression or resizing. "
            f"The detector may be going by that. Import images of {labels} from similar sources: similar subjects, "
            f"sizes and compression.</p><ul>{rows}</ul>"
        )
    names = f", {' and '.join(fact.title for fact in telling[:2])} above all," if telling else ""
    return (
        f"<p><b>Be careful: file properties alone reveal the label.</b> They{escape_html(names)} tell "
        f"{measured}. The detector may be reading the file and not the picture, so the figures below say little.</p>"
        f"<ul>{rows}</ul>"
    )


def _fact(fact: FactEvidence) -> str:
    words = fact.words if fact.words.startswith(fact.title) else f"{fact.title} {fact.words}"
    return escape_html(words)


def _normalised(chosen_id: str, live: ModelRow, audit: Audit, earlier: list[ModelRow]) -> None:
    before = next((row for row in earlier if row.version < live.version and row.normalise is None), None)
    rows = [f"Images are normalised before this model sees them ({live.normalise})."]
    if before is not None:
        old = read_audit(workspace().db, before)
        for name, row, found in (("Before", before, old.shortcut), ("After", live, audit.shortcut)):
            measured = row.cross_validation
            right = f"{rate_of(measured['accuracy'], measured['n'])} right" if measured else "not validated"
            told = f", files alone ROC AUC {decimal(found.roc_auc, 2)}" if found else ""
            rows.append(f"{name} (model {row.version}): {right}{told}.")
    with card("normalised"), st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(escape(" ".join(rows)))
        if st.button("Use the images as imported again", disabled=not may(MANAGE), key=f"as-imported-{chosen_id}"):
            use_as_imported_and_retrain(workspace(), chosen_id)
            st.rerun()


def summary(function_id: str, audit: Audit) -> None:
    """Three sentences, and what is still being found out."""
    with card("summary"):
        # A percent sign must not stand alone at the beginning of a line.
        st.markdown("  \n".join(escape(sentence.replace(" %", "\N{NO-BREAK SPACE}%")) for sentence in summarise(audit)))
        if not audit.complete:
            left = len(set(PARTS) - audit.done)
            if any(job.kind == EVALUATE for job in jobs.list_jobs(workspace().db, function_id)):
                st.caption(
                    f"This model is still being examined: {count(left, 'part')} to come. You may leave this page."
                )
            elif st.button(
                "Examine this model",
                help="Looks for shortcuts, tries unseen sources and changed copies.",
                disabled=not may(LABEL),
                key=f"examine-{audit.model.id}",
            ):
                examine_model(workspace(), function_id, audit.model.id)
                st.rerun()
