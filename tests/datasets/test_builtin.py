"""The built-in sample: what it promises about its labels, files, groups and repeatability."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from detector.datasets import SampleImage
from detector.datasets.builtin import (
    BUILTIN_NOTE,
    JPEG_QUALITY,
    PATCH,
    _cut,
    _fixed_pattern,
    builtin_sample,
    photograph_paths,
)
from detector.errors import InvalidInput

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sample() -> list[SampleImage]:
    return list(builtin_sample())


def test_the_default_has_120_images_a_label_under_unique_names(sample: list[SampleImage]) -> None:
    assert Counter(image.label for image in sample) == {"real": 120, "synthetic": 120}
    assert len({image.file_name for image in sample}) == 240
    assert len({image.data for image in sample}) == 240


def test_every_photograph_gives_as_many_real_as_synthetic_patches(sample: list[SampleImage]) -> None:
    per_label = Counter((image.group, image.label) for image in sample)
    groups = {image.group for image in sample}
    assert len(groups) == len(photograph_paths()) >= 12
    assert all(per_label[group, "real"] == per_label[group, "synthetic"] > 0 for group in groups)


def test_no_patch_serves_both_labels(sample: list[SampleImage]) -> None:
    cells = {}
    for image in sample:
        cells.setdefault(image.file_name.split("-", 1)[1], set()).add(image.label)
    assert all(len(labels) == 1 for labels in cells.values())


def test_both_labels_come_in_the_same_kind_of_file(sample: list[SampleImage]) -> None:
    facts = {"real": set(), "synthetic": set()}
    for image in sample:
        with Image.open(io.BytesIO(image.data)) as picture:
            tables = tuple(tuple(table) for table in picture.quantization.values())
            facts[image.label].add((picture.format, picture.size, picture.mode, tables, tuple(sorted(picture.info))))
    assert facts["real"] == facts["synthetic"]
    ((kind, size, mode, _, _),) = facts["real"]
    assert (kind, size, mode) == ("JPEG", (PATCH, PATCH), "RGB")


def test_the_number_of_bytes_does_not_tell_the_label(sample: list[SampleImage]) -> None:
    """Upsampled patches compress better; unmatched, file size alone would separate the labels."""
    area = roc_auc_score([image.label == "synthetic" for image in sample], [len(image.data) for image in sample])
    assert 0.4 < area < 0.62


def test_real_patches_are_the_untouched_photograph(sample: list[SampleImage]) -> None:
    path = next(path for path in photograph_paths() if path.stem == "astronaut")
    cells = {cell.index: cell.pixels for cell in _cut("astronaut", path)}
    for image in (image for image in sample if image.group == "astronaut" and image.label == "real"):
        expected = io.BytesIO()
        Image.fromarray(cells[int(image.file_name[-7:-4])]).save(expected, "JPEG", quality=JPEG_QUALITY)
        assert image.data == expected.getvalue()


def test_synthetic_patches_carry_the_periodic_trace_of_their_source(sample: list[SampleImage]) -> None:
    """Averaged over all 4 x 4 blocks, synthetic patches repeat the source's tile; real ones do not."""
    likeness: dict[str, list[float]] = {"real": [], "synthetic": []}
    sources = sorted({image.source for image in sample if image.label == "synthetic"})
    for image in sample:
        tile = _fixed_pattern(image.source if image.label == "synthetic" else sources[0])[:4, :4, 0]
        grey = np.asarray(Image.open(io.BytesIO(image.data)).convert("L"), dtype=float)
        mean = grey.reshape(PATCH // 4, 4, PATCH // 4, 4).mean(axis=(0, 2))
        likeness[image.label].append(float(np.corrcoef(mean.ravel(), tile.ravel())[0, 1]))
    assert len(sources) == 3
    assert np.median(likeness["synthetic"]) > 0.5
    assert abs(np.median(likeness["real"])) < 0.3


def test_equal_arguments_give_equal_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from detector.datasets.builtin import builtin_sample; "
        "print(hashlib.sha256(b''.join(i.data for i in builtin_sample(20, 3))).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    here = hashlib.sha256(b"".join(image.data for image in builtin_sample(20, 3))).hexdigest()
    assert elsewhere == here


@pytest.mark.slow
def test_another_seed_makes_another_sample(sample: list[SampleImage]) -> None:
    other = {image.data for image in builtin_sample(seed=1)}
    assert len(other & {image.data for image in sample}) < 150


@pytest.mark.parametrize("per_label", [0, 100_000])
def test_a_number_that_cannot_be_made_is_refused_with_what_can(per_label: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        next(builtin_sample(per_label))
    assert f"{per_label} were asked for" in str(caught.value)
    assert "1 to " in str(caught.value)


def test_the_note_says_that_it_is_a_simulation() -> None:
    assert "simulation" in BUILTIN_NOTE
