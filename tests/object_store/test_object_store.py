"""Pictures and models in a real object store: the same answers as from a folder, and each picture stored once."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import time
import zipfile
from pathlib import Path

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from detector.errors import NamedFileDamaged, StoredFileDamaged, StoredFileMissing
from detector.operations.deletion import delete_function
from detector.settings import Settings
from detector.storage import functions, object_blobs, s3_objects, samples
from detector.storage.stores import CACHE, open_blobs
from detector.web.media import picture_routes
from detector.web.signing import picture_path
from detector.workspace import Workspace
from tests.command_line import OFFLINE, run_here, start
from tests.factories import add_images, empty_function, images, make_image
from tests.made_folders import make_folder
from tests.s3_server import BUCKET, SECRET, S3Server, prefix_of, without_conditions
from tests.stored import number, outcome

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DATA = make_image(1)
HASH = hashlib.sha256(DATA).hexdigest()


def key_of(tmp_path: Path, image_hash: str = HASH) -> str:
    return f"{prefix_of(tmp_path)}/images/{image_hash[:2]}/{image_hash[2:4]}/{image_hash}"


def open_workspace(folder: Path, store: str, **settings: object) -> Workspace:
    usual = {"precision": "float32", "retrain_delay": 0.0, "copies": 0, "store": store}
    return Workspace.open(Settings(data_dir=folder, **usual | settings))  # type: ignore[arg-type]


def test_import_training_invoke_and_export_give_what_a_folder_gives(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "set", {"real": 30, "synthetic": 30})
    picture = next((folder / "synthetic").iterdir())
    answers = {}
    for name, place in (("in the folder", ""), ("in the store", store)):
        data = tmp_path / name
        settings = {"DETECTOR_STORE": place, "DETECTOR_COPIES": "1"} | server.environment()
        trained = run_here(data, "train", folder, "--function", "set", *OFFLINE, "--json", **settings)
        assert trained.code == 0, trained.err
        if place:
            # As on another machine, or after its disk was cleared.
            shutil.rmtree(data / CACHE)
        invoked = run_here(data, "invoke", "set", picture, "--json", **settings)
        assert invoked.code == 0, invoked.err
        exported = run_here(data, "export", "set", tmp_path / f"{name}.zip", **settings)
        assert exported.code == 0, exported.err
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as archive:
            pictures = {entry: archive.read(entry) for entry in archive.namelist() if entry.endswith(".png")}
        verdict = invoked.out.replace(str(data), "")
        answers[name] = (outcome(data), verdict, pictures)
    assert answers["in the store"] == answers["in the folder"]
    assert len(answers["in the store"][2]) == 60
    assert not (tmp_path / "in the store" / "blobs").exists()
    lies_there = {key.split("/")[2] for key in server.keys(f"{prefix_of(tmp_path)}/")}
    assert {"images", "models", "neighbours"} <= lies_there


def test_a_deleted_function_takes_its_pictures_and_models_out_of_the_store(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "set", {"real": 12, "synthetic": 12})
    data = tmp_path / "data"
    trained = run_here(data, "train", folder, *OFFLINE, "--json", DETECTOR_STORE=store, **server.environment())
    assert trained.code == 0, trained.err
    ws = open_workspace(data, store)
    # A picture that another function has too stays.
    add_images(ws, empty_function(ws, "Other"), [("a.png", next((folder / "real").iterdir()).read_bytes(), "real")])
    delete_function(ws, trained.json["function"])
    deadline = time.monotonic() + 300
    while number(data, "SELECT COUNT(*) FROM images") > 1 and time.monotonic() < deadline:
        time.sleep(0.2)
    ws.close()
    left = [key.removeprefix(f"{prefix_of(tmp_path)}/") for key in server.keys(f"{prefix_of(tmp_path)}/")]
    assert [key.split("/")[0] for key in left if not key.startswith("wanted/")] == ["images"]


def test_two_processes_that_import_the_same_pictures_store_each_once(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "set", {"real": 20, "synthetic": 20})
    data = tmp_path / "data"
    open_workspace(data, store).close()
    settings = {"DETECTOR_STORE": store, "DETECTOR_COPIES": "0", "DETECTOR_PRECISION": "float32"}
    before = server.asked("PUT", prefix_of(tmp_path))
    running = [
        start(data, "train", folder, "--function", name, *OFFLINE, **settings, **server.environment())
        for name in ("one", "two")
    ]
    for process in running:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    prefix = f"{prefix_of(tmp_path)}/images/"
    assert len(server.keys(prefix)) == 40
    assert number(data, "SELECT COUNT(*) FROM samples") == 80
    assert server.asked("PUT", prefix_of(tmp_path)) > before
    # And a third time nothing of them is sent at all.
    sent = server.asked("PUT", prefix)
    again = run_here(data, "train", folder, "--function", "three", *OFFLINE, **settings, **server.environment())
    assert again.code == 0, again.err
    assert server.asked("PUT", prefix) == sent


def test_an_object_is_created_once_whoever_comes_first(store: str, tmp_path: Path) -> None:
    """The store itself decides: what lies there is not written over by who comes a moment later."""
    first, second = (open_blobs(store, tmp_path / name, 0)._objects for name in ("a", "b"))  # type: ignore[attr-defined]
    outcomes: list[bool] = []
    threads = [
        threading.Thread(target=lambda it=it, text=text: outcomes.append(it.create("images/x", text)))
        for it, text in ((first, b"first"), (second, b"second"), (first, b"third"), (second, b"fourth"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False, False, False, True]


def test_a_server_that_knows_no_conditions_is_asked_first_and_then_given_the_picture(
    server: S3Server, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with without_conditions(server) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        blobs = open_blobs(store, tmp_path, 0)
        blobs.put_image(HASH, DATA)
        assert blobs.image(HASH) == DATA
        objects = blobs._objects  # type: ignore[attr-defined]
        assert not objects.create(key_of(tmp_path).removeprefix(f"{prefix_of(tmp_path)}/"), b"other")
        assert blobs.image(HASH) == DATA
        assert not objects._conditional


@pytest.mark.parametrize("below", ["", "a/b"])
def test_listings_of_several_pages_come_whole(
    server: S3Server, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr(s3_objects, "_PAGE", 5)
    # The second one has the whole bucket, without a prefix.
    objects = open_blobs(f"s3://{BUCKET}/{below}" if below else f"s3://{BUCKET}", tmp_path, 0)._objects  # type: ignore[attr-defined]
    folder = f"listing-{tmp_path.name}"
    for number_of_it in range(12):
        objects.write(f"{folder}/{number_of_it:02}", b"x")
    assert [key for key, _ in objects.names(f"{folder}/")] == [f"{folder}/{n:02}" for n in range(12)]
    assert [key for key, _ in objects.names(f"{folder}/", 1)] == [f"{folder}/00"]
    assert len(server.keys(f"{below}/{folder}/" if below else f"{folder}/")) == 12


def test_what_is_left_of_discarding_is_swept_in_the_store_itself(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = open_blobs(store, tmp_path, 0)
    objects = blobs._objects  # type: ignore[attr-defined]
    objects.write(f"aside/{HASH}.0123abcd", DATA)
    blobs.put_image(HASH, DATA)
    blobs.put_image(HASH, DATA)
    assert blobs.sweep(0.0) == 0
    # Keys are signed with the time, and a clock that is wrong by hours is refused: so the rule is made shorter.
    monkeypatch.setattr(object_blobs, "_ASIDE_SECONDS", -60.0)
    monkeypatch.setattr(object_blobs, "WANTED_SECONDS", -60.0)
    assert blobs.sweep(0.0) == 2
    assert [key for folder in ("aside/", "wanted/") for key, _ in objects.names(folder)] == []
    assert blobs.image(HASH) == DATA


def test_a_damaged_object_is_not_handed_out_and_mended_by_importing_it_again(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    blobs = open_blobs(store, tmp_path, 0)
    blobs.put_image(HASH, DATA)
    for damaged in (DATA[:-1] + b"x", DATA[:100], b""):
        server.client().put_object(Bucket=BUCKET, Key=key_of(tmp_path), Body=damaged)
        with pytest.raises(StoredFileDamaged):
            blobs.image(HASH)
        blobs.put_image(HASH, DATA)
        assert blobs.image(HASH) == DATA
    server.client().delete_object(Bucket=BUCKET, Key=key_of(tmp_path))
    with pytest.raises(StoredFileMissing):
        blobs.image(HASH)


def test_a_damaged_model_counts_as_none_and_a_new_one_is_trained(server: S3Server, store: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "set", {"real": 12, "synthetic": 12})
    data = tmp_path / "data"
    settings = {"DETECTOR_STORE": store, "DETECTOR_COPIES": "0"} | server.environment()
    assert run_here(data, "train", folder, "--function", "set", *OFFLINE, **settings).code == 0
    [key] = [k for k in server.keys(f"{prefix_of(tmp_path)}/models/") if k.count(".") == 1]
    whole = server.client().get_object(Bucket=BUCKET, Key=key)
    body = whole["Body"].read()
    # The numbers are others, the file is a model all the same: only what was noted with it tells.
    changed = body[:-1] + bytes([body[-1] ^ 1])
    server.client().put_object(Bucket=BUCKET, Key=key, Body=changed, Metadata=whole["Metadata"])
    name = key.removeprefix(f"{prefix_of(tmp_path)}/")
    with pytest.raises(NamedFileDamaged):
        open_blobs(store, tmp_path, 0).get(name)
    assert run_here(data, "train", folder, "--function", "set", *OFFLINE, **settings).code == 0
    assert number(data, "SELECT COUNT(*) FROM models") == 2


def test_originals_come_by_links_where_they_are_asked_for_and_what_browsers_do_not_show_from_here(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    tiff = io.BytesIO()
    Image.open(io.BytesIO(make_image(2))).save(tiff, "TIFF")
    ws = open_workspace(tmp_path, store, store_links=True)
    function = empty_function(ws)
    add_images(ws, function, [("a.png", DATA, "real"), ("b.tif", tiff.getvalue(), "real")])
    with_links = TestClient(Starlette(routes=picture_routes(ws)), follow_redirects=False)
    answer = with_links.get(picture_path(ws.db, "image", HASH))
    assert answer.status_code == 302
    assert answer.headers["cache-control"] == "private, max-age=300"
    link = answer.headers["location"]
    assert "X-Amz-Expires=600" in link
    assert SECRET not in link
    fetched = httpx.get(link)
    assert (fetched.content, fetched.headers["content-type"]) == (DATA, "image/png")
    assert with_links.get(picture_path(ws.db, "view", HASH)).status_code == 302
    # Without our own signature there is no link.
    assert with_links.get(picture_path(ws.db, "view", HASH).replace("signature=", "signature=0")).status_code == 403
    # Thumbnails lie in the database, and a TIFF is shown as the PNG that is made of it.
    assert with_links.get(picture_path(ws.db, "thumbnail", HASH)).status_code == 200
    of_tiff = hashlib.sha256(tiff.getvalue()).hexdigest()
    view = with_links.get(picture_path(ws.db, "view", of_tiff))
    assert (view.status_code, view.headers["content-type"]) == (200, "image/png")
    server.client().delete_object(Bucket=BUCKET, Key=key_of(tmp_path))
    shutil.rmtree(tmp_path / CACHE)
    gone = with_links.get(picture_path(ws.db, "image", HASH))
    assert (gone.status_code, "missing" in gone.text) == (404, True)
    ws.close()
    usual = open_workspace(tmp_path, store)
    without = TestClient(Starlette(routes=picture_routes(usual)), follow_redirects=False)
    assert without.get(picture_path(usual.db, "image", of_tiff)).content == tiff.getvalue()
    usual.close()


def test_the_cache_stays_within_its_bound_while_pictures_are_read(store: str, tmp_path: Path) -> None:
    ws = open_workspace(tmp_path, store, store_cache_mb=1)
    function = empty_function(ws)
    files = images(60)
    add_images(ws, function, files)
    total = sum(len(data) for _, data, _ in files)
    assert total > 1_500_000
    for sample in samples.find_samples(ws.db, function.id, limit=200):
        assert ws.blobs.image(sample.image_hash)
        assert sum(path.stat().st_size for path in (tmp_path / CACHE).rglob("*") if path.is_file()) <= 1_000_000
    ws.close()


def test_a_data_folder_is_copied_into_a_store_and_works_from_there(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "set", {"real": 12, "synthetic": 12})
    data = tmp_path / "data"
    assert run_here(data, "train", folder, "--function", "set", *OFFLINE, DETECTOR_COPIES="0").code == 0
    files = [path for path in (data / "blobs").rglob("*") if path.is_file()]
    damaged = next(path for path in files if path.parts[-4] == "images")
    whole = damaged.read_bytes()
    damaged.write_bytes(b"x" * len(whole))
    first = run_here(data, "copy-to-store", store, "--json", **server.environment())
    named = damaged.relative_to(data / "blobs").as_posix()
    assert (first.code, first.json) == (1, {"copied": len(files) - 1, "already_there": 0, "damaged": [named]})
    damaged.write_bytes(whole)
    second = run_here(data, "copy-to-store", store, "--json", **server.environment())
    assert (second.code, second.json) == (0, {"copied": 1, "already_there": len(files) - 1, "damaged": []})
    (data / "blobs").rename(tmp_path / "away")
    picture = next((folder / "real").iterdir())
    invoked = run_here(data, "invoke", "set", picture, "--json", DETECTOR_STORE=store, **server.environment())
    assert invoked.code == 0, invoked.err
    ws = open_workspace(data, store)
    assert ws.warning == ""
    for line in functions.list_functions(ws.db):
        for sample in samples.find_samples(ws.db, line.function.id, limit=100):
            assert ws.blobs.image(sample.image_hash)
    ws.close()
    refused = run_here(data, "copy-to-store", store, DETECTOR_STORE=store, **server.environment())
    assert (refused.code, "DETECTOR_STORE is set" in refused.sentence) == (1, True)
