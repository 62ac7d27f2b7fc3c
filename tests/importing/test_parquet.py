"""Parquet files as Hugging Face's library, pandas and others write them, damaged ones and hostile ones."""

from __future__ import annotations

import contextlib
import io
import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.errors import ArchiveError, DetectorError, EntryUnreadable, ImageTooManyBytes, InvalidInput
from detector.importing import ZipLimits, assign, parquet_layout
from detector.importing.guessing import suggest
from detector.importing.parquet import (
    ParquetColumns,
    ParquetSource,
    guess_parquet_columns,
    is_parquet,
    parquet_column_names,
    read_parquet_table,
    split_of,
)
from detector.importing.table_columns import Row

LIMITS = ZipLimits(max_entries=1_000, max_entry_bytes=1_000_000, max_total_bytes=10_000_000)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(number: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (number % 256, 40, 80)).save(out, kind)
    return out.getvalue()


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def hub_file(path: Path, count: int = 6, names: tuple[str, ...] = ("FAKE", "REAL"), **options: Any) -> Path:
    cells = [{"bytes": picture(number), "path": f"{number:04d}.png"} for number in range(count)]
    columns = {
        "image": pa.array(cells, IMAGE),
        "label": pa.array([number % len(names) for number in range(count)], pa.int64()),
    }
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    return write(path, columns, features, **options)


def listed(*files: tuple[Path, str], columns: ParquetColumns | None = None) -> list[str]:
    with ParquetSource(list(files), LIMITS, columns) as source:
        return [entry.path for entry in source.entries()]


def test_a_file_of_the_hub_becomes_folders_of_splits_and_labels(tmp_path: Path) -> None:
    train = hub_file(tmp_path / "1", 4)
    test = hub_file(tmp_path / "2", 2)
    files = [(train, "data/train-00000-of-00001.parquet"), (test, "data/test-00000-of-00001.parquet")]
    with ParquetSource(files, LIMITS) as source:
        entries = source.entries()
        assert [entry.path for entry in entries] == [
            "train/FAKE/0000.png",
            "train/REAL/0001.png",
            "train/FAKE/0002.png",
            "train/REAL/0003.png",
            "test/FAKE/0000.png",
            "test/REAL/0001.png",
        ]
        assert [entry.read() for entry in entries] == [picture(number) for number in (0, 1, 2, 3, 0, 1)]
        assert source.rows["train/FAKE/0000.png"] == Row("FAKE", None, "train")
    plan = suggest([entry.path for entry in entries], ["real", "synthetic"]).plan
    assert [assign(entry.path, plan).label for entry in entries[:2]] == ["synthetic", "real"]


@pytest.mark.parametrize(
    ("values", "kind", "folders"),
    [
        (["ja", "nein", None], pa.string(), ["ja", "nein", "no label"]),
        (["ja", "nein", "ja"], pa.large_string(), ["ja", "nein", "ja"]),
        (["ja", "nein", "ja"], pa.dictionary(pa.int8(), pa.string()), ["ja", "nein", "ja"]),
        ([0, 1, None], pa.int64(), ["0", "1", "no label"]),
        ([0, 1, 255], pa.uint8(), ["0", "1", "255"]),
        ([True, False, None], pa.bool_(), ["true", "false", "no label"]),
        ([0.0, 1.0, 0.5], pa.float32(), ["0", "1", "0.5"]),
        (["n/a", "a\\b", "../../x"], pa.string(), ["n_a", "a_b", "_._.._x"]),
        ([".", "..", "\x07"], pa.string(), ["_", "_.", "_"]),
    ],
)
def test_labels_of_each_type_become_one_folder(tmp_path: Path, values: Any, kind: Any, folders: list[str]) -> None:
    cells = pa.array([{"bytes": picture(n), "path": f"x/{n}.png"} for n in range(3)], IMAGE)
    path = write(tmp_path / "a.parquet", {"label": pa.array(values, kind), "image": cells})
    assert listed((path, "a.parquet")) == [f"{folder}/{number}.png" for number, folder in enumerate(folders)]


