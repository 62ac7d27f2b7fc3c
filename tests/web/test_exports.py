"""Exports over HTTP by signed address."""

from __future__ import annotations

import csv
import io
import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from detector.gallery.filters import ANY, GalleryFilter, Order
from detector.gallery.selection import matching_ids
from detector.imaging import sha256_hex
from detector.importing.spool import SELECTION_ENDING
from detector.storage import functions, imports
from detector.storage.folder_blobs import FolderBlobs
from detector.storage.functions import Function
from detector.storage.imports import ImageRow, NewSample
from detector.web.exports import export_path, export_routes, selection_path
from detector.web.signing import export_token
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, labelled_function, make_image, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def client(ws: Workspace) -> TestClient:
    return TestClient(Starlette(routes=export_routes(ws)))


@pytest.fixture
def function(ws: Workspace) -> Function:
    function = labelled_function(ws, 2, name="Échantillon: 1")
    add_images(ws, function, [("plain.png", make_image(50), None)])
    return function


def _ids(ws: Workspace, function: Function) -> list[str]:
    return matching_ids(ws, function.id, GalleryFilter(), Order.OLDEST)


def _rows(response: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


def _safe(response: httpx.Response) -> bool:
    headers = response.headers
    return (
        headers["x-content-type-options"] == "nosniff"
        and headers["cache-control"] == "no-store"
        and "sandbox" in headers["content-security-policy"]
        and headers["content-disposition"].startswith("attachment; ")
    )


def test_everything_is_a_table_in_the_order_of_the_gallery(
    ws: Workspace, client: TestClient, function: Function
) -> None:
    response = client.get(export_path(ws.db, function.id, "csv", GalleryFilter(), Order.NEWEST))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert _safe(response)
    assert [row["sample"] for row in _rows(response)] == _ids(ws, function)[::-1]


def test_the_file_is_called_after_the_function_and_the_day(
    ws: Workspace, client: TestClient, function: Function
) -> None:
    path = export_path(ws.db, function.id, "zip", GalleryFilter(), Order.NEWEST)
    days = {f"{datetime.now(UTC):%Y-%m-%d}"}
    disposition = client.get(path).headers["content-disposition"]
    days.add(f"{datetime.now(UTC):%Y-%m-%d}")
    assert disposition in {
        f"attachment; filename=\"_chantillon_ 1 {day}.zip\"; filename*=UTF-8''{quote(f'Échantillon_ 1 {day}.zip')}"
        for day in days
    }


def test_what_the_filter_shows_comes_as_a_zip(ws: Workspace, client: TestClient, function: Function) -> None:
    response = client.get(export_path(ws.db, function.id, "zip", GalleryFilter(label=ANY), Order.OLDEST))
    assert response.headers["content-type"] == "application/zip"
    assert _safe(response)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            *("real/real-0.png", "synthetic/synthetic-0.png", "real/real-1.png", "synthetic/synthetic-1.png"),
            "samples.csv",
        ]


def test_a_selection_comes_in_its_own_order_and_holds_nothing_else(
    ws: Workspace, client: TestClient, function: Function
) -> None:
    chosen = _ids(ws, function)[3:0:-2]
    path = selection_path(ws, function.id, "csv", chosen)
    assert [row["sample"] for row in _rows(client.get(path))] == chosen
    assert list(ws.spool.iterdir()) == []


def test_a_selection_of_thousands_has_a_short_address(ws: Workspace, client: TestClient, function: Function) -> None:
    rng = np.random.default_rng(0)
    hundreds, thousands = ([rng.bytes(8).hex() for _ in range(n)] for n in (500, 20_000))
    assert len(selection_path(ws, function.id, "csv", hundreds)) < 8_000
    assert list(ws.spool.iterdir()) == []

    chosen = [*thousands, *_ids(ws, function)]
    path = selection_path(ws, function.id, "csv", chosen)
    assert len(path) < 500
    assert [row["sample"] for row in _rows(client.get(path))] == _ids(ws, function)
    # Drawing the page again keeps no second copy.
    selection_path(ws, function.id, "zip", chosen)
    (kept,) = ws.spool.iterdir()
    assert kept.suffix == SELECTION_ENDING
    kept.unlink()
    assert client.get(path).status_code == 404


