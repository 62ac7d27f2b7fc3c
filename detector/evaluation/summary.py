"""Three sentences for somebody who reads nothing else: how good, on what it is weak, what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from detector.evaluation.report import Audit
from detector.evaluation.results import SourceScore, StressScore
from detector.evaluation.shortcut import ShortcutAudit
from detector.formatting import (
    FEWEST_FOR_RATE,
    all_labels,
    count,
    decimal,
    interval,
    interval_of,
    percent,
    rate_of,
    rate_of_images,
    share,
)
from detector.training.copies import Hardening
from detector.training.metrics import CrossValidation, wilson_interval
from detector.training.thresholds import Thresholds, how_many_images

#: Below this many images a figure is a rough one, whatever it is.
ROUGH_BELOW = 200
#: A loss of accuracy from which on a weakness is worth a sentence.
NOTABLE_LOSS = 0.03
#: And at least this many images must be behind it: fewer come and go by chance.
NOTABLE_IMAGES = 5
#: A gain from which on more images of the same kind are the advice.
WORTH_COLLECTING = 0.01
#: Sources with fewer images are not called the worst one: too few to say so.
FEWEST_OF_SOURCE = 10


#: A source with at least this share of its label's images is missed in the training too when it is left out.
LARGE_SHARE = 0.25


@dataclass(frozen=True)
class Unseen:
    """One label's sources, each left out once, together: ``right`` of ``n``; ``seen_right`` by models that saw them."""

    label: str
    sources: int
    n: int
    right: int
    seen_right: int
    worst: SourceScore | None

    @property
    def accuracy(self) -> float:
        return self.right / self.n

    @property
    def seen(self) -> float:
        return self.seen_right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        return wilson_interval(self.right, self.n)

    @property
    def loss(self) -> float:
        """By how much the accuracy is lower than that of models that have seen these sources."""
        return self.seen - self.accuracy


@dataclass(frozen=True)
class _Weakness:
    """A loss of accuracy on ``n`` images."""

    loss: float
    n: int
    sentence: str
    advice: str


def unseen_sources(audit: Audit) -> dict[str, Unseen]:
    """By label, the sources that could be left out; labels without any are not there."""
    by_label: dict[str, list[SourceScore]] = {}
    for row in audit.sources.sources if audit.sources else ():
        if row.accuracy is not None and row.accuracy_unseen is not None:
            by_label.setdefault(row.label, []).append(row)
    return {label: _together(label, rows) for label, rows in by_label.items()}


def worst_unseen(unseen: dict[str, Unseen]) -> Unseen | None:
    """The label that fares worst on sources never seen, of those with enough images to say so; None without any."""
    enough = [found for found in unseen.values() if found.n >= FEWEST_OF_SOURCE] or list(unseen.values())
    return min(enough, key=lambda found: found.accuracy, default=None)


def large_sources(audit: Audit) -> list[tuple[SourceScore, int]]:
    """Sources whose leaving out shrinks the training a lot, the largest share first, each with its label's images."""
    scores = (audit.model.cross_validation or {"labels": {}})["labels"]
    found = [
        (row, scores[row.label]["n"])
        for row in (audit.sources.sources if audit.sources else ())
        if row.accuracy_unseen is not None and row.label in scores and row.n >= LARGE_SHARE * scores[row.label]["n"]
    ]
    return sorted(found, key=lambda item: -item[0].n / item[1])


def hardest_stress(audit: Audit) -> StressScore | None:
    """The change that costs most; None where none was tried."""
    return min(audit.stress, key=lambda score: score.accuracy - score.accuracy_as_imported, default=None)


def summarise(audit: Audit) -> list[str]:
    """Say how good a model is, on what it is weak, and what to do next.

    Parameters
    ----------
    audit : Audit
        May be unfinished: what is not known yet is not spoken of.

    Returns
    -------
    list of three sentences
    """
    stored = audit.model.cross_validation
    if stored is None:
        return [
            f"How good model {audit.model.version} is cannot be measured yet: there are too few different images to "
            "hold some of them back for testing.",
            "Its weak spots are not known either.",
            f"Next: label more different images with each label. {how_many_images()}",
        ]
    cv = CrossValidation.from_json(stored)
    shortcut = audit.shortcut
    if shortcut is not None and shortcut.warning:
        if audit.model.normalise is not None:
            return _pictures_differ(cv, shortcut)
        return _files_differ(cv, shortcut)
    how_good = f"{_how_good(cv)}{_never_commits(audit)}"
    if not _better_than_guessing(cv):
        return [how_good, _not_known(cv), f"Next: {_instead_of_guessing(cv)}"]
    found = _weaknesses(audit, cv)
    notable = [item for item in found if item.loss >= NOTABLE_LOSS and item.loss * item.n >= NOTABLE_IMAGES]
    if notable:
        worst = max(notable, key=lambda item: item.loss)
        return [how_good, worst.sentence, f"Next: {worst.advice}"]
    if cv.n < ROUGH_BELOW:
        return [how_good, _not_known(cv), f"Next: {_advice(audit, cv)}"]
    worst = max(found, key=lambda item: item.loss)
    # While parts of the audit are to come, nobody has looked for most weaknesses.
    yet = "" if audit.complete else " so far"
    return [
        how_good,
        f"No great weakness was found{yet}; {worst.sentence[0].lower()}{worst.sentence[1:]}",
        f"Next: {_advice(audit, cv)}",
    ]


