"""Runs of invokes: many pictures given at once, what a job has found of each, and what pages read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update

from detector.errors import JobCancelled, NotFound
from detector.storage.audit_log import note_with
from detector.storage.database import Database, holdable, new_id, now
from detector.storage.schema import invoke_run_pictures as pictures
from detector.storage.schema import invoke_runs as runs
from detector.storage.schema import samples

State = Literal["running", "done", "failed"]

#: How many positions one statement may name; SQLite's own limit is 32,766.
_CHUNK = 5000


@dataclass(frozen=True)
class Run:
    """One row.

    Attributes
    ----------
    title : what people call the files: an archive's name, or how many files they were
    total : files in all; 0 until they are listed
    model_id : the version that judges all of them, also when another one goes live meanwhile
    note : why it ended before the end; empty where it did not
    """

    id: str
    function_id: str
    title: str
    state: State
    total: int
    model_id: str
    note: str
    created_at: float
    finished_at: float | None


@dataclass(frozen=True)
class RunPicture:
    """One file of a run, but for its thumbnail.

    Attributes
    ----------
    position : its place among the files of the run
    sha256 : of its bytes; None where they could not be read
    scores : by label id, of the model as it was trained; None where the file could not be used
    unlike : what of the file was never tried with every label, in words
    flags : short names of what else is to be said of it
    problem : why the file could not be used
    """

    position: int
    file_name: str
    sha256: str | None = None
    scores: dict[str, float] | None = None
    unlike: str = ""
    flags: tuple[str, ...] = field(default=())
    problem: str = ""


def create_run(db: Database, function_id: str, title: str, model_id: str) -> str:
    """Open a run; returns its id."""
    run_id, title = new_id(), holdable(title)
    with db.write([function_id]) as connection:
        connection.execute(
            insert(runs).values(
                id=run_id,
                function_id=function_id,
                title=title,
                state="running",
                model_id=model_id,
                created_at=now(),
            )
        )
    return run_id


def set_total(db: Database, run_id: str, total: int) -> None:
    """Say how many files a run has."""
    with db.write([]) as connection:
        connection.execute(update(runs).where(runs.c.id == run_id).values(total=total))


def add_pictures(db: Database, run_id: str, found: Sequence[tuple[RunPicture, bytes | None]]) -> None:
    """Note what was found of some files, with their thumbnails, in one transaction.

    Raises
    ------
    JobCancelled
        The run was stopped or deleted meanwhile.
    """
    with db.write([run_id]) as connection:
        # Locked, where the database has more than one writer: it cannot go before the end.
        state = connection.scalar(select(runs.c.state).where(runs.c.id == run_id).with_for_update())
        if state != "running":
            raise JobCancelled("The run was stopped." if state else "The run was deleted.")
        if found:
            connection.execute(
                insert(pictures),
                [
                    {
                        "run_id": run_id,
                        "position": picture.position,
                        "file_name": holdable(picture.file_name),
                        "sha256": picture.sha256,
                        "scores": picture.scores,
                        "unlike": holdable(picture.unlike),
                        "flags": list(picture.flags) or None,
                        "problem": holdable(picture.problem),
                        "thumbnail": thumbnail,
                    }
                    for picture, thumbnail in found
                ],
            )


def finish_run(db: Database, run_id: str, state: State, note: str = "") -> None:
    """End a run that has not ended yet."""
    with db.write([run_id]) as connection:
        connection.execute(
            update(runs)
            .where(runs.c.id == run_id, runs.c.state == "running")
            .values(state=state, note=holdable(note), finished_at=now())
        )


def get_run(db: Database, run_id: str) -> Run:
    """The run of that id. Raises NotFound."""
    with db.read() as connection:
        row = connection.execute(_SELECT_RUN.where(runs.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound("run", run_id)
    return Run(**row._mapping)


def list_runs(db: Database, function_id: str, limit: int = 20) -> list[Run]:
    """The latest runs of a function, newest first."""
    with db.read() as connection:
        rows = connection.execute(
            _SELECT_RUN.where(runs.c.function_id == function_id)
            .order_by(runs.c.created_at.desc(), runs.c.id)
            .limit(limit)
        )
        return [Run(**row._mapping) for row in rows]


def delete_run(db: Database, run_id: str) -> bool:
    """Remove a run and what was found of its pictures; whether it was there."""
    with db.write([run_id]) as connection:
        title = connection.scalar(select(runs.c.title).where(runs.c.id == run_id))
        gone = bool(connection.execute(delete(runs).where(runs.c.id == run_id)).rowcount)
        if gone:
            note_with(connection, "run deleted", title or "", {"run": run_id})
        return gone


def run_ids(db: Database, before: float | None = None) -> set[str]:
    """The ids of all runs of all functions, or of those that began before a moment."""
    statement = select(runs.c.id)
    if before is not None:
        statement = statement.where(runs.c.created_at < before)
    with db.read() as connection:
        return set(connection.scalars(statement))


def count_pictures(db: Database, run_id: str) -> int:
    """How many files of a run are done."""
    with db.read() as connection:
        return connection.scalar(select(func.count()).where(pictures.c.run_id == run_id)) or 0


def names(db: Database, run_id: str, positions: Sequence[int] | None = None) -> dict[int, str]:
    """The names of a run's files that are done, by position: of all, or of some."""
    query = select(pictures.c.position, pictures.c.file_name).where(pictures.c.run_id == run_id)
    with db.read() as connection:
        if positions is None:
            return {row.position: row.file_name for row in connection.execute(query)}
        found: dict[int, str] = {}
        for some in _chunks(positions):
            rows = connection.execute(query.where(pictures.c.position.in_(some)))
            found |= {row.position: row.file_name for row in rows}
    return found


