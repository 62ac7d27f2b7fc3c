"""``train`` as people use it on sets they were given: layouts, tables, archives, and what it must not guess."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detector.storage import functions, imports, samples
from detector.storage.trash import delete_samples, empty_bin
from tests.command_line import CHECKOUT, OFFLINE, Ran, environment, run, run_here
from tests.factories import workspace, write_zip
from tests.made_folders import made_image, make_folder
from tests.shared_data import SHARED_DATA
from tests.stored import query, row_counts

pytestmark = pytest.mark.slow


def png(label: str, seed: int) -> bytes:
    """A made picture as a file."""
    file = io.BytesIO()
    made_image(label, seed).save(file, "PNG")
    return file.getvalue()


def train(data_dir: Path, *arguments: str | Path) -> Ran:
    """``train --json`` with the offline backbone, which ended well."""
    ran = run_here(data_dir, "train", *arguments, *OFFLINE, "--json")
    assert ran.code == 0, ran.err
    return ran


def refused(ran: Ran, *parts: str) -> None:
    """It ended in a sentence that holds these parts, and no function was made."""
    assert ran.code == 1, ran.out
    assert "Traceback" not in ran.err
    for part in parts:
        assert part in ran.sentence, ran.sentence


def stored(data_dir: Path) -> list[tuple[object, ...]]:
    """(label, split, source, guessed, samples) of what was imported."""
    return query(
        data_dir,
        "SELECT labels.name, split, source, source_guessed, COUNT(*) FROM samples JOIN labels ON labels.id = label_id "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3",
    )


@pytest.fixture(scope="module")
def cifake_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train|test/REAL|FAKE``, as CIFAKE and half of all public sets have it."""
    root = tmp_path_factory.mktemp("sets") / "cifake"
    for split, n, seed in (("train", 8, 0), ("test", 3, 500)):
        make_folder(root / split, {"REAL": n, "FAKE": n}, seed)
    return root


def test_a_set_divided_into_train_and_test_becomes_a_locked_test_set(cifake_layout: Path, tmp_path: Path) -> None:
    """Splits are neither labels nor sources: this gave a live detector of "test" against "train", exit code 0."""
    ran = train(tmp_path, cifake_layout)
    assert (ran.json["samples"], ran.json["locked_test"], ran.json["rejected"]) == (22, 6, [])
    assert stored(tmp_path) == [
        ("real", "test", None, 0, 3),
        ("real", "train", None, 0, 8),
        ("synthetic", "test", None, 0, 3),
        ("synthetic", "train", None, 0, 8),
    ]
    assert ran.json["locked_test_score"]["n"] == 6
    assert "FAKE -> synthetic (11), REAL -> real (11)" in ran.err
    assert "6 images put aside as the locked test set, as the set itself divides them (test)." in ran.err


def test_splits_are_ignored_or_taken_for_folders_when_somebody_says_so(cifake_layout: Path, tmp_path: Path) -> None:
    alike = train(tmp_path / "alike", cifake_layout, "--splits", "ignore")
    assert (alike.json["locked_test"], alike.json["samples"]) == (0, 22)
    assert "(test, train) are taken alike" in alike.err
    assert {row[:3] for row in stored(tmp_path / "alike")} == {("real", "train", None), ("synthetic", "train", None)}
    # As folders they count as levels: the labels are on the second then, and sources may be named on the first.
    folders = train(tmp_path / "folders", cifake_layout, "--splits", "folders", "--source-level", "1")
    assert folders.json["locked_test"] == 0
    assert {row[:3] for row in stored(tmp_path / "folders")} == {
        (label, "train", source) for label in ("real", "synthetic") for source in ("test", "train")
    }


@pytest.mark.parametrize("held_out", ["val", "validation", "dev", "holdout", "hold-out", "Test_Set", "val2017", "eval"])
def test_splits_of_any_common_name_are_understood(held_out: str, tmp_path: Path) -> None:
    from detector.importing import assign
    from detector.importing.guessing import suggest

    paths = [f"{part}/{label}/{n}.jpg" for part in ("training", held_out) for label in "ab" for n in range(3)]
    plan = suggest(paths, ["a", "b"]).plan
    assert (plan.level, plan.splits, plan.source_level) == (0, "lock", None)
    assert {assign(path, plan).split for path in paths if path.startswith(held_out)} == {"test"}


