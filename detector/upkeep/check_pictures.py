"""Every picture: its bytes against its hash, its thumbnail, and files that no row names.

Rows and files are read side by side in the order of their hashes, a few hundred at a time, so that a million pictures
take no more memory than a thousand. What is being imported or deleted at this moment is no problem: bytes come before
rows and go before rows, and whatever seems to be lost is asked for again before it is called so.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import delete, exists, func, insert, null, select, update

from detector.errors import DetectorError, ImageError, NotFound, PlacedFileMissing, StoredFileDamaged, StoredFileMissing
from detector.formatting import count
from detector.imaging import inspect_image
from detector.progress import Pace
from detector.storage.blobs import SET_ASIDE, WANTED_SECONDS, StoredFile, hash_of
from detector.storage.leavings import remove_unused
from detector.storage.places import Place, read_place
from detector.storage.schema import functions, images, places, samples, thumbnails
from detector.system.batches import map_batches
from detector.upkeep.findings import LOST, ORPHANS, PICTURES, PLACES, THUMBNAILS, Check, run_repair, shown, some

#: Rows read at once, and pictures looked at in one go.
_PAGE, _TOGETHER = 500, 32
#: Between two looks at what seems to be lost: a file that is discarded lies aside for a moment.
_MOMENT, _MOST_PAUSES = 0.3, 100
#: Between two counts of what nobody uses: whoever deletes is at work.
_AT_WORK = 1.0
#: What so many files are wrong with is named by its number, not file by file.
_MOST_REMEMBERED = 10_000
#: Formats in which thumbnails lie: our own, and small pictures that are their own.
_FORMATS = ("WEBP", "JPEG", "PNG", "GIF")


@dataclass(frozen=True, slots=True)
class _Row:
    image_hash: str
    byte_count: int
    created_at: float
    is_sample: bool
    place: Place | None
    has_thumbnail: bool
    thumbnail: bytes | None


@dataclass(frozen=True, slots=True)
class _Picture:
    """What lies under one hash: a row, a file, or both."""

    image_hash: str
    row: _Row | None
    file: StoredFile | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is wrong with one picture; empty where nothing is."""

    picture: _Picture
    state: str = ""  # missing, damaged, place, orphan, unused, size
    why: str = ""
    lacks_thumbnail: bool = False


@dataclass
class _Remembered:
    orphans: list[StoredFile] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    pauses: int = 0


def check_pictures(check: Check) -> None:
    """Look at all pictures and their files."""
    with check.ws.db.read() as connection:
        total = int(connection.scalar(select(func.count()).select_from(images)) or 0)
    verb = "Looking for" if check.quick else "Reading"
    pace = Pace(check.report, "pictures", total, f"{verb} all pictures")
    remembered, rows = _Remembered(), 0
    looked = map_batches(
        lambda batch: [_look(check, picture) for picture in batch],
        _side_by_side(check),
        size=_TOGETHER,
        workers=check.ws.settings.threads,
        name="check",
    )
    for batch in looked:
        _settle(check, [seen for seen in batch if seen.state or seen.lacks_thumbnail], remembered)
        rows += sum(seen.picture.row is not None for seen in batch)
        pace.at(min(rows, total))
    check.looked_at["pictures"] += rows
    _settle_orphans(check, remembered.orphans)
    _settle_unused(check, remembered.unused)


def _side_by_side(check: Check) -> Iterator[_Picture]:
    files = _image_files(check)
    file = next(files, None)
    for row in _rows(check):
        while file is not None and _hash(file) < row.image_hash:
            yield _Picture(_hash(file), None, file)
            file = next(files, None)
        if file is not None and _hash(file) == row.image_hash:
            yield _Picture(row.image_hash, row, file)
            file = next(files, None)
        else:
            yield _Picture(row.image_hash, row, None)
    while file is not None:
        yield _Picture(_hash(file), None, file)
        file = next(files, None)


def _image_files(check: Check) -> Iterator[StoredFile]:
    return (file for file in check.ws.blobs.stored.files("images") if hash_of(file.name) is not None)


def _hash(file: StoredFile) -> str:
    return file.name.rpartition("/")[2]


