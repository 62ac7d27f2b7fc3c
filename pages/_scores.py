"""The Metrics page's figures of the cross-validation."""

from __future__ import annotations

import streamlit as st

from detector.charts import audit as audit_charts
from detector.charts import validation as validation_charts
from detector.charts.palette import Theme, label_inks
from detector.evaluation.summary import ROUGH_BELOW, Unseen, of_the_images, worst_unseen
from detector.formatting import FEWEST_FOR_RATE, count, decimal, interval_of, limit, percent, rate_of, share
from detector.storage.label_names import label_key, spelling_among
from detector.training.metrics import CrossValidation
from detector.training.thresholds import CANT_TELL, GRADES, NOT_MEASURED, Thresholds
from detector.training.unseen_promise import in_counts
from pages._figure import figure_card
from pages._state import escape, import_link
from pages._style import card

#: Before the limit: the verdict may also be can't tell.
_RECOGNISED = "recognised (before the limit on false accusations)"
_WHOSE = {"synthetic": "AI images", "real": "Real photos"}


def tiles(cv: CrossValidation, unseen: dict[str, Unseen], theme: Theme) -> None:
    """The figures that people come for: one a label, and one for what the model has never seen."""
    inks = label_inks(cv.label_names, theme)
    names = sorted(cv.labels, key=lambda name: label_key(name) != "synthetic")[:3]
    never = worst_unseen(unseen)
    columns = st.columns(len(names) + 1)
    for column, name in zip(columns, names, strict=False):
        score = cv.labels[name]
        with column, card(f"label-{name}", height="stretch"):
            st.caption(escape(f"{_WHOSE.get(label_key(name), name)} {_RECOGNISED}"))
            st.html(f'<div class="figure" style="color:{inks[name].text}">{rate_of(score.accuracy, score.n)}</div>')
            st.caption(f"{share(score.correct, score.n)}{interval_of(score.interval, score.n, ' · ')}")
    with columns[-1], card("all", height="stretch"):
        if never is None:
            st.caption("All images right")
            st.html(f'<div class="figure">{rate_of(cv.accuracy, cv.n)}</div>')
            st.caption(f"{count(cv.n, 'image')}{interval_of(cv.interval, cv.n, ' · ')}")
        else:
            generators = "generators" if label_key(never.label) == "synthetic" else f"{never.label} sources"
            st.caption(escape(f"Recognised on {generators} never seen"))
            words = rate_of(never.accuracy, never.n)
            st.html(f'<div class="figure" style="color:{inks[never.label].text}">{words}</div>')
            bounds = interval_of(never.interval, never.n, " · ")
            st.caption(f"{count(never.n, 'image')}, {count(never.sources, 'source')}{bounds}")
    for name, score in cv.labels.items():
        if score.accuracy < 0.6 and cv.is_rare(name):
            st.warning(
                f"Only {of_the_images(score.accuracy, score.n)} labelled {escape(name)} were recognised. The model "
                f"rarely picks this label because it has few examples: {share(score.n, cv.n)} images. Import more of "
                "them."
            )


def verdicts(
    function_id: str, cv: CrossValidation, thresholds: Thresholds | None, theme: Theme, names: list[str]
) -> None:
    """How often the function commits itself, by label, at the limit on false accusations."""
    if thresholds is None:
        return
    title = "How often it names a label"
    explain = (
        "The figures above give every image its most probable label, however close the call. The verdict in Invoke and "
        "in the API is stricter: it names a label only where hardly any image of another label scores that high. You "
        "set the limit on false accusations on the Invoke page; the threshold follows from it, on the safe side. "
        "Everything in between is can't tell."
    )
    if not thresholds.above:
        with card("verdicts"):
            st.markdown(f"**{title}**", help=explain)
            st.markdown(escape(thresholds.too_few()))
            st.caption(measured(cv))
            import_link(function_id)
        return
    unsure = sum(row[CANT_TELL] for row in thresholds.counts.values())
    total = sum(sum(row.values()) for row in thresholds.counts.values())
    silent = "".join(f" {note}" for note in thresholds.notes)
    figure_card(
        title,
        audit_charts.verdict_shares(thresholds, theme, names),
        "Each bar is one of your labels, its parts are the verdicts. A label may wrongly be given to at most "
        f"{limit(thresholds.false_accusation_limit)} of the images of any other label. "
        f"Can't tell: {share(unsure, total)}.{silent} {measured(cv)}",
        "verdicts",
        explain,
        below=(lambda: import_link(function_id)) if thresholds.notes else None,
    )