def test_a_second_set_is_mapped_to_the_labels_that_are_there(tmp_path: Path) -> None:
    """Real and FAKE into a function of real and synthetic gave a live model of four labels."""
    train(tmp_path / "data", make_folder(tmp_path / "one", {"real": 5, "synthetic": 5}), "--function", "F")
    ran = train(tmp_path / "data", make_folder(tmp_path / "two", {"Real": 4, "FAKE": 4}, 100), "--function", "F")
    assert ran.json["samples"] == 18
    assert [row[0] for row in query(tmp_path / "data", "SELECT name FROM labels ORDER BY name")] == [
        "real",
        "synthetic",
    ]
    # A name that means neither is asked about, not added.
    third = make_folder(tmp_path / "three", {"real": 2, "sdxl": 2}, 200)
    again = run_here(tmp_path / "data", "train", third, "--function", "F")
    refused(again, "'sdxl' is none of the labels real, synthetic", "--map 'sdxl=real'")
    assert row_counts(tmp_path / "data")["samples"] == 18
    mapped = train(tmp_path / "data", third, "--function", "F", "--map", "SDXL=synthetic")
    assert (mapped.json["samples"], mapped.json["plan"]["mapping"]["sdxl"]) == (22, "synthetic")


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (["real/a", "midjourney/a"], ("'midjourney' means neither real nor synthetic", "--map 'midjourney='")),
        (["0/a", "1/a"], ("'0' is a number", "--map '0=real'")),
        (["real/ai", "real/photo", "fake/ai", "fake/photo"], ("levels 1 and 2 both name labels",)),
    ],
)
def test_what_is_ambiguous_is_refused_before_anything_is_made(
    folders: list[str], parts: tuple[str, ...], tmp_path: Path
) -> None:
    for place, folder in enumerate(folders):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for n in range(2):
            made_image("real", 10 * place + n).save(tmp_path / "set" / folder / f"{n}.png")
    refused(run_here(tmp_path / "data", "train", tmp_path / "set", *OFFLINE), "Nothing was imported", *parts)
    assert query(tmp_path / "data", "SELECT COUNT(*) FROM functions") == [(0,)]
    assert row_counts(tmp_path / "data")["images"] == 0


def test_level_source_and_limit_are_options(tmp_path: Path) -> None:
    for camera in ("x100", "pixel"):
        make_folder(tmp_path / "set" / camera, {"cat": 4, "dog": 4}, len(camera) * 50)
    ran = train(
        tmp_path / "data", tmp_path / "set", "--label-level", "2", "--source-level", "1", "--at-most", "5"
    )  # fmt: skip
    rows = stored(tmp_path / "data")
    assert ran.json["samples"] == 10
    assert {row[0] for row in rows} == {"cat", "dog"}
    # Whoever says which level it is has said what lies on it.
    assert {(row[2], row[3]) for row in rows} <= {("x100", 0), ("pixel", 0)}
    refused(run_here(tmp_path / "data", "train", tmp_path / "set", "--label-level", "3"), "There is no folder level 3")
    refused(
        run_here(tmp_path / "data", "train", tmp_path / "set", "--label-level", "2", "--source-level", "2"),
        "names the labels already",
    )
    refused(run_here(tmp_path / "data", "train", tmp_path / "set", "--map", "dog"), "expected NAME=LABEL")
    refused(run_here(tmp_path / "data", "train", tmp_path / "set", "--map", "cow=cat"), "no folder in set")


def test_sources_from_folders_are_guessed_until_somebody_confirms_them(tmp_path: Path) -> None:
    for label, source in (("real", "camera"), ("synthetic", "sdxl")):
        make_folder(tmp_path / "set" / label, {source: 4}, len(source) * 10)
    ran = train(tmp_path / "data", tmp_path / "set")
    assert "guessed until somebody confirms" in ran.err
    assert {(row[2], row[3]) for row in stored(tmp_path / "data")} == {("camera", 1), ("sdxl", 1)}
    listed = run_here(tmp_path / "data", "sources", "set", "--json").json
    assert listed["sources"] == [
        {"source": "camera", "samples": 4, "guessed": 4},
        {"source": "sdxl", "samples": 4, "guessed": 4},
    ]
    assert run_here(tmp_path / "data", "sources", "set", "--confirm", "sdxl", "--json").json["changed"] == 4
    refused(run_here(tmp_path / "data", "sources", "set", "--confirm", "flux"), "No sample has the source 'flux'")
    given = run_here(
        tmp_path / "data", "sources", "set", "--set", "Canon", "--label", "REAL", "--files", "real/*", "--json"
    )
    assert given.json["changed"] == 4
    assert {(row[2], row[3]) for row in stored(tmp_path / "data")} == {("Canon", 0), ("sdxl", 0)}