def _rows(check: Check) -> Iterator[_Row]:
    # A thumbnail's bytes only where they are read.
    data: Any = null() if check.quick else thumbnails.c.data
    statement = (
        select(
            images.c.hash,
            images.c.byte_count,
            images.c.created_at,
            exists().where(samples.c.image_hash == images.c.hash).label("is_sample"),
            places.c.place,
            places.c.byte_count.label("place_bytes"),
            places.c.modified,
            func.coalesce(func.length(thumbnails.c.data), 0).label("thumbnail_bytes"),
            data.label("thumbnail"),
        )
        .outerjoin(places, places.c.image_hash == images.c.hash)
        .outerjoin(thumbnails, thumbnails.c.image_hash == images.c.hash)
        .order_by(images.c.hash)
        .limit(_PAGE)
    )
    after = ""
    while True:
        with check.ws.db.read() as connection:
            found = connection.execute(statement.where(images.c.hash > after)).all()
        for row in found:
            place = Place(row.place, row.place_bytes, row.modified) if row.place is not None else None
            yield _Row(
                row.hash,
                row.byte_count,
                row.created_at,
                bool(row.is_sample),
                place,
                bool(row.thumbnail_bytes),
                row.thumbnail,
            )
        if len(found) < _PAGE:
            return
        after = found[-1].hash


def _look(check: Check, picture: _Picture) -> _Seen:
    row, file = picture.row, picture.file
    moment = time.time()
    if row is None:
        # Whoever imports it has this long for its row.
        old = file is not None and file.changed < moment - WANTED_SECONDS
        return _Seen(picture, "orphan" if old else "")
    if not row.is_sample:
        old = row.created_at < moment - WANTED_SECONDS and (file is None or file.changed < moment - WANTED_SECONDS)
        return _Seen(picture, "unused" if old else "")
    state, why = _state_of(check, row, file)
    return _Seen(picture, state, why, not row.has_thumbnail or not (check.quick or _opens(row.thumbnail)))


def _state_of(check: Check, row: _Row, file: StoredFile | None) -> tuple[str, str]:
    if file is None and row.place is not None:
        return _state_at_its_place(check, row)
    if file is None:
        return "missing", ""
    sized = file.byte_count is None or file.byte_count == row.byte_count
    if check.quick and sized:
        return "", ""
    try:
        data = check.ws.blobs.stored.stored_image(row.image_hash)
    except StoredFileMissing:
        return "missing", ""
    except StoredFileDamaged as error:
        return "damaged", str(error)
    return ("", "") if len(data) == row.byte_count else ("size", "")


def _state_at_its_place(check: Check, row: _Row) -> tuple[str, str]:
    assert row.place is not None
    try:
        if check.quick:
            status = Path(row.place.path).stat()
            if (status.st_size, status.st_mtime) != (row.place.byte_count, row.place.modified):
                read_place(row.image_hash, row.place)
        else:
            read_place(row.image_hash, row.place)
    except (ImageError, NotFound) as error:
        return "place", str(error)
    except (OSError, ValueError):
        return "place", str(PlacedFileMissing(row.image_hash, row.place.path))
    return "", ""


def _opens(thumbnail: bytes | None) -> bool:
    try:
        with Image.open(io.BytesIO(thumbnail or b""), formats=_FORMATS) as image:
            image.load()
    except Exception:  # Pillow raises whatever its decoders do
        return False
    return True


def _settle(check: Check, found: Sequence[_Seen], remembered: _Remembered) -> None:
    """Ask again for what seems to be wrong, name it, and mend what can be mended."""
    for seen in found:
        if seen.state == "orphan" and seen.picture.file is not None:
            remembered.orphans.append(seen.picture.file)
            if len(remembered.orphans) >= _MOST_REMEMBERED:
                _settle_orphans(check, remembered.orphans)
        elif seen.state == "unused" and len(remembered.unused) < _MOST_REMEMBERED:
            remembered.unused.append(seen.picture.image_hash)
    doubtful = [seen for seen in found if seen.state in ("missing", "damaged", "place", "size")]
    if doubtful and remembered.pauses < _MOST_PAUSES:
        # Not for each: where a whole folder is gone, that would take hours.
        remembered.pauses += 1
        time.sleep(_MOMENT)
    for seen in doubtful:
        _settle_picture(check, seen)
    # Last: a picture that was mended can give its thumbnail.
    for seen in found:
        if seen.lacks_thumbnail:
            _settle_thumbnail(check, seen.picture.image_hash)


