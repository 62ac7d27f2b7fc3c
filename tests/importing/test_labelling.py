from __future__ import annotations

import json
from functools import partial

import pytest

from detector.errors import InvalidInput
from detector.importing import (
    Entry,
    LabelPlan,
    LabelQuota,
    assign,
    choose,
    folder_levels,
)
from detector.importing.guessing import suggest
from detector.importing.labelling import Assignment

KNOWN = ["real", "synthetic"]
CIFAKE = [f"{split}/{label}/{i:04d}.jpg" for split in ("train", "test") for label in ("REAL", "FAKE") for i in range(5)]


def entries(*paths: str) -> list[Entry]:
    return [Entry(path, len(path), partial(bytes, path.encode())) for path in sorted(paths)]


def test_levels_show_names_counts_and_how_many_files_have_none() -> None:
    levels = folder_levels(["real/cam/1.jpg", "real/cam/2.jpg", "fake/3.jpg", "4.jpg"])
    assert [(level.level, level.names, level.missing) for level in levels] == [
        (0, [("fake", 1), ("real", 2)], 1),
        (1, [("cam", 2)], 2),
    ]
    assert folder_levels(["1.jpg", "2.jpg"]) == []
    assert folder_levels([]) == []


def test_a_readme_beside_the_images_does_not_change_the_levels() -> None:
    assert [level.missing for level in folder_levels(["README.md", "real/1.jpg"])] == [0]


def test_the_public_cifake_archive_is_understood() -> None:
    plan = suggest(CIFAKE, KNOWN).plan
    assert (plan.mode, plan.level, plan.source_level, plan.splits) == ("folders", 0, None, "lock")
    assert plan.mapping == {"REAL": "real", "FAKE": "synthetic"}
    assert assign("test/FAKE/0001 (2).jpg", plan) == Assignment("synthetic", None, True, "test")
    assert assign("train/REAL/0001.jpg", plan) == Assignment("real", None, True, "train")


def test_label_and_source_folders_give_both() -> None:
    plan = suggest(["real/imagenet/1.jpg", "synthetic/sd14/2.jpg"], KNOWN).plan
    assert (plan.level, plan.source_level, plan.mapping) == (0, 1, {})
    given = assign("synthetic/sd14/2.jpg", plan)
    assert (given.label, given.source, given.included) == ("synthetic", "sd14", True)


def test_sources_are_only_suggested_where_every_file_has_one() -> None:
    assert suggest(["real/imagenet/1.jpg", "synthetic/2.jpg"], KNOWN).plan.source_level is None


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("0_real", "real"),
        ("1_fake", "synthetic"),
        ("ai", "synthetic"),
        ("nature", "real"),
        ("AI-Generated images", "synthetic"),
        ("train_real", "real"),
        ("non-ai", "real"),
        ("not real", "synthetic"),
        ("Synthetic", "synthetic"),
        ("authentic", "real"),
    ],
)
def test_common_folder_names_are_mapped_to_the_usual_labels(name: str, label: str) -> None:
    other = "nature" if label == "synthetic" else "ai"
    plan = suggest([f"x/{name}/1.jpg", f"x/{other}/2.jpg"], KNOWN).plan
    assert plan.level == 1
    assert assign(f"x/{name}/1.jpg", plan).label == label


def test_names_are_not_mapped_where_the_function_has_no_such_labels() -> None:
    plan = suggest(["FAKE/1.jpg", "REAL/2.jpg"], ["cat", "dog"]).plan
    assert (plan.mode, plan.level, plan.mapping) == ("folders", 0, {})
    assert assign("FAKE/1.jpg", plan).label == "FAKE"


def test_labels_of_the_user_go_before_common_names() -> None:
    plan = suggest(["Fake/1.jpg", "Photo/2.jpg"], ["fake", "photo"]).plan
    assert plan.mapping == {"Fake": "fake", "Photo": "photo"}


def test_a_level_that_tells_labels_apart_goes_before_one_on_which_all_agree() -> None:
    plan = suggest(["photos/ai/1.jpg", "photos/real/2.jpg"], KNOWN).plan
    assert plan.level == 1


def test_unknown_names_are_labels_of_their_own() -> None:
    plan = suggest(["data/train/cat/1.jpg", "data/test/dog/2.jpg"], KNOWN).plan
    assert (plan.mode, plan.level, plan.mapping, plan.splits) == ("folders", 1, {}, "ignore")