def told_apart(shortcut: ShortcutAudit) -> str:
    """What the facts of the files tell apart: "the labels", or "drawing from the others"."""
    return f"{shortcut.label} from the others" if shortcut.label else "the labels"


def _files_differ(cv: CrossValidation, shortcut: ShortcutAudit) -> list[str]:
    telling = [fact.title for fact in shortcut.telling]
    facts = f"{telling[0]} and other properties of the file tell" if len(telling) > 1 else "properties of the file tell"
    if len(telling) == 1:
        facts = f"{telling[0]} alone tells"
    return [
        f"This score cannot be trusted yet: {_figure(cv)}, but file properties alone reveal the label.",
        f"It may be reading the file and not the picture: {facts} {told_apart(shortcut)} apart with a ROC AUC of "
        f"{decimal(shortcut.roc_auc, 2)}.",
        f"Next: normalise and retrain, so that all files look alike, or import images of {all_labels(len(cv.labels))} "
        "that come in the same formats and sizes.",
    ]


def _pictures_differ(cv: CrossValidation, shortcut: ShortcutAudit) -> list[str]:
    """After normalising: all files are alike, so that whatever they still tell comes from the pixels."""
    return [
        f"This score remains uncertain: {_figure(cv)}, but the pictures differ in more than what they show.",
        f"All files are alike now, yet how well each picture compresses tells {told_apart(shortcut)} apart with a ROC "
        f"AUC of {decimal(shortcut.roc_auc, 2)}: it comes from fine detail, or from traces of earlier compression.",
        f"Next: import images of {all_labels(len(cv.labels))} from similar sources, with similar subjects, sizes and "
        "compression before they reach you; normalising again cannot remove this.",
    ]


def _together(label: str, rows: list[SourceScore]) -> Unseen:
    large = [row for row in rows if row.n >= FEWEST_OF_SOURCE]
    return Unseen(
        label=label,
        sources=len(rows),
        n=sum(row.n for row in rows),
        right=sum(round((row.accuracy_unseen or 0.0) * row.n) for row in rows),
        seen_right=sum(round((row.accuracy or 0.0) * row.n) for row in rows),
        worst=min(large, key=lambda row: (row.accuracy_unseen or 0.0, row.source)) if large else None,
    )


def _figure(cv: CrossValidation) -> str:
    right = rate_of_images(cv.accuracy, cv.n, "image")
    was = "was" if cv.n == 1 else "were"
    return f"{right} {was} given the right label by models that had not seen {'it' if cv.n == 1 else 'them'}"


def _how_good(cv: CrossValidation) -> str:
    commonest, always = _constant_answer(cv)
    if not _better_than_guessing(cv):
        even = always < 1.1 / len(cv.labels)
        instead = "guessing" if even else f"always saying {commonest}, which is right for {rate_of(always, cv.n)}"
        return f"{_figure(cv)}{interval_of(cv.interval, cv.n, ' (', ')')}: not clearly better than {instead}."
    if cv.n < FEWEST_FOR_RATE:
        return f"{_figure(cv)}; too few images for a rate."
    rough = "; a rough figure, from so few images" if cv.n < ROUGH_BELOW else ""
    return f"{_figure(cv)} ({interval(cv.interval)}{rough})."


def _constant_answer(cv: CrossValidation) -> tuple[str, float]:
    """The most frequent label, and how often saying nothing else is right."""
    commonest = max(cv.labels, key=lambda name: cv.labels[name].n)
    return commonest, cv.labels[commonest].n / cv.n


def _better_than_guessing(cv: CrossValidation) -> bool:
    return cv.interval[0] > _constant_answer(cv)[1]


def _never_commits(audit: Audit) -> str:
    """A clause where no threshold can be vouched for, so that the verdict is the same for every image."""
    if audit.model.thresholds is None:
        return ""
    too_few = Thresholds.from_json(audit.model.thresholds).too_few()
    return f" {too_few}" if too_few else ""


def _not_known(cv: CrossValidation) -> str:
    if cv.n < ROUGH_BELOW:
        return "Weak spots cannot be identified with so few images."
    return "Weak spots cannot be identified until it clearly beats guessing."


