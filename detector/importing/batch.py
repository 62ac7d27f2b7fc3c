"""The import itself: files from any source -> inspected, stored, written as samples, or a line that says why not."""

from __future__ import annotations

import copy
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from detector.datasets import SampleImage
from detector.errors import (
    ImageError,
    InvalidInput,
    LabelUnusable,
    NotStored,
    StorageFull,
    StorageUnavailable,
    StoreUnavailable,
)
from detector.importing.entries import Source, printable
from detector.importing.in_place import place_of, require_noted
from detector.importing.label_tables import read_rows
from detector.importing.labelling import Chosen, LabelPlan, LabelQuota, choose
from detector.importing.opening import KINDS, ReadyMade, rows_of
from detector.importing.storing import describe_image, store_each
from detector.progress import Pace, Report, silent
from detector.storage import functions, imports
from detector.storage.imports import ImageRow, NewSample
from detector.storage.stored_names import TRAIN
from detector.storage.trouble import storage_trouble
from detector.system.batches import map_batches, threads
from detector.system.memory import seldom_collected
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.importing.parquet_layout import ParquetColumns

#: Files inspected between the first two commits, and between any two where they are large or nobody knows how large: a
#: kill costs at most this much work.
CHUNK = 64
# Small files cost less than a commit does. Their chunks grow to this many, one to two seconds of work.
_LARGEST_CHUNK = 256
_CHUNK_BYTES = 16_000_000

# Small files go through the threads several at a time: handing one over costs as much as a tenth of its inspection.
_TOGETHER = 8
_TOGETHER_BYTES = 256_000

# Files passed over while a chunk is filled: without a bound, one open place among thousands of bad files means going
# through all of them for each.
_LOOK_AHEAD = 16 * CHUNK


@dataclass(frozen=True)
class Incoming:
    """One file on its way in; ``read`` fetches its bytes when its turn comes. ``size``: about how many, where known.

    With a ``place`` the file stays where it is, and only its place is stored.
    """

    file_name: str
    read: Callable[[], bytes]
    label: str | None = None
    source: str | None = None
    external_id: str | None = None
    group: str | None = None
    split: str = TRAIN
    source_guessed: bool = False
    size: int | None = None
    place: Path | None = None


def zip_payload(path: Path, plan: LabelPlan, title: str, encoding: str | None = None) -> dict[str, Any]:
    """Job payload: import a ZIP; one of our own spool is removed when the import is done.

    ``encoding`` is how a person said that its names are written; None: guessed.
    """
    return {"from": "zip", "path": str(path), "plan": plan.to_json(), "title": title, "encoding": encoding}


def folder_payload(path: Path, plan: LabelPlan, follow_links: bool = False) -> dict[str, Any]:
    """Job payload: import a folder of this machine; see `FolderSource` for ``follow_links``."""
    payload = {"from": "folder", "path": str(path), "plan": plan.to_json(), "title": printable(path.name)}
    return {**payload, "follow_links": True} if follow_links else payload


def parquet_payload(
    files: Sequence[tuple[Path, str]], plan: LabelPlan, title: str, columns: ParquetColumns | None = None
) -> dict[str, Any]:
    """Job payload: import parquet files, given as (path, name to show); one of our own spool is removed when done."""
    named = [[str(path), name] for path, name in files]
    payload = {"from": "parquet", "path": named[0][0], "files": named, "plan": plan.to_json(), "title": title}
    return {**payload, "columns": columns.to_json()} if columns is not None else payload


def sample_payload() -> dict[str, Any]:
    """Job payload: make and import the built-in sample."""
    return {"from": "sample", "title": "Built-in sample (a simulation)"}


def cifake_payload(per_label: int, seed: int = 0) -> dict[str, Any]:
    """Job payload: fetch ``per_label`` images a label of CIFAKE."""
    return {"from": "cifake", "per_label": per_label, "seed": seed, "title": "CIFAKE"}


def run_import(ws: Workspace, function_id: str, batch_id: str, payload: dict[str, Any], report: Report = silent) -> int:
    """Run the import that a payload describes into an open batch; returns how many files were looked at.

    Safe to run again after a kill or on a disk that was full: what is there already is recognised by its content.

    Raises
    ------
    StorageFull, StorageUnavailable
        The disk takes nothing more; what came in before is a sample.
    ArchiveError, InvalidInput, DatasetUnavailable
        The source as a whole cannot be used. A single bad file is a line in the report instead.
    """
    # All files are looked at again, and those that could not be read or stored then may be so now.
    imports.forget_rejected(ws.db, batch_id)
    with seldom_collected():
        opened = KINDS[payload["from"]].open(ws, payload, report)
        if isinstance(opened, ReadyMade):
            items = map(_from_sample, opened.images)
            return import_items(ws, function_id, batch_id, items, opened.total, None, report)
        return _import_entries(ws, function_id, batch_id, opened, payload, report)