def stored_pictures(db: Database, run_id: str) -> list[RunPicture]:
    """What was found of all files of a run, in their order."""
    columns = [pictures.c[name] for name in RunPicture.__dataclass_fields__]
    with db.read() as connection:
        rows = connection.execute(
            select(*columns).where(pictures.c.run_id == run_id).order_by(pictures.c.position)
        ).all()
    return [RunPicture(**{**row._mapping, "flags": tuple(row.flags or ())}) for row in rows]


def sample_positions(db: Database, run_id: str) -> frozenset[int]:
    """The files of a run whose very bytes are a sample of its function now."""
    with db.read() as connection:
        rows = connection.scalars(
            select(pictures.c.position)
            .join(runs, runs.c.id == pictures.c.run_id)
            .join(samples, _same_picture())
            .where(pictures.c.run_id == run_id)
        )
        return frozenset(rows)


def thumbnail(db: Database, run_id: str, position: int) -> bytes:
    """A small picture of one file. Raises NotFound."""
    with db.read() as connection:
        data = connection.scalar(
            select(pictures.c.thumbnail).where(pictures.c.run_id == run_id, pictures.c.position == position)
        )
    if data is None:
        raise NotFound("picture", f"{run_id}-{position}")
    return bytes(data)


def thumbnails(db: Database, run_id: str, positions: Sequence[int]) -> dict[int, bytes]:
    """Small pictures of some files, by position; a file that could not be used has none."""
    found: dict[int, bytes] = {}
    with db.read() as connection:
        for some in _chunks(positions):
            rows = connection.execute(
                select(pictures.c.position, pictures.c.thumbnail).where(
                    pictures.c.run_id == run_id, pictures.c.position.in_(some), pictures.c.thumbnail.is_not(None)
                )
            )
            found |= {row.position: bytes(row.thumbnail) for row in rows}
    return found


def _same_picture() -> ColumnElement[bool]:
    return and_(
        samples.c.function_id == runs.c.function_id,
        samples.c.image_hash == pictures.c.sha256,
        samples.c.deleted_at.is_(None),
    )


def _chunks(positions: Sequence[int]) -> list[Sequence[int]]:
    return [positions[start : start + _CHUNK] for start in range(0, len(positions), _CHUNK)]


_SELECT_RUN = select(*(runs.c[name] for name in Run.__dataclass_fields__))
