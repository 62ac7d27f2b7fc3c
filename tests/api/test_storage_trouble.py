"""The real server on a damaged database, a disk that gets full and originals that were lost: sentences, no paths."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from streamlit.testing.v1 import AppTest

from detector.storage import functions, samples
from detector.web.signing import export_token, picture_path
from pages import _state
from tests.api.server import Server
from tests.app_server import CHECKOUT
from tests.databases import sqlite_only
from tests.factories import make_image
from tests.stored import number

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.stop()


def damage_table(data: Path, table: str) -> None:
    """Overwrite the first page of a table with nonsense; everything else can still be read."""
    path = data / "detector.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [size] = connection.execute("PRAGMA page_size").fetchone()
        [page] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xee" * size)


def says_only_what_strangers_may_know(text: str, server: Server) -> bool:
    return not any(part in text for part in (str(server.data), "/", "sqlite", "malformed", "SELECT", "Traceback"))


@sqlite_only("it is damaged, or taken away")
def test_a_damaged_table_is_503_in_the_api_and_a_sentence_for_pictures_exports_and_pages(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kind: a page of the database that cannot be read, found by a server that runs."""
    caller = server.caller()
    path = caller.create_function()
    assert caller.post_image(path, make_image(1), "real").status_code == 200
    function = functions.list_functions(server.workspace.db)[0].function
    [sample] = samples.find_samples(server.workspace.db, function.id)
    picture = picture_path(server.workspace.db, "thumbnail", sample.image_hash)
    export = f"/exports/{export_token(server.workspace.db, {'function': function.id, 'kind': 'csv', 'samples': 'a'})}"
    server.kill()
    server.workspace.close()
    damage_table(server.data, "functions")
    damage_table(server.data, "thumbnails")
    server.start()
    for answer in (caller.get("/v1/functions"), caller.get(path), caller.post_image(path, make_image(2), "real")):
        assert answer.status_code == 503
        assert answer.json()["message"].startswith("The database is damaged.")
        assert "Retry-After" not in answer.headers
        assert says_only_what_strangers_may_know(answer.text, server)
    for address in (picture, export):
        answer = requests.get(f"{server.address}{address}", timeout=60)
        assert answer.status_code == 503
        assert answer.text.startswith("The database is damaged.")
        assert says_only_what_strangers_may_know(answer.text, server)
    assert "PRAGMA integrity_check" in server.log
    monkeypatch.setenv("DETECTOR_DATA_DIR", str(server.data))
    _state.workspace.clear()
    app = AppTest.from_file(str(CHECKOUT / "pages" / "_dashboard.py"), default_timeout=60).run()
    assert not app.exception
    assert [item.value for item in app.error] == ["The database is damaged. The server's log says what to do."]
    _state.workspace.clear()
    assert number(server.data, "SELECT COUNT(*) FROM samples") == 1


@sqlite_only("it is damaged, or taken away")
def test_a_database_file_that_is_taken_away_under_the_server_is_503_and_not_made_anew(server: Server) -> None:
    """The kind: SQLite makes a file that is gone anew, empty, at the next connection."""
    caller = server.caller()
    caller.create_function("Kept")
    server.kill()
    server.workspace.close()
    server.start()
    path = server.data / "detector.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.rename(server.data / "taken")
    # Also through the connections that are open.
    assert {caller.get("/v1/functions").status_code for _ in range(20)} == {503}
    assert not path.exists()
    (server.data / "taken").rename(path)
    assert [item["name"] for item in caller.get("/v1/functions").json()] == ["Kept"]


@pytest.mark.long
@sqlite_only("it is damaged, or taken away")
def test_nothing_is_confirmed_that_goes_into_a_file_that_is_not_there_any_more(server: Server) -> None:
    """The kind: the database file is deleted or replaced while the server runs.

    Its open connections went on with the old file: every post was answered with 200, and gone at the next start.
    """
    caller = server.caller()
    path = caller.create_function()
    assert caller.post_image(path, make_image(1)).status_code == 200
    database, aside = server.data / "detector.sqlite", server.data.parent / "aside.sqlite"
    for place, instead in enumerate(("nothing", "a copy", "nonsense")):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.rename(aside)
        if instead == "a copy":
            shutil.copy(aside, database)
        elif instead == "nonsense":
            database.write_bytes(b"nonsense" * 1000)
        before = database.read_bytes() if database.exists() else b""
        for answer in (caller.post_image(path, make_image(2)), caller.post("/v1/functions", json={"name": "x"})):
            assert answer.status_code == 503, instead
            assert says_only_what_strangers_may_know(answer.text, server)
        assert (database.read_bytes() if database.exists() else b"") == before
        aside.replace(database)
        # What comes back is used again, and all that was confirmed is in it after a power cut.
        assert caller.post_image(path, make_image(3 + place)).status_code == 200, instead
    server.kill()
    server.start()
    assert caller.metrics(path)["sampleCount"] == 4


def test_what_a_killed_server_was_removing_is_gone_after_the_next_start(server: Server) -> None:
    """The kind: pictures of deleted functions stayed for ever; here the deletion's rows are gone and nothing else."""
    caller = server.caller()
    path = caller.create_function("Gone")
    other = caller.create_function("Stays")
    for seed in range(3):
        assert caller.post_image(path, make_image(seed), "real").status_code == 200
    assert caller.post_image(other, make_image(0), "real").status_code == 200
    folder = server.data / "blobs" / "images"
    gone = next(item.function for item in functions.list_functions(server.workspace.db) if item.function.name == "Gone")
    caller.get("/v1/functions")
    server.kill()
    functions.delete_function(server.workspace.db, gone.id)
    # Long after the last post, so that none of them can be on its way.
    assert sum(item.is_file() for item in folder.rglob("*")) == 3
    for item in folder.rglob("*"):
        os.utime(item, (0, 0))
    server.start()
    # Rows go after bytes, so that none is forgotten by a crash in between.
    _until(lambda: number(server.data, "SELECT COUNT(*) FROM images") == 1)
    assert sum(item.is_file() for item in folder.rglob("*")) == 1
    assert number(server.data, "SELECT COUNT(*) FROM thumbnails") == 1
    assert caller.delete(other).status_code == 200
    _until(lambda: not any(item.is_file() for item in folder.rglob("*")))


def _until(true: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)
