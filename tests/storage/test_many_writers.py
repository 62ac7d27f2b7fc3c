"""Threads of several processes write the same at once, on PostgreSQL: what SQLite's one writer sees to by itself."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from detector.errors import InvalidInput, StorageUnavailable
from detector.jobs import BUILD
from detector.storage import database, evaluations, functions, imports, jobs, models, samples, server_database, trash
from detector.storage.database import Database
from detector.storage.schema import embeddings, labels, meta, metadata
from detector.storage.schema import samples as table
from detector.workspace import Workspace
from tests.app_server import CHECKOUT
from tests.databases import postgresql_url
from tests.factories import add_images, empty_function, images, workspace
from tests.storage.one_writer import PICTURES, ROUNDS, THREADS

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path / "data", database_url=postgresql_url(tmp_path / "data"))
    yield opened
    opened.close()


def together(ws: Workspace, action: str, *function_ids: str, processes: int = 2) -> list[str]:
    """Have processes do something at once; what all their threads have got. None of them may end in an error."""
    url, folder = ws.settings.url, str(ws.settings.data_dir)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.storage.one_writer", action, url, folder, str(n * THREADS), *function_ids],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(processes)
    ]
    got: list[str] = []
    for process in started:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        got += [item for of_thread in json.loads(out.splitlines()[-1]) for item in of_thread]
    return got


def test_equal_posts_at_once_make_one_sample_each_and_no_error(ws: Workspace) -> None:
    """Kind: two that look, find nothing and insert. All pictures are new to both functions, and come in any order."""
    both = [empty_function(ws, name).id for name in ("First", "Second")]
    got = together(ws, "posts", *both)
    there = [sample.id for function_id in both for sample in samples.find_samples(ws.db, function_id, limit=None)]
    assert len(there) == 2 * PICTURES
    assert sorted(got) == sorted(there)
    assert all(len(imports.list_batches(ws.db, function_id)) == 1 for function_id in both)


def test_equal_imports_at_once_make_one_sample_each_and_no_error(ws: Workspace) -> None:
    both = [empty_function(ws, name).id for name in ("First", "Second")]
    got = together(ws, "imported", *both)
    there = [sample.id for function_id in both for sample in samples.find_samples(ws.db, function_id, limit=None)]
    assert len(there) == 2 * PICTURES
    assert sorted(got) == sorted(there)


def test_no_job_is_given_to_two_processes_and_no_two_of_one_function_run_at_once(ws: Workspace) -> None:
    asked = [
        jobs.enqueue(ws.db, function_id, BUILD, {"number": number})
        for function_id in [empty_function(ws, str(n)).id for n in range(6)]
        for number in range(12)
    ]
    assert sorted(together(ws, "claims")) == sorted(asked)


def test_a_label_that_all_need_at_once_is_made_once(ws: Workspace) -> None:
    function = empty_function(ws)
    together(ws, "labels", function.id)
    with ws.db.read() as connection:
        positions = connection.scalars(select(labels.c.position).where(labels.c.function_id == function.id)).all()
    assert sorted(positions) == list(range(2 + ROUNDS))


def test_models_that_are_added_at_once_have_one_version_each(ws: Workspace) -> None:
    function = empty_function(ws)
    together(ws, "versions", function.id)
    made = [model.version for model in models.list_models(ws.db, function.id)]
    assert made == list(range(2 * THREADS * ROUNDS, 0, -1))


def test_embeddings_of_the_same_images_are_written_at_once_without_an_error(ws: Workspace) -> None:
    function = empty_function(ws)
    add_images(ws, function, images(40))
    together(ws, "numbers", function.id)
    with ws.db.read() as connection:
        assert connection.scalar(select(func.count()).select_from(embeddings)) == 2 * 80 * ROUNDS


def test_a_reader_sees_one_state_as_it_does_in_sqlite(ws: Workspace) -> None:
    function = empty_function(ws)
    with ws.db.read() as connection:
        count = select(func.count()).select_from(table)
        before = connection.scalar(count)
        add_images(ws, function, images(1))
        assert connection.scalar(count) == before == 0
    assert samples.count_samples(ws.db, function.id) == 2


def test_writers_of_two_functions_do_not_wait_for_each_other(ws: Workspace) -> None:
    first, second = empty_function(ws, "First"), empty_function(ws, "Second")
    with ws.db.write([first.id]):
        functions.rename_function(ws.db, second.id, "Renamed")
    assert functions.get_function(ws.db, second.id).name == "Renamed"


def test_whoever_does_not_say_what_it_changes_is_alone(ws: Workspace) -> None:
    function = empty_function(ws)
    done = threading.Event()

    def rename() -> None:
        functions.rename_function(ws.db, function.id, "Renamed")
        done.set()

    with ws.db.write() as connection:
        thread = threading.Thread(target=rename)
        thread.start()
        assert not done.wait(1)
        connection.execute(meta.insert().values(key="alone", value="yes"))
    thread.join()
    assert done.is_set()


def test_opening_a_database_does_not_wait_for_its_writers(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 2)
    with ws.db.write() as connection:
        Database(ws.settings.url).close()
        connection.execute(meta.insert().values(key="alone", value="yes"))


def test_two_that_open_a_new_database_at_once_make_its_tables_once(tmp_path: Path) -> None:
    url = postgresql_url(tmp_path)
    db = Database(url)
    with db.write() as connection:
        metadata.drop_all(connection)
    db.close()
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Database, [url] * 4))
    for one in opened:
        one.secret("signing")
        one.close()
    assert len({one.secret("signing") for one in opened}) == 1


def test_a_writer_that_does_nothing_any_more_is_ended_by_the_server(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a machine without power, in the middle of a write, held everybody up until somebody looked."""
    # A minute, as those who wait for it do; here the one must be over well before the other.
    monkeypatch.setattr(server_database, "_MOST_IDLE", "1000")
    function = empty_function(ws)
    half = ws.db.write([function.id])
    connection = half.__enter__()
    functions.rename_function(ws.db, function.id, "Renamed")
    assert functions.get_function(ws.db, function.id).name == "Renamed"
    with pytest.raises(StorageUnavailable) as caught:
        half.__exit__(None, None, None)
    assert caught.value.passes
    assert connection.closed