def _instead_of_guessing(cv: CrossValidation) -> str:
    rare = [name for name in cv.label_names if cv.is_rare(name)]
    if rare:
        return f"import more images labelled {' and '.join(rare)}: there are few of them compared with the others."
    enough = f" {how_many_images()}" if cv.n < ROUGH_BELOW else ""
    return f"check in Review whether the labels are right, label more images, or try another backbone.{enough}"


def _weaknesses(audit: Audit, cv: CrossValidation) -> list[_Weakness]:
    found = []
    large = [row for row, _ in large_sources(audit)]
    for unseen in unseen_sources(audit).values():
        least = ""
        if unseen.worst is not None:
            # Fewer images are a reason by themselves.
            missed = (
                f"; without it, the training also lacks {share(unseen.worst.n, cv.labels[unseen.label].n)} "
                f"{unseen.label} images"
                if unseen.worst in large
                else ""
            )
            fared = rate_of(unseen.worst.accuracy_unseen or 0.0, unseen.worst.n)
            least = f", least on {unseen.worst.source} ({fared}{missed})"
        found.append(
            _Weakness(
                unseen.loss,
                unseen.n,
                f"It is weak on {unseen.label} images from sources that it has never seen: "
                f"{rate_of(unseen.accuracy, unseen.n)} right instead of {rate_of(unseen.seen, unseen.n)}{least}.",
                f"import {unseen.label} images from more sources, a few dozen of each: variety counts most.",
            )
        )
    stress = hardest_stress(audit)
    if stress is not None:
        found.append(
            _Weakness(
                stress.accuracy_as_imported - stress.accuracy,
                stress.n,
                f"It suffers most from {_CHANGED[stress.name]}: {rate_of(stress.accuracy, stress.n)} right instead of "
                f"{rate_of(stress.accuracy_as_imported, stress.n)}.",
                "import images the way they will reach you, recompressed, shrunk or cropped, with "
                f"{all_labels(len(cv.labels))} alike.",
            )
        )
    weakest = min(cv.labels, key=lambda name: cv.labels[name].accuracy)
    found.append(
        _Weakness(
            cv.balanced_accuracy - cv.labels[weakest].accuracy,
            cv.labels[weakest].n,
            f"It misses {of_the_images(1 - cv.labels[weakest].accuracy, cv.labels[weakest].n)} labelled {weakest}, "
            "more than of any other label.",
            f"import more images labelled {weakest}"
            + (": there are few of them compared with the others." if cv.is_rare(weakest) else "."),
        )
    )
    return found


def of_the_images(fraction: float, n: int) -> str:
    """ "5.0 % of the images" or "2 of 9 images"."""
    return f"{rate_of(fraction, n)} {'of the images' if n >= FEWEST_FOR_RATE else 'image' if n == 1 else 'images'}"


def _advice(audit: Audit, cv: CrossValidation) -> str:
    if cv.n < ROUGH_BELOW:
        return f"label more images. {how_many_images()}"
    curve = audit.learning_curve
    if curve is not None and curve.gain is not None and curve.gain >= WORTH_COLLECTING:
        return f"import more images. {curve.sentence}"
    return "look in Review at the images on which label and function differ: some labels may be wrong."


def hardening_sentences(hardening: Hardening) -> list[str]:
    """What training on degraded copies brought, as people say it."""
    before, after = hardening.before, hardening.after
    copies = count(hardening.copies, "degraded copy", "degraded copies")
    figures = (
        f"Of degraded pictures {percent(after.degraded_accuracy)} are right with them and "
        f"{percent(before.degraded_accuracy)} without, of pictures as imported {percent(after.clean_accuracy)} and "
        f"{percent(before.clean_accuracy)}."
    )
    if hardening.taken:
        return [f"This model learned from {copies} of each image too.", figures]
    return [
        f"This model did not learn from degraded copies: with {copies} of each image it would be less certain of "
        "pictures as imported, or no better on degraded ones.",
        figures,
    ]


_CHANGED = {
    "jpeg-95": "being saved as JPEG with quality 95",
    "jpeg-75": "being saved as JPEG with quality 75",
    "jpeg-50": "being saved as JPEG with quality 50",
    "jpeg-40": "being saved as JPEG with quality 40",
    "blur-2": "being blurred",
    "scale-35": "being shrunk to a third of its size",
    "half-size": "being shrunk to half its size and back",
    "crop-65": "having its margins cut off",
    "centre-crop": "having its margins cut off",
    "noise-8": "having noise added to it",
    "webp-60": "being saved as WebP with quality 60",
    "webp": "being saved as WebP",
    "messenger": "being sent by messenger",
}