def test_numbers_of_classes_are_names_and_the_unknown_one_is_no_label(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": picture(n), "path": f"{n}.png"} for n in range(4)], IMAGE)
    columns = {"img": cells, "kind": pa.array([1, -1, 7, None])}
    features = {"img": {"_type": "Image"}, "kind": {"_type": "ClassLabel", "names": ["real", "fake"]}}
    path = write(tmp_path / "a.parquet", columns, features)
    assert guess_parquet_columns(path) == ParquetColumns("img", "kind")
    assert listed((path, "x")) == ["fake/0.png", "no label/1.png", "no label/2.png", "no label/3.png"]


def test_columns_may_be_chosen_and_none_need_be_a_label(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": picture(n), "path": f"{n}.png"} for n in range(4)], IMAGE)
    columns = {
        "image": cells,
        "label": pa.array(["a", "b", "a", "b"]),
        "kind": pa.array([1, 2, 1, 2]),
        "generator": pa.array(["sd", "sd", None, "mj"]),
        "split": pa.array(["train", "train", "test", None]),
    }
    path = write(tmp_path / "a.parquet", columns)
    assert parquet_column_names(path) == tuple(columns)
    assert guess_parquet_columns(path) == ParquetColumns("image", "label", "generator", "split")
    with ParquetSource([(path, "a.parquet")], LIMITS) as source:
        assert [entry.path for entry in source.entries()] == [
            "train/a/0.png",
            "train/b/1.png",
            "test/a/2.png",
            "no split/b/3.png",
        ]
        assert list(source.rows.values()) == [
            Row("a", "sd", "train"), Row("b", "sd", "train"), Row("a", None, "test"), Row("b", "mj", None),
        ]  # fmt: skip
    assert listed((path, "a.parquet"), columns=ParquetColumns("image", "kind"))[0] == "1/0.png"
    assert listed((path, "a.parquet"), columns=ParquetColumns("image")) == ["0.png", "1.png", "2.png", "3.png"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
@pytest.mark.parametrize(("form", "ending"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
def test_a_column_of_bytes_alone_is_known_by_how_pictures_begin(
    tmp_path: Path, kind: Any, form: str, ending: str
) -> None:
    pictures = [None, *(picture(n, form) for n in range(3))]
    columns = {"hash": pa.array([b"1234"] * 4, kind), "blob": pa.array(pictures, kind), "label": pa.array([0, 1, 0, 1])}
    path = write(tmp_path / "a.parquet", columns)
    with ParquetSource([(path, "train.parquet")], LIMITS) as source:
        entries = source.entries()
        assert [entry.path for entry in entries] == [f"train/{n % 2}/{n:06d}{ending}" for n in range(4)]
        assert [entry.read() for entry in entries[1:]] == pictures[1:]
        with pytest.raises(EntryUnreadable) as caught:
            entries[0].read()
    assert "holds no picture" in str(caught.value)


def test_names_that_come_again_are_told_apart_and_foreign_ones_are_only_shown(tmp_path: Path) -> None:
    paths = ["image.png", "image.png", "../../etc/image.png", "C:\\x\\b.png", "\x00\x07.png", None, "", "x/.hidden"]
    cells = pa.array([{"bytes": picture(n), "path": path} for n, path in enumerate(paths)], IMAGE)
    path = write(tmp_path / "a.parquet", {"image": cells})
    assert listed((path, "a.parquet"), (path, "b.parquet"))[:9] == [
        "image.png", "image (2).png", "image (3).png", "b.png", "__.png", "000005.png", "000006.png", "_.hidden",
        "image (4).png",
    ]  # fmt: skip
    names = listed((path, "a.parquet"), (path, "b.parquet"))
    assert len(set(names)) == len(names) == 16


def test_a_row_with_a_path_instead_of_bytes_says_so(tmp_path: Path) -> None:
    cells = [{"bytes": None, "path": "images/a.jpg"}, {"bytes": picture(1), "path": None}, None]
    path = write(tmp_path / "a.parquet", {"image": pa.array(cells, IMAGE)})
    with ParquetSource([(path, "a.parquet")], LIMITS) as source:
        with_path, whole, nothing = source.entries()
        assert whole.read() == picture(1)
        with pytest.raises(EntryUnreadable) as caught:
            with_path.read()
        assert "holds a path, not the picture's bytes" in str(caught.value)
        with pytest.raises(EntryUnreadable):
            nothing.read()


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"),
        ("data/test-00001-of-00002-0a1b2c3d4e5f6071.parquet", "test"),
        ("validation.parquet", "validation"),
        ("x/val_0.parquet", "val"),
        ("default/train/0000.parquet", "train"),
        ("data/unsupervised-00000-of-00001.parquet", "unsupervised"),
        ("train/part-00000-of-00002.parquet", "train"),
        ("part-00000-5f1c.snappy.parquet", None),
        ("images.parquet", None),
        ("train_test.parquet", None),
        ("latest.parquet", None),
    ],
)
def test_the_split_comes_from_the_files_name(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_row_groups_are_unpacked_once_when_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hub_file(tmp_path / "a.parquet", 60, row_group_size=10)
    read: list[int] = []
    pictures = parquet_layout.ParquetLayout.pictures
    monkeypatch.setattr(
        parquet_layout.ParquetLayout,
        "pictures",
        lambda self, picture, number: (read.append(number), pictures(self, picture, number))[1],
    )
    with ParquetSource([(path, "a.parquet")], LIMITS, cache_bytes=0) as source:
        # As threads do that read in order: one is still in a row group when others are in the next.
        entries = source.entries()
        for entry, ahead in zip(entries, entries[5:], strict=False):
            ahead.read()
            entry.read()
    assert read == list(range(6))


def test_entries_may_be_read_from_several_threads(tmp_path: Path) -> None:
    path = hub_file(tmp_path / "a.parquet", 200, row_group_size=10)
    with ParquetSource([(path, "a.parquet")], LIMITS, cache_bytes=0) as source, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda entry: entry.read(), source.entries())) == [picture(n) for n in range(200)]


def test_entries_may_be_read_in_any_order(tmp_path: Path) -> None:
    path = hub_file(tmp_path / "a.parquet", 60, row_group_size=7)
    with ParquetSource([(path, "a.parquet")], LIMITS, cache_bytes=0) as source:
        entries = list(enumerate(source.entries()))
        random.Random(0).shuffle(entries)
        assert all(entry.read() == picture(number) for number, entry in entries)


def test_a_picture_or_all_of_them_may_be_too_large(tmp_path: Path) -> None:
    cells = [{"bytes": bytes(size), "path": f"{size}.bmp"} for size in (1_001, 900, 800)]
    path = write(tmp_path / "a.parquet", {"image": pa.array(cells, IMAGE)})
    with ParquetSource([(path, "a.parquet")], ZipLimits(10, 1_000, 1_500)) as source:
        large, first, second = source.entries()
        with pytest.raises(ImageTooManyBytes):
            large.read()
        assert len(first.read()) == len(first.read()) == 900
        with pytest.raises(ArchiveError) as caught:
            second.read()
    assert "DETECTOR_MAX_ZIP_GB" in str(caught.value)
    with pytest.raises(ArchiveError) as caught:
        ParquetSource([(path, "a.parquet"), (path, "b.parquet")], ZipLimits(5, 1_000, 1_500))
    assert "more than 5 pictures" in str(caught.value)


@pytest.mark.parametrize("repeated", [False, True])
def test_a_row_group_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repeated: bool
) -> None:
    """A large value that is stored once and repeated in each row is small in the file and in what it claims."""
    monkeypatch.setattr(parquet_layout, "MAX_GROUP_BYTES", 2_000_000)
    values = [b"x" * 400_000 if repeated else random.Random(n).randbytes(400_000) for n in range(8)]
    path = write(tmp_path / "a.parquet", {"image": pa.array([{"bytes": v, "path": None} for v in values], IMAGE)})
    assert (path.stat().st_size < 2_000_000) == repeated
    with ParquetSource([(path, "a.parquet")], LIMITS) as source:
        for entry in source.entries():
            with pytest.raises(EntryUnreadable) as caught:
                entry.read()
            assert "fewer rows per group" in str(caught.value)


@pytest.mark.slow
def test_a_long_label_that_is_repeated_in_each_row_takes_its_size_once(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": picture(n), "path": None} for n in range(1_000)], IMAGE)
    labels = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000), pa.array(["x" * 4_000_000]))
    path = write(tmp_path / "a.parquet", {"image": cells, "label": labels}, store_schema=False)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    usual = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        names = listed((path, "a.parquet"), columns=ParquetColumns("image", "label"))
        table = read_parquet_table(path)
    finally:
        pa.set_memory_pool(usual)
    assert len(names) == len(table.rows) == 1_000
    assert 4_000_000 < pool.max_memory() < 100_000_000


