"""Pictures and models of a data folder into an object store, each verified."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from detector.errors import NotFound, StoredFileDamaged
from detector.progress import Pace, Report, silent
from detector.storage.acting import MANAGE, needs
from detector.storage.blobs import Blobs
from detector.storage.folder_blobs import FolderBlobs
from detector.system.batches import map_batches, threads

#: Files on their way at the same time.
_TOGETHER = 16


@dataclass(frozen=True)
class Copied:
    """``damaged``: files of the folder that are not what their name promises, or cannot be read."""

    copied: int
    already_there: int
    damaged: tuple[str, ...]


@needs(MANAGE, "copying files into a store")
def copy_to_store(folder: Path, target: Blobs, report: Report = silent) -> Copied:
    """Copy what lies in the folder of blobs; safe to stop and to repeat.

    Parameters
    ----------
    folder : Path
        ``blobs`` of a data folder. It is only read.
    target : Blobs
        What it has already is not sent again.

    Raises
    ------
    StoreUnavailable
        What was copied before is there.
    """
    source = FolderBlobs(folder)
    names = sorted(
        path.relative_to(folder).as_posix()
        for below, _, files in os.walk(folder)
        for path in (Path(below, file) for file in files)
        if path.suffix != ".tmp"
    )
    pace = Pace(report, "copy", len(names), "Copying files")
    counts = {True: 0, False: 0}
    damaged = []

    def copy(batch: list[str]) -> bool | None:
        [name] = batch
        try:
            return (
                _copy_image(source, target, name) if name.startswith("images/") else _copy_named(source, target, name)
            )
        except (StoredFileDamaged, NotFound, OSError):
            return None

    with threads(_TOGETHER, "copy") as executor:
        results = map_batches(copy, names, size=1, workers=_TOGETHER, ahead=4 * _TOGETHER, executor=executor)
        for number, (name, sent) in enumerate(zip(names, results, strict=True), 1):
            if sent is None:
                damaged.append(name)
            else:
                counts[sent] += 1
            pace.at(number)
    return Copied(counts[True], counts[False], tuple(damaged))


def _copy_image(source: FolderBlobs, target: Blobs, name: str) -> bool:
    image_hash = name.rpartition("/")[2]
    data = source.image(image_hash)
    if target.has_image(image_hash, len(data)):
        # Compared by what the store says of its content, and mended where it is another.
        target.put_image(image_hash, data)
        return False
    target.put_image(image_hash, data)
    return True


def _copy_named(source: FolderBlobs, target: Blobs, name: str) -> bool:
    data = source.get(name)
    try:
        if hashlib.sha256(target.get(name)).digest() == hashlib.sha256(data).digest():
            return False
    except NotFound:
        pass
    target.put(name, data)
    return True
