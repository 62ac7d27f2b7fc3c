"""Pictures that stay where they are: an index of their places, and the bytes read there, never another picture's."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, delete, func, insert, select

from detector.errors import PlacedFileMissing, PlacedFileUnusable, StoredFileMissing
from detector.storage.blobs import Blobs, StoredFile
from detector.storage.database import Database
from detector.storage.schema import places

_CHUNK = 500


@dataclass(frozen=True)
class Place:
    """Where a picture lies that was imported in place.

    Attributes
    ----------
    path : str
        Of the file, from the root of this machine.
    byte_count : int
    modified : float
        When the file was last changed, in seconds since the epoch, as it said before it was read.
    """

    path: str
    byte_count: int
    modified: float


def write_places(connection: Connection, found: Mapping[str, Place]) -> None:
    """Note where images lie, by hash, in the transaction that writes their rows; a newer place takes an older one's."""
    if not found:
        return
    connection.execute(delete(places).where(places.c.image_hash.in_(list(found))))
    connection.execute(
        insert(places),
        [
            {"image_hash": image_hash, "place": place.path, "byte_count": place.byte_count, "modified": place.modified}
            for image_hash, place in found.items()
        ],
    )


def find_places(db: Database, hashes: Sequence[str]) -> dict[str, Place]:
    """Where images lie, by hash; those that lie in the store alone are left out."""
    found: dict[str, Place] = {}
    with db.read() as connection:
        for start in range(0, len(hashes), _CHUNK):
            rows = connection.execute(select(places).where(places.c.image_hash.in_(hashes[start : start + _CHUNK])))
            found.update({row.image_hash: Place(row.place, row.byte_count, row.modified) for row in rows})
    return found


def count_places(db: Database) -> int:
    """How many images were imported in place."""
    with db.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(places)) or 0)


def read_place(image_hash: str, place: Place) -> bytes:
    """The bytes of an image at its place, compared with its hash.

    Raises
    ------
    PlacedFileMissing, PlacedFileUnusable
        It is gone, or is another file now, or cannot be read.
    """
    try:
        # O_NONBLOCK: a pipe would wait for ever.
        handle = os.open(place.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise PlacedFileUnusable(image_hash, place.path, "is no file any more")
            # One byte more: a file that has grown is found out without reading all of it.
            data = file.read(place.byte_count + 1) if status.st_size == place.byte_count else b""
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PlacedFileMissing(image_hash, place.path) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "the disk reports an error"
        raise PlacedFileUnusable(image_hash, place.path, f"cannot be read ({why})") from error
    if hashlib.sha256(data).hexdigest() != image_hash:
        raise PlacedFileUnusable(image_hash, place.path, "has changed since it was imported")
    return data


class PlacedBlobs(Blobs):
    """A store of blobs, and behind it the pictures that were imported in place.

    What is written goes to the store, what is removed is removed there: a file that lies elsewhere is only ever read.

    Parameters
    ----------
    stored : Blobs
    db : Database
        It knows the places.
    """

    def __init__(self, stored: Blobs, db: Database) -> None:
        self._stored, self._db = stored, db
        self.place, self.is_near = stored.place, stored.is_near
        self.discarded_together, self.together = stored.discarded_together, stored.together

    @property
    def stored(self) -> Blobs:
        return self._stored

    def has_image(self, image_hash: str, byte_count: int) -> bool:
        return self._stored.has_image(image_hash, byte_count)

    def put_image(self, image_hash: str, data: bytes) -> None:
        self._stored.put_image(image_hash, data)

    def image(self, image_hash: str) -> bytes:
        return self._or_at_its_place(image_hash, partial(self._stored.image, image_hash))

    def readers(self, hashes: Iterable[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for image_hash, read in self._stored.readers(hashes):
            yield image_hash, partial(self._or_at_its_place, image_hash, read)

    def _or_at_its_place(self, image_hash: str, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except StoredFileMissing:
            place = find_places(self._db, [image_hash]).get(image_hash)
            if place is None:
                raise
        return read_place(image_hash, place)

    def link(self, image_hash: str, media_type: str, seconds: int) -> str | None:
        link = self._stored.link(image_hash, media_type, seconds)
        # It would lead nowhere for a picture that is not in the store.
        return None if link is not None and find_places(self._db, [image_hash]) else link

    def put(self, name: str, data: bytes) -> None:
        self._stored.put(name, data)

    def get(self, name: str) -> bytes:
        return self._stored.get(name)

    def version(self, name: str) -> str:
        return self._stored.version(name)

    def delete(self, name: str) -> None:
        self._stored.delete(name)

    def delete_image(self, image_hash: str) -> None:
        self._stored.delete_image(image_hash)

    def discard_image(self, image_hash: str, used_until: float) -> bool:
        return self._stored.discard_image(image_hash, used_until)

    def discard_images(self, used_until: Mapping[str, float]) -> set[str]:
        return self._stored.discard_images(used_until)

    def kinds(self) -> str | None:
        return self._stored.kinds()

    def sweep(self, before: float) -> int:
        return self._stored.sweep(before)

    def files(self, folder: str) -> Iterator[StoredFile]:
        return self._stored.files(folder)

    def half_done(self, before: float) -> list[str]:
        return self._stored.half_done(before)

    def stored_image(self, image_hash: str) -> bytes:
        return self._stored.stored_image(image_hash)

    def set_image_aside(self, image_hash: str, used_until: float | None) -> str | None:
        return self._stored.set_image_aside(image_hash, used_until)

    def set_aside(self, name: str) -> str | None:
        return self._stored.set_aside(name)

    def check(self) -> None:
        self._stored.check()