def test_samples_of_another_function_are_not_given_away(ws: Workspace, client: TestClient, function: Function) -> None:
    other = labelled_function(ws, 1, name="Other")
    path = selection_path(ws, function.id, "csv", _ids(ws, other))
    assert _rows(client.get(path)) == []


def test_a_forged_expired_or_bare_address_is_forbidden(
    ws: Workspace, client: TestClient, function: Function, tmp_path: Path
) -> None:
    path = export_path(ws.db, function.id, "csv", GalleryFilter(), Order.NEWEST)
    foreign = export_path(workspace(tmp_path / "other").db, function.id, "csv", GalleryFilter(), Order.NEWEST)
    body, expires, signature = path.split(".")
    for refused in (foreign, path[:-1], f"{body}.{int(expires) + 1}.{signature}", "/exports/x", "/exports/a.1.b"):
        response = client.get(refused)
        assert response.status_code == 403
        assert "Reload the page" in response.text
    assert client.get("/exports/").status_code == 404


def test_a_function_that_is_gone_is_not_found(ws: Workspace, client: TestClient, function: Function) -> None:
    path = export_path(ws.db, function.id, "csv", GalleryFilter(), Order.NEWEST)
    functions.delete_function(ws.db, function.id)
    response = client.get(path)
    assert response.status_code == 404
    assert "deleted" in response.text


def test_asking_for_the_headers_alone_makes_no_file(ws: Workspace, client: TestClient, function: Function) -> None:
    response = client.head(export_path(ws.db, function.id, "zip", GalleryFilter(), Order.NEWEST))
    assert response.status_code == 200
    assert _safe(response)
    assert client.post(f"/exports/{export_token(ws.db, {})}").status_code == 405


class _CountingBlobs(FolderBlobs):
    """The real store, which counts what is read of it."""

    read = 0

    def image(self, image_hash: str) -> bytes:
        self.read += 1
        return super().image(image_hash)


def _serve(ws: Workspace) -> Iterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(Starlette(routes=export_routes(ws)), "127.0.0.1", 0, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def large(tmp_path: Path) -> tuple[Workspace, _CountingBlobs, str]:
    """400 images of 300 kB, more than any socket's buffers hold; the address of all of them as a ZIP."""
    blobs = _CountingBlobs(str(tmp_path / "blobs"))
    ws = replace(workspace(tmp_path), blobs=blobs)
    function = empty_function(ws)
    rng = np.random.default_rng(0)
    new = []
    for number in range(400):
        data = rng.bytes(300_000)
        image_hash = sha256_hex(data)
        blobs.put_image(image_hash, data)
        new.append(NewSample(f"{number}.png", ImageRow(image_hash, 300_000, "PNG", 10, 10, {}, "0" * 16, b"")))
    imports.add_samples(ws.db, function.id, None, new)
    return ws, blobs, export_path(ws.db, function.id, "zip", GalleryFilter(), Order.OLDEST)


@pytest.mark.slow
def test_who_goes_away_in_the_middle_ends_the_work(large: tuple[Workspace, _CountingBlobs, str]) -> None:
    ws, blobs, path = large
    serving = _serve(ws)
    port = next(serving)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"200 OK" in connection.recv(65_536)
    before, end = 0, time.monotonic() + 60
    # The first may be slow to come.
    while (blobs.read != before or not before) and time.monotonic() < end:
        before = blobs.read
        time.sleep(0.3)
    assert 0 < blobs.read < 300
    # The server is free for the next one, and it gets everything.
    response = httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert len(archive.namelist()) == 401
    next(serving, None)


@pytest.mark.slow
def test_a_slow_reader_does_not_hold_up_the_others(large: tuple[Workspace, _CountingBlobs, str]) -> None:
    ws, blobs, path = large
    serving = _serve(ws)
    port = next(serving)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        connection.recv(10)
        time.sleep(0.5)
        # What nobody takes is not made either: it would pile up in memory.
        assert blobs.read < 300
        # The slow one never goes on: whoever had to wait for it would wait for ever.
        assert httpx.head(f"http://127.0.0.1:{port}{path}", timeout=60).status_code == 200
    next(serving, None)