def test_a_damaged_row_group_costs_only_its_own_rows(tmp_path: Path) -> None:
    path = hub_file(tmp_path / "a.parquet", 60, row_group_size=20)
    raw = bytearray(path.read_bytes())
    metadata = pq.ParquetFile(path).metadata
    column = metadata.row_group(1).column(0)
    start = min(filter(None, (column.data_page_offset, column.dictionary_page_offset)))
    raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(raw))
    with ParquetSource([(path, "a.parquet")], LIMITS) as source:
        for number, entry in enumerate(source.entries()):
            if not 20 <= number < 40:
                assert entry.read() == picture(number)
                continue
            with pytest.raises(EntryUnreadable) as caught:
                entry.read()
            assert "damaged" in str(caught.value)


def test_what_is_no_parquet_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    whole = hub_file(tmp_path / "whole.parquet").read_bytes()
    for data in (
        b"",
        b"PAR1",
        b"PAR1PAR1PAR1",
        b"<html>not found</html>",
        whole[:-9],
        b"PAR1" + b"\xff" * 80 + b"PAR1",
    ):
        path = tmp_path / "a"
        path.write_bytes(data)
        with pytest.raises(ArchiveError) as caught:
            ParquetSource([(path, "data/a.parquet")], LIMITS)
        assert str(caught.value).startswith("data/a.parquet is not a parquet file that can be read")


