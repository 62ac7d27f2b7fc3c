"""Blobs in an object store, with a bounded cache on this machine.

What is put there is not sent again, and not trusted when it comes back: images by their hash, other files by what was
noted with them. See docs/object-store.md.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from detector.errors import NamedFileDamaged, NotFound, StoredFileDamaged, StoredFileMissing
from detector.storage.blob_cache import BlobCache
from detector.storage.blobs import SET_ASIDE, WANTED_SECONDS, Blobs, StoredFile, image_name, own_name
from detector.storage.objects import Found, Objects

#: Images that were just asked for, and whether they were there: putting them asks no second time.
_SEEN = 4096
#: Two processes may put and remove the same picture at the same time, but not often in a row.
_ROUNDS = 5
#: Requests on their way at the same time where many pictures are put, read or removed.
_TOGETHER = 16
#: What lies aside for longer was left by a process that was killed in the middle.
_ASIDE_SECONDS = 600.0


class ObjectBlobs(Blobs):
    """Blobs as objects.

    Parameters
    ----------
    objects : Objects
        Where they lie.
    cache : BlobCache
        What is kept of them here.
    """

    place = "the object store (DETECTOR_STORE)"
    is_near = False
    discarded_together = 4 * _TOGETHER
    together = _TOGETHER

    def __init__(self, objects: Objects, cache: BlobCache) -> None:
        self._objects, self._cache = objects, cache
        self._seen: OrderedDict[str, bool] = OrderedDict()
        self._lock = threading.Lock()

    def has_image(self, image_hash: str, byte_count: int) -> bool:
        found = self._objects.head(image_name(image_hash))
        with self._lock:
            self._seen[image_hash] = found is not None
            while len(self._seen) > _SEEN:
                self._seen.popitem(last=False)
        return found is not None and found.byte_count == byte_count

    def put_image(self, image_hash: str, data: bytes) -> None:
        key = image_name(image_hash)
        with self._lock:
            there = self._seen.pop(image_hash, None)
        if there is None:
            there = self._objects.head(key) is not None
        for _ in range(_ROUNDS):
            if not there and self._objects.create(key, data):
                break
            # First say that it is wanted, then look whether it is there: who discards it looks the other way round.
            self._objects.write(_wanted(image_hash), repr(time.time()).encode())
            found = self._objects.head(key)
            there = found is not None
            if found is None:
                continue
            if not self._holds(key, found, data):
                self._objects.write(key, data)
            break
        else:
            self._objects.write(key, data)
        self._cache.put(image_hash, data)

    def image(self, image_hash: str) -> bytes:
        data = self._cache.get(image_hash)
        if data is not None and hashlib.sha256(data).hexdigest() == image_hash:
            return data
        data = self.stored_image(image_hash)
        self._cache.put(image_hash, data)
        return data

    def stored_image(self, image_hash: str) -> bytes:
        # Read once more where it is not what was put: it may have been on the way that it was damaged.
        for _ in range(2):
            read = self._objects.read(image_name(image_hash))
            if read is None:
                raise StoredFileMissing(image_hash)
            if hashlib.sha256(read[0]).hexdigest() == image_hash:
                return read[0]
        raise StoredFileDamaged(image_hash)

    def readers(self, hashes: Iterable[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        ahead: deque[tuple[str, Future[bytes]]] = deque()
        threads = ThreadPoolExecutor(_TOGETHER, thread_name_prefix="read-ahead")
        try:
            for image_hash in hashes:
                ahead.append((image_hash, threads.submit(self.image, image_hash)))
                if len(ahead) > _TOGETHER:
                    first, data = ahead.popleft()
                    yield first, data.result
                    # Its bytes are not kept while the next ones come.
                    del data
            while ahead:
                first, data = ahead.popleft()
                yield first, data.result
                del data
        finally:
            threads.shutdown(cancel_futures=True)

    def put(self, name: str, data: bytes) -> None:
        found = self._objects.write(own_name(name), data)
        self._cache.put(_key_of(name, found), data)

    def get(self, name: str) -> bytes:
        found = self._head(name)
        data = self._cache.get(_key_of(name, found))
        if data is not None:
            return data
        for _ in range(2):
            read = self._objects.read(name)
            if read is None:
                raise NotFound("file", name)
            data, found = read
            if _is_whole(data, found):
                self._cache.put(_key_of(name, found), data)
                return data
        raise NamedFileDamaged(name)

    def version(self, name: str) -> str:
        return self._head(name).version

    def delete(self, name: str) -> None:
        self._objects.delete(own_name(name))

    def delete_image(self, image_hash: str) -> None:
        self._objects.delete(image_name(image_hash))
        self._cache.forget(image_hash)

    def discard_image(self, image_hash: str, used_until: float) -> bool:
        key = image_name(image_hash)
        found = self._objects.head(key)
        if found is None:
            self._cache.forget(image_hash)
            return True
        if _is_later(max(found.brought_at, self._wanted_at(image_hash)), used_until):
            return False
        aside = f"aside/{image_hash}.{secrets.token_hex(4)}"
        if self._objects.copy(key, aside):
            # Whoever wants it from here on finds it gone and puts it anew; who was a moment earlier is seen below.
            self._objects.delete(key)
            if _is_later(self._wanted_at(image_hash), used_until):
                self._put_back(image_hash, aside)
                return False
            self._objects.delete(aside)
        self._cache.forget(image_hash)
        return True

    def discard_images(self, used_until: Mapping[str, float]) -> set[str]:
        with ThreadPoolExecutor(_TOGETHER, thread_name_prefix="discard") as threads:
            gone = threads.map(self.discard_image, used_until.keys(), used_until.values())
            return {image_hash for image_hash, is_gone in zip(used_until, gone, strict=True) if is_gone}

    def kinds(self) -> str | None:
        for folder, kinds in (("images", "pictures"), ("models", "models")):
            if next(self._objects.names(f"{folder}/", 1), None) is not None:
                return kinds
        return None

    def sweep(self, before: float) -> int:
        removed = self._cache.trim()
        moment = time.time()
        for name, changed in self._objects.names("aside/"):
            if changed < moment - _ASIDE_SECONDS:
                image_hash = name.removeprefix("aside/").partition(".")[0]
                if self._objects.head(_wanted(image_hash)) is not None:
                    self._put_back(image_hash, name)
                else:
                    self._objects.delete(name)
                removed += 1
        for name, changed in self._objects.names("wanted/"):
            # Its time is the store's, whose clock may differ a little.
            if changed < moment - 2 * WANTED_SECONDS:
                self._objects.delete(name)
                removed += 1
        return removed

    def files(self, folder: str) -> Iterator[StoredFile]:
        for name, changed in self._objects.names(f"{own_name(folder)}/"):
            yield StoredFile(name, changed, None)

    def half_done(self, before: float) -> list[str]:
        moment = min(before, time.time() - _ASIDE_SECONDS)
        return [name for name, changed in self._objects.names("aside/") if changed < moment]

    def set_image_aside(self, image_hash: str, used_until: float | None) -> str | None:
        key = image_name(image_hash)
        read = self._objects.read(key)
        if read is None:
            return None
        if used_until is None:
            stays = hashlib.sha256(read[0]).hexdigest() == image_hash
        else:
            stays = _is_later(max(read[1].brought_at, self._wanted_at(image_hash)), used_until)
        aside = f"{SET_ASIDE}/{image_hash}"
        if stays or not self._objects.copy(key, aside):
            return None
        self._objects.delete(key)
        self._cache.forget(image_hash)
        if used_until is not None and _is_later(self._wanted_at(image_hash), used_until):
            self._put_back(image_hash, aside)
            return None
        return aside

    def set_aside(self, name: str) -> str | None:
        aside = f"{SET_ASIDE}/{own_name(name).rpartition('/')[2]}"
        if not self._objects.copy(name, aside):
            return None
        self._objects.delete(name)
        return aside

    def link(self, image_hash: str, media_type: str, seconds: int) -> str | None:
        key = image_name(image_hash)
        # What is missing is told in a sentence, not in the store's own words.
        if self._objects.head(key) is None:
            return None
        return self._objects.link(key, media_type, seconds)

    def check(self) -> None:
        self._objects.check()

    def _holds(self, key: str, found: Found, data: bytes) -> bool:
        fits = found.fits(data)
        if fits is None:
            read = self._objects.read(key)
            return read is not None and read[0] == data
        return fits

    def _wanted_at(self, image_hash: str) -> float:
        read = self._objects.read(_wanted(image_hash))
        try:
            return float(read[0]) if read is not None else 0.0
        except ValueError:
            return read[1].brought_at if read is not None else 0.0

    def _put_back(self, image_hash: str, aside: str) -> None:
        read = self._objects.read(aside)
        if read is not None and hashlib.sha256(read[0]).hexdigest() == image_hash:
            self._objects.create(image_name(image_hash), read[0])
        self._objects.delete(aside)

    def _head(self, name: str) -> Found:
        found = self._objects.head(own_name(name))
        if found is None:
            raise NotFound("file", name)
        return found


def _wanted(image_hash: str) -> str:
    """The object that says when an image, found there already, was brought anew."""
    return f"wanted/{image_hash}"


def _is_later(brought: float, used_until: float) -> bool:
    return brought > used_until and brought > time.time() - WANTED_SECONDS


def _key_of(name: str, found: Found) -> str:
    """The key in the cache of one version of a named file."""
    return hashlib.sha256(f"{name}\0{found.version}".encode()).hexdigest()


def _is_whole(data: bytes, found: Found) -> bool:
    """Whether bytes are those that were put, as far as the store says it; more is seen by who reads them."""
    if found.sha256 is not None:
        return hashlib.sha256(data).hexdigest() == found.sha256
    return found.fits(data) is not False