def test_files_moved_to_another_label_folder_contradict_and_are_relabelled_on_request(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"real": 6, "synthetic": 6})
    train(tmp_path / "data", folder)
    for n in range(2):
        shutil.move(folder / "real" / f"00{n}.png", folder / "synthetic" / f"moved{n}.png")
    kept = run_here(tmp_path / "data", "train", folder)
    assert "2 images lie under another label than the stored one, which was kept; --relabel" in kept.out
    assert query(tmp_path / "data", "SELECT COUNT(*) FROM annotation_history") == [(12,)]
    again = train(tmp_path / "data", folder, "--relabel")
    assert (again.json["relabelled"], again.json["contradicting"]) == (2, 0)
    assert [row[4] for row in stored(tmp_path / "data")] == [4, 8]
    # Each change of a label is in the sample's history.
    assert query(tmp_path / "data", "SELECT COUNT(*) FROM annotation_history") == [(14,)]
    assert train(tmp_path / "data", folder, "--relabel").json["relabelled"] == 0


def test_links_are_followed_in_ones_own_shell(tmp_path: Path) -> None:
    """A folder of links to collections elsewhere is how many keep their sets."""
    make_folder(tmp_path / "elsewhere", {"photos": 4, "generated": 4})
    root = tmp_path / "set"
    root.mkdir()
    (root / "real").symlink_to(tmp_path / "elsewhere" / "photos")
    (root / "synthetic").symlink_to(tmp_path / "elsewhere" / "generated")
    (root / "real" / "back").symlink_to(root)
    ran = train(tmp_path / "data", root)
    assert ran.json["samples"] == 8
    answered = run_here(tmp_path / "data", "invoke", "set", root)
    assert answered.code == 0
    assert len(answered.out.splitlines()) == 8


