"""Records: verdicts that somebody asked to be kept, with all that stood beside them at that moment."""

from __future__ import annotations

import json
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, insert, or_, select, update

from detector.errors import InvalidInput, NotFound
from detector.imaging.fingerprint import hash_numbers, near_duplicates_of
from detector.storage.acting import actor_now
from detector.storage.audit_log import note_with
from detector.storage.database import Database, new_id, now
from detector.storage.known_labels import without_controls
from detector.storage.schema import functions, records

#: Through which door a verdict came.
PAGE, API, COMMAND_LINE = "page", "api", "command line"
#: Of every piece of text: nothing that a file says is kept at any length.
MAX_TEXT = 10_000
#: Of one record's evidence as JSON.
MAX_EVIDENCE_BYTES = 500_000
_MAX_FILE_NAME = 500
#: Of a text where there are so many that all of them would be too large.
_SHORTER = 600
_DEEPEST = 12
# Ids in one statement: SQLite takes no more than 32,766 values in one.
_STEP = 500
_PAGE = 100
#: Functions whose hashes are kept in memory.
_CACHED = 4


@dataclass(frozen=True)
class Record:
    """One kept verdict.

    Attributes
    ----------
    evidence : dict
        As of `Evidence.to_json` when it was kept.
    thumbnail : bytes or None
        The picture small; the picture itself is not kept.
    door : str
        ``PAGE``, ``API`` or ``COMMAND_LINE``.
    disputed_label : str or None
        The name of the label that somebody says is right.
    disputed_at, created_at : float
        Seconds since the epoch.
    kept_by : str or None
        The user or the key that asked for it, as of `detector.storage.acting.Actor`; None where nobody signs in.
    """

    id: str
    function_id: str
    sha256: str
    perceptual_hash: str
    file_name: str
    verdict: str
    grade: str
    model_id: str
    evidence: dict[str, Any]
    thumbnail: bytes | None
    door: str
    disputed_label: str | None
    disputed_at: float | None
    created_at: float
    kept_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The evidence as it was kept, with the record's id, when it was kept, and whether it is disputed.

        Reports, texts and cards are made of this and of nothing else, so that they stay the same for ever.
        """
        answer = {**self.evidence, "record": self.id, "keptAt": _iso(self.created_at)}
        if self.disputed_at is not None:
            answer["disputed"] = {"labelName": self.disputed_label, "at": _iso(self.disputed_at)}
        return answer


@dataclass(frozen=True)
class Place:
    """Where a page of records ends: behind this one the next begins."""

    created_at: float
    id: str


@dataclass(frozen=True)
class NearRecord:
    """A kept verdict on a picture that is the same, or nearly the same."""

    id: str
    same_file: bool
    verdict: str
    grade: str
    created_at: float
    disputed_label: str | None


def add_record(
    db: Database,
    function_id: str,
    *,
    evidence: dict[str, Any],
    perceptual_hash: str,
    model_id: str,
    thumbnail: bytes | None,
    door: str,
) -> Record:
    """Keep a verdict; the same verdict of the same model on the same file, of the same name, is kept once.

    Under another limit, or where the model was adapted since, it is another verdict.

    Parameters
    ----------
    evidence : dict
        As of `Evidence.to_json`. Its texts are kept without control characters and not longer than `MAX_TEXT`.

    Raises
    ------
    InvalidInput
        The evidence is larger than `MAX_EVIDENCE_BYTES`.
    NotFound
        There is no such function.
    """
    kept = storable(evidence)
    size = _size(kept)
    if size > MAX_EVIDENCE_BYTES:
        # A file that says very much of itself must not keep its verdict from being kept.
        kept = storable(evidence, _SHORTER)
        size = _size(kept)
    if size > MAX_EVIDENCE_BYTES:
        raise InvalidInput(
            f"The record has {size:,} bytes, more than the {MAX_EVIDENCE_BYTES:,} that are kept of one picture. "
            "Save the picture without what its file says of it, and keep that one."
        )
    actor = actor_now()
    with db.write([function_id]) as connection:
        if connection.scalar(select(functions.c.id).where(functions.c.id == function_id)) is None:
            raise NotFound("function", function_id)
        alike = connection.execute(
            select(records.c.id, records.c.evidence)
            .where(
                records.c.function_id == function_id,
                records.c.sha256 == kept["sha256"],
                records.c.model_id == model_id,
                records.c.verdict == kept["verdict"],
                records.c.grade == kept["grade"],
                records.c.file_name == kept["file"][:_MAX_FILE_NAME],
                *_readable(),
            )
            .order_by(records.c.created_at)
        )
        known = next((row.id for row in alike if _judged_by(row.evidence) == _judged_by(kept)), None)
        record_id = known or new_id()
        if known is None:
            connection.execute(
                insert(records).values(
                    id=record_id,
                    function_id=function_id,
                    sha256=kept["sha256"],
                    perceptual_hash=perceptual_hash,
                    file_name=kept["file"][:_MAX_FILE_NAME],
                    verdict=kept["verdict"],
                    grade=kept["grade"],
                    model_id=model_id,
                    evidence=kept,
                    thumbnail=thumbnail,
                    door=door,
                    kept_by=actor.id if actor is not None else None,
                    created_at=now(),
                )
            )
    return get_record(db, function_id, record_id)


def get_record(db: Database, function_id: str, record_id: str) -> Record:
    """The record of that id, if it is the function's. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(
            _SELECT.where(records.c.id == record_id, records.c.function_id == function_id, *_readable())
        ).one_or_none()
    if row is None:
        raise NotFound("record", record_id)
    return Record(**row._mapping)