def _settle_picture(check: Check, seen: _Seen) -> None:
    row = _read_again(check, seen.picture.image_hash)
    if row is None:
        return
    blobs = check.ws.blobs.stored
    found = next((file for file in _files_of(check, row.image_hash) if _hash(file) == row.image_hash), None)
    state, why = _state_of(check, row, found)
    # It may have been deleted while it was looked for.
    if not state or _read_again(check, row.image_hash) is None:
        return
    name = _name_of(check, row.image_hash) if state != "missing" or not check.names_no_more(LOST) else ""
    if state == "place":
        check.found(PLACES, f"{name}: {why}")
    elif state == "size":
        if check.repair:
            with check.ws.db.write([]) as connection:
                size = len(blobs.stored_image(row.image_hash))
                connection.execute(update(images).where(images.c.hash == row.image_hash).values(byte_count=size))
        what = f"{name}: its row says that it has {row.byte_count:,} bytes, which is not so."
        check.found(PICTURES, f"{what} {'It was put right.' if check.repair else run_repair()}", check.repair)
    elif state == "damaged":
        _settle_damaged(check, row, name, why)
    else:
        _settle_missing(check, row, name)


def _settle_damaged(check: Check, row: _Row, name: str, why: str) -> None:
    what = f"{name}: its stored bytes do not match its hash, they are damaged."
    if not check.repair:
        again = "Import the same picture again to mend it, or restore a backup"
        check.found(PICTURES, f"{what} {again}. To move the damaged file aside: python -m detector check --repair")
        return
    good = _good_bytes(check, row.image_hash)
    aside = check.ws.blobs.stored.set_image_aside(row.image_hash, None)
    if good is not None:
        check.ws.blobs.stored.put_image(row.image_hash, good)
        check.found(PICTURES, f"{what} They were replaced by a good copy that this machine still had.", True)
    elif aside is not None and _good_bytes(check, row.image_hash) is not None:
        check.found(PICTURES, f"{what} Moved aside; the picture is read from where it was imported in place.", True)
    elif aside is None:
        check.found(PICTURES, f"{what} The file could not be moved aside ({why}). {check.from_backup()}")
    else:
        check.found(LOST, f"{name}: {_lost(check, row.image_hash)}")


def _settle_missing(check: Check, row: _Row, name: str) -> None:
    if check.repair and (good := _good_bytes(check, row.image_hash)) is not None:
        check.ws.blobs.stored.put_image(row.image_hash, good)
        check.found(
            LOST,
            f"{name}: its bytes were missing. They were put back from a good copy that this machine still had.",
            True,
        )
        return
    check.found(LOST, f"{name}: {_lost(check, row.image_hash)}")


def _lost(check: Check, image_hash: str) -> str:
    if check.names_no_more(LOST):
        return ""
    damaged = next(
        (file for file in check.ws.blobs.stored.files(SET_ASIDE) if _hash(file).startswith(image_hash)), None
    )
    what = (
        f"its bytes are lost; the damaged file is kept as {damaged.name}."
        if damaged is not None
        else "its bytes are lost: there is no file of it."
    )
    return (
        f"{what} Label, thumbnail and embedding are kept. Import the same picture again and its bytes are taken. "
        f"{check.from_backup('Or restore')}"
    )


def _good_bytes(check: Check, image_hash: str) -> bytes | None:
    """From wherever else they are: a cache of the store, the place that the picture was imported from."""
    try:
        return check.ws.blobs.image(image_hash)
    except DetectorError:
        return None


def _files_of(check: Check, image_hash: str) -> Iterator[StoredFile]:
    return check.ws.blobs.stored.files(f"images/{image_hash[:2]}/{image_hash[2:4]}")


