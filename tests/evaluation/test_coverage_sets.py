"""Files that do not compare, on the development image sets: full-size photographs, and others of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detector.imaging import ImageLimits, decode_image
from detector.imaging.file_look import FileLook, file_look
from detector.imaging.rescaling import estimate_rescaling
from detector.training.coverage import SIZE, Coverage, LabelFiles
from detector.training.thresholds import CANT_TELL, MODERATE
from tests.command_line import run
from tests.databases import copy_data
from tests.shared_data import require

pytestmark = [pytest.mark.slow, pytest.mark.long]

#: Of the photographs, which are of many megapixels, every so-many-th.
PHOTOGRAPHS_APART = 5
LIMITS = ImageLimits(64_000_000, 100_000_000)


def measured(data_dir: Path, folder: Path) -> list[dict[str, Any]]:
    """What ``measure`` finds of each source."""
    ran = run(data_dir, "measure", "mixed2000", folder, "--json")
    assert ran.code == 0, ran.err
    return list(ran.json["sources"])


def test_full_size_photographs_get_cant_tell_of_a_function_of_small_pictures_and_moderate_at_most_by_the_switch(
    mixed2000_data: Path, tmp_path: Path
) -> None:
    data_dir, folder = tmp_path / "data", tmp_path / "photographs"
    copy_data(mixed2000_data, data_dir)
    (folder / "real").mkdir(parents=True)
    for name in ("confounded_png_vs_jpeg", "confounded_size"):
        for source in (require(name) / "real").iterdir():
            (folder / "real" / source.name).mkdir()
            for path in sorted(source.iterdir())[::PHOTOGRAPHS_APART]:
                (folder / "real" / source.name / path.name).symlink_to(path)
    rows = measured(data_dir, folder)
    assert {row["source"]: row["n"] for row in rows} == {"pexels": 20, "picsum_unsplash": 12}
    for row in rows:
        print(row["source"], row["verdicts"], row["unlike"], row["reason"])
        assert [(item["verdict"], item["grade"], item["n"]) for item in row["verdicts"]] == [
            (CANT_TELL, CANT_TELL, row["n"])
        ]
        assert row["unlike"] == {SIZE: row["n"]}
        assert row["reason"].startswith("Your samples are all 256 px (shorter side); this is ")
    assert run(data_dir, "coverage", "mixed2000", "--judge-unlike", "on").code == 0
    for row in measured(data_dir, folder):
        print(row["source"], row["verdicts"])
        assert {item["grade"] for item in row["verdicts"]} <= {MODERATE, CANT_TELL}
        assert any(item["grade"] == MODERATE for item in row["verdicts"])


def test_hardly_a_picture_of_the_same_kind_falls_out() -> None:
    """At most one in fifty: half of each label's pictures are the samples, the others are new."""
    folder = require("mixed2000")
    looks: dict[str, list[FileLook]] = {}
    for label in ("real", "synthetic"):
        looks[label] = []
        for path in sorted((folder / label).rglob("*.jpg")):
            found = decode_image(path.read_bytes(), path.name, LIMITS)
            looks[label].append(file_look(found.facts.to_json(), estimate_rescaling(found.pixels)))
    shares = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        held: list[FileLook] = []
        labels = {}
        for label, items in looks.items():
            order = rng.permutation(len(items)).tolist()
            labels[label] = LabelFiles.of([items[place] for place in order[: len(items) // 2]])
            held += [items[place] for place in order[len(items) // 2 :]]
        known = Coverage(labels)
        shares.append(sum(bool(known.misses(look, {label: label for label in looks})) for look in held) / len(held))
    print(f"{100 * np.mean(shares):.2f} % fall out in the mean, {100 * max(shares):.2f} % at most")
    assert np.mean(shares) <= 0.02