def test_folders_that_say_nothing_lead_to_an_unlabelled_import() -> None:
    assert suggest(["1.jpg"], KNOWN).plan.mode == "none"
    assert suggest(["holiday/1.jpg", "holiday/2.jpg"], KNOWN).plan.mode == "none"
    assert suggest(["train/1.jpg", "test/2.jpg"], KNOWN).plan.mode == "none"
    assert suggest([f"scene{chr(97 + i)}/1.jpg" for i in range(26)], KNOWN).plan.mode == "none"
    assert suggest([], KNOWN).plan.mode == "none"


def test_one_label_for_all_and_none_at_all() -> None:
    one = assign("a/b.jpg", LabelPlan("one", label="real", source="phone"))
    assert (one.label, one.source, one.included) == ("real", "phone", True)
    none = assign("a/b.jpg", LabelPlan("none", source_level=0))
    assert (none.label, none.source, none.included) == (None, "a", True)


def test_mapped_away_folders_are_left_out_and_files_above_the_level_stay_unlabelled() -> None:
    plan = LabelPlan("folders", level=1, mapping={"both": None, "FAKE": "synthetic"}, source_level=2)
    assert not assign("x/both/1.jpg", plan).included
    assert assign("x/FAKE/sd/1.jpg", plan).source == "sd"
    assert assign("x/FAKE/1.jpg", plan).source is None
    above = assign("x/1.jpg", plan)
    assert (above.label, above.included) == (None, True)


def test_the_folder_of_unlabelled_exports_is_no_label() -> None:
    plan = suggest(["real/a.png", "synthetic/b.png", "no label/c.png"], ["real", "synthetic"]).plan
    assert assign("no label/c.png", plan) == Assignment(None, None, True)
    # The Import page names every folder in the mapping.
    asked = LabelPlan("folders", level=0, mapping={"no label": "no label", "real": "real"})
    assert assign("no label/c.png", asked) == Assignment(None, None, True)
    given = LabelPlan("folders", level=0, mapping={"no label": "real"})
    assert assign("no label/c.png", given) == Assignment("real", None, True)


def test_a_plan_survives_json() -> None:
    plan = LabelPlan("folders", level=1, mapping={"a": None, "b": "c"}, source_level=0, per_label=7, seed=3)
    assert LabelPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    assert LabelPlan.from_json(json.dumps(plan.to_json())) == plan


@pytest.mark.parametrize(
    "data",
    [
        {"mode": "guess"},
        {"mode": "one"},
        {"mode": "folders"},
        {"mode": "none", "per_label": 0},
        {"mode": "none", "unknown": 1},
        "not json",
        "[]",
    ],
)
def test_plans_that_make_no_sense_are_refused(data: dict[str, object] | str) -> None:
    with pytest.raises(InvalidInput):
        LabelPlan.from_json(data)


def test_without_a_limit_files_stay_in_order_and_left_out_ones_are_gone() -> None:
    plan = LabelPlan("folders", level=0, mapping={"b": None})
    assert [item.entry.path for item in choose(entries("a/1.jpg", "a/2.jpg", "b/3.jpg", "c/4.jpg"), plan)] == [
        "a/1.jpg",
        "a/2.jpg",
        "c/4.jpg",
    ]


def test_at_most_n_takes_labels_in_turn_in_an_order_of_the_seed() -> None:
    files = entries(*CIFAKE)
    plan = LabelPlan("folders", level=1, per_label=3, seed=1)
    order = choose(files, plan)
    assert len(order) == len(CIFAKE)
    assert [item.label for item in order] == ["FAKE", "REAL"] * 10
    assert order == choose(list(reversed(files)), plan)
    other = LabelPlan("folders", level=1, per_label=3, seed=2)
    assert [item.entry.path for item in order] != [item.entry.path for item in choose(files, other)]
    assert {item.entry.path.split("/")[0] for item in order[:8]} == {"train", "test"}


def test_one_file_more_does_not_change_the_order_of_the_others() -> None:
    plan = LabelPlan("none", per_label=3)
    order = [item.entry.path for item in choose(entries(*CIFAKE), plan)]
    longer = [item.entry.path for item in choose(entries(*CIFAKE, "extra.jpg"), plan)]
    assert [path for path in longer if path != "extra.jpg"] == order


def test_a_quota_counts_accepted_files_only() -> None:
    quota = LabelQuota(LabelPlan("none", per_label=2))
    quota.accept("real")
    assert quota.wants("real")
    quota.accept("real")
    assert not quota.wants("real")
    assert quota.wants("synthetic")
    assert not LabelQuota(LabelPlan("none")).limited