def promises(thresholds: Thresholds | None) -> None:
    """What is promised of which pictures, and how often which grade was reached, in words."""
    if thresholds is None or not thresholds.above:
        return
    at_most = limit(thresholds.false_accusation_limit)
    unseen = thresholds.unseen
    with card("promises"):
        st.markdown(
            "**How far a verdict can be trusted**",
            help="Two promises. One is for pictures like your samples: the threshold comes from images that the model "
            "had not seen, of cameras and generators that it had. The other is for pictures from elsewhere: each "
            "source is left out in turn, a model without it judges its images, and a strong verdict must have kept to "
            "the limit there, too.",
        )
        st.markdown(f"**Moderate**: for pictures like your samples, at most {at_most} wrongly labelled.")
        if unseen is None:
            st.markdown(f"**Strong**: {NOT_MEASURED}")
        else:
            for name in thresholds.label_names:
                if name in unseen.above:
                    right, n = unseen.caught[name]
                    said = (
                        f"{in_counts(name, unseen.counts[name])} Of images labelled {name} from sources left out, "
                        f"{share(right, n)} were strongly called so."
                    )
                else:
                    said = unseen.why_not.get(name, "")
                st.markdown(f"**Strong {escape(name)}**: {escape(said)}")
        lines = []
        for name, counts in thresholds.grades.items():
            total = sum(counts.values())
            if total:
                parts = [f"{grade} {rate_of(counts[grade] / total, total)}" for grade in GRADES]
                lines.append(f"Images labelled {escape(name)}: {', '.join(parts)}.")
        st.caption(" ".join(lines))


def price(cv: CrossValidation, thresholds: Thresholds | None, theme: Theme, names: list[str]) -> None:
    """The ROC curve, and where on it the function's verdicts lie."""
    title = "Caught vs. wrongly accused"
    if {label_key(name) for name in cv.label_names} == {"real", "synthetic"}:
        title = "AI images caught vs. photos wrongly accused"
    figure_card(
        title,
        validation_charts.roc(cv, theme, names),
        f"{_at_the_limit(thresholds)}Each point is a threshold: the more are caught, the more are wrongly "
        f"accused (ROC; area {decimal(cv.roc_auc)}). {measured(cv)}",
        "roc",
        "The function gives every image a confidence. Where you draw the line is a trade-off: a low one catches more "
        "AI images and accuses more real photos. The curve shows every such trade-off. The area under it (ROC AUC) is "
        "1 for a perfect function and 0.5 for guessing.",
    )


def _at_the_limit(thresholds: Thresholds | None) -> str:
    """ "With at most 2.0 % of real falsely accused, 905 of 1,000 synthetic are caught." for two labels."""
    if thresholds is None or len(thresholds.label_names) != 2:
        return ""
    wanted = spelling_among("synthetic", thresholds.label_names) or thresholds.label_names[1]
    other = next(name for name in thresholds.label_names if name != wanted)
    if wanted not in thresholds.above:
        return ""
    counts = thresholds.counts[wanted]
    return (
        f"With at most {limit(thresholds.false_accusation_limit)} of {other} wrongly called {wanted}, "
        f"{share(counts[wanted], sum(counts.values()))} of {wanted} are caught. "
    )


def further_figures(cv: CrossValidation, theme: Theme, names: list[str]) -> None:
    """What is found and what confused, by label."""
    figure_card(
        "When it names a label, is it right?",
        validation_charts.precision_recall(cv, theme, names),
        "How often it is right when it names a label, against how many images of that label it finds (precision, "
        f"recall). {measured(cv)}",
        "precision",
        "Precision: of the images that get a label, the share that really has it. Recall: of the images that "
        "really have a label, the share that gets it. Raising one costs some of the other.",
    )
    figure_card(
        "Which labels get confused",
        validation_charts.confusion(cv, theme, names),
        f"Rows are your labels, columns what the function says (confusion matrix). {measured(cv)}",
        "confusion",
        "Every image is counted in one cell: the row is the label that you gave, the column the one that the "
        "function gives. Right answers lie on the diagonal.",
    )
    figure_card(
        "Each label with its interval",
        validation_charts.label_accuracy(cv, theme, names),
        f"The dot is the share given the right label, the line its 95 % interval. {measured(cv)}",
        "labels",
        "The fewer images were measured, the less exactly the true share is known. The line shows where it "
        "plausibly lies: lines made this way hold the true share 95 times in 100.",
    )


def confidences(cv: CrossValidation, theme: Theme, names: list[str]) -> None:
    """Whether its confidence can be trusted, and how sure it was."""
    few = "; with so few images chance alone makes it large" if cv.n < ROUGH_BELOW else ""
    off = f"; mean distance, ECE, {percent(cv.ece)}{few}" if cv.n >= FEWEST_FOR_RATE else ""
    figure_card(
        "Can you trust its confidence?",
        validation_charts.reliability(cv, theme),
        f"On the dashed line it is right as often as it says (reliability{off}). {measured(cv)}",
        "reliability",
        "Of the images with confidence 90 %, about 90 of 100 should be right. Dots above the line: it is right "
        "more often than it says; below: it is too confident.",
    )
    figure_card(
        "How sure it was",
        validation_charts.confidence_histogram(cv, theme, names),
        "Right answers upwards, wrong ones downwards, by confidence; heights are square roots of the counts. "
        f"{measured(cv)}",
        "histogram",
        "A good function is sure where it is right and unsure where it is wrong. Bars that hang down at the far "
        "right are images on which it was sure and wrong: look at them in Review.",
    )


def measured(cv: CrossValidation) -> str:
    """On what the figures of the cross-validation were measured."""
    return f"Out-of-fold, {count(cv.n, 'image')}, {count(cv.folds, 'fold')}."
