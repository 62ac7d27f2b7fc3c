"""Millions of pictures judged by a frozen model: the verdicts of ``invoke``, in parts, resumed, never stored."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.cli.score import _sentences
from detector.errors import DetectorError, InvalidInput, NotFound, PicturesUnreachable, PlaceUnusable, ScoredOtherwise
from detector.imaging import sha256_hex
from detector.pipeline import score_stores
from detector.pipeline.build import build
from detector.pipeline.score import Scored, ScoreSettings, score
from detector.pipeline.score_parts import Results
from detector.pipeline.score_places import places_of, read_place
from detector.serving.invoke import Verdict, invoke
from detector.storage import functions, samples
from detector.storage.functions import Function
from detector.training.thresholds import CANT_TELL, MODERATE
from detector.workspace import Workspace
from tests.command_line import run_here, start
from tests.factories import add_images, empty_function, images, make_image, workspace
from tests.ports import free_port
from tests.s3_answers import s3_answers

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Ready:
    ws: Workspace
    function: Function
    pictures: Path


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    """A trained function, and a folder of pictures that it has not seen: two of them are none."""
    root = tmp_path_factory.mktemp("score")
    ws = workspace(root / "data")
    function = empty_function(ws)
    add_images(ws, function, images(30))
    # At the usual limit so few images prove nothing, and every verdict would be that it cannot tell.
    functions.set_false_accusation_limit(ws.db, function.id, 0.2)
    assert build(ws, function.id).model is not None
    pictures = root / "pictures"
    for number in range(60, 66):
        label = "real" if number % 2 else "synthetic"
        file = pictures / label / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(make_image(number, label, 80 if number < 64 else 300))
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "real" / "cut.png").write_bytes(make_image(60)[:400])
    (pictures / ".DS_Store").write_bytes(b"left behind")
    return Ready(ws, functions.get_function(ws.db, function.id), pictures)


def _score(ready: Ready, place: str | Path, out: Path, **more: object) -> Scored:
    stop = more.pop("stop", None)
    settings = ScoreSettings(ready.function.name, str(place), out, **more)  # type: ignore[arg-type]
    return score(ready.ws, settings, stop=stop)  # type: ignore[arg-type]


def _table(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out).to_pylist()


@pytest.mark.usefixtures("nothing_remembered")
def test_every_picture_gets_the_verdict_that_invoke_gives(ready: Ready, tmp_path: Path) -> None:
    out = tmp_path / "results.parquet"
    done = _score(ready, ready.pictures, out)
    rows = {Path(str(row["path"])).name: row for row in _table(out)}
    files = [path for path in sorted(ready.pictures.rglob("*.png")) if path.name != "cut.png"]
    answers = invoke(ready.ws, ready.function.id, [(path.name, path.read_bytes()) for path in files])
    for path, verdict in zip(files, answers, strict=True):
        assert isinstance(verdict, Verdict)
        row = rows[path.name]
        expected = {
            "label": verdict.label,
            "verdict": verdict.verdict,
            "grade": verdict.grade,
            "confidence": verdict.confidence,
            "reason": verdict.reason,
            "unlike": ", ".join(miss.fact for miss in verdict.unlike),
            "sha256": sha256_hex(path.read_bytes()),
            "error": None,
            "format": "PNG",
            **{f"probability_{item.label}": item.confidence for item in verdict.scores},
        }
        assert {name: row[name] for name in expected} == expected
        assert row["width"] == row["height"] == (80 if int(path.stem) < 64 else 300)
    assert {row["grade"] for row in rows.values() if row["error"] is None} == {MODERATE, CANT_TELL}
    assert {bool(row["unlike"]) for row in rows.values() if row["error"] is None} == {True, False}
    assert (done.made, done.errors, done.there) == (8, 2, 0)


def test_a_file_that_cannot_be_read_is_a_row_with_a_sentence(ready: Ready, tmp_path: Path) -> None:
    _score(ready, ready.pictures, tmp_path / "out")
    errors = {Path(str(row["path"])).name: row for row in _table(tmp_path / "out") if row["error"]}
    assert set(errors) == {"notes.txt", "cut.png"}
    assert "is not an image" in str(errors["notes.txt"]["error"])
    assert errors["cut.png"]["verdict"] is None
    assert errors["cut.png"]["sha256"]


def test_nothing_becomes_a_sample(ready: Ready, tmp_path: Path) -> None:
    before = samples.count_samples(ready.ws.db, ready.function.id)
    _score(ready, ready.pictures, tmp_path / "out")
    assert samples.count_samples(ready.ws.db, ready.function.id) == before == 60


def test_each_part_says_what_judged_it(ready: Ready, tmp_path: Path) -> None:
    _score(ready, ready.pictures, tmp_path / "out", rows=3)
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    facts = [pq.read_schema(part).metadata for part in parts]
    assert [pq.read_metadata(part).num_rows for part in parts] == [3, 3, 2]
    live = ready.function.live_model_id or ""
    assert {fact[b"model_id"].decode() for fact in facts} == {live}
    assert {fact[b"model_version"] for fact in facts} == {b"1"}
    assert {fact[b"limit"] for fact in facts} == {str(ready.function.false_accusation_limit).encode()}
    assert all(fact[b"backbone_key"] and fact[b"program_version"] for fact in facts)


def test_a_stop_writes_what_is_done_and_the_next_start_does_only_the_rest(ready: Ready, tmp_path: Path) -> None:
    out, whole, stop = tmp_path / "out", tmp_path / "whole", threading.Event()
    settings = ScoreSettings(ready.function.name, str(ready.pictures), out, rows=6)

    def stopping(phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if phase == "score" and done >= 1:
            stop.set()

    first = score(ready.ws, settings, stopping, stop=stop)
    assert first.stopped
    assert 0 < first.made < 8
    assert len(_table(out)) == first.made
    second = _score(ready, ready.pictures, out)
    assert (second.there, second.made, second.stopped) == (first.made, 8 - first.made, False)
    _score(ready, ready.pictures, whole, rows=6)
    assert _table(out) == _table(whole)
    third = _score(ready, ready.pictures, out)
    assert (third.there, third.made) == (8, 0)


def test_a_part_that_is_lost_or_damaged_is_made_again_and_no_other(ready: Ready, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _score(ready, ready.pictures, out, rows=3)
    before = _table(out)
    (out / "part-000000.parquet").unlink()
    (out / "part-000001.parquet").write_bytes(b"PAR1 and nothing more")
    again = _score(ready, ready.pictures, out)
    assert (again.there, again.made) == (2, 6)
    assert _table(out) == before


def test_a_part_that_was_stopped_half_way_keeps_its_rows_and_is_completed(ready: Ready, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _score(ready, ready.pictures, out, rows=6)
    before = _table(out)
    results = Results(out)
    results.write_part(0, results.read_part(0).slice(0, 4))
    again = _score(ready, ready.pictures, out)
    assert (again.there, again.made) == (6, 2)
    assert _table(out) == before


def test_a_list_that_has_changed_is_said_and_kept_only_when_asked(ready: Ready, tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    shutil.copytree(ready.pictures, pictures)
    _score(ready, pictures, out)
    (pictures / "new.png").write_bytes(make_image(70))
    with pytest.raises(ScoredOtherwise) as raised:
        _score(ready, pictures, out)
    assert "8 pictures then, 9 now" in str(raised.value)
    assert _score(ready, pictures, out, first_list=True).made == 0
    assert _score(ready, pictures, out, start_over=True).made == 9
    assert len(_table(out)) == 9


def test_starting_over_removes_nothing_before_there_is_something_to_begin_with(ready: Ready, tmp_path: Path) -> None:
    """A mistyped place beside ``--start-over`` once took the results of days with it."""
    out = tmp_path / "out"
    _score(ready, ready.pictures, out)
    before = _table(out)
    (tmp_path / "empty").mkdir()
    untrained = empty_function(ready.ws, "untrained")
    wrong = (
        ScoreSettings(ready.function.name, str(tmp_path / "mistyped"), out, start_over=True),
        ScoreSettings(ready.function.name, str(tmp_path / "empty"), out, start_over=True),
        ScoreSettings(ready.function.name, str(ready.pictures), out, version=77, start_over=True),
        ScoreSettings(untrained.name, str(ready.pictures), out, start_over=True),
    )
    for settings in wrong:
        with pytest.raises(DetectorError):
            score(ready.ws, settings)
        assert _table(out) == before
    assert _score(ready, ready.pictures, out).there == 8


def test_a_part_that_somebody_else_has_written_counts_as_done(ready: Ready, tmp_path: Path) -> None:
    """As of a worker of a cluster that is killed between its part and its answer: the run was called stopped."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    alone = _score(ready, ready.pictures, whole, rows=3)

    def written_by_another(phase: str, done: int, _total: int, _message: str, _rate: float | None) -> None:
        if phase == "score" and done >= 1:
            shutil.copy(whole / "part-000002.parquet", out)

    done = score(ready.ws, ScoreSettings(ready.function.name, str(ready.pictures), out, rows=3), written_by_another)
    assert (done.made, done.verdicts, done.errors, done.stopped) == (8, alone.verdicts, alone.errors, False)


