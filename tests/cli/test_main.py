"""``python -m detector``: what its commands say, print and leave behind.

A process of its own where it matters how a command starts, ends or is killed; else in this one, which has loaded what
a command needs.
"""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detector.backbones.hub import REACHABILITY_DEADLINE
from detector.operations.sample_function import SAMPLE_FALSE_ACCUSATION_LIMIT
from tests.command_line import OFFLINE, Ran, run, run_here, silent_hub, start
from tests.databases import sqlite_only
from tests.faulty_disk import small_disk
from tests.made_folders import made_image, make_folder
from tests.shared_data import require
from tests.stored import number, outcome, query, row_counts

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Trained:
    """One folder trained through the command line, for the tests that only look."""

    data_dir: Path
    folder: Path
    first: Ran
    name: str = "=HYPERLINK(1)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("cli")
    folder = make_folder(root / "images", {"real": 12, "synthetic": 12})
    made_image("real", 900).save(folder / "real" / "=SUM(A1).png")
    for label, source in (("real", "-camera"), ("synthetic", "@generator")):
        (folder / label / source).mkdir()
        made_image(label, 901).save(folder / label / source / "a.png")
    whole = (folder / "real" / "000.png").read_bytes()
    (folder / "real" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "synthetic" / "empty.jpg").touch()
    (folder / "synthetic" / "notes.txt").write_text("These are not pictures.", encoding="utf-8")
    (folder / "synthetic" / "000 again.png").write_bytes((folder / "synthetic" / "000.png").read_bytes())
    first = run(
        root / "data", "train", folder, *OFFLINE, "--function", Trained.name, "--json", DETECTOR_PRECISION="float32"
    )
    return Trained(root / "data", folder, first)


def test_train_prints_what_the_command_promises(trained: Trained) -> None:
    assert trained.first.code == 0, trained.first.err
    result = trained.first.json
    assert set(result) >= {
        *("function", "name", "backbone", "samples", "annotated"),
        *("rejected", "seconds", "model", "cross_validation"),
    }
    assert (result["name"], result["backbone"]) == (trained.name, "efficientnet-lite0")
    assert (result["samples"], result["annotated"]) == (27, 27)
    assert set(result["seconds"]) == {"import", "embed", "train", "total"}
    assert all(seconds > 0 for seconds in result["seconds"].values())
    assert sum(result["seconds"][part] for part in ("import", "embed", "train")) <= result["seconds"]["total"] + 0.1
    assert set(result["model"]) == {"id", "version", "hyperparameters"}
    assert result["model"]["version"] == 1
    validation = result["cross_validation"]
    assert set(validation) == {"folds", "accuracy", "balanced_accuracy", "log_loss", "roc_auc", "ece", "labels"}
    assert validation["folds"] == 5
    assert list(validation["labels"]) == ["real", "synthetic"]
    for label, n in (("real", 14), ("synthetic", 13)):
        scores = validation["labels"][label]
        assert set(scores) >= {"n", "accuracy", "interval"}
        assert scores["n"] == n
        low, high = scores["interval"]
        assert 0 <= low <= scores["accuracy"] <= high <= 1
    assert validation["accuracy"] > 0.9


def test_files_that_are_no_images_are_listed_with_their_reasons(trained: Trained) -> None:
    reasons = {row["file"]: row["reason"] for row in trained.first.json["rejected"]}
    assert set(reasons) == {"real/cut.png", "synthetic/empty.jpg", "synthetic/notes.txt"}
    assert "cut off" in reasons["real/cut.png"]
    assert "empty" in reasons["synthetic/empty.jpg"]
    assert "not an image" in reasons["synthetic/notes.txt"]


def test_progress_goes_to_stderr_and_only_the_result_to_stdout(trained: Trained) -> None:
    assert trained.first.out.count("\n") == 1
    for phase in ("Importing images", "Looking at 27 images", "Writing predictions"):
        assert phase in trained.first.err


def test_the_same_command_again_imports_and_embeds_nothing_and_says_the_same(trained: Trained) -> None:
    rows, before = row_counts(trained.data_dir), outcome(trained.data_dir)
    again = run_here(trained.data_dir, "train", trained.folder, "--function", trained.name, "--json")
    assert again.code == 0, again.err
    assert (again.json["imported"], again.json["already_there"]) == (0, 28)
    assert "Looking at" not in again.err
    assert row_counts(trained.data_dir) == rows
    assert outcome(trained.data_dir) == before
    for part in ("function", "backbone", "samples", "annotated", "rejected", "model", "cross_validation"):
        assert again.json[part] == trained.first.json[part]