def import_items(
    ws: Workspace,
    function_id: str,
    batch_id: str,
    items: Iterable[Incoming],
    total: int,
    quota: LabelQuota | None = None,
    report: Report = silent,
    relabel: bool = False,
) -> int:
    """Inspect, store and write files; returns how many were looked at.

    Parameters
    ----------
    total : int
        Expected number of files, for the progress only.
    quota : LabelQuota, optional
        Stop a label when enough of its files are samples; a file that is rejected or repeats another does not count,
        the next one takes its place.
    relabel : bool
        Images that are samples already take the label that their file has now.

    Raises
    ------
    StorageFull, StorageUnavailable
        The disk takes nothing more. Whatever it took is a sample; a single file that it refuses is a line in the
        report.
    """
    pace = Pace(report, "import", total, "Importing images")
    label_ids = {label.name: label.id for label in functions.list_labels(ws.db, function_id)}
    looked = 0
    counted: set[str] = set()
    if quota is not None and not quota.limited:
        quota = None
    chunks = _chunks(items, quota)
    stored_some = False
    with _Inspection(ws, set(label_ids)) as inspection:
        chunk = next(chunks, [])
        pending = inspection.start(chunk)
        while chunk:
            accepted: list[tuple[Incoming, ImageRow]] = []
            rejected: list[tuple[str, str]] = []
            refused: list[tuple[Incoming, OSError | StoreUnavailable]] = []
            for item, found in zip(chunk, pending, strict=True):
                try:
                    accepted.append((item, inspection.image(found)))
                except ImageError as error:
                    rejected.append((item.file_name, str(error)))
                except (OSError, StoreUnavailable) as error:
                    if storage_trouble(error) is None:
                        raise
                    refused.append((item, error))
            stored_some = stored_some or bool(accepted)
            # One file can lie on a bad spot of a disk; a disk that takes no file at all is no matter of the files.
            trouble = _end_of_storing([error for _, error in refused], stored_some, bool(accepted))
            if trouble is None:
                rejected += [(item.file_name, str(_not_stored(item, error))) for item, error in refused]
            # Only what is an image can need a label: a folder of notes must not make one.
            new = [item.label for item, _ in accepted if item.label is not None and item.label not in label_ids]
            if new:
                label_ids |= functions.ensure_labels(ws.db, function_id, new)
            new_samples = [_new_sample(item, image, label_ids) for item, image in accepted]
            if trouble is not None:
                # What was taken must not lie there as bytes that nothing names.
                imports.add_samples(ws.db, function_id, batch_id, new_samples, rejected, relabel=relabel)
                raise trouble
            looked += len(chunk)
            if quota is None:
                try:
                    # Decoded while the rows of these are written; not earlier, because what ends an import, such as
                    # an archive that unpacks to too much, must not keep the files before it from being samples.
                    chunk = next(chunks, [])
                    pending = inspection.start(chunk)
                finally:
                    imports.add_samples(ws.db, function_id, batch_id, new_samples, rejected, relabel=relabel)
            else:
                added = imports.add_samples(ws.db, function_id, batch_id, new_samples, rejected, relabel=relabel)
                for (item, _), sample in zip(accepted, added, strict=True):
                    # The same picture twice is one sample, and one that keeps another label is none of this label.
                    if sample.outcome != "conflict" and sample.sample_id not in counted:
                        counted.add(sample.sample_id)
                        quota.accept(item.label)
                # Which files are next depends on what became of these.
                chunk = next(chunks, [])
                pending = inspection.start(chunk)
            pace.at(min(looked, total))
    return looked


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is known of a file; its bytes on their way to the disk, one of several; None: they stay where they lie."""

    image: ImageRow
    written: Future[list[Exception | None]] | None = None
    number: int = 0


# Or what is wrong with the file.
_Inspected = _Taken | ImageError | OSError | StoreUnavailable


class _Inspection:
    """Threads that read, check and store files, in a ``with`` statement; what has not begun at its end never does."""

    def __init__(self, ws: Workspace, known_labels: set[str]) -> None:
        self._ws, self._known_labels = ws, known_labels
        # Decoding and waiting for the disk have threads of their own: a picture of 100 megapixels takes hundreds of
        # megabytes, and malloc keeps some of it back for every thread that ever decoded one.
        self._decoding = threads(ws.settings.threads, "import")
        self._writing = threads(ws.blobs.together, "import-disk")
        self._on_the_way = threading.BoundedSemaphore(ws.blobs.together)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._decoding.shutdown(cancel_futures=True)
        self._writing.shutdown()

    def start(self, chunk: Sequence[Incoming]) -> Iterator[_Inspected]:
        """Begin with files; what came of them is in their order and for :meth:`image`."""
        pending = map_batches(
            self._inspect,
            _together(chunk),
            size=1,
            workers=self._ws.settings.threads,
            ahead=_LARGEST_CHUNK,
            executor=self._decoding,
        )
        # The first are waited for, so that the others are on their way when this returns.
        return chain.from_iterable(chain(list(islice(pending, 1)), pending))

    @staticmethod
    def image(inspected: _Inspected) -> ImageRow:
        """What is known of a file once its bytes are on disk. Raises what is wrong with it."""
        if isinstance(inspected, Exception):
            raise inspected
        if inspected.written is not None and (error := inspected.written.result()[inspected.number]) is not None:
            raise error
        return inspected.image

    def _inspect(self, batch: list[list[Incoming]]) -> list[_Inspected]:
        [items] = batch
        described: list[tuple[ImageRow, bytes] | _Inspected] = []
        for item in items:
            try:
                described.append(self._described(item))
            except (ImageError, OSError, StoreUnavailable) as error:
                # Of this file, not of the import: those behind it come in all the same.
                described.append(error)
        taken = [found for found in described if isinstance(found, tuple)]
        # A disk has the files of one hand one after the other; each trip over a network is a wait of its own.
        size = len(taken) if self._ws.blobs.is_near else 1
        hands = (self._write(taken[start : start + size]) for start in range(0, len(taken), max(size, 1)))
        written = chain.from_iterable(hands)
        return [next(written) if isinstance(found, tuple) else found for found in described]

    def _described(self, item: Incoming) -> tuple[ImageRow, bytes] | _Taken:
        if item.place is not None:
            require_noted(item.place, item.file_name)
        data = item.read()
        image = describe_image(self._ws, data, item.file_name, item.place is not None)
        # Before its bytes are stored, or they would be nobody's.
        if item.label is not None and item.label not in self._known_labels:
            try:
                functions.clean_label_name(item.label)
            except InvalidInput as error:
                raise LabelUnusable(item.file_name, str(error)) from error
        return (image, data) if item.place is None else _Taken(image)

    def _write(self, files: Sequence[tuple[ImageRow, bytes]]) -> Iterator[_Taken]:
        # Else files would gather in memory where the disk is slower than the decoding.
        self._on_the_way.acquire()
        named = [(image.image_hash, data) for image, data in files]
        written = self._writing.submit(store_each, self._ws, named)
        written.add_done_callback(lambda _: self._on_the_way.release())
        return (_Taken(image, written, number) for number, (image, _) in enumerate(files))


def _together(chunk: Sequence[Incoming]) -> Iterator[list[Incoming]]:
    """The files of a chunk in their order, small ones several at a time; one of unknown size goes alone."""
    several: list[Incoming] = []
    room = _TOGETHER_BYTES
    for item in chunk:
        size = _TOGETHER_BYTES if item.size is None else item.size
        if several and (len(several) == _TOGETHER or size > room):
            yield several
            several, room = [], _TOGETHER_BYTES
        several.append(item)
        room -= size
    if several:
        yield several


def _end_of_storing(refused: Sequence[Exception], ever: bool, now: bool) -> StorageFull | StorageUnavailable | None:
    """Why nothing more can be stored, if that is so; ``ever`` and ``now``: whether other files were, and just now."""
    troubles = [trouble for error in refused if (trouble := storage_trouble(error)) is not None]
    for found in troubles:
        # An object store refuses none of its files alone.
        if isinstance(found, (StorageFull, StoreUnavailable)):
            return found
    if troubles and not now and (len(troubles) > 1 or not ever):
        first = troubles[0]
        return first if isinstance(first, StorageUnavailable) else None
    return None


def _not_stored(item: Incoming, error: Exception) -> NotStored:
    return NotStored(item.file_name, getattr(error, "strerror", None) or "the disk reports an error")


def _import_entries(
    ws: Workspace, function_id: str, batch_id: str, opened: Source, payload: dict[str, Any], report: Report
) -> int:
    with opened as source:
        plan = LabelPlan.from_json(payload["plan"])
        if plan.mode == "one" and plan.label is not None:
            # Better now than as a line for each file.
            functions.clean_label_name(plan.label)
        entries = source.entries()
        if not entries:
            raise InvalidInput(f"There are no files in {payload['title']}. Choose one with images in it.")
        rows = read_rows(entries, plan.table).rows if plan.table is not None else rows_of(source)
        used = set(plan.table.paths) if plan.table is not None else set()
        chosen = choose((entry for entry in entries if entry.path not in used), plan, rows)
        if not chosen:
            raise InvalidInput(
                f"None of the {len(entries):,} files in {payload['title']} lies in a folder that gives it a label. "
                "Choose another folder level, or import without labels."
            )
        return import_items(
            ws,
            function_id,
            batch_id,
            (_from_entry(item, plan.source_guessed, bool(payload.get("in_place"))) for item in chosen),
            _expected(chosen, plan),
            LabelQuota(plan),
            report,
            relabel=bool(payload.get("relabel")),
        )


class _Room:
    """Of the next chunk: it has `CHUNK` files, and more of small ones, twice as many as the one before."""

    def __init__(self) -> None:
        self._most, self._files, self._bytes = CHUNK, 0, 0

    def is_left(self) -> bool:
        return self._files < CHUNK or (self._files < self._most and self._bytes <= _CHUNK_BYTES)

    def take(self, item: Incoming) -> None:
        self._files += 1
        self._bytes += _CHUNK_BYTES + 1 if item.size is None else item.size

    def clear(self) -> None:
        self._most, self._files, self._bytes = min(2 * self._most, _LARGEST_CHUNK), 0, 0


def _chunks(items: Iterable[Incoming], quota: LabelQuota | None) -> Iterator[list[Incoming]]:
    iterator = iter(items)
    room = _Room()
    if quota is None:
        chunk: list[Incoming] = []
        for item in iterator:
            chunk.append(item)
            room.take(item)
            if not room.is_left():
                yield chunk
                room.clear()
                chunk = []
        if chunk:
            yield chunk
        return
    # A chunk never holds more of one label than may still be accepted, so that the limit is met exactly; files that
    # do not fit now wait, because a rejected one may make room for them.
    waiting: deque[Incoming] = deque()
    while True:
        planned = copy.deepcopy(quota)
        chunk = []
        room.clear()
        later: list[Incoming] = []
        while room.is_left() and len(later) < _LOOK_AHEAD:
            found = waiting.popleft() if waiting else next(iterator, None)
            if found is None:
                break
            if planned.wants(found.label):
                planned.accept(found.label)
                chunk.append(found)
                room.take(found)
            elif quota.wants(found.label):
                later.append(found)
        waiting.extendleft(reversed(later))
        if not chunk:
            return
        yield chunk


def _expected(chosen: Sequence[Chosen], plan: LabelPlan) -> int:
    per = Counter(item.label for item in chosen)
    return sum(min(n, plan.per_label or n) for n in per.values())


def _from_entry(item: Chosen, source_guessed: bool, in_place: bool) -> Incoming:
    guessed = source_guessed and item.source is not None
    return Incoming(
        item.entry.path,
        item.entry.read,
        item.label,
        item.source,
        split=item.split,
        source_guessed=guessed,
        size=item.entry.size,
        place=item.entry.place if in_place else None,
    )


def _from_sample(image: SampleImage) -> Incoming:
    return Incoming(
        image.file_name,
        lambda: image.data,
        image.label,
        image.source,
        group=image.group or None,
        size=len(image.data),
    )


def _new_sample(item: Incoming, image: ImageRow, label_ids: dict[str, str]) -> NewSample:
    return NewSample(
        file_name=item.file_name,
        image=image,
        label_id=label_ids[item.label] if item.label is not None else None,
        source=item.source,
        external_id=item.external_id,
        group_key=item.group,
        split=item.split,
        source_guessed=item.source_guessed,
        place=place_of(item.place, image.byte_count) if item.place is not None else None,
    )
