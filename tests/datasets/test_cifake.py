"""CIFAKE from real parquet files, in the layout that the hub's ``datasets`` library writes."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from detector.backbones.hub import REACHABILITY_DEADLINE
from detector.datasets.cifake import REPOSITORY, fetch_cifake, read_choice
from detector.errors import DatasetUnavailable, InvalidInput
from tests.factories import forget_whether_the_hub_answers


def small_image(fake: bool, number: int) -> bytes:
    """A 32 x 32 JPEG: red for fake, blue for real, so that a mixed-up label shows in the pixels."""
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    pixels[..., 0 if fake else 2] = 200
    pixels[: number % 32, :, 1] = 40 + number % 100
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return out.getvalue()


def write_set(
    path: Path, names: list[str], per_label: int, row_group_size: int = 10, metadata: bool = True, first: int = 0
) -> Path:
    rows, labels = [], []
    for number in range(2 * per_label):
        name = names[number % 2]
        fake = name.lower() != "real"
        rows.append({"bytes": small_image(fake, first + number), "path": f"{number // 2:04d}.jpg"})
        labels.append(number % 2)
    table = pa.table(
        {
            "image": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array(labels, pa.int64()),
        }
    )
    if metadata:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def is_red(data: bytes) -> bool:
    red, _, blue = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))[-1, -1].tolist()
    return red > blue


@pytest.mark.parametrize("names", [["FAKE", "REAL"], ["REAL", "FAKE"], ["real", "ai"]])
def test_labels_follow_the_names_in_the_file_in_either_order(tmp_path: Path, names: list[str]) -> None:
    path = write_set(tmp_path / "test-00000-of-00001.parquet", names, per_label=30)
    images = list(read_choice([path], per_label=8, seed=0))
    assert Counter(image.label for image in images) == {"real": 8, "synthetic": 8}
    assert all(is_red(image.data) == (image.label == "synthetic") for image in images)
    assert {(image.label, image.source) for image in images} == {
        ("real", "CIFAR-10"),
        ("synthetic", "Stable Diffusion 1.4"),
    }
    assert len({image.file_name for image in images}) == 16
    assert all(image.file_name.startswith("test/") and image.file_name.endswith(".jpg") for image in images)


def test_the_choice_is_random_and_seeded(tmp_path: Path) -> None:
    path = write_set(tmp_path / "test.parquet", ["FAKE", "REAL"], per_label=50)
    first = [image.file_name for image in read_choice([path], 10, seed=0)]
    again = [image.file_name for image in read_choice([path], 10, seed=0)]
    other = [image.file_name for image in read_choice([path], 10, seed=1)]
    assert first == again
    assert first != other
    assert max(int(name[-10:-4]) for name in first) > 40


def test_a_second_file_is_used_only_when_the_first_has_too_few(tmp_path: Path) -> None:
    small = write_set(tmp_path / "test.parquet", ["FAKE", "REAL"], per_label=10)
    large = write_set(tmp_path / "train.parquet", ["REAL", "FAKE"], per_label=40)
    few = list(read_choice([small, large], 10, seed=0))
    many = list(read_choice([small, large], 30, seed=0))
    assert {image.file_name.split("/")[0] for image in few} == {"test"}
    assert {image.file_name.split("/")[0] for image in many} == {"test", "train"}
    assert Counter(image.label for image in many) == {"real": 30, "synthetic": 30}
    assert all(is_red(image.data) == (image.label == "synthetic") for image in many)


def test_asking_for_more_than_there_is_gives_all(tmp_path: Path) -> None:
    path = write_set(tmp_path / "test.parquet", ["FAKE", "REAL"], per_label=7)
    assert Counter(image.label for image in read_choice([path], 100, 0)) == {"real": 7, "synthetic": 7}


def test_row_groups_without_a_chosen_image_are_not_read(tmp_path: Path) -> None:
    """Every row group but the one that holds the chosen pair is overwritten with garbage; reading must still work."""
    path = write_set(tmp_path / "test.parquet", ["FAKE", "REAL"], per_label=20, row_group_size=2)
    chosen = list(read_choice([path], 1, seed=0))
    groups = {int(image.file_name[-10:-4]) // 2 for image in chosen}
    raw = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    for group in set(range(metadata.num_row_groups)) - groups:
        column = metadata.row_group(group).column(0)
        start = min(filter(None, (column.data_page_offset, column.dictionary_page_offset)))
        raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(raw))
    assert list(read_choice([path], 1, seed=0)) == chosen


def test_a_file_that_does_not_name_its_labels_is_refused(tmp_path: Path) -> None:
    path = write_set(tmp_path / "test.parquet", ["FAKE", "REAL"], per_label=3, metadata=False)
    with pytest.raises(DatasetUnavailable) as caught:
        list(read_choice([path], 1, 0))
    assert "what its numbers mean" in str(caught.value)


def test_labels_of_another_set_are_refused(tmp_path: Path) -> None:
    path = write_set(tmp_path / "test.parquet", ["cat", "REAL"], per_label=3)
    with pytest.raises(DatasetUnavailable) as caught:
        list(read_choice([path], 1, 0))
    assert "'cat'" in str(caught.value)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DatasetUnavailable) as caught:
        list(read_choice([path], 1, 0))
    assert "not a readable parquet file" in str(caught.value)


def cached_copy(cache_dir: Path, per_label: int) -> None:
    folder = cache_dir / f"datasets--{REPOSITORY.replace('/', '--')}"
    write_set(folder / "snapshots" / "abc" / "data" / "test-00000-of-00001.parquet", ["FAKE", "REAL"], per_label)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")


def without_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    # A reserved name that never resolves: the hub client's own setting, so that our code runs as it is.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    forget_whether_the_hub_answers()


def test_files_fetched_before_are_used_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_hub(monkeypatch)
    cached_copy(tmp_path, per_label=12)
    heard: list[tuple[int, int, str]] = []
    images = list(fetch_cifake(5, 0, tmp_path, lambda *report: heard.append(report)))
    assert Counter(image.label for image in images) == {"real": 5, "synthetic": 5}
    assert heard[-1][:2] == (10, 10)


def test_without_a_network_one_sentence_comes_within_one_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a time asserted. It is compared with asking again, when nobody is waited for any more."""
    without_hub(monkeypatch)
    cached_copy(tmp_path, per_label=3)
    took = []
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(DatasetUnavailable) as caught:
            list(fetch_cifake(50, 0, tmp_path, lambda *_: None))
        took.append(time.monotonic() - start)
    # The client's own attempts take many times the deadline.
    assert took[0] < 2 * took[1] + 2 * REACHABILITY_DEADLINE
    assert str(caught.value).startswith("CIFAKE cannot be fetched: the Hugging Face hub cannot be reached.")


def test_less_than_one_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        list(fetch_cifake(0, 0, tmp_path, lambda *_: None))
    assert "0 were asked for" in str(caught.value)
