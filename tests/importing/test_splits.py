"""The kind: folder names that divide a set are neither labels nor sources, wherever and however they are written."""

from __future__ import annotations

import pytest

from detector.importing.guessing import open_questions, split_names, suggest
from detector.importing.labelling import LabelPlan, assign, planned_counts
from detector.importing.splits import named_split, pure_split

KNOWN = ["real", "synthetic"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRAIN", "train2017", "trainset", "train_images", "trainval")
        ),
        *((name, "test") for name in ("test", "Testing", "val", "valid", "validation", "dev", "eval", "evaluation")),
        *(
            (name, "test")
            for name in ("holdout", "hold-out", "held_out", "testSet", "test-data", "public test", "val2")
        ),
        *(
            (name, None)
            for name in ("real", "test_fake", "trainer", "contest", "validated", "devices", "data", "images")
        ),
    ],
)
def test_a_name_is_a_split_only_where_it_means_nothing_else(name: str, split: str | None) -> None:
    assert pure_split(name) == split


def test_a_split_in_a_label_folders_name_counts_too() -> None:
    assert named_split("test_fake") == "test"
    paths = [f"{split}_{label}/{n}.jpg" for split in ("train", "test") for label in ("fake", "real") for n in range(2)]
    plan = suggest(paths, KNOWN).plan
    assert (plan.level, plan.splits) == (0, "lock")
    given = {path: assign(path, plan) for path in paths}
    assert (given["test_fake/0.jpg"].label, given["test_fake/0.jpg"].split) == ("synthetic", "test")
    assert (given["train_real/0.jpg"].label, given["train_real/0.jpg"].split) == ("real", "train")


@pytest.mark.parametrize(
    "layout", ["{split}/{label}/{n}.jpg", "{label}/{split}/{n}.jpg", "set/{label}/{split}/x/{n}.jpg"]
)
def test_splits_are_found_above_and_below_the_labels(layout: str) -> None:
    paths = [
        layout.format(split=split, label=label, n=n)
        for split in ("train", "val", "test")
        for label in ("REAL", "FAKE")
        for n in range(3)
    ]
    plan = suggest(paths, KNOWN).plan
    counts = planned_counts(paths, plan)
    assert counts == {(label, split): n for label in KNOWN for split, n in (("train", 3), ("test", 6))}
    # The one folder below, x, is on every path: a source at most, and never a split.
    assert {assign(path, plan).source for path in paths} <= {None, "x"}
    assert set(split_names(paths)) == {"train", "val", "test"}


def test_a_set_that_has_no_training_part_is_not_put_aside_altogether() -> None:
    for split in ("test", "val"):
        plan = suggest([f"{split}/{label}/{n}.jpg" for label in ("REAL", "FAKE") for n in range(5)], KNOWN).plan
        assert (plan.level, plan.splits) == (0, "ignore")
    # Nor where one label would have nothing left to learn from.
    uneven = [f"train/REAL/{n}.jpg" for n in range(5)] + [
        f"test/{label}/{n}.jpg" for label in ("REAL", "FAKE") for n in (1, 2)
    ]
    assert suggest(uneven, KNOWN).plan.splits == "ignore"


def test_a_function_with_a_label_called_train_keeps_it() -> None:
    paths = [f"{name}/{n}.jpg" for name in ("bus", "train") for n in range(3)]
    plan = suggest(paths, ["bus", "train"]).plan
    assert {assign(path, plan).label for path in paths} == {"bus", "train"}
    assert {assign(path, plan).split for path in paths} == {"train"}


def test_a_limit_counts_what_is_put_aside() -> None:
    paths = [
        f"{split}/{label}/{n}.jpg"
        for split, many in (("train", 80), ("test", 20))
        for label in KNOWN
        for n in range(many)
    ]
    plan = LabelPlan("folders", level=0, splits="lock", per_label=50)
    counts = planned_counts(paths, plan)
    assert {label: counts[label, "train"] + counts[label, "test"] for label in KNOWN} == dict.fromkeys(KNOWN, 50)
    assert all(counts[label, "test"] > 0 for label in KNOWN)


def test_levels_that_name_labels_and_do_not_agree_are_a_question() -> None:
    crossed = [f"{upper}/{lower}/{n}.jpg" for upper in ("real", "fake") for lower in ("photo", "ai") for n in range(2)]
    assert len(suggest(crossed, KNOWN).questions) == 1
    agreeing = [f"real/photo/{n}.jpg" for n in range(2)] + [f"fake/ai/{n}.jpg" for n in range(2)]
    assert suggest(agreeing, KNOWN).questions == ()