def _read_again(check: Check, image_hash: str) -> _Row | None:
    """The row of a sample's picture as it is now; None where it is gone, or no sample any more."""
    with check.ws.db.read() as connection:
        row = connection.execute(
            select(
                images.c.byte_count,
                images.c.created_at,
                places.c.place,
                places.c.byte_count.label("n"),
                places.c.modified,
            )
            .outerjoin(places, places.c.image_hash == images.c.hash)
            .where(images.c.hash == image_hash, exists().where(samples.c.image_hash == images.c.hash))
        ).one_or_none()
    if row is None:
        return None
    place = Place(row.place, row.n, row.modified) if row.place is not None else None
    return _Row(image_hash, row.byte_count, row.created_at, True, place, True, None)


def _name_of(check: Check, image_hash: str) -> str:
    """As people know the picture: a file name and a function."""
    with check.ws.db.read() as connection:
        row = connection.execute(
            select(samples.c.file_name, functions.c.name)
            .join(functions, functions.c.id == samples.c.function_id)
            .where(samples.c.image_hash == image_hash)
            .order_by(samples.c.sequence)
            .limit(1)
        ).one_or_none()
    return f"{shown(row.file_name)} in {shown(row.name)}" if row is not None else f"The picture {image_hash[:12]}"


def _settle_thumbnail(check: Check, image_hash: str) -> None:
    with check.ws.db.read() as connection:
        used = connection.scalar(select(exists().where(samples.c.image_hash == image_hash)))
        data = connection.scalar(select(thumbnails.c.data).where(thumbnails.c.image_hash == image_hash))
    if not used or (data and (check.quick or _opens(data))):
        return
    what = f"{_name_of(check, image_hash)}: its thumbnail {'is damaged' if data else 'is missing'}."
    if not check.repair:
        check.found(THUMBNAILS, f"{what} {run_repair()}")
        return
    try:
        made = inspect_image(check.ws.blobs.image(image_hash), image_hash, check.ws.limits).thumbnail
    except DetectorError:
        check.found(THUMBNAILS, f"{what} It cannot be made again without the picture's bytes; see there.")
        return
    with check.ws.db.write([]) as connection:
        if connection.scalar(select(exists().where(images.c.hash == image_hash))):
            connection.execute(delete(thumbnails).where(thumbnails.c.image_hash == image_hash))
            connection.execute(insert(thumbnails).values(image_hash=image_hash, data=made))
    check.found(THUMBNAILS, f"{what} It was made again.", True)


def _settle_orphans(check: Check, files: list[StoredFile]) -> None:
    """Bytes that no row names for longer than an import takes: one that was killed, or another database."""
    lost: list[StoredFile] = []
    for start in range(0, len(files), _PAGE):
        some_files = files[start : start + _PAGE]
        with check.ws.db.read() as connection:
            asked = images.c.hash.in_([_hash(file) for file in some_files])
            known = set(connection.scalars(select(images.c.hash).where(asked)))
        lost += [file for file in some_files if _hash(file) not in known]
    files.clear()
    if not lost:
        return
    names = some((_hash(file)[:12] for file in lost), len(lost))
    what = f"{count(len(lost), 'stored picture')} that no sample names ({names})."
    if not check.repair:
        check.found(ORPHANS, f"{what} An import that was killed leaves such files. {run_repair()}")
        return
    moved = sum(check.ws.blobs.stored.set_image_aside(_hash(file), file.changed) is not None for file in lost)
    check.found(
        ORPHANS,
        f"{what} Moved to the folder {SET_ASIDE} next to the pictures ({moved:,}). If nobody misses them after a "
        "while, delete that folder.",
        True,
    )


def _settle_unused(check: Check, unused: list[str]) -> None:
    """Rows that no sample needs: of a deletion that was killed, or of one that is at work."""
    if not unused:
        return
    before = _count_unused(check)
    time.sleep(_AT_WORK)
    left = _count_unused(check)
    if not left or left < before:
        return
    what = f"{count(len(unused), 'picture')} of deleted samples not removed yet: the deletion was interrupted."
    if check.repair:
        remove_unused(check.ws.db, check.ws.blobs, unused, {})
    done = "The removal was finished." if check.repair else f"The next start of the server goes on. Or: {run_repair()}"
    check.found(ORPHANS, f"{what} {done}", check.repair)


def _count_unused(check: Check) -> int:
    unused = ~exists().where(samples.c.image_hash == images.c.hash)
    with check.ws.db.read() as connection:
        return int(connection.scalar(select(func.count()).select_from(images).where(unused)) or 0)
