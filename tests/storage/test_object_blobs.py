"""Blobs in an object store: the rules that hold on any, tried in memory and in a folder that plays one."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from detector.errors import DatabaseMissing, InvalidInput, NotFound, StoredFileMissing
from detector.settings import Settings
from detector.storage.blob_cache import BlobCache
from detector.storage.blobs import WANTED_SECONDS
from detector.storage.object_blobs import ObjectBlobs
from detector.storage.objects import FsspecObjects
from detector.storage.stores import CACHE, open_blobs
from detector.workspace import Workspace
from tests.command_line import CHECKOUT, environment
from tests.databases import sqlite_only
from tests.factories import add_images, empty_function, images, workspace

DATA = bytes(range(256)) * 40
HASH = hashlib.sha256(DATA).hexdigest()
KEY = f"images/{HASH[:2]}/{HASH[2:4]}/{HASH}"


@pytest.fixture(params=["memory://object-blobs-{}", "file://{}"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    # Names of temporary folders differ from test to test, within a run too.
    return str(request.param).format(tmp_path / "store")


class _Watched(FsspecObjects):
    """The real objects; something else happens right before one of them is removed, as of another process."""

    before_delete: Callable[[], None] | None = None

    def delete(self, key: str) -> None:
        act, self.before_delete = self.before_delete, None
        if act is not None:
            act()
        super().delete(key)


def _blobs(objects: FsspecObjects, tmp_path: Path, cache_bytes: int = 0) -> ObjectBlobs:
    return ObjectBlobs(objects, BlobCache(tmp_path / "cache", cache_bytes))


def test_an_image_comes_back_byte_for_byte_and_lies_under_its_hash(url: str, tmp_path: Path) -> None:
    objects = FsspecObjects(url)
    _blobs(objects, tmp_path).put_image(HASH, DATA)
    assert [key for key, _ in objects.names("images/")] == [KEY]
    assert _blobs(objects, tmp_path).image(HASH) == DATA


def test_what_was_read_lately_is_read_from_the_cache_and_a_damaged_copy_is_fetched_again(
    url: str, tmp_path: Path
) -> None:
    objects = FsspecObjects(url)
    cache = BlobCache(tmp_path / "cache", 1_000_000)
    blobs = ObjectBlobs(objects, cache)
    blobs.put_image(HASH, DATA)
    # While the first look at the folder lasts, a second copy may not be kept.
    cache.wait()
    objects.write(KEY, b"something else")
    assert blobs.image(HASH) == DATA
    objects.write(KEY, DATA)
    [copy] = (tmp_path / "cache").glob("??/*")
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert blobs.image(HASH) == DATA
    assert hashlib.sha256(copy.read_bytes()[32:]).hexdigest() == HASH


def test_a_named_file_is_read_anew_after_every_put_of_any_process(url: str, tmp_path: Path) -> None:
    objects = FsspecObjects(url)
    here, there = _blobs(objects, tmp_path, 1_000_000), _blobs(objects, tmp_path / "there", 1_000_000)
    versions = set()
    for text in (b"one", b"two, longer", b"three, longer still"):
        there.put("models/a", text)
        assert here.get("models/a") == text
        assert here.get("models/a") == text
        versions.add(here.version("models/a"))
    assert len(versions) == 3
    there.delete("models/a")
    there.delete("models/a")
    for act in (here.get, here.version):
        with pytest.raises(NotFound):
            act("models/a")


@pytest.mark.parametrize("name", ["../outside", "models/../../outside", "/etc/passwd"])
def test_names_that_lead_out_of_the_store_are_refused(url: str, tmp_path: Path, name: str) -> None:
    blobs = _blobs(FsspecObjects(url), tmp_path)
    for act in (blobs.get, blobs.version, blobs.delete, lambda name: blobs.put(name, b"x")):
        with pytest.raises(NotFound):
            act(name)


def test_bytes_that_no_row_needs_go_and_bytes_brought_since_stay(url: str, tmp_path: Path) -> None:
    objects = FsspecObjects(url)
    blobs = _blobs(objects, tmp_path, 1_000_000)
    blobs.put_image(HASH, DATA)
    assert not blobs.discard_image(HASH, time.time() - 10)
    assert blobs.image(HASH) == DATA
    assert blobs.discard_image(HASH, time.time() + 10)
    assert not blobs.has_image(HASH, len(DATA))
    assert list((tmp_path / "cache").glob("??/*")) == []
    assert list(objects.names("aside/")) == []
    # And once more: nothing is there.
    assert blobs.discard_image(HASH, time.time())


def test_bytes_that_an_import_found_done_stay_though_nothing_was_sent(url: str, tmp_path: Path) -> None:
    """The row of that import is about to come."""
    blobs = _blobs(FsspecObjects(url), tmp_path)
    blobs.put_image(HASH, DATA)
    time.sleep(0.05)
    used_until = time.time()
    assert blobs.has_image(HASH, len(DATA))
    time.sleep(0.05)
    blobs.put_image(HASH, DATA)
    assert not blobs.discard_image(HASH, used_until)
    assert blobs.image(HASH) == DATA


def test_bytes_that_an_import_finds_in_the_moment_of_their_removal_are_put_back(url: str, tmp_path: Path) -> None:
    """Another process has looked, found them, and says so, between the last look of who discards and the removal."""
    objects = _Watched(url)
    discarding, importing = _blobs(objects, tmp_path), _blobs(FsspecObjects(url), tmp_path)
    importing.put_image(HASH, DATA)
    time.sleep(0.05)
    used_until = time.time()
    time.sleep(0.05)
    objects.before_delete = lambda: importing.put_image(HASH, DATA)
    assert not discarding.discard_image(HASH, used_until)
    assert importing.image(HASH) == DATA
    assert list(objects.names("aside/")) == []


def test_what_a_killed_process_has_put_aside_is_put_back_if_it_was_wanted_and_removed_if_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = FsspecObjects(f"file://{tmp_path / 'store'}")
    blobs = _blobs(objects, tmp_path)
    other = hashlib.sha256(b"other").hexdigest()
    objects.write(f"aside/{HASH}.0123abcd", DATA)
    objects.write(f"aside/{other}.0123abcd", b"other")
    objects.write(f"wanted/{HASH}", b"1.0")
    assert blobs.sweep(0.0) == 0
    later = time.time() + WANTED_SECONDS
    monkeypatch.setattr(time, "time", lambda: later)
    assert blobs.sweep(0.0) == 2
    assert blobs.image(HASH) == DATA
    assert not blobs.has_image(other, 5)
    assert list(objects.names("aside/")) == []
    later += 2 * WANTED_SECONDS
    assert blobs.sweep(0.0) == 1
    assert list(objects.names("wanted/")) == []


def test_many_images_are_discarded_together(url: str, tmp_path: Path) -> None:
    blobs = _blobs(FsspecObjects(url), tmp_path)
    made = {hashlib.sha256(data).hexdigest(): data for data in (bytes([number]) * 100 for number in range(40))}
    for image_hash, data in made.items():
        blobs.put_image(image_hash, data)
    moment = time.time()
    kept = set(list(made)[::4])
    asked = {image_hash: moment - 60 if image_hash in kept else moment + 60 for image_hash in made}
    assert blobs.discard_images(asked) == made.keys() - kept
    assert {image_hash for image_hash, data in made.items() if blobs.has_image(image_hash, len(data))} == kept


@pytest.mark.parametrize("near", [True, False])
def test_many_images_are_read_in_their_order_and_each_tells_what_is_wrong_with_it(tmp_path: Path, near: bool) -> None:
    blobs = open_blobs("" if near else f"memory://readers-{tmp_path.name}", tmp_path, 0)
    made = {hashlib.sha256(data).hexdigest(): data for data in (bytes([number]) * 100 for number in range(50))}
    missing = list(made)[7]
    for image_hash, data in made.items():
        if image_hash != missing:
            blobs.put_image(image_hash, data)
    found = []
    for image_hash, read in blobs.readers(made):
        try:
            found.append((image_hash, read()))
        except StoredFileMissing:
            found.append((image_hash, b"missing"))
    assert found == list((made | {missing: b"missing"}).items())


def test_who_stops_reading_ends_the_reading_ahead(tmp_path: Path) -> None:
    asked: list[str] = []

    def hashes() -> Iterator[str]:
        for number in range(1000):
            asked.append(hashlib.sha256(bytes([number % 256, number // 256])).hexdigest())
            yield asked[-1]

    reading = open_blobs(f"memory://stopping-{tmp_path.name}", tmp_path, 0).readers(hashes())
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert 1 < len(asked) < 100


@sqlite_only("it is new: databases of the tests on a server have their tables already")
def test_a_store_of_another_database_is_not_taken_over(tmp_path: Path) -> None:
    """Somebody starts a second machine and forgets the database: it would look as if all of it were gone."""
    store = f"memory://taken-over-{tmp_path.name}"
    first = workspace(tmp_path / "first", store=store)
    add_images(first, empty_function(first), images(1))
    first.close()
    with pytest.raises(DatabaseMissing, match=r"object store .* holds pictures .* another prefix in DETECTOR_STORE"):
        workspace(tmp_path / "second", store=store)
    again = workspace(tmp_path / "first", store=store)
    assert again.warning == ""
    again.close()
    elsewhere = workspace(tmp_path / "first", store=f"{store}-elsewhere")
    assert "copy-to-store" in elsewhere.warning
    elsewhere.close()


@pytest.mark.parametrize(
    "store", ["bucket", "gs://bucket", "s3://", "s3://KEY:SECRET@bucket/x", "s3://bucket/../x", "s3://bucket/a b", "7"]
)
def test_what_names_no_store_is_refused_and_not_repeated(tmp_path: Path, store: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Workspace.open(Settings(data_dir=tmp_path, store=store))
    assert "expected s3://bucket or s3://bucket/prefix" in str(caught.value)
    assert "KEY:SECRET" not in str(caught.value)


def test_without_the_package_it_is_said_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InvalidInput, match=r'pip install "ai-image-detector\[s3\]"'):
        open_blobs("s3://bucket/prefix", tmp_path, 0)


@pytest.mark.slow
def test_nothing_of_it_is_loaded_or_made_where_no_store_is_named(tmp_path: Path) -> None:
    names = ["s3fs", "aiobotocore", "botocore", "detector.storage.objects", "detector.storage.object_blobs"]
    script = (
        "from detector.workspace import Workspace; import sys; Workspace.open(); "
        f"print([name for name in {names} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=CHECKOUT,
        env=environment(tmp_path / "data"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "[]"
    assert not (tmp_path / "data" / CACHE).exists()


def test_pictures_of_a_store_without_links_come_from_here(tmp_path: Path) -> None:
    ws = workspace(tmp_path, store=f"memory://links-{tmp_path.name}", store_links=True)
    ws.blobs.put_image(HASH, DATA)
    assert ws.blobs.link(HASH, "image/png", 60) is None
    ws.close()