def test_a_file_without_pictures_or_the_chosen_columns_is_refused(tmp_path: Path) -> None:
    columns = {"path": pa.array(["a.jpg"]), "list": pa.array([[1]]), "image": pa.array([{"bytes": b"x"}])}
    path = write(tmp_path / "a.parquet", columns)
    for chosen, said in (
        (ParquetColumns("path"), "'path' of a.parquet does not hold the bytes"),
        (ParquetColumns("other"), "no column 'other'"),
        (ParquetColumns("image", "list"), "no column 'list' of texts"),
        (ParquetColumns(), "no column with the bytes of pictures"),
    ):
        with pytest.raises(InvalidInput) as caught:
            ParquetSource([(path, "a.parquet")], LIMITS, chosen)
        assert said in str(caught.value)
    assert guess_parquet_columns(write(tmp_path / "b", {"path": pa.array(["a.jpg"])})).image is None


def test_entries_cannot_be_read_after_the_end(tmp_path: Path) -> None:
    with ParquetSource([(hub_file(tmp_path / "a.parquet"), "a.parquet")], LIMITS) as source:
        (entry, *_) = source.entries()
    with pytest.raises(EntryUnreadable):
        entry.read()


def test_columns_travel_as_json() -> None:
    columns = ParquetColumns("image", None, "model")
    assert ParquetColumns.from_json(columns.to_json()) == columns
    for wrong in ({"image": 3}, {"picture": "x"}):
        with pytest.raises(InvalidInput):
            ParquetColumns.from_json(wrong)


