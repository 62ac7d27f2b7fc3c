"""Lists of pictures to score, as all kinds of programs write them, and as nobody should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.errors import EntryUnreadable, PlaceUnusable
from detector.pipeline import score_lists
from detector.pipeline.score_places import places_of, read_place

NAMES = ["/in/1.jpg", "/in/\u00e4.jpg", "/in/1.jpg"]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_a_parquet_list_may_hold_text_of_every_kind(tmp_path: Path, kind: pa.DataType) -> None:
    """pandas writes large_string, or a dictionary for what it calls a category."""
    pq.write_table(pa.table({"path": pa.array([*NAMES, None]).cast(kind)}), tmp_path / "list.parquet")
    assert list(places_of(str(tmp_path / "list.parquet"))) == NAMES


def test_a_parquet_list_without_text_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": [1, 2]}), tmp_path / "list.parquet")
    with pytest.raises(PlaceUnusable, match="columns of text"):
        list(places_of(str(tmp_path / "list.parquet")))


@pytest.mark.long
def test_a_long_name_that_is_said_again_and_again_takes_no_memory(tmp_path: Path) -> None:
    """Some hundred bytes that were thousands of names of a million letters each."""
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 7_000, pa.int32()), pa.array(["x" * 1_000_000]))
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"path": names}), path, compression="zstd")
    assert path.stat().st_size < 2000
    script = (
        "import resource, sys\n"
        "from detector.pipeline.score_places import places_of\n"
        "import pyarrow.parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "names = sum(1 for name in places_of(sys.argv[1]))\n"
        "print(names, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    said = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True).stdout
    names_read, more_kilobytes = said.split()
    assert int(names_read) == 7_000
    assert int(more_kilobytes) < 300_000


def test_rows_that_would_take_too_much_at_once_are_refused_by_what_they_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_lists, "_MOST_GROUP_BYTES", 10_000)
    pq.write_table(pa.table({"path": [f"/{number:099d}" for number in range(1000)]}), tmp_path / "list.parquet")
    with pytest.raises(PlaceUnusable, match="smaller row groups"):
        list(places_of(str(tmp_path / "list.parquet")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("ending", [".txt", ".csv"])
def test_lists_of_powershell_name_the_same_pictures(tmp_path: Path, encoding: str, ending: str) -> None:
    lines = [*(["path"] if ending == ".csv" else []), *NAMES]
    text = "\r\n".join(lines) + "\r\n"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / f"list{ending}").write_bytes((mark + text).encode(encoding))
    assert list(places_of(str(tmp_path / f"list{ending}"))) == NAMES


@pytest.mark.parametrize("ending", [".txt", ".csv", ".parquet"])
@pytest.mark.parametrize("length", [4097, 200_000, 3_000_000])
def test_one_name_that_is_too_long_is_one_row_and_not_the_end(tmp_path: Path, ending: str, length: int) -> None:
    names = ["/in/1.jpg", "/" + "x" * length, "/in/2.jpg"]
    path = tmp_path / f"list{ending}"
    if ending == ".parquet":
        pq.write_table(pa.table({"path": names}), path)
    else:
        path.write_text("\n".join([*(["path"] if ending == ".csv" else []), *names]))
    first, bad, last = places_of(str(path))
    assert (first, last) == ("/in/1.jpg", "/in/2.jpg")
    with pytest.raises(EntryUnreadable) as raised:
        read_place(bad, 1000)
    assert "more than 4,096 characters" in str(raised.value)
    assert len(str(raised.value)) < 300


def test_other_columns_of_a_table_may_be_long(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("prompt,path\n" + "".join(f"{'y' * 50_000},/in/{n}.jpg\n" for n in range(3)))
    assert list(places_of(str(tmp_path / "list.csv"))) == ["/in/0.jpg", "/in/1.jpg", "/in/2.jpg"]
