"""Adapting on a real collection that the detector has never seen: better on pictures that had no part in it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from detector.operations import recentring
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.training.recentring import find_offset, log_odds
from tests.factories import LABELS, add_images, empty_function, workspace
from tests.shared_data import require

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Images of each label that the detector is trained on, and pictures of each label that it is adapted to.
TRAINED, GIVEN, DRAWS = 250, 15, 20


def images_of(folder: Path, label: str) -> list[Path]:
    return sorted(path for path in (folder / label).rglob("*") if path.is_file())


def balanced(scores: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([((scores[y == label] > 0) == label).mean() for label in (0, 1)]))


def test_fifteen_pictures_of_each_label_make_it_right_more_often_on_the_others_of_their_collection(
    tmp_path: Path,
) -> None:
    """Prints the figures that the README quotes: ``pytest -m long -s`` shows them."""
    known, elsewhere = require("mixed2000"), require("genimage_mini")
    ws = workspace(tmp_path)
    function = empty_function(ws)
    rng = np.random.default_rng(0)
    for label in LABELS:
        chosen = rng.choice(np.array(images_of(known, label)), TRAINED, replace=False)
        add_images(ws, function, [(path.name, path.read_bytes(), label) for path in chosen])
    assert build(ws, function.id).trained
    pictures = [(path, label) for label in LABELS for path in images_of(elsewhere, label)]
    answers = invoke(ws, function.id, [(path.name, path.read_bytes()) for path, _ in pictures])
    assert all(isinstance(item, Verdict) for item in answers)
    probabilities = np.array(
        [[next(s.confidence for s in item.scores if s.label == label) for label in LABELS] for item in answers]
    )
    scores, y = log_odds(probabilities), np.array([LABELS.index(label) for _, label in pictures])
    before, after, gains = [], [], []
    for draw in range(DRAWS):
        rng = np.random.default_rng([draw])
        given = np.concatenate([rng.choice(np.flatnonzero(y == label), GIVEN, replace=False) for label in (0, 1)])
        rest = np.setdiff1d(np.arange(len(y)), given)
        offset = find_offset(scores[given], y[given])
        before.append(balanced(scores[rest], y[rest]))
        after.append(balanced(scores[rest] + offset, y[rest]))
        gains.append(offset)
    print(
        f"\n{len(y)} pictures, {DRAWS} draws of {GIVEN} + {GIVEN}: balanced accuracy on the others "
        f"{np.mean(before):.4f} -> {np.mean(after):.4f} (lowest draw {min(after):.4f}, best {max(after):.4f}; "
        f"better in {sum(a > b for a, b in zip(after, before, strict=True))} of {DRAWS}), offsets {min(gains):.2f} to "
        f"{max(gains):.2f}"
    )
    assert np.mean(after) > np.mean(before)
    # One draw as a person does it: files are given, and others are asked about.
    rng = np.random.default_rng([0])
    given = {label: rng.choice(np.flatnonzero(y == n), GIVEN, replace=False) for n, label in enumerate(LABELS)}
    trial = recentring.try_on(
        ws,
        function.id,
        {
            label: [(pictures[n][0].name, partial(pictures[n][0].read_bytes)) for n in mine]
            for label, mine in given.items()
        },
    )
    print("\n".join(f"{item.sentence} {item.support}" for item in trial.checked))
    recentring.adapt(ws, trial)
    used = {n for mine in given.values() for n in mine}
    others = [n for n in range(len(y)) if n not in used]
    adapted = invoke(ws, function.id, [(pictures[n][0].name, pictures[n][0].read_bytes()) for n in others])
    right_before = sum(answers[n].label == pictures[n][1] for n in others)
    right_after = sum(item.label == pictures[n][1] for n, item in zip(others, adapted, strict=True))
    print(f"real files, one draw: {right_before} -> {right_after} of {len(others)} right")
    for label in LABELS:
        for when, found in (("before", [answers[n] for n in others]), ("after", adapted)):
            mine = [item for n, item in zip(others, found, strict=True) if pictures[n][1] == label]
            print(label, when, {v: sum(item.verdict == v for item in mine) for v in (*LABELS, "can't tell")})
    assert {item.grade for item in adapted} <= {"moderate", "can't tell"}
    ws.close()