def test_the_label_is_found_in_a_file_that_is_sorted_by_it(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": b"\x89PNG\r\n\x1a\n", "path": f"{n}.png"} for n in range(6_000)], IMAGE)
    for size in (100, 10_000):
        columns = {"image": cells, "echt": pa.array([n < 3_000 for n in range(6_000)]), "n": pa.array(range(6_000))}
        path = write(tmp_path / f"{size}.parquet", columns, row_group_size=size)
        assert guess_parquet_columns(path) == ParquetColumns("image", "echt")


def test_texts_of_which_a_file_gave_up_to_keep_a_dictionary_are_read(tmp_path: Path) -> None:
    """Writers begin with a dictionary and go on without one when it has grown: within a row group, within a batch."""
    count = 3_000
    cells = pa.array([{"bytes": b"\x89PNG\r\n\x1a\n", "path": f"{n}.png"} for n in range(count)], IMAGE)
    columns = {"image": cells, "label": pa.array([f"label {n}" for n in range(count)])}
    options = {"row_group_size": 1_700, "dictionary_pagesize_limit": 500, "data_page_size": 300}
    path = write(tmp_path / "a.parquet", columns, **options)
    with ParquetSource([(path, "a")], ZipLimits(5_000, 1_000, 10**6), ParquetColumns("image", "label")) as source:
        assert [entry.path for entry in source.entries()] == [f"label {n}/{n}.png" for n in range(count)]
    table = write(tmp_path / "b.parquet", {"label": columns["label"]}, **options)
    assert [row[0] for row in read_parquet_table(table).rows] == columns["label"].to_pylist()


def test_a_table_of_labels_in_parquet_is_read_as_text(tmp_path: Path) -> None:
    columns = {
        "file_name": pa.array(["a.jpg", "b.jpg", None]),
        "label": pa.array([1, 0, None]),
        "score": pa.array([1.0, 0.25, float("nan")]),
        "boxes": pa.array([[1], [2], None]),
        "kind": pa.array([0, 1, -1]),
        "ok": pa.array([True, False, None]),
    }
    features = {"kind": {"_type": "ClassLabel", "names": ["real", "fake"]}}
    table = read_parquet_table(write(tmp_path / "metadata.parquet", columns, features))
    assert (table.name, table.columns) == ("metadata.parquet", ("file_name", "label", "score", "kind", "ok"))
    assert table.rows == (("a.jpg", "1", "1", "real", "true"), ("b.jpg", "0", "0.25", "fake", "false"), ("",) * 5)
    for wrong in ({"x": pa.array([[1]])}, {"x": pa.array([], pa.string())}):
        with pytest.raises(InvalidInput):
            read_parquet_table(write(tmp_path / "b.parquet", wrong))


def test_parquet_is_known_by_both_ends(tmp_path: Path) -> None:
    path = hub_file(tmp_path / "a")
    data = path.read_bytes()
    assert is_parquet(path)
    assert is_parquet(data)
    assert not is_parquet(data[:-1])
    assert not is_parquet(b"PAR1")
    assert not is_parquet(tmp_path / "absent")


@pytest.mark.slow
def test_a_description_that_contradicts_itself_does_not_end_the_process(tmp_path: Path) -> None:
    """pyarrow calls std::terminate() on some damage, as where a column that may be empty is said not to be.

    With it would end the server and all jobs: what calls for it (metadata.row_group(0).column(0)) must not be asked.
    """
    raw = hub_file(tmp_path / "a.parquet", 12, row_group_size=5).read_bytes()
    for column in (b"image", b"bytes", b"path", b"label"):
        damaged = raw
        for optional in (b"\x35\x02\x18", b"\x25\x02\x18"):
            name = bytes([len(column)]) + column
            damaged = damaged.replace(optional + name, optional.replace(b"\x02", b"\x00") + name)
        assert damaged != raw
        path = tmp_path / f"{column.decode()}.parquet"
        path.write_bytes(damaged)
        code = "from pathlib import Path; from tests.importing.test_parquet import read_all; read_all(Path({!r}))"
        done = subprocess.run(
            [sys.executable, "-c", code.format(str(path))], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr


def read_all(path: Path) -> None:
    """Everything that a page and an import do with a file; only named errors may come of it."""
    for look in (guess_parquet_columns, parquet_column_names, read_parquet_table):
        with contextlib.suppress(DetectorError):
            look(path)
    with contextlib.suppress(DetectorError), ParquetSource([(path, "a.parquet")], LIMITS) as source:
        for entry in source.entries():
            with contextlib.suppress(DetectorError):
                assert len(entry.read()) <= LIMITS.max_entry_bytes


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("small")
    hub = hub_file(folder / "1", 12, row_group_size=5, compression="zstd")
    plain = hub_file(folder / "2", 5, compression="none", use_dictionary=False, write_page_checksum=True)
    texts = {"label": pa.array(["a", "b", None]), "x": pa.array([picture(1)] * 3), "split": pa.array(["train"] * 3)}
    return [path.read_bytes() for path in (hub, plain, write(folder / "3", texts, store_schema=False))]


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_raises_nothing_but_named_errors(
    tmp_path: Path, small_files: list[bytes], data: st.DataObject
) -> None:
    raw = bytearray(data.draw(st.sampled_from(small_files)))
    # Half of the damage lies in the description at the end, where most can go wrong.
    start = data.draw(st.sampled_from([0, max(0, len(raw) - int.from_bytes(raw[-8:-4], "little") - 8)]))
    for at in data.draw(st.lists(st.integers(start, len(raw) - 1), max_size=6)):
        raw[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(raw)))
        raw = raw[:cut] + raw[min(len(raw), cut + data.draw(st.integers(1, 40))) :]
    (tmp_path / "a.parquet").write_bytes(bytes(raw))
    read_all(tmp_path / "a.parquet")
