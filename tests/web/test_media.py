"""Pictures over HTTP by signed address."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from detector.gallery.detail import sample_detail
from detector.imaging import inspect_image
from detector.storage import functions, invoke_runs, samples
from detector.storage.database import now
from detector.storage.invoke_runs import RunPicture
from detector.storage.schema import thumbnails
from detector.web import signing
from detector.web.media import picture_routes
from detector.web.signing import picture_path
from detector.workspace import Workspace
from tests.factories import add_images, empty_function, make_image, workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def client(ws: Workspace) -> TestClient:
    return TestClient(Starlette(routes=picture_routes(ws)))


@pytest.fixture
def image_hash(ws: Workspace) -> str:
    function = empty_function(ws)
    add_images(ws, function, [("a.png", make_image(1, size=400), "real")])
    return samples.find_samples(ws.db, function.id)[0].image_hash


def _safe(response: httpx.Response) -> bool:
    headers = response.headers
    return headers["x-content-type-options"] == "nosniff" and "sandbox" in headers["content-security-policy"]


def test_a_thumbnail_is_served_small_and_cacheable(ws: Workspace, client: TestClient, image_hash: str) -> None:
    response = client.get(picture_path(ws.db, "thumbnail", image_hash))
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert "max-age=3600" in response.headers["cache-control"]
    assert response.content == samples.thumbnail(ws.db, image_hash)
    assert _safe(response)


def test_a_thumbnail_of_a_run_of_invokes_is_served_though_its_picture_is_no_sample(
    ws: Workspace, client: TestClient
) -> None:
    run_id = invoke_runs.create_run(ws.db, empty_function(ws).id, "a.zip", "model")
    small = inspect_image(make_image(1, size=400), "a.png", ws.limits).thumbnail
    found = [(RunPicture(0, "a.png"), small), (RunPicture(1, "notes.txt", problem="no picture"), None)]
    invoke_runs.add_pictures(ws.db, run_id, found)
    response = client.get(picture_path(ws.db, "run", f"{run_id}-0"))
    assert (response.status_code, response.content) == (200, small)
    assert response.headers["content-type"] == "image/jpeg"
    assert _safe(response)
    assert client.get(picture_path(ws.db, "run", f"{run_id}-1")).status_code == 404
    # The signature is good for this picture of this run alone.
    assert (
        client.get(picture_path(ws.db, "run", f"{run_id}-0").replace(f"{run_id}-0", f"{run_id}-1")).status_code == 403
    )
    invoke_runs.delete_run(ws.db, run_id)
    assert client.get(picture_path(ws.db, "run", f"{run_id}-0")).status_code == 404


def test_the_original_is_served_byte_for_byte_in_its_type(ws: Workspace, client: TestClient, image_hash: str) -> None:
    response = client.get(picture_path(ws.db, "image", image_hash))
    assert response.content == make_image(1, size=400)
    assert response.headers["content-type"] == "image/png"
    assert _safe(response)


def test_an_address_of_the_other_kind_is_forbidden(ws: Workspace, client: TestClient, image_hash: str) -> None:
    path = picture_path(ws.db, "thumbnail", image_hash).replace("/thumbnail/", "/image/")
    assert client.get(path).status_code == 403


def test_an_expired_address_is_forbidden(ws: Workspace, client: TestClient, image_hash: str) -> None:
    expired = int(now()) - 1
    signature = signing._sign(ws.db, "thumbnail", image_hash, expired)
    path = f"/pictures/thumbnail/{image_hash}?expires={expired}&signature={signature}"
    response = client.get(path)
    assert response.status_code == 403
    assert "expired" in response.text


def test_a_forged_or_bare_address_is_forbidden(ws: Workspace, client: TestClient, image_hash: str) -> None:
    path = picture_path(ws.db, "thumbnail", image_hash)
    flipped = path[:-1] + ("0" if path[-1] != "0" else "1")
    assert client.get(flipped).status_code == 403
    assert client.get(path.split("?")[0]).status_code == 403
    assert client.get(path.replace("/thumbnail/", "/anything/")).status_code == 403


def test_a_picture_that_is_not_there_is_not_found(ws: Workspace, client: TestClient) -> None:
    for image_hash in ("0" * 64, "no-hash"):
        for kind in ("thumbnail", "image"):
            path = picture_path(ws.db, kind, image_hash)  # type: ignore[arg-type]
            assert client.get(path).status_code == 404


def test_nothing_but_reading_is_allowed(ws: Workspace, client: TestClient, image_hash: str) -> None:
    path = picture_path(ws.db, "image", image_hash)
    assert client.put(path, content=b"x").status_code == 405
    assert client.delete(path).status_code == 405


def _path_of(ws: Workspace, image_hash: str) -> Path:
    [path] = (ws.settings.data_dir / "blobs" / "images").rglob(image_hash)
    return path


@pytest.mark.parametrize("left", [None, b"", b"no picture", "half"])
def test_a_thumbnail_that_is_gone_or_none_is_made_again_and_kept(
    ws: Workspace, client: TestClient, image_hash: str, left: bytes | str | None
) -> None:
    """The kind: thumbnails that were deleted, emptied, overwritten or cut off were never made again."""
    whole = samples.thumbnail(ws.db, image_hash)
    with ws.db.write() as connection:
        if left is None:
            connection.execute(thumbnails.delete())
        else:
            connection.execute(thumbnails.update().values(data=whole[:-9] if left == "half" else left))
    response = client.get(picture_path(ws.db, "thumbnail", image_hash))
    assert (response.status_code, response.content) == (200, whole)
    assert samples.thumbnail(ws.db, image_hash) == whole


def test_a_damaged_original_is_said_and_mended_by_importing_it_again(
    ws: Workspace, client: TestClient, image_hash: str
) -> None:
    """The kind: flipped bits were handed out as the original."""
    path = _path_of(ws, image_hash)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    for kind in ("image", "view"):
        response = client.get(picture_path(ws.db, kind, image_hash))  # type: ignore[arg-type]
        assert response.status_code == 500
        assert "stored file of this picture is damaged" in response.text
    assert client.get(picture_path(ws.db, "thumbnail", image_hash)).status_code == 200
    [sample] = samples.find_samples(ws.db, functions.list_functions(ws.db)[0].function.id)
    assert "is damaged" in (sample_detail(ws, sample.id).failure or "")
    add_images(ws, functions.list_functions(ws.db)[0].function, [("a.png", make_image(1, size=400), "real")])
    assert client.get(picture_path(ws.db, "image", image_hash)).content == make_image(1, size=400)
    assert sample_detail(ws, sample.id).failure is None


def test_a_missing_original_is_said_and_its_sample_stays(ws: Workspace, client: TestClient, image_hash: str) -> None:
    _path_of(ws, image_hash).unlink()
    response = client.get(picture_path(ws.db, "image", image_hash))
    assert response.status_code == 404
    assert "missing from the data folder" in response.text
    [sample] = samples.find_samples(ws.db, functions.list_functions(ws.db)[0].function.id)
    assert "missing" in (sample_detail(ws, sample.id).failure or "")
    assert client.get(picture_path(ws.db, "thumbnail", image_hash)).status_code == 200