@pytest.mark.long
def test_invoke_answers_one_line_a_file_good_or_bad(trained: Trained, tmp_path: Path) -> None:
    made_image("synthetic", 500).save(tmp_path / "new.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    paths = [tmp_path / "new.png", tmp_path / "text.png", tmp_path / "absent.png", trained.folder / "real" / "001.png"]
    ran = run(trained.data_dir, "invoke", trained.name, *paths)
    lines = {line["file"]: line for line in map(json.loads, ran.out.splitlines())}
    assert ran.code == 1
    assert set(lines) == set(map(str, paths))
    for path, label in ((paths[0], "synthetic"), (paths[3], "real")):
        line = lines[str(path)]
        assert set(line) == {"file", "labelName", "confidence", "verdict", "grade", "reason", "labelConfidences"}
        # A dozen images vouch for no threshold.
        assert line["verdict"] == "can't tell"
        assert line["labelName"] == label
        confidences = {score["labelName"]: score["confidence"] for score in line["labelConfidences"]}
        assert set(confidences) == {"real", "synthetic"}
        assert sum(confidences.values()) == pytest.approx(1)
        assert line["confidence"] == confidences[label] == max(confidences.values())
    for path in paths[1:3]:
        assert set(lines[str(path)]) == {"file", "error"}
        assert path.name in lines[str(path)]["error"]


def test_invoke_takes_folders_and_succeeds_when_every_file_does(trained: Trained, tmp_path: Path) -> None:
    make_folder(tmp_path, {"synthetic": 2}, first_seed=700)
    ran = run_here(trained.data_dir, "invoke", trained.first.json["function"], tmp_path)
    assert ran.code == 0, ran.err
    assert [json.loads(line)["labelName"] for line in ran.out.splitlines()] == ["synthetic", "synthetic"]


def test_functions_lists_what_there_is(trained: Trained) -> None:
    listed = run_here(trained.data_dir, "functions", "--json")
    assert listed.code == 0
    (item,) = json.loads(listed.out)
    result = trained.first.json
    assert (item["id"], item["name"], item["samples"]) == (result["function"], trained.name, 27)
    assert item["accuracy"] == result["cross_validation"]["accuracy"]
    assert not item["busy"]
    assert f"{result['function']}  {trained.name}" in run_here(trained.data_dir, "functions").out


def test_export_writes_every_sample_and_no_formula(trained: Trained, tmp_path: Path) -> None:
    exported = run_here(trained.data_dir, "export", trained.name, tmp_path / "all.csv")
    assert exported.code == 0, exported.err
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 27
    assert {row["label"] for row in rows} == {row["prediction"] for row in rows} == {"real", "synthetic"}
    assert all(0.5 <= float(row["confidence"]) <= 1 for row in rows)
    assert {"real", "'-camera", "'@generator"} > {row["source"] for row in rows} - {""}
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    refused = run_here(trained.data_dir, "export", trained.name, tmp_path / "no" / "all.csv")
    assert_failed_with_a_sentence(refused, "cannot be written")


def test_export_to_a_zip_gives_the_files_in_label_folders(trained: Trained, tmp_path: Path) -> None:
    exported = run_here(trained.data_dir, "export", trained.name, tmp_path / "all.zip")
    assert exported.code == 0, exported.err
    assert "27 samples" in exported.err
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.testzip() is None
        assert archive.read("real/001.png") == (trained.folder / "real" / "001.png").read_bytes()
        folders = Counter(name.split("/")[0] for name in archive.namelist())
    assert folders == {"real": 14, "synthetic": 13, "samples.csv": 1}


@pytest.mark.parametrize("name", ["all.zip", "all.csv"])
def test_an_export_that_cannot_be_written_leaves_what_was_there(trained: Trained, tmp_path: Path, name: str) -> None:
    """The kind: the disk gets full while something is exported. The export of yesterday was emptied by it."""
    with small_disk(tmp_path, 1) as disk:
        (disk.folder / name).write_bytes(b"of yesterday")
        disk.fill(left=4096 if name == "all.zip" else 0)
        refused = run(trained.data_dir, "export", trained.name, disk.folder / name, **disk.environment)
        assert_failed_with_a_sentence(refused, "cannot be written (No space left on device)")
        assert (disk.folder / name).read_bytes() == b"of yesterday"
        assert not list(disk.folder.glob(".*"))


def test_unknown_functions_and_backbones_are_named(trained: Trained, tmp_path: Path) -> None:
    image = trained.folder / "real" / "001.png"
    assert_failed_with_a_sentence(run_here(trained.data_dir, "invoke", "nobody", image), "no function 'nobody'")
    ran = run_here(tmp_path / "data", "train", trained.folder, "--backbone", "magic")
    assert_failed_with_a_sentence(ran, "magic")
    assert row_counts(tmp_path / "data")["images"] == 0


def test_backbones_says_which_are_at_hand(tmp_path: Path) -> None:
    ran = run(tmp_path, "backbones", "--json")
    assert ran.code == 0, ran.err
    rows = {row["id"]: row for row in json.loads(ran.out)}
    assert rows["efficientnet-lite0"]["available"]
    clip = rows["clip-vit-b-32-256-datacomp"]
    assert not clip["available"]
    assert clip["licence"]
    assert clip["download_bytes"] > 0
    assert "does not answer" in clip["sentence"]
    assert (clip["only_for"], rows["metaclip2-h-14"]["only_for"]) == ("", "non-commercial use")
    listed = run(tmp_path, "backbones").out
    assert "CC-BY-NC-4.0 (non-commercial use only)" in listed
    assert "Apple ML Research Model License (research use only)" in listed


@pytest.mark.long
def test_the_builtin_sample_trains_and_is_called_a_simulation(tmp_path: Path) -> None:
    ran = run_here(tmp_path, "sample", *OFFLINE, "--json")
    assert ran.code == 0, ran.err
    result = ran.json
    assert result["samples"] == result["annotated"] > 100
    assert list(result["cross_validation"]["labels"]) == ["real", "synthetic"]
    assert query(tmp_path, "SELECT is_simulation, tolerated FROM functions") == [(1, SAMPLE_FALSE_ACCUSATION_LIMIT)]
    # At the usual limit it could never say a label: its patches come from some fifteen photographs.
    assert "It starts with a limit of 20 % false accusations. Its images are patches of" in ran.err
    assert result["verdicts_note"] == ""
    stored = query(tmp_path, "SELECT thresholds FROM models")[0][0]
    counts = json.loads(stored)["counts"]
    for label in ("real", "synthetic"):
        assert counts[label][label] > 60, counts
        assert counts[label]["real" if label == "synthetic" else "synthetic"] <= 24
    again = run_here(tmp_path, "sample", *OFFLINE, "--json")
    assert again.json["function"] == result["function"]
    assert again.json["already_there"] + again.json["imported"] == again.json["found"] == 240
    # Patches of one photograph are never on both sides of a fold.
    mixed = "SELECT group_key FROM samples GROUP BY group_key HAVING COUNT(DISTINCT near_duplicate_group) > 1"
    assert query(tmp_path, mixed) == []
    assert number(tmp_path, "SELECT COUNT(DISTINCT near_duplicate_group) FROM samples") > 1


@pytest.mark.long
def test_cifake_says_within_seconds_of_silence_that_there_is_no_network(tmp_path: Path) -> None:
    """Kind: a time asserted. What a hub costs that is silent is compared with one that refuses at once."""
    begin = time.monotonic()
    run(tmp_path / "refused", "cifake", "--per-label", "10")
    refused = time.monotonic() - begin
    with silent_hub() as hub:
        begin = time.monotonic()
        ran = run(tmp_path, "cifake", "--per-label", "10", hub=hub)
        silent = time.monotonic() - begin
    assert_failed_with_a_sentence(ran, "CIFAKE cannot be fetched: the Hugging Face hub cannot be reached")
    assert silent < 2 * refused + 2 * REACHABILITY_DEADLINE
    assert number(tmp_path, "SELECT COUNT(*) FROM functions") == 0


def _first_sentence(process: subprocess.Popen[str]) -> tuple[str, float]:
    begin = time.monotonic()
    assert process.stderr is not None
    # The plan of the import is said before.
    return next(line for line in process.stderr if "automatic choice" in line), time.monotonic() - begin


@pytest.mark.long
def test_auto_says_within_seconds_of_silence_that_it_takes_the_offline_backbone(tmp_path: Path) -> None:
    """Kind: a time asserted. What a hub costs that is silent is compared with one that refuses at once."""
    folder = make_folder(tmp_path / "images", {"real": 2, "synthetic": 2})
    process = start(tmp_path / "refused", "train", folder, "--json")
    _, refused = _first_sentence(process)
    process.kill()
    process.communicate()
    with silent_hub() as hub:
        process = start(tmp_path / "data", "train", folder, "--json", hub=hub, DETECTOR_PRECISION="float32")
        sentence, silent = _first_sentence(process)
        out, _ = process.communicate(timeout=300)
    assert "the model hub does not answer" in sentence
    assert silent < 2 * refused + 2 * REACHABILITY_DEADLINE
    assert json.loads(out)["backbone"] == "efficientnet-lite0"
    assert query(tmp_path / "data", "SELECT backbone_reason FROM functions") == [(sentence.strip(),)]


def assert_failed_with_a_sentence(ran: Ran, part: str) -> None:
    """Exit code 1 and, as the last thing said, a sentence; never a traceback, nor half a result."""
    assert ran.code == 1, (ran.out, ran.err)
    assert "Traceback" not in ran.err
    assert part in ran.sentence
    assert ran.sentence.endswith(".")


def _no_folder(root: Path) -> None:
    shutil.rmtree(root)


def _empty(root: Path) -> None:
    (root / "real").mkdir()
    (root / "synthetic").mkdir()


def _images_without_label(root: Path) -> None:
    made_image("real", 1).save(root / "a.png")


def _text_files(root: Path) -> None:
    for label in ("real", "synthetic"):
        (root / label).mkdir()
        (root / label / "a.txt").write_text("text", encoding="utf-8")
        (root / label / "b.jpg").write_text("still text", encoding="utf-8")


def _corrupt_files(root: Path) -> None:
    make_folder(root, {"real": 3, "synthetic": 3})
    for file in root.rglob("*.png"):
        file.write_bytes(file.read_bytes()[:200])


def _one_label(root: Path) -> None:
    make_folder(root, {"real": 5})


def _one_sample_a_label(root: Path) -> None:
    make_folder(root, {"real": 1, "synthetic": 1})


def _too_many_labels(root: Path) -> None:
    make_folder(root, {f"label {number}": 1 for number in range(101)})


@pytest.mark.parametrize(
    ("fill", "part"),
    [
        (_no_folder, "There is no folder"),
        (_empty, "There are no files in images"),
        (_images_without_label, "no folder that names a label"),
        (
            _text_files,
            "so far: real 0, synthetic 0. Label at least 2 more images as real and 2 more images as synthetic",
        ),
        (_corrupt_files, "so far: real 0, synthetic 0"),
        (_one_label, "so far: real 5, synthetic 0. Label at least 2 more images as synthetic"),
        (_one_sample_a_label, "so far: real 1, synthetic 1. Label at least 1 more image as real and 1 more"),
        (_too_many_labels, "level 1 has 101 folders (label 0, ...)"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
@pytest.mark.long
def test_a_folder_that_cannot_be_trained_on_ends_in_a_sentence(
    fill: Callable[[Path], None], part: str, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    fill(folder)
    assert_failed_with_a_sentence(run_here(tmp_path / "data", "train", folder, *OFFLINE), part)


def test_without_a_model_the_json_still_tells_the_whole_story(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    _text_files(folder)
    ran = run(tmp_path / "data", "train", folder, *OFFLINE, "--json")
    assert_failed_with_a_sentence(ran, "Training needs two labels")
    assert (ran.json["samples"], ran.json["model"], ran.json["cross_validation"]) == (0, None, None)
    assert len(ran.json["rejected"]) == 4
    image = tmp_path / "a.png"
    made_image("real", 1).save(image)
    assert_failed_with_a_sentence(run_here(tmp_path / "data", "invoke", "images", image), "Training needs two labels")


@pytest.mark.long
def test_near_duplicates_as_the_only_samples_of_a_label_train_a_model_that_says_it_is_not_validated(
    tmp_path: Path,
) -> None:
    folder = make_folder(tmp_path / "images", {"real": 6, "synthetic": 1})
    made_image("synthetic", 0).save(folder / "synthetic" / "again.jpg", quality=88)
    ran = run_here(tmp_path / "data", "train", folder, *OFFLINE, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["samples"] == 8
    assert ran.json["model"]["version"] == 1
    assert ran.json["cross_validation"] is None
    assert "not validated: all samples labelled synthetic are near-duplicates" in ran.json["note"]
    # Without folds there is no honest number to show for any sample.
    assert query(tmp_path / "data", "SELECT DISTINCT out_of_fold FROM samples") == [(0,)]


@sqlite_only("it is none")
@pytest.mark.parametrize("content", ["a file", "no database"])
def test_a_data_folder_that_cannot_be_used_ends_in_a_sentence(content: str, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    if content == "a file":
        data_dir.write_text("not a folder", encoding="utf-8")
    else:
        data_dir.mkdir()
        (data_dir / "detector.sqlite").write_text("this is not a database, only text " * 100, encoding="utf-8")
    ran = run(data_dir, "functions")
    assert_failed_with_a_sentence(ran, "DETECTOR_DATA_DIR")


def test_wrong_usage_is_answered_with_the_usage(tmp_path: Path) -> None:
    ran = run(tmp_path, "tarin")
    assert ran.code == 2
    assert "usage: python -m detector" in ran.err
    assert not (tmp_path / "detector.sqlite").exists()


#: When the process is shot, in the order in which a run comes by.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "importing": lambda data: 0 < number(data, "SELECT COUNT(*) FROM samples") < 120,
    "loading the backbone": lambda data: at_work(data, "embed"),
    "embedding": lambda data: 10 < embedded(data) < 60,
    "embedding what was left": lambda data: 60 < embedded(data) < 120,
    "preparing the training": lambda data: at_work(data, "train"),
    "training": lambda data: at_work(data, "train", done=20),
}


def embedded(data_dir: Path) -> int:
    return number(data_dir, "SELECT COUNT(*) FROM embeddings WHERE view = 'whole'")


def at_work(data_dir: Path, phase: str, done: int = 0) -> bool:
    running = f"SELECT COUNT(*) FROM jobs WHERE state = 'running' AND phase = '{phase}' AND done >= {done}"
    return number(data_dir, running) > 0


def kill_at(moment: Callable[[Path], bool], data_dir: Path, *arguments: str | Path, **settings: str) -> bool:
    """Run a command and ``kill -9`` it at a moment; False if it ended before."""
    process = start(data_dir, *arguments, **settings)
    while process.poll() is None:
        if moment(data_dir):
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def metrics(ran: Ran) -> dict[str, Any]:
    result = ran.json
    model = {name: result["model"][name] for name in ("version", "hyperparameters")}
    return {"model": model, **{name: result[name] for name in ("samples", "annotated", "rejected", "cross_validation")}}


@pytest.mark.long
@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_an_uninterrupted_one_to_the_last_digit(tmp_path: Path) -> None:
    """And so do two runs in two data folders: nothing depends on ids, on times, or on which images shared a batch."""
    folder = tmp_path / "images"
    for place, path in enumerate(sorted(path for path in require("genimage_mini").rglob("*") if path.is_file())):
        # Half of them, from all sources.
        if place % 2:
            link = folder / path.relative_to(require("genimage_mini"))
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    command = ("train", folder, *OFFLINE, "--json")
    # Each folder measures by itself which precision is the faster here.
    settings = {"DETECTOR_PRECISION": "float32"}
    whole = run(tmp_path / "whole", *command, **settings)
    assert whole.code == 0, whole.err
    for name, moment in MOMENTS.items():
        killed = kill_at(moment, tmp_path / "killed", *command, **settings)
        assert killed, f"the process ended before it was killed while {name}"
    # Between the model and its predictions lie some milliseconds: where this comes too late, all is done already.
    kill_at(lambda data: number(data, "SELECT COUNT(*) FROM models") > 0, tmp_path / "killed", *command, **settings)
    resumed = run(tmp_path / "killed", *command, **settings)
    assert resumed.code == 0, resumed.err
    assert metrics(resumed) == metrics(whole)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert row_counts(tmp_path / "killed") == row_counts(tmp_path / "whole")
    # Degraded copies and audits wait for a server.
    undone = "SELECT COUNT(*) FROM jobs WHERE state != 'done' AND kind IN ('import', 'build')"
    assert query(tmp_path / "killed", undone) == [(0,)]
