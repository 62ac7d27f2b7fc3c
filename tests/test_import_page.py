"""What the Import page asks about a set before it starts, and what its answers do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from detector.storage import jobs, samples
from detector.storage.functions import Function
from detector.storage.schema import samples as samples_table
from detector.worker.running import run_pending
from detector.workspace import Workspace
from pages._zip_upload import Upload, arrived_at
from tests.app_server import CHECKOUT
from tests.factories import add_images, empty_function, label_ids, make_image, write_zip
from tests.importing.test_archive_names import raw_zip
from tests.made_folders import made_image
from tests.page_app import PATIENCE, opened_by_pages, page
from tests.page_words import as_shown

pytestmark = pytest.mark.slow


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path / "data", monkeypatch) as opened:
        yield opened


def page_with(ws: Workspace, function: Function, archive: Path) -> AppTest:
    """The Import page after an archive has arrived."""
    arrived = ws.spool / f"{archive.stem}.zip"
    arrived.write_bytes(archive.read_bytes())
    app = AppTest.from_file(str(CHECKOUT / "pages" / "import_images.py"), default_timeout=PATIENCE)
    app.query_params["function"] = function.id
    app.session_state[arrived_at(function.id)] = Upload(arrived, archive.name, arrived.stat().st_size)
    app.run()
    assert not app.exception, app.exception
    return app


def named(widgets: Any, label: str) -> Any:
    """The widget whose label begins so."""
    return next(widget for widget in widgets if widget.label.startswith(label))


def words(app: AppTest) -> str:
    parts = [item.value for kind in (app.markdown, app.caption, app.error) for item in kind]
    return as_shown(" ".join(parts))


def start(ws: Workspace, app: AppTest, function: Function) -> dict[str, Any]:
    """Press the button, do the work, and return the payload of the import."""
    named(app.button, "Start the import").click().run()
    assert not app.exception, app.exception
    (job,) = [job for job in jobs.list_jobs(ws.db, function.id) if job.kind == "import"]
    run_pending(ws, function.id)
    return dict(job.payload)


def counted(ws: Workspace, function: Function) -> dict[tuple[str, str, str | None, bool], int]:
    """Samples by (label, split, source, guessed)."""
    names = {label_id: name for name, label_id in label_ids(ws, function).items()}
    found: dict[tuple[str, str, str | None, bool], int] = {}
    with ws.db.read() as connection:
        for row in connection.execute(samples_table.select()):
            key = (names[row.label_id], row.split, row.source, row.source_guessed)
            found[key] = found.get(key, 0) + 1
    return found


def png(label: str, seed: int) -> bytes:
    file = io.BytesIO()
    made_image(label, seed).save(file, "PNG")
    return file.getvalue()


def cifake_layout() -> dict[str, bytes]:
    return {
        f"{split}/{folder}/{n}.png": png(label, seed + n)
        for split, seed, many in (("train", 0, 4), ("test", 100, 2))
        for folder, label in (("REAL", "real"), ("FAKE", "synthetic"))
        for n in range(many)
    }


def test_the_test_part_of_a_set_is_offered_as_the_locked_test_set(ws: Workspace, tmp_path: Path) -> None:
    """The kind: folders that are splits. On the page they are offered as the locked test set, never as labels."""
    function = empty_function(ws)
    files = cifake_layout() | {"train/REAL/@eaDir/a.png": b"x"}
    app = page_with(ws, function, write_zip(tmp_path / "cifake.zip", files))
    assert named(app.selectbox, "Which folder level").value == 0
    assert "These folders divide the set into parts" in named(app.checkbox, "These folders").label
    assert named(app.checkbox, "Put the 4 images of its test part aside").value
    assert "12 images found: 6 as synthetic, 6 as real." in words(app)
    assert "1 file or folder of systems and programs was passed over: @eaDir." in words(app)
    start(ws, app, function)
    assert counted(ws, function) == {
        (label, split, None, False): many
        for label in ("real", "synthetic")
        for split, many in (("train", 4), ("test", 2))
    }


def test_a_set_is_taken_alike_or_by_its_folders_when_a_person_says_so(ws: Workspace, tmp_path: Path) -> None:
    function = empty_function(ws)
    app = page_with(ws, function, write_zip(tmp_path / "cifake.zip", cifake_layout()))
    named(app.checkbox, "Put the 4 images").uncheck().run()
    assert start(ws, app, function)["plan"]["splits"] == "ignore"
    assert {key[1] for key in counted(ws, function)} == {"train"}
    other = empty_function(ws, "Vehicles", labels=("car", "train"))
    vehicles = {
        f"{name}/{n}.png": make_image(50 * place + n) for place, name in enumerate(("car", "train")) for n in (1, 2)
    }
    app = page_with(ws, other, write_zip(tmp_path / "vehicles.zip", vehicles))
    # A label of the function is a label, whatever it is called.
    assert not [box for box in app.checkbox if box.label.startswith("These folders")]
    assert "2 as car" in words(app)
    assert "2 as train" in words(app)


def test_a_table_in_the_archive_gives_labels_with_a_choice_of_columns(ws: Workspace, tmp_path: Path) -> None:
    """The kind: labels from a table beside the images."""
    function = empty_function(ws)
    files = {f"{label}{n}.png": png(label, n) for label in ("real", "synthetic") for n in range(3)}
    lines = [f"{name};{'photo' if name[0] == 'r' else 'ai'};{'cam' if name[0] == 'r' else 'sdxl'}" for name in files]
    app = page_with(
        ws,
        function,
        write_zip(tmp_path / "a.zip", files | {"list.csv": "\n".join(["what;kind;maker", *lines]).encode()}),
    )
    assert app.radio[0].value == "table"
    assert named(app.selectbox, "Column that names the file").value == "what"
    named(app.selectbox, "Column that holds the label").select("kind").run()
    named(app.selectbox, "Column that holds the source").select("maker").run()
    assert "6 images found: 3 as real, 3 as synthetic." in words(app)
    start(ws, app, function)
    assert counted(ws, function) == {("real", "train", "cam", False): 3, ("synthetic", "train", "sdxl", False): 3}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (("a/readme.txt",), "1 file found, not named like an image: 1 without a label."),
        (("x.pdf", "y.docx"), "2 files found, none named like an image: 2 without a label."),
    ],
)
def test_files_that_are_not_called_like_images_are_not_said_to_be_found_images(
    ws: Workspace, tmp_path: Path, files: tuple[str, ...], sentence: str
) -> None:
    """The kind: what a page promises before it has looked. A text file alone was "1 image found"."""
    app = page_with(ws, empty_function(ws), write_zip(tmp_path / "a.zip", dict.fromkeys(files, b"words")))
    named(app.radio, "Labels").set_value("none").run()
    assert sentence in words(app)
    assert "image found" not in words(app)
    assert "images found" not in words(app)


def test_a_table_that_is_not_used_is_mentioned(ws: Workspace, tmp_path: Path) -> None:
    function = empty_function(ws)
    files = {f"{label}/{n}.png": png(label, n) for label in ("real", "synthetic") for n in range(2)}
    table = "\n".join(["file,label", *(f"{name},x" for name in files)]).encode()
    app = page_with(ws, function, write_zip(tmp_path / "a.zip", files | {"labels.csv": table}))
    assert app.radio[0].value == "folders"
    assert "labels.csv lists 4 of these files (columns file, label); it was seen and not read." in words(app)


def test_names_in_an_unknown_encoding_are_guessed_and_can_be_chosen(ws: Workspace, tmp_path: Path) -> None:
    """The kind: names whose encoding the archive does not say; the guess is shown, with a choice."""
    function = empty_function(ws)
    names = [f"{folder}/{name}{n}.png" for folder in ("本物", "生成") for name in ("写真", "ソフト") for n in (1, 2)]
    app = page_with(ws, function, raw_zip(tmp_path / "a.zip", [name.encode("cp932") for name in names]))
    chosen = named(app.selectbox, "The archive does not say")
    assert chosen.value == "cp932"
    assert "本物/ソフト1.png" in words(app)
    chosen.select("cp1251").run()
    assert "本物" not in words(app)
    named(app.selectbox, "The archive does not say").select("cp932").run()
    start(ws, app, function)
    assert {"本物", "生成"} <= set(label_ids(ws, function))
    assert {row.file_name for row in samples.find_samples(ws.db, function.id)} == set(names)


@pytest.mark.parametrize("confirmed", [False, True])
def test_sources_from_folders_are_guessed_unless_a_person_confirms_them(
    confirmed: bool, ws: Workspace, tmp_path: Path
) -> None:
    """The kind: folder names that may be anything are no generators until somebody says so."""
    function = empty_function(ws)
    files = {
        f"{label}/{source}/{n}.png": png(label, n)
        for label, source in (("real", "cam"), ("synthetic", "sdxl"))
        for n in (1, 2)
    }
    app = page_with(ws, function, write_zip(tmp_path / "a.zip", files))
    if confirmed:
        named(app.checkbox, "These names are generators").check().run()
    start(ws, app, function)
    assert set(counted(ws, function)) == {
        ("real", "train", "cam", not confirmed),
        ("synthetic", "train", "sdxl", not confirmed),
    }
    app = page("metrics.py", function.id)
    assert ("guessed from folder names: cam, sdxl" in words(app)) == (not confirmed)
    if not confirmed:
        app.button(key=f"confirm-sources-{function.id}").click().run()
        assert "guessed from folder names" not in words(app)
        assert {key[3] for key in counted(ws, function)} == {False}


def test_a_parquet_file_asks_for_the_column_of_its_labels(ws: Workspace, tmp_path: Path) -> None:
    """The kind: image bytes and a label column in one file."""
    function = empty_function(ws)
    rows = [png(label, n) for n in range(3) for label in ("real", "synthetic")]
    table = pa.table({"image": rows, "label": ["REAL", "FAKE"] * 3, "maker": ["cam", "sdxl"] * 3})
    pq.write_table(table, tmp_path / "set.parquet")
    app = page_with(ws, function, tmp_path / "set.parquet")
    assert named(app.selectbox, "Column that holds the labels").value == "label"
    start(ws, app, function)
    assert {key[0] for key in counted(ws, function)} == {"real", "synthetic"}
    # Read and done: the upload is gone.
    assert not list(ws.spool.iterdir())


def test_images_under_another_label_are_kept_or_get_the_new_one(ws: Workspace, tmp_path: Path) -> None:
    function = empty_function(ws)
    add_images(ws, function, [(f"{n}.png", make_image(n), "real") for n in range(3)])
    files = {f"synthetic/{n}.png": make_image(n) for n in range(3)} | {"real/9.png": make_image(9)}
    app = page_with(ws, function, write_zip(tmp_path / "a.zip", files))
    named(app.checkbox, "Images already here under another label").check().run()
    assert start(ws, app, function)["relabel"]
    assert {key[0]: n for key, n in counted(ws, function).items()} == {"real": 1, "synthetic": 3}