def test_names_that_nobody_mapped_are_questions_for_the_command_line() -> None:
    paths = ["real/1.jpg", "ai/2.jpg", "other/3.jpg"]
    plan = LabelPlan("folders", level=0, mapping={"ai": "synthetic"})
    assert [question.split("'")[1] for question in open_questions(paths, plan, KNOWN)] == ["other"]
    assert [question.split("'")[1] for question in open_questions(paths, plan, [])] == ["other"]
    decided = LabelPlan("folders", level=0, mapping={"ai": "synthetic", "other": "other"})
    assert open_questions(paths, decided, KNOWN) == []
    # Two names that mean neither are a set of its own kind.
    assert open_questions(["cat/1.jpg", "dog/2.jpg"], LabelPlan("folders", level=0), []) == []


def test_spellings_of_one_label_are_mapped_together() -> None:
    paths = [f"{name}/{n}.jpg" for name in ("ku\u0308nstlich", "K\u00dcNSTLICH", "echt") for n in range(2)]
    plan = suggest(paths, KNOWN).plan
    assert len({assign(path, plan).label for path in paths}) == 2


def test_no_source_is_invented_of_labels_again_or_of_hundreds_of_names() -> None:
    """The kind: a level below the labels that says nothing of generators or collections."""
    doubled = [f"{name}/{name}/{n}.jpg" for name in ("RealArt", "AiArtData") for n in range(2)]
    assert (suggest(doubled, KNOWN).plan.level, suggest(doubled, KNOWN).plan.source_level) == (0, None)
    agreeing = [f"{name}/{again}/{n}.jpg" for name, again in (("real", "photos"), ("fake", "ai")) for n in range(2)]
    assert suggest(agreeing, KNOWN).plan.source_level is None
    persons = [f"{label}/person {n}/1.jpg" for label in KNOWN for n in range(60)]
    assert suggest(persons, KNOWN).plan.source_level == 1
    crowd = [f"{label}/person {label} {n}/1.jpg" for label in KNOWN for n in range(60)]
    assert suggest(crowd, KNOWN).plan.source_level is None


@pytest.mark.parametrize(
    ("real", "synthetic"),
    [("Human", "AI"), ("Camera Photos", "AI Images"), ("original", "deepfake"), ("real_faces", "fake_faces"),
     ("real_photos", "generated_by_sdxl"), ("training_real", "training_fake"), ("real_coco", "fake_sdxl"),
     ("HumanArt", "AIArt")],
)  # fmt: skip
def test_names_that_say_more_than_real_and_synthetic_are_understood_together(real: str, synthetic: str) -> None:
    paths = [f"{name}/{n}.jpg" for name in (real, synthetic) for n in range(2)]
    plan = suggest(paths, KNOWN).plan
    assert {assign(path, plan).label for path in paths[:2]} == {"real"}
    assert {assign(path, plan).label for path in paths[2:]} == {"synthetic"}
    assert open_questions(paths, plan, []) == []


def test_names_of_generators_are_sources_and_no_labels_until_somebody_says_so() -> None:
    """The kind: dalle3/, sdxl/, coco/ gave a live detector that tells generators apart, with exit code 0."""
    for names in (("dalle2", "firefly", "RAISE"), ("stable-diffusion-xl", "laion"), ("coco", "imagenet", "biggan")):
        paths = [f"{name}/{n}.jpg" for name in names for n in range(2)]
        plan = suggest(paths, KNOWN).plan
        (question,) = open_questions(paths, plan, [])
        assert "look like generators or collections" in question
        assert open_questions(paths, plan, [], explicit=True) == []
    assert [
        question.split("'")[1]
        for question in open_questions(["class_0/1.jpg", "class_1/1.jpg"], LabelPlan("folders", level=0), [])
    ] == ["class_0", "class_1"]


@pytest.mark.slow
def test_half_a_million_paths_are_understood_in_about_the_time_of_splitting_them() -> None:
    """The kind: what is asked of every path. A ratio, since machines differ."""
    from time import process_time

    paths = [
        f"{split}/{label}/{n:06d}.jpg"
        for split in ("train", "test")
        for label in ("REAL", "FAKE")
        for n in range(20_000)
    ]
    begin = process_time()
    for path in paths:
        path.split("/")
    splitting = process_time() - begin
    begin = process_time()
    suggest(paths, KNOWN)
    assert process_time() - begin < 500 * splitting


def test_a_folders_name_is_read_once_and_not_for_each_file_in_it() -> None:
    """Half a million paths took more than a minute, since each file's folders were taken apart again and again."""
    parts = ("train/fake", "train/real", "test/fake", "test/real")
    paths = [f"read-once/{part}/{n}.jpg" for part in parts for n in range(999)]
    named_split.cache_clear()
    pure_split.cache_clear()
    plan = suggest(paths, ["real", "synthetic"]).plan
    assert {assign(path, plan).split for path in paths} == {"train", "test"}
    assert pure_split.cache_info().misses < 20
    assert named_split.cache_info().misses < 20