def list_records(
    db: Database, function_id: str, limit: int = 50, after: Place | None = None, search: str = ""
) -> tuple[list[Record], Place | None]:
    """A page of records, the newest first, and where it ends; None where nothing follows.

    Parameters
    ----------
    search : str
        A part of the file's name, or of the verdict, in whatever case; empty: all.
    """
    order = records.c.created_at.desc(), records.c.id.desc()
    mine = and_(records.c.function_id == function_id, *_readable())
    if after is not None:
        earlier = records.c.created_at < after.created_at
        same = and_(records.c.created_at == after.created_at, records.c.id < after.id)
        mine = and_(mine, or_(earlier, same))
    with db.read() as connection:
        if wanted := _folded(search):
            matching = _matching(connection, select(*_NAMES).where(mine).order_by(*order), wanted)
            ids = list(islice(matching, limit + 1))
            found = []
            for start in range(0, len(ids), _STEP):
                query = _SELECT.where(records.c.id.in_(ids[start : start + _STEP])).order_by(*order)
                found += [Record(**row._mapping) for row in connection.execute(query)]
        else:
            query = _SELECT.where(mine).order_by(*order).limit(limit + 1)
            found = [Record(**row._mapping) for row in connection.execute(query)]
    page = found[:limit]
    return page, Place(page[-1].created_at, page[-1].id) if len(found) > limit else None


def all_records(db: Database, function_id: str) -> Iterator[Record]:
    """Every record of a function, the newest first; a page of them at a time is in memory."""
    place = None
    while True:
        page, place = list_records(db, function_id, _PAGE, place)
        yield from page
        if place is None:
            return


def count_records(db: Database, function_id: str, search: str = "") -> int:
    """How many records a function has, or how many are found by ``search`` as of `list_records`."""
    mine = and_(records.c.function_id == function_id, *_readable())
    with db.read() as connection:
        if wanted := _folded(search):
            return sum(1 for _ in _matching(connection, select(*_NAMES).where(mine), wanted))
        return connection.scalar(select(func.count()).select_from(records).where(mine)) or 0


def near_records(db: Database, function_id: str, sha256: str, perceptual_hash: str) -> list[NearRecord]:
    """The records of the very file and of near-duplicates of its picture, the same file first, then the newest."""
    hashes = _hashes_of(db, function_id)
    places = near_duplicates_of(perceptual_hash, hashes.numbers)[0].tolist()
    ids = list({hashes.ids[place] for place in places} | set(hashes.of_file.get(sha256, ())))
    columns = [records.c[name] for name in ("id", "sha256", "verdict", "grade", "created_at", "disputed_label")]
    found = []
    with db.read() as connection:
        for start in range(0, len(ids), _STEP):
            step = records.c.id.in_(ids[start : start + _STEP])
            for row in connection.execute(select(*columns).where(step, *_readable())):
                same = row.sha256 == sha256
                found.append(NearRecord(row.id, same, row.verdict, row.grade, row.created_at, row.disputed_label))
    return sorted(found, key=lambda item: (not item.same_file, -item.created_at, item.id))


def delete_records(db: Database, function_id: str, record_ids: Sequence[str] | None) -> int:
    """Delete these records of a function, or all with None; returns how many there were."""
    gone = 0
    with db.write([function_id]) as connection:
        mine = delete(records).where(records.c.function_id == function_id)
        if record_ids is None:
            gone = connection.execute(mine).rowcount
        for start in range(0, len(record_ids or ()), _STEP):
            step = (record_ids or ())[start : start + _STEP]
            gone += connection.execute(mine.where(records.c.id.in_(step))).rowcount
        _note_deleted(connection, function_id, gone)
    return gone


def delete_older(db: Database, function_id: str, moment: float) -> int:
    """Delete what a function has kept before a moment; returns how many records."""
    with db.write([function_id]) as connection:
        gone = connection.execute(
            delete(records).where(records.c.function_id == function_id, records.c.created_at < moment)
        ).rowcount
        _note_deleted(connection, function_id, gone)
    return gone


