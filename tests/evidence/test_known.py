"""Whether a picture is one of the samples already: the same bytes, nearly the same picture, wherever it lies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detector.evidence import known
from detector.evidence.known import NEAR_DUPLICATE, SAMPLE, KnownSample, known_samples
from detector.imaging import inspect_image
from detector.imaging.fingerprint import near_duplicates_of
from detector.operations.holdout import put_aside_samples
from detector.storage import annotating, samples, trash
from detector.storage.functions import Function
from detector.workspace import Workspace
from tests.factories import (
    add_images,
    empty_function,
    label_ids,
    labelled_function,
    make_image,
    near_duplicate,
    workspace,
)


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path)
    yield opened
    opened.close()


def ask(ws: Workspace, function: Function, data: bytes) -> list[KnownSample]:
    found = inspect_image(data, "asked.png", ws.limits)
    return known_samples(ws, function.id, found.sha256, found.perceptual_hash)


def ids(ws: Workspace, function: Function) -> dict[str, str]:
    return {row.file_name: row.id for row in samples.find_samples(ws.db, function.id)}


def test_the_very_file_is_named_with_its_label(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    [found] = ask(ws, function, make_image(2, "synthetic"))
    assert (found.kind, found.sample_id, found.label) == (SAMPLE, ids(ws, function)["synthetic-2.png"], "synthetic")
    assert found.sentence == "This very picture is one of your samples, labelled synthetic."
    assert found.to_json() == {
        "kind": "sample",
        "sentence": found.sentence,
        "sample": found.sample_id,
        "label": "synthetic",
        "file": "synthetic-2.png",
    }


def test_nearly_the_same_picture_is_named_with_its_file(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    [found] = ask(ws, function, near_duplicate(make_image(2, "real")))
    assert (found.kind, found.file_name) == (NEAR_DUPLICATE, "real-2.png")
    assert found.sentence == "Nearly the same picture is one of your samples: real-2.png, labelled real."


def test_a_picture_that_is_no_sample_is_not_known(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    assert ask(ws, function, make_image(77, "real")) == []
    assert ask(ws, empty_function(ws, "Other"), make_image(2, "real")) == []


def test_the_same_file_comes_before_what_is_nearly_the_same(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    twin = near_duplicate(make_image(2, "real"))
    add_images(ws, function, [("twin.png", twin, None)])
    found = ask(ws, function, twin)
    assert [(item.kind, item.file_name) for item in found] == [(SAMPLE, "twin.png"), (NEAR_DUPLICATE, "real-2.png")]
    assert found[0].sentence == "This very picture is one of your samples, without a label."


def test_what_lies_in_the_bin_or_the_test_set_is_known_and_says_so(ws: Workspace) -> None:
    function = labelled_function(ws, 4)
    named = ids(ws, function)
    trash.delete_samples(ws.db, function.id, [named["real-1.png"]])
    put_aside_samples(ws, function.id, [named["real-2.png"]])
    assert ask(ws, function, make_image(1, "real"))[0].sentence.endswith("labelled real. It lies in the bin.")
    [held] = ask(ws, function, make_image(2, "real"))
    assert held.in_test_set
    assert held.sentence.endswith("labelled real. It lies in the locked test set.")


def test_what_was_changed_since_the_last_question_is_seen(ws: Workspace) -> None:
    """The kind: hashes in memory outlive what they are of."""
    function = labelled_function(ws, 4)
    late = make_image(50, "real")
    assert ask(ws, function, near_duplicate(late)) == []
    add_images(ws, function, [("late.png", late, None)])
    [found] = ask(ws, function, near_duplicate(late))
    assert found.label is None
    annotating.annotate(ws.db, [found.sample_id], label_ids(ws, function)["synthetic"])
    [found] = ask(ws, function, near_duplicate(late))
    assert found.label == "synthetic"
    trash.delete_samples(ws.db, function.id, [found.sample_id])
    trash.empty_bin(ws.db, function.id)
    assert ask(ws, function, near_duplicate(late)) == []
    assert ask(ws, function, late) == []
    # It may take the place in the table of what went for good.
    add_images(ws, function, [("other.png", make_image(51, "real"), None)])
    assert [item.file_name for item in ask(ws, function, near_duplicate(make_image(51, "real")))] == ["other.png"]
    assert ask(ws, function, near_duplicate(late)) == []


def test_a_name_from_outside_stays_on_one_line_and_short(ws: Workspace) -> None:
    function = empty_function(ws)
    data = make_image(3, "real")
    add_images(ws, function, [("a\nb\u202egnp" + "x" * 300 + ".png", data, "real")])
    [found] = ask(ws, function, near_duplicate(data))
    assert "\n" not in found.sentence
    assert "\u202e" not in found.sentence
    assert len(found.sentence) < 200


def test_of_many_near_duplicates_the_nearest_few_are_named(ws: Workspace) -> None:
    function = empty_function(ws)
    data = make_image(3, "real")
    twins = [data]
    for _ in range(15):
        # Each differs in one more pixel's last bit.
        twins.append(near_duplicate(twins[-1]) + b" " * len(twins))
    add_images(ws, function, [(f"{n}.png", twin, None) for n, twin in enumerate(twins)])
    found = ask(ws, function, data)
    assert found[0].kind == SAMPLE
    assert len(found) == known.MOST + 1
    assert [item.bits for item in found] == sorted(item.bits for item in found)


def test_a_question_about_many_samples_costs_little_once_they_are_in_memory() -> None:

    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 2**63, (100_000, 3), dtype=np.uint64)
    numbers[:, 2] = 2**64 - 1
    asked = f"{int(numbers[777, 0]) ^ 0b111:016x}{int(numbers[777, 1]):016x}"
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        places, bits = near_duplicates_of(asked, numbers)
        taken.append(time.perf_counter() - start)
    assert (places.tolist(), bits.tolist()) == ([777], [3])
    start = time.perf_counter()
    for _ in range(10):
        np.sort(numbers, axis=0)
    assert min(taken) < time.perf_counter() - start