def test_whoever_waits_too_long_for_a_writer_says_so(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 1)
    function = empty_function(ws)
    with ws.db.write([function.id]) as connection:
        end = time.monotonic() + 2
        failed = threading.Event()

        def rename() -> None:
            try:
                functions.rename_function(ws.db, function.id, "Renamed")
            except StorageUnavailable:
                failed.set()

        thread = threading.Thread(target=rename)
        thread.start()
        while time.monotonic() < end:
            connection.scalar(select(func.count()).select_from(meta))
            time.sleep(0.1)
        thread.join()
    assert failed.is_set()
    assert functions.get_function(ws.db, function.id).name == "Test"


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_a_text_that_no_database_holds_is_refused_with_a_sentence(ws: Workspace, text: str) -> None:
    function = empty_function(ws)
    for act in (
        lambda: functions.set_training_note(ws.db, function.id, text),
        lambda: samples.find_samples(ws.db, function.id, samples.SampleFilter(source=text)),
        lambda: samples.set_source(ws.db, function.id, ["0" * 16], text),
    ):
        with pytest.raises(InvalidInput) as caught:
            act()
        assert "NUL character or half of a character" in str(caught.value)


@pytest.mark.parametrize("number", [2**63, 10**30])
def test_a_number_that_no_database_holds_is_refused_with_a_sentence(ws: Workspace, number: int) -> None:
    function = empty_function(ws)
    with pytest.raises(InvalidInput, match="larger than any"):
        samples.find_samples(ws.db, function.id, offset=number)


def test_what_belongs_to_one_function_does_not_wait_for_another_one(ws: Workspace) -> None:
    """Kind: writers who did not say what they change, and so waited for everybody and kept everybody waiting."""
    function, other = empty_function(ws, "One"), empty_function(ws, "Other")
    add_images(ws, function, images(1))
    [first, second] = samples.find_samples(ws.db, function.id)
    trash.delete_samples(ws.db, function.id, [second.id])
    batch = imports.create_batch(ws.db, function.id, "files", "some files")
    facts = {
        **{"backbone_id": "b", "backbone_key": "k", "precision": "float32", "label_ids": [], "label_names": []},
        **{"sample_count": 0, "training_fingerprint": "f", "hyperparameters": {}, "sweep": [], "note": ""},
        **{"seconds": 0.0, "labels_read_at": 0.0},
    }
    model = models.add_model(ws.db, ws.blobs, function.id, b"model", None, **facts)

    def write() -> int:
        flip = evaluations.Flip("webp", first.id, "label")
        evaluations.write_part(ws.db, model.id, "webp", {}, 1.0, [flip])
        evaluations.delete_part(ws.db, model.id, "webp")
        imports.forget_rejected(ws.db, batch)
        samples.set_thumbnail(ws.db, first.image_hash, b"smaller")
        return trash.empty_bin(ws.db, function.id)

    with ThreadPoolExecutor(1) as elsewhere, ws.db.write([other.id]):
        # Within the time that a lock is waited for.
        assert elsewhere.submit(write).result(timeout=20) == 1
    assert samples.thumbnail(ws.db, first.image_hash) == b"smaller"