@pytest.mark.long
def test_a_folder_that_may_not_be_read_has_a_line_and_with_strict_the_exit_code_1(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    (folder / "real" / "locked").mkdir(mode=0)
    command = [sys.executable, "-m", "detector", "train", str(folder), *OFFLINE, "--json"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read every folder, and there is no setpriv to give that up")
        # Root without the right to read what its permissions forbid.
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *command]
    for strict, code in (([], 0), (["--strict"], 1)):
        ran = subprocess.run(
            [*command, *strict],
            cwd=CHECKOUT,
            env=environment(tmp_path / "data", DETECTOR_PRECISION="float32"),
            capture_output=True,
            text=True,
        )
        assert ran.returncode == code, ran.stderr
        (line,) = json.loads(ran.stdout)["rejected"]
        assert line["file"] == "real/locked/"
        assert "this folder may not be read" in line["reason"]


def test_a_folder_of_notes_names_no_label(tmp_path: Path) -> None:
    """Folders that hold only CSV or JSON files were labels."""
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    for name in ("annotations", "metadata"):
        (folder / name).mkdir()
        (folder / name / "a.json").write_text("{}", encoding="utf-8")
    (folder / "annotations" / "b.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    ran = train(tmp_path / "data", folder)
    assert query(tmp_path / "data", "SELECT name FROM labels ORDER BY name") == [("real",), ("synthetic",)]
    assert {row["file"] for row in ran.json["rejected"]} == {
        "annotations/a.json",
        "annotations/b.csv",
        "metadata/a.json",
    }


def test_thumbnails_of_a_nas_are_no_samples_anywhere(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    for label in ("real", "synthetic"):
        for n in range(3):
            thumbnails = folder / label / "@eaDir" / f"00{n}.png"
            thumbnails.mkdir(parents=True)
            made_image(label, n, 48).save(thumbnails / "SYNOPHOTO_THUMB_M.jpg")
    (folder / "real" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    ran = train(tmp_path / "data", folder)
    assert (ran.json["samples"], ran.json["rejected"]) == (6, [])
    assert "3 files and folders of systems and programs were passed over: @eaDir, Thumbs.db." in ran.err
    answered = run_here(tmp_path / "data", "invoke", "set", folder, folder / "real" / "Thumbs.db")
    assert (answered.code, len(answered.out.splitlines())) == (0, 6)


@pytest.mark.long
def test_names_that_are_no_utf8_end_neither_train_nor_invoke(tmp_path: Path) -> None:
    """Names from old disks and cameras: bytes that are no UTF-8 ended both in a traceback."""
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    strange = os.fsencode(folder) + b"/real/gr\xfcn.png"
    shutil.copy(folder / "real" / "000.png", strange)
    made_image("real", 900).save(Path(os.fsdecode(strange)))
    whole = os.fsencode(tmp_path) + b"/s\xe9t"
    folder.rename(os.fsdecode(whole))
    # A process of its own, because names come to it as bytes and go out of it as text.
    ran = run(tmp_path / "data", "train", Path(os.fsdecode(whole)), *OFFLINE, "--json", DETECTOR_PRECISION="float32")
    assert ran.code == 0, ran.err
    assert ran.json["samples"] == 7
    assert ran.json["name"] == "s\N{REPLACEMENT CHARACTER}t"
    answered = run(
        tmp_path / "data", "invoke", ran.json["function"], Path(os.fsdecode(whole)),
        Path(os.fsdecode(whole + b"/real/gr\xfcn.png")), Path(os.fsdecode(whole + b"/no\xfc.png")),
    )  # fmt: skip
    lines = [json.loads(line) for line in answered.out.splitlines()]
    assert answered.code == 1
    assert "Traceback" not in answered.err
    (failed,) = [line["file"] for line in lines if "error" in line]
    assert failed.endswith("/no\N{REPLACEMENT CHARACTER}.png")
    assert len(lines) == 9


def labelled(folder: Path, n: int = 5) -> list[tuple[str, str]]:
    """Write 2n pictures into one folder; returns (file, label) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n):
        for place, label in enumerate(("real", "synthetic")):
            name = f"{2 * number + place:03d}.png"
            (folder / name).write_bytes(png(label, number))
            rows.append((name, label))
    return rows


def test_a_table_of_labels_is_read_when_it_is_named_and_mentioned_when_not(tmp_path: Path) -> None:
    rows = labelled(tmp_path / "set")
    table = tmp_path / "set" / "list.csv"
    lines = [f"{name};{'ai' if label == 'synthetic' else 'photo'};{label[:3]}" for name, label in rows]
    table.write_text("\n".join(["picture;kind;camera", *lines]), encoding="utf-8-sig")
    refused(
        run_here(tmp_path / "data", "train", tmp_path / "set"),
        "list.csv lists 10 of these files (columns picture, kind, camera); it was seen and not read.",
        "--labels 'list.csv' reads it.",
    )
    assert query(tmp_path / "data", "SELECT COUNT(*) FROM functions") == [(0,)]
    ran = train(tmp_path / "data", tmp_path / "set", "--labels", table, "--columns", "label=kind,source=camera")
    assert {row[:4] for row in stored(tmp_path / "data")} == {
        ("real", "train", "rea", 0),
        ("synthetic", "train", "syn", 0),
    }
    assert "Labels from the column kind of list.csv: ai -> synthetic (5), photo -> real (5)." in ran.err
    assert ran.json["rejected"] == []
    # Outside of the folder, and with another name for each thing.
    outside = tmp_path / "labels.jsonl"
    outside.write_text(
        "\n".join(json.dumps({"path": f"/old/disk/set/{name}", "label": label}) for name, label in rows),
        encoding="utf-8",
    )
    again = train(tmp_path / "other", tmp_path / "set", "--labels", outside, "--function", "F")
    assert again.json["annotated"] == 10
    refused(
        run_here(tmp_path / "other", "train", tmp_path / "set", "--labels", "nothing.csv"),
        "There is no table nothing.csv",
    )
    refused(
        run_here(tmp_path / "other", "train", tmp_path / "set", "--labels", table, "--columns", "label=nothing"),
        "list.csv has no column 'nothing'; it has picture, kind, camera.",
    )


def test_with_labels_in_folders_a_table_is_mentioned_and_folders_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"real": 3, "synthetic": 3})
    rows = [
        f"{label}/{n:03d}.png,{'synthetic' if label == 'real' else 'real'}"
        for label in ("real", "synthetic")
        for n in range(3)
    ]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    ran = train(tmp_path / "data", folder)
    assert "labels.csv lists 6 of these files (columns file, label); it was seen and not read." in ran.err
    turned = train(tmp_path / "data", folder, "--labels", "labels.csv", "--relabel")
    assert turned.json["relabelled"] == 6


def test_the_imagefolder_layout_of_hugging_face_imports_as_it_is(tmp_path: Path) -> None:
    """metadata.csv beside the images of each split, by the hub's convention: no option needed."""
    for split, n in (("train", 5), ("test", 2)):
        folder = tmp_path / "set" / split
        rows = labelled(folder, n)
        for number, (name, label) in enumerate(rows):
            made_image(label, 1000 * n + number).save(folder / name)
        lines = [f"{name},{label},{'cam' if label == 'real' else 'flux'}" for name, label in rows]
        (folder / "metadata.csv").write_text("\n".join(["file_name,label,source", *lines]), encoding="utf-8")
    train(tmp_path / "data", tmp_path / "set")
    assert stored(tmp_path / "data") == [
        ("real", "test", "cam", 0, 2),
        ("real", "train", "cam", 0, 5),
        ("synthetic", "test", "flux", 0, 2),
        ("synthetic", "train", "flux", 0, 5),
    ]


def parquet(path: Path, n: int, seed: int, names: list[str] | None) -> None:
    """A parquet file of 2n pictures, in the layout of Hugging Face's library."""
    rows = [{"bytes": png(label, seed + i), "path": None} for i in range(n) for label in ("real", "synthetic")]
    table = pa.table(
        {
            "image": pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([0, 1] * n, pa.int64()),
            "generator": ["camera", "sdxl"] * n,
        }
    )
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_parquet_files_of_a_hub_import_with_labels_sources_and_splits(tmp_path: Path) -> None:
    parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", 5, 0, ["REAL", "FAKE"])
    parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", 2, 100, ["REAL", "FAKE"])
    (tmp_path / "set" / "README.md").write_text("A set.", encoding="utf-8")
    train(tmp_path / "data", tmp_path / "set")
    assert stored(tmp_path / "data") == [
        ("real", "test", "camera", 0, 2),
        ("real", "train", "camera", 0, 5),
        ("synthetic", "test", "sdxl", 0, 2),
        ("synthetic", "train", "sdxl", 0, 5),
    ]


def test_numbers_in_a_parquet_file_are_no_labels_until_somebody_says_what_they_mean(tmp_path: Path) -> None:
    parquet(tmp_path / "set.parquet", 3, 0, None)
    refused(run_here(tmp_path / "data", "train", tmp_path / "set.parquet"), "'0' is a number")
    ran = train(tmp_path / "data", tmp_path / "set.parquet", "--map", "0=real", "--map", "1=synthetic")
    assert [row[0] for row in stored(tmp_path / "data")] == ["real", "synthetic"]
    assert ran.json["name"] == "set"


def test_an_archive_trains_like_the_folder_it_was_made_of(cifake_layout: Path, tmp_path: Path) -> None:
    files = {str(path.relative_to(cifake_layout)): path.read_bytes() for path in sorted(cifake_layout.rglob("*.png"))}
    ran = train(tmp_path / "data", write_zip(tmp_path / "cifake.zip", files))
    assert (ran.json["samples"], ran.json["locked_test"], ran.json["name"]) == (22, 6, "cifake")
    # The archive belongs to the user: it is there afterwards.
    assert (tmp_path / "cifake.zip").exists()
    wrong = run_here(tmp_path / "data", "train", tmp_path / "cifake.zip", "--names", "latin")
    refused(wrong, "There is no encoding 'latin'")


def test_every_rejected_file_is_counted_and_listed(tmp_path: Path) -> None:
    """1,200 rejected files were reported as 1,000: the list was cut for display, and then counted."""
    folder = make_folder(tmp_path / "set", {"real": 2, "synthetic": 2})
    for n in range(1200):
        (folder / "real" / f"{n:04d}.txt").write_text("no picture", encoding="utf-8")
    ran = train(tmp_path / "data", folder)
    assert len(ran.json["rejected"]) == 1200
    said = run_here(tmp_path / "data", "train", folder)
    assert "rejected 1,200" in said.out
    assert "and 1,180 more; --json lists all" in said.out


@pytest.mark.long
@pytest.mark.slow
def test_the_public_cifake_archive_needs_no_option(tmp_path: Path) -> None:
    """As a new user would: the real archive unpacked, labels mapped, test/ locked, no source invented."""
    archive = SHARED_DATA / "cifake_20k.zip"
    if not archive.is_file():
        pytest.skip("the development image set cifake_20k is not on this machine")
    import zipfile

    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            # Every sixtieth file: the layout is what counts here.
            if not name.endswith("/") and sum(name.encode()) % 60 == 0:
                packed.extract(name, tmp_path / "set")
    ran = train(tmp_path / "data", tmp_path / "set")
    rows = stored(tmp_path / "data")
    assert [row[:4] for row in rows] == [
        ("real", "test", None, 0),
        ("real", "train", None, 0),
        ("synthetic", "test", None, 0),
        ("synthetic", "train", None, 0),
    ]
    assert ran.json["locked_test"] == rows[0][4] + rows[2][4]  # type: ignore[operator]
    assert ran.json["rejected"] == []
    assert ran.json["cross_validation"]["accuracy"] > 0.8


def test_what_was_found_is_what_was_imported_and_what_was_refused(tmp_path: Path) -> None:
    """Kind: a figure promised before anybody could know it. "12 files will be imported" of which 3 could not be read.

    Brothers: a file that is no image, one that repeats another, and what is counted after samples were deleted.
    """
    folder = make_folder(tmp_path / "set", {"real": 5, "synthetic": 5})
    (folder / "real" / "cut.png").write_bytes((folder / "real" / "000.png").read_bytes()[:200])
    (folder / "synthetic" / "empty.jpg").write_bytes(b"")
    (folder / "synthetic" / "again.png").write_bytes((folder / "synthetic" / "000.png").read_bytes())
    (folder / "real" / "notes.txt").write_text("not an image")
    ran = run_here(tmp_path / "data", "train", folder, *OFFLINE)
    assert ran.code == 0, ran.err
    assert (
        "13 images and 1 other file found: 7 as synthetic, 6 as real. What cannot be read is reported after the import."
    ) in ran.err
    assert "will be imported" not in ran.err
    assert "14 files found: imported 10, already there 1, rejected 3" in ran.out
    assert "149 different images of each label (you have 5 of each;" in ran.out
    assert not re.search(r"\d\.\d %", ran.out), ran.out

    ws = workspace(tmp_path / "data")
    [item] = functions.list_functions(ws.db)
    [batch] = imports.list_batches(ws.db, item.function.id)
    before = imports.batch_counts(ws.db, batch.id)
    assert (before.imported, before.present, before.rejected, before.found) == (10, 1, 3, 14)
    gone = [row.sample_id for row in samples.training_rows(ws.db, item.function.id)][:4]
    delete_samples(ws.db, item.function.id, gone)
    assert empty_bin(ws.db, item.function.id) == 4
    assert imports.batch_counts(ws.db, batch.id) == before
    ws.close()


def test_a_folder_is_trained_on_in_place_and_an_archive_is_not(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "large", {"real": 6, "synthetic": 6})
    train(tmp_path / "data", folder, "--in-place", "--function", "placed")
    assert query(tmp_path / "data", "SELECT COUNT(*) FROM places") == [(12,)]
    assert not list((tmp_path / "data" / "blobs" / "images").rglob("*"))
    archive = write_zip(tmp_path / "large.zip", {"real/a.png": png("real", 0), "synthetic/b.png": png("synthetic", 1)})
    other = tmp_path / "other"
    refused(run_here(other, "train", archive, "--in-place", *OFFLINE), "large.zip", "cannot be imported in place")
    assert query(other, "SELECT COUNT(*) FROM functions") == [(0,)]