def _note_deleted(connection: Connection, function_id: str, gone: int) -> None:
    if gone:
        name = connection.scalar(select(functions.c.name).where(functions.c.id == function_id))
        note_with(connection, "records deleted", name or "", {"function": function_id, "records": gone})


def _readable() -> list[ColumnElement[bool]]:
    """What whoever acts may read of records: those who do not manage only what they have kept themselves."""
    actor = actor_now()
    return [] if actor is None or actor.sees_all else [records.c.kept_by == actor.id]


def count_older(db: Database, function_id: str, moment: float) -> tuple[int, int]:
    """How many records `delete_older` would delete, and how many of these are disputed: of those that may be read."""
    older = records.c.function_id == function_id, records.c.created_at < moment, *_readable()
    with db.read() as connection:
        row = connection.execute(select(func.count(), func.count(records.c.disputed_at)).where(*older)).one()
    return row[0], row[1]


def age_limits(db: Database) -> list[tuple[str, int]]:
    """(function id, days) of all functions whose records have an age limit."""
    with db.read() as connection:
        rows = connection.execute(
            select(functions.c.id, functions.c.keep_days).where(functions.c.keep_days.is_not(None))
        )
        return [(row.id, row.keep_days) for row in rows]


def mark_disputed(db: Database, function_id: str, record_id: str, label_name: str) -> None:
    """Note which label somebody says is right. Raises NotFound."""
    with db.write([function_id]) as connection:
        changed = connection.execute(
            update(records)
            .where(records.c.id == record_id, records.c.function_id == function_id)
            .values(disputed_label=label_name, disputed_at=now())
        ).rowcount
    if not changed:
        raise NotFound("record", record_id)


def storable(value: Any, most: int = MAX_TEXT, depth: int = _DEEPEST) -> Any:
    """JSON as it is kept: texts without control characters and of bounded length, whatever a file says of itself.

    What lies deeper than evidence is nested is left out.
    """
    if isinstance(value, str):
        return without_controls(value[:most])
    if not depth:
        return None if isinstance(value, dict | list | tuple) else value
    if isinstance(value, dict):
        return {storable(str(name), most): storable(item, most, depth - 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, most, depth - 1) for item in value]
    return value


def _judged_by(evidence: dict[str, Any]) -> tuple[Any, Any]:
    """The limit that a verdict was judged by, and what the model was adapted by: other ones promise other things."""
    model = evidence.get("model") or {}
    return model.get("falseAccusationLimit"), model.get("offset")


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


@dataclass(frozen=True, eq=False)
class _Hashes:
    """Of every record of a function.

    Attributes
    ----------
    state : tuple
        How many records there were, and of when: they never change but come and go.
    ids : tuple of str
    of_file : dict of str to list of str
        Ids by SHA-256.
    numbers : (n, 3) uint64
        From `hash_numbers`, in the order of the ids.
    """

    state: tuple[Any, ...]
    ids: tuple[str, ...]
    of_file: dict[str, list[str]]
    numbers: np.ndarray


#: By database and function.
_cache: OrderedDict[tuple[str, str], _Hashes] = OrderedDict()
_lock = threading.Lock()


def _hashes_of(db: Database, function_id: str) -> _Hashes:
    """The hashes of a function's records, from memory as long as no record came or went."""
    key = (str(db.engine.url), function_id)
    mine = records.c.function_id == function_id
    times = func.count(), func.min(records.c.created_at), func.max(records.c.created_at), func.sum(records.c.created_at)
    # Without the large columns, which each row has before its time: an index has that.
    hashes = select(records.c.id, records.c.sha256, records.c.perceptual_hash).where(mine)
    with _lock, db.read() as connection:
        state = tuple(connection.execute(select(*times).where(mine)).one())
        known = _cache.get(key)
        if known is None or known.state != state:
            rows = connection.execute(hashes).all()
            of_file: dict[str, list[str]] = {}
            for row in rows:
                of_file.setdefault(row.sha256, []).append(row.id)
            numbers = hash_numbers([row.perceptual_hash for row in rows])
            known = _cache[key] = _Hashes(state, tuple(row.id for row in rows), of_file, numbers)
        _cache.move_to_end(key)
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
        return known


def _folded(text: str) -> str:
    """Text as it is searched: without case, and with one form of letters that can be written in two."""
    return unicodedata.normalize("NFC", without_controls(text).casefold())


def _matching(connection: Connection, query: Select[Any], wanted: str) -> Iterator[str]:
    """The ids of the records in ``query``, in its order, whose file name or verdict has a folded text in it.

    Not the database's own comparison: SQLite folds no letter beyond a to z, others by how they were set up.
    """
    for record_id, file_name, verdict in connection.execute(query):
        if wanted in _folded(file_name) or wanted in _folded(verdict):
            yield record_id


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


#: They stand before the large columns of a row, which are not read for them.
_NAMES = records.c.id, records.c.file_name, records.c.verdict
_SELECT = select(*(records.c[name] for name in Record.__dataclass_fields__))