def test_a_stop_before_the_first_picture_does_not_say_that_all_is_done(ready: Ready, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    done = _score(ready, ready.pictures, tmp_path / "out", stop=stop)
    assert (done.made, done.stopped) == (0, True)
    [said] = _sentences(done, tmp_path / "out")
    assert said.startswith("No picture was scored this time: 0 of 8 pictures")
    _score(ready, ready.pictures, tmp_path / "out")
    [said] = _sentences(_score(ready, ready.pictures, tmp_path / "out"), tmp_path / "out")
    assert said.startswith("Nothing was left to do: 8 pictures")


def test_results_inside_the_scored_folder_are_none_of_its_pictures(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(ready.pictures, pictures)
    monkeypatch.chdir(pictures)
    assert _score(ready, ".", Path("results.parquet"), rows=3).made == 8
    again = _score(ready, ".", Path("results.parquet"))
    assert (again.there, again.made) == (8, 0)
    assert _score(ready, f"{pictures}/**", Path("real/other.parquet")).made == 8 + 3 + 2
    assert _score(ready, f"{pictures}/**", Path("real/other.parquet")).made == 0


def test_what_a_system_leaves_in_the_results_does_not_end_resuming(ready: Ready, tmp_path: Path) -> None:
    out = tmp_path / "out"
    _score(ready, ready.pictures, out)
    (out / ".DS_Store").write_bytes(b"left behind")
    assert _score(ready, ready.pictures, out).there == 8
    assert _score(ready, ready.pictures, out, start_over=True).made == 8
    assert (out / ".DS_Store").read_bytes() == b"left behind"


@pytest.mark.slow
def test_a_kill_while_results_are_removed_leaves_what_the_same_command_goes_on_from(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    _score(ready, ready.pictures, out, rows=3)
    whole, files = _table(out), len(list(out.iterdir()))
    removed = Path.unlink
    for kept in range(files):
        left = kept

        def until_killed(path: Path, missing_ok: bool = False) -> None:
            nonlocal left
            if path.parent == out and left == 0:
                raise KeyboardInterrupt
            left -= path.parent == out
            removed(path, missing_ok=missing_ok)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", until_killed)
            with pytest.raises(KeyboardInterrupt):
                Results(out).clear()
        assert _score(ready, ready.pictures, out, rows=3).stopped is False
        assert _table(out) == whole
    # As an earlier version left it, which removed the list first.
    (out / "_list.jsonl").unlink()
    (out / "part-000001.parquet").unlink()
    with pytest.raises(ScoredOtherwise, match="list of pictures in it is gone"):
        _score(ready, ready.pictures, out, first_list=True)
    assert _score(ready, ready.pictures, out).made == 3
    assert _table(out) == whole


@pytest.mark.slow
def test_other_thresholds_and_another_model_are_noticed(tmp_path: Path) -> None:
    ws = workspace(tmp_path / "data")
    function = empty_function(ws)
    add_images(ws, function, images(6))
    build(ws, function.id)
    here = Ready(ws, function, tmp_path)
    (tmp_path / "one.png").write_bytes(make_image(50))
    out = tmp_path / "out"
    _score(here, tmp_path / "one.png", out)
    add_images(ws, function, [("more.png", make_image(80), "real")])
    second = build(ws, function.id).model
    assert second is not None
    resumed = _score(here, tmp_path / "one.png", out)
    assert resumed.begun.model_version == 1
    assert any("another version is live" in note for note in resumed.notes)
    with pytest.raises(ScoredOtherwise) as raised:
        _score(here, tmp_path / "one.png", out, version=2)
    assert "model 1 has judged, not 2" in str(raised.value)
    with pytest.raises(NotFound):
        _score(here, tmp_path / "one.png", tmp_path / "third", version=3)
    functions.set_judge_unlike(ws.db, function.id, True)
    with pytest.raises(ScoredOtherwise) as raised:
        _score(here, tmp_path / "one.png", out)
    assert "thresholds" in str(raised.value)
    assert _score(here, tmp_path / "one.png", out, version=2, start_over=True).begun.model_version == 2
    ws.close()


def test_a_folder_with_something_else_in_it_is_not_touched(ready: Ready, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine")
    (tmp_path / "theirs").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "theirs" / "part-00000.parquet")
    (tmp_path / "file").write_text("")
    for name in ("mine", "theirs", "file"):
        with pytest.raises(InvalidInput):
            _score(ready, ready.pictures, tmp_path / name, start_over=True)
    assert (tmp_path / "mine" / "diary.txt").read_text() == "mine"
    assert pq.read_table(tmp_path / "theirs").num_rows == 1


def test_folders_patterns_and_lists_name_the_same_pictures(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "a/b/2.jpg", "a/3.png", "4.jpg", "a/.hidden.jpg", "a/line\nbreak.jpg"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    root = tmp_path / "in"
    everything = [f"{root}/{name}" for name in ("4.jpg", "a/1.jpg", "a/3.png", "a/b/2.jpg", "a/line\nbreak.jpg")]
    jpegs = [path for path in everything if path.endswith(".jpg")]
    assert list(places_of(str(root))) == everything
    assert list(places_of(f"{root}/**/*.jpg")) == jpegs
    assert list(places_of(f"{root}/a/*.jpg")) == [f"{root}/a/1.jpg", f"{root}/a/line\nbreak.jpg"]
    (tmp_path / "list.txt").write_text("\ufeffin/4.jpg\r\n\nin/a/1.jpg\n/elsewhere/5.jpg\ns3://bucket/6.jpg", "utf-8")
    expected = [f"{tmp_path}/in/4.jpg", f"{tmp_path}/in/a/1.jpg", "/elsewhere/5.jpg", "s3://bucket/6.jpg"]
    assert list(places_of(str(tmp_path / "list.txt"))) == expected
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["number", "path"], ["1", "in/4.jpg"], ["2", "in/a/line\nbreak.jpg"]])
    assert list(places_of(str(tmp_path / "list.csv"))) == [f"{tmp_path}/in/4.jpg", f"{tmp_path}/in/a/line\nbreak.jpg"]
    pq.write_table(pa.table({"size": [1, 2], "file": ["in/4.jpg", None]}), tmp_path / "list.parquet")
    assert list(places_of(str(tmp_path / "list.parquet"))) == [f"{tmp_path}/in/4.jpg"]


def test_a_pattern_of_one_folder_does_not_look_below_it(tmp_path: Path) -> None:
    """A folder that may not be read would be a row of its own; of thousands of folders it would take minutes."""
    (tmp_path / "in" / "below" / "deeper").mkdir(parents=True)
    for name in ("1.jpg", "below/2.jpg", "below/deeper/3.jpg"):
        (tmp_path / "in" / name).write_bytes(b"x")
    listed: list[str] = []
    # Python tells of every folder that is listed.
    sys.addaudithook(lambda event, given: listed.append(str(given[0])) if event == "os.listdir" else None)
    assert list(places_of(f"{tmp_path}/in/*.jpg")) == [f"{tmp_path}/in/1.jpg"]
    assert list(places_of(f"{tmp_path}/in/*/2.jpg")) == [f"{tmp_path}/in/below/2.jpg"]
    assert f"{tmp_path}/in" in listed
    assert f"{tmp_path}/in/below/deeper" not in listed


def test_a_place_without_pictures_is_one_sentence(ready: Ready, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("number,colour\n1,red\n")
    (tmp_path / "list.parquet").write_bytes(b"nothing of the kind")
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "nowhere/*.jpg", "list.csv", "list.parquet"):
        with pytest.raises(PlaceUnusable):
            list(places_of(str(tmp_path / name)))
    with pytest.raises(InvalidInput) as raised:
        _score(ready, tmp_path / "empty", tmp_path / "out")
    assert "no pictures" in str(raised.value)


@pytest.mark.parametrize(
    "place", ["https://example.org/a.jpg", "simplecache::http://127.0.0.1/a.jpg", "ftp://host/a.jpg", "zip://a::b.zip"]
)
def test_addresses_that_are_not_allowed_are_rows_with_a_sentence(ready: Ready, tmp_path: Path, place: str) -> None:
    """A list may come from anybody: it must not make this machine open connections of every kind."""
    (tmp_path / "list.txt").write_text(f"{place}\n")
    done = _score(ready, tmp_path / "list.txt", tmp_path / "out")
    [row] = _table(tmp_path / "out")
    assert done.errors == 1
    assert "DETECTOR_ALLOW_URL_IMPORT" in str(row["error"]) or "are not read" in str(row["error"])


def test_an_object_store_is_walked_and_read(ready: Ready, tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for name in ("a/1.png", "a/b/2.png", "c.txt"):
        store.pipe_file(f"/bucket/{name}", make_image(60))
    assert list(places_of("memory://bucket/**/*.png")) == ["memory:///bucket/a/1.png", "memory:///bucket/a/b/2.png"]
    done = _score(ready, "memory://bucket", tmp_path / "out")
    assert (done.made, done.errors) == (3, 0)
    assert {row["sha256"] for row in _table(tmp_path / "out")} == {sha256_hex(make_image(60))}
    with pytest.raises(Exception, match="at most") as raised:
        read_place("memory://bucket/c.txt", 100)
    assert type(raised.value).__name__ == "ImageTooManyBytes"


def test_control_characters_of_a_name_are_not_stored(ready: Ready, tmp_path: Path) -> None:
    name = "a\x1b[31m\u202egpj.png"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(make_image(60))
    (tmp_path / "in" / os.fsdecode(b"\xff.png")).write_bytes(make_image(61))
    _score(ready, tmp_path / "in", tmp_path / "out")
    paths = [str(row["path"]) for row in _table(tmp_path / "out")]
    assert all(path.isprintable() for path in paths)
    assert len(paths) == 2


def test_the_command_answers_with_counts_and_resumes(ready: Ready, tmp_path: Path) -> None:
    data, out = ready.ws.settings.data_dir, tmp_path / "results.parquet"
    first = run_here(data, "score", ready.function.name, ready.pictures, "--out", out, "--json")
    assert first.code == 0
    assert {name: first.json[name] for name in ("pictures", "scored", "errors", "finished")} == {
        "pictures": 8,
        "scored": 8,
        "errors": 2,
        "finished": True,
    }
    again = run_here(data, "score", ready.function.name, ready.pictures, "--out", out)
    assert again.code == 0
    assert "Nothing was left to do: 8 pictures" in again.err
    assert again.out == ""


@pytest.mark.long
@pytest.mark.slow
def test_ctrl_c_ends_after_what_is_on_its_way_and_the_same_command_resumes(ready: Ready, tmp_path: Path) -> None:
    picture = tmp_path / "in" / "picture.png"
    picture.parent.mkdir()
    picture.write_bytes(make_image(60, size=300))
    (tmp_path / "list.txt").write_text("in/picture.png\n" * 3000)
    out = tmp_path / "out"
    arguments = ("score", ready.function.name, tmp_path / "list.txt", "--out", out, "--json")
    process = start(ready.ws.settings.data_dir, *arguments, DETECTOR_PRECISION="float32")
    assert process.stderr is not None
    heard = ""
    # Until the bar has moved: before, the network is loaded, and there is nothing to lose.
    while not re.search(r"Scoring pictures:[^\r]* [1-9]\d*/3000", heard) and (letter := process.stderr.read(1)):
        heard += letter
    process.send_signal(signal.SIGINT)
    answered, said = process.communicate(timeout=120)
    assert process.returncode == 130, heard + said
    assert "Start the same command again to resume." in said
    there = json.loads(answered)["scored"]
    assert 0 < there < 3000
    assert len(_table(out)) == there


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a bucket of an S3 server that was started for the test."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        import s3fs

        s3fs.S3FileSystem(skip_instance_cache=True).mkdir("pictures")
        yield "pictures"
    finally:
        server.terminate()
        server.wait()


@pytest.mark.cluster
def test_pictures_of_an_s3_server_are_scored_as_those_of_a_folder(ready: Ready, tmp_path: Path, bucket: str) -> None:
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True)
    for path in ready.pictures.rglob("*"):
        if path.is_file():
            store.pipe_file(f"{bucket}/set/{path.relative_to(ready.pictures)}", path.read_bytes())
    store.pipe_file(f"{bucket}/other/1.png", make_image(60))
    (tmp_path / "list.txt").write_text(f"s3://{bucket}/other/1.png\ns3://{bucket}/nowhere.png\n")
    _score(ready, ready.pictures, tmp_path / "near")
    done = _score(ready, f"s3://{bucket}/set/**", tmp_path / "far")
    assert (done.made, done.errors) == (8, 2)

    def comparable(out: Path) -> list[dict[str, object]]:
        rows = [{**row, "path": Path(str(row["path"])).name} for row in _table(out)]
        return [row for row in rows if row["error"] is None]

    assert comparable(tmp_path / "far") == comparable(tmp_path / "near")
    assert {str(row["path"]) for row in _table(tmp_path / "far")} >= {f"s3://{bucket}/set/notes.txt"}
    _score(ready, tmp_path / "list.txt", tmp_path / "listed")
    errors = [row["error"] for row in _table(tmp_path / "listed")]
    assert errors[0] is None
    assert "there is no such file" in str(errors[1])
    with pytest.raises(PlaceUnusable):
        list(places_of("s3://no-such-bucket/*.jpg"))


@pytest.mark.cluster
def test_an_outage_of_the_store_leaves_no_rows_and_the_same_command_resumes(
    ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store that is away for a minute, thousands of pictures once stood as unreadable in the results for good."""
    monkeypatch.setattr(score_stores, "PAUSES", [0.01])
    out, near = tmp_path / "out", tmp_path / "near"
    (tmp_path / "list.txt").write_text("".join(f"s3://bucket/{number}.png\n" for number in range(8)))
    with s3_answers(monkeypatch) as store:
        for number in range(8):
            store.objects[f"/bucket/{number}.png"] = make_image(60 + number)
        # Two requests for each picture: the first parts are whole.
        store.good_for = 9
        with pytest.raises(PicturesUnreachable):
            _score(ready, tmp_path / "list.txt", out, rows=2)
        parts = sorted(out.glob("part-*.parquet"))
        assert 1 <= len(parts) <= 3
        assert [row["error"] for part in parts for row in pq.read_table(part).to_pylist()] == [None] * 2 * len(parts)
        data = ready.ws.settings.data_dir
        ran = run_here(data, "score", ready.function.name, tmp_path / "list.txt", "--out", out)
        assert (ran.code, "the same command resumes" in ran.err) == (1, True)
        store.good_for = None
        done = _score(ready, tmp_path / "list.txt", out)
        assert (done.errors, done.stopped) == (0, False)
        _score(ready, tmp_path / "list.txt", near)
    assert _table(out) == _table(near)
