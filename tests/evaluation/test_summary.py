from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from detector.evaluation.parts import PARTS
from detector.evaluation.report import Audit
from detector.evaluation.results import LearningCurve, Sources, SourceScore, StressScore
from detector.evaluation.shortcut import FactEvidence, ShortcutAudit
from detector.evaluation.summary import large_sources, summarise, unseen_sources, worst_unseen
from detector.training.metrics import cross_validation_metrics
from detector.training.thresholds import Thresholds
from tests.evaluation.made_audit_data import model_row


def audit_of(real: tuple[int, int], synthetic: tuple[int, int], **facts: Any) -> Audit:
    """An audit of a model that got so many of so many right."""
    y = np.repeat([0, 1], [real[1], synthetic[1]])
    right = np.concatenate([np.arange(of) < got for got, of in (real, synthetic)])
    says = np.where(right, y, 1 - y)
    prob = np.where(np.arange(2)[None, :] == says[:, None], 0.9, 0.1)
    cv = cross_validation_metrics(prob, y, ("real", "synthetic"), 5)
    nothing = dict.fromkeys(Audit.__dataclass_fields__) | {"stress": (), "flipped": 0, "seconds": {}}
    done = {"done": frozenset(PARTS), "model": model_row(cross_validation=cv.to_json())}
    return Audit(**(nothing | done | facts))


def source(name: str, label: str, n: int, seen: float, unseen: float | None) -> SourceScore:
    return SourceScore(name, label, n, seen, unseen, (0.0, 1.0), (0.0, 1.0))


def changed(name: str, accuracy: float) -> StressScore:
    return StressScore(name, 500, 2000, accuracy, (0.0, 1.0), 0.95, 0.1)


GOOD = audit_of((950, 1000), (960, 1000))
LEAKY = ShortcutAudit(0.99, (0.97, 1.0), True, (FactEvidence("format", 0.98, "PNG: 9 of 9 synthetic"),), 200, 5)


def test_a_good_model_is_called_so_with_its_interval_and_its_numbers() -> None:
    good, weak, following = summarise(GOOD)
    assert (
        good == "95.5 % of 2,000 images were given the right label by models that had not seen them (94.5 to 96.3 %)."
    )
    assert weak.startswith("No great weakness was found; it misses 5.0 % of the images labelled real")
    assert following.startswith("Next: look in Review")


def test_before_the_audit_has_ended_no_weakness_was_found_only_so_far() -> None:
    """Kind: praise for what nobody has looked at yet."""
    _, weak, _ = summarise(replace(GOOD, done=frozenset()))
    assert weak.startswith("No great weakness was found so far; it misses 5.0 % of the images labelled real")


def test_a_shortcut_outweighs_every_figure() -> None:
    good, weak, following = summarise(replace(GOOD, shortcut=LEAKY, stress=(changed("jpeg-50", 0.5),)))
    assert good.startswith("This score cannot be trusted yet: 95.5 %")
    assert "file format" in weak
    assert "0.99" in weak
    assert "normalise and retrain" in following
    harmless = replace(LEAKY, warning=False)
    assert summarise(replace(GOOD, shortcut=harmless)) == summarise(GOOD)


def test_other_facts_are_spoken_of_only_where_there_are_some() -> None:
    assert "file format alone tells the labels apart" in summarise(replace(GOOD, shortcut=LEAKY))[1]
    weak = FactEvidence("width", 0.6, "width 9: 5 of 9 synthetic")
    assert "file format alone tells" in summarise(replace(GOOD, shortcut=replace(LEAKY, facts=(*LEAKY.facts, weak))))[1]
    strong = replace(weak, roc_auc=0.7)
    several = replace(LEAKY, facts=(*LEAKY.facts, strong))
    assert "file format and other properties of the file tell" in summarise(replace(GOOD, shortcut=several))[1]
    together = replace(LEAKY, facts=(weak,))
    assert "properties of the file tell the labels apart" in summarise(replace(GOOD, shortcut=together))[1]


def test_after_normalising_nobody_is_told_to_normalise() -> None:
    """All files are alike then: what still tells the labels apart is in the pixels."""
    found = replace(GOOD, model=replace(GOOD.model, normalise="jpeg-224-q90"), shortcut=LEAKY)
    good, weak, following = summarise(found)
    assert "files alone" not in good
    assert "reading the file" not in weak
    assert "how well each picture compresses" in weak
    assert "normalise and retrain" not in following
    assert "from similar sources" in following


def test_of_three_labels_it_speaks_of_all_and_of_the_one_given_away() -> None:
    y = np.repeat([0, 1, 2], 100)
    cv = cross_validation_metrics(np.eye(3)[y] * 0.8 + 0.1, y, ("camera", "drawing", "generator"), 5)
    model = model_row(cross_validation=cv.to_json())
    three = replace(GOOD, model=model, shortcut=replace(LEAKY, label="drawing"))
    _, weak, following = summarise(three)
    assert "tells drawing from the others apart" in weak
    assert "all labels" in following
    _, _, following = summarise(replace(three, shortcut=None, stress=(changed("messenger", 0.8),)))
    assert following.endswith("with all labels alike.")


