"""Bytes by name, written whole or not at all: what every store of them can do, wherever they lie."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from detector.errors import NotFound

#: How long after its bytes an image's row may come.
WANTED_SECONDS = 3600.0

#: Below this lies what a check has moved out of the way: damaged files, and files that nothing names.
SET_ASIDE = "set-aside"

_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StoredFile:
    """What lies under a name: ``changed`` in seconds since the epoch; ``byte_count`` None where asking costs extra."""

    name: str
    changed: float
    byte_count: int | None


class Blobs(ABC):
    """A small blob store: images under the SHA-256 of their bytes, other files under names of our own making.

    Attributes
    ----------
    place : str
        Where the bytes lie, as part of a sentence.
    is_near : bool
        Whether asking for a file costs less than asking a database.
    discarded_together : int
        So many images are discarded between two questions to the database: whether they are still no sample.
    together : int
        So many images are on their way there at the same time in an import: several share one flush of a disk, and each
        waits for a network.
    """

    place: str
    is_near = True
    discarded_together = 200
    together = 4

    @property
    def stored(self) -> Blobs:
        """The store itself, without pictures that lie elsewhere."""
        return self

    @abstractmethod
    def has_image(self, image_hash: str, byte_count: int) -> bool:
        """Whether an image's bytes are there, all of them."""

    @abstractmethod
    def put_image(self, image_hash: str, data: bytes) -> None:
        """Store an image's bytes verbatim under their SHA-256; whatever else lies there is replaced by them.

        What is there already is compared: importing a picture again mends its stored file.
        """

    @abstractmethod
    def image(self, image_hash: str) -> bytes:
        """The bytes of an image, as they were stored. Raises StoredFileMissing, StoredFileDamaged."""

    def readers(self, hashes: Iterable[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Images one after the other, each as a function that does what :meth:`image` does.

        For those who need many: where reading is waiting for a network, some are read ahead.
        """
        for image_hash in hashes:
            yield image_hash, partial(self.image, image_hash)

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Store ``data`` under a name of our own making, such as ``models/ab12.safetensors``."""

    @abstractmethod
    def get(self, name: str) -> bytes:
        """The bytes stored under ``name``. Raises NotFound."""

    @abstractmethod
    def version(self, name: str) -> str:
        """Other text after every ``put`` of this name, without reading the bytes. Raises NotFound."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove what lies under ``name``; nothing happens without."""

    @abstractmethod
    def delete_image(self, image_hash: str) -> None:
        """Remove the bytes of an image; nothing happens without."""

    @abstractmethod
    def discard_image(self, image_hash: str, used_until: float) -> bool:
        """Remove the bytes of an image that no row needs any more; returns whether they are gone.

        They stay where somebody has brought the same bytes anew after ``used_until``, in seconds since the epoch, and
        within `WANTED_SECONDS`: that import has found them done, and its row is about to come.
        """

    def discard_images(self, used_until: Mapping[str, float]) -> set[str]:
        """`discard_image` for several, given as hash to ``used_until``; returns those that are gone."""
        return {image_hash for image_hash, moment in used_until.items() if self.discard_image(image_hash, moment)}

    @abstractmethod
    def kinds(self) -> str | None:
        """What lies here, in words: "pictures" or "models"; None where nothing does."""

    @abstractmethod
    def sweep(self, before: float) -> int:
        """Remove what killed processes have left half done before a moment, in seconds since the epoch.

        Returns how many files. Nothing of what a row could name is touched.
        """

    @abstractmethod
    def files(self, folder: str) -> Iterator[StoredFile]:
        """What lies below a folder such as "images", in the order of names, without what is half written."""

    @abstractmethod
    def half_done(self, before: float) -> list[str]:
        """Names of what `sweep` would remove of killed processes' work, without removing it."""

    @abstractmethod
    def stored_image(self, image_hash: str) -> bytes:
        """As `image`, but from the store itself, whatever is kept of it elsewhere."""

    @abstractmethod
    def set_image_aside(self, image_hash: str, used_until: float | None) -> str | None:
        """Move the bytes of an image out of the way, below `SET_ASIDE`, where nothing reads them; returns their name.

        Parameters
        ----------
        used_until : float, optional
            They stay where somebody brought them later, as in `discard_image`. If not given, because they are damaged:
            they stay where they are not.

        Returns None where they stay, or are not there.
        """

    @abstractmethod
    def set_aside(self, name: str) -> str | None:
        """Move what lies under a name of our own out of the way; returns its new name, None where nothing is there."""

    def link(self, image_hash: str, media_type: str, seconds: int) -> str | None:
        """An address, good for so many seconds, at which a browser gets an image without this server; None: no such.

        Parameters
        ----------
        media_type : str
            As what the store is to hand it out.
        """
        return None

    @abstractmethod
    def check(self) -> None:
        """Whether the place can be reached at all. Raises StoreUnavailable."""


def image_name(image_hash: str) -> str:
    """The name under which an image lies. Raises NotFound for what is no SHA-256."""
    if not _HASH.fullmatch(image_hash):
        raise NotFound("image", image_hash)
    return f"images/{image_hash[:2]}/{image_hash[2:4]}/{image_hash}"


def hash_of(name: str) -> str | None:
    """The hash of the image that lies under a name; None where it is no image's."""
    found = name.rpartition("/")[2]
    return found if _HASH.fullmatch(found) and name == image_name(found) else None


def own_name(name: str) -> str:
    """``name`` itself. Raises NotFound for one that leads out of the store."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts:
        raise NotFound("file", name)
    return name