def test_the_greatest_weakness_is_named_and_the_advice_is_about_it() -> None:
    found = Sources(
        (
            source("camera", "real", 500, 0.95, None),
            source("a", "synthetic", 100, 0.96, 0.90),
            source("b", "synthetic", 100, 0.96, 0.60),
        ),
        0,
        0,
    )
    scores = (changed("jpeg-75", 0.94), changed("messenger", 0.84))
    both = replace(GOOD, sources=found, stress=scores)
    _, weak, following = summarise(both)
    assert weak == (
        "It is weak on synthetic images from sources that it has never seen: 75.0 % right instead of 96.0 %, least on "
        "b (60.0 %)."
    )
    assert "import synthetic images from more sources" in following
    unseen = unseen_sources(both)
    assert list(unseen) == ["synthetic"]
    assert (unseen["synthetic"].n, unseen["synthetic"].sources, unseen["synthetic"].accuracy) == (200, 2, 0.75)
    _, weak, following = summarise(replace(GOOD, stress=scores))
    assert weak == "It suffers most from being sent by messenger: 84.0 % right instead of 95.0 %."
    assert "recompressed" in following
    _, weak, following = summarise(audit_of((600, 1000), (960, 1000)))
    assert weak == "It misses 40.0 % of the images labelled real, more than of any other label."
    assert following == "Next: import more images labelled real."


def test_a_large_source_that_is_left_out_is_missed_in_the_training_too() -> None:
    """667 of 1,000 real images were gone, and the loss was laid to their being unknown alone."""
    rows = (source("imagenet", "real", 667, 0.95, 0.6), source("bsds500", "real", 333, 0.95, 0.8))
    both = replace(GOOD, sources=Sources((*rows, source("a", "synthetic", 100, 0.96, 0.9)), 0, 0))
    assert "imagenet (60.0 %; without it, the training also lacks 667 of 1,000 real images)." in summarise(both)[1]
    assert [(row.source, total) for row, total in large_sources(both)] == [("imagenet", 1000), ("bsds500", 1000)]


def test_the_tile_of_sources_never_seen_shows_the_worse_label() -> None:
    rows = (source("camera", "real", 100, 0.95, 0.6), source("a", "synthetic", 900, 0.96, 0.9))
    found = worst_unseen(unseen_sources(replace(GOOD, sources=Sources(rows, 0, 0))))
    assert found is not None
    assert found.label == "real"
    few = (source("camera", "real", 3, 0.95, 0.0), source("a", "synthetic", 900, 0.96, 0.9))
    found = worst_unseen(unseen_sources(replace(GOOD, sources=Sources(few, 0, 0))))
    assert found is not None
    assert found.label == "synthetic"
    assert worst_unseen({}) is None


def test_more_images_are_the_advice_where_they_help() -> None:
    curve = LearningCurve((), 5, 5, 2000, 500, 0.02, (0.015, 0.025), "Another 500 images would bring 2 points.")
    assert summarise(replace(GOOD, learning_curve=curve))[2] == (
        "Next: import more images. Another 500 images would bring 2 points."
    )
    assert "Review" in summarise(replace(GOOD, learning_curve=replace(curve, gain=0.002)))[2]


def test_few_images_are_called_few_and_no_single_one_is_a_weakness() -> None:
    stress = StressScore("webp", 18, 18, 12 / 18, (0.4, 0.8), 14 / 18, 0.1)
    good, weak, following = summarise(audit_of((7, 9), (7, 9), stress=(stress,)))
    assert good == (
        "14 of 18 images were given the right label by models that had not seen them; too few images for a rate."
    )
    rough, _, following = summarise(audit_of((40, 50), (40, 50)))
    assert "a rough figure, from so few images)" in rough
    assert (
        "with at least 149 different images of each label it can be sure at a limit of 2 % false accusations"
        in following
    )
    assert weak == "Weak spots cannot be identified with so few images."
    assert "label more images" in following


def test_no_better_than_a_constant_answer_is_said_so() -> None:
    assert (
        "not clearly better than always saying synthetic, which is right for 80.0 %"
        in summarise(audit_of((10, 100), (395, 400)))[0]
    )
    assert "not clearly better than guessing" in summarise(audit_of((30, 60), (32, 60)))[0]


def test_who_does_no_better_than_guessing_is_not_told_to_import_one_label() -> None:
    """Of 2 x 150 images with random labels it said: import more images labelled real."""
    _, weak, following = summarise(audit_of((70, 150), (85, 150)))
    assert weak.startswith("Weak spots cannot be identified until")
    assert following == (
        "Next: check in Review whether the labels are right, label more images, or try another backbone."
    )
    assert "labelled real: there are few" in summarise(audit_of((10, 100), (395, 400)))[2]


def test_few_beside_the_others_is_said_only_of_a_label_that_is_rare() -> None:
    """146 images beside 154 are not few of them."""
    assert summarise(audit_of((100, 146), (150, 154)))[2] == "Next: import more images labelled real."
    assert "there are few of them" in summarise(audit_of((60, 100), (290, 300)))[2]


def test_a_function_that_never_commits_itself_says_what_it_takes() -> None:
    unsure = {"real": 0, "synthetic": 0, "can't tell": 100}
    different = {"real": 100, "synthetic": 120}
    thresholds = Thresholds(0.02, ("real", "synthetic"), {}, {"real": unsure, "synthetic": unsure}, (), different)
    silent = replace(GOOD, model=replace(GOOD.model, thresholds=thresholds.to_json()))
    assert (
        'can only answer "can\'t tell": a limit of 2 % false accusations needs 149 different images of each label (you '
        "have 100 of real and 120 of synthetic; near-duplicates count once)"
    ) in summarise(silent)[0]
    speaks = replace(thresholds, above={"real": 0.9})
    assert "can't tell" not in summarise(replace(GOOD, model=replace(GOOD.model, thresholds=speaks.to_json())))[0]


def test_a_model_without_folds_gets_three_sentences_too() -> None:
    sentences = summarise(replace(GOOD, model=model_row(cross_validation=None)))
    assert len(sentences) == 3
    assert "How good model 1 is cannot be measured yet" in sentences[0]
    assert "label more" in sentences[2]
