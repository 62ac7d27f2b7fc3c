"""The job behind a run of invokes: every file judged once, written down as it goes, and resumed where it was ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import ImageError
from detector.imaging import DecodedImage, sha256_hex
from detector.imaging.file_look import FileLook
from detector.imaging.provenance import read_provenance
from detector.imaging.thumbnail import make_thumbnail
from detector.importing.entries import Entry
from detector.importing.opening import open_source
from detector.progress import Report, silent
from detector.serving.invoke import likenesses_of, look_of, misses_of, said_of
from detector.serving.likeness import Likeness
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage import invoke_runs
from detector.storage.embeddings import as_stored
from detector.storage.invoke_runs import RunPicture
from detector.storage.stored_names import DETAIL, WHOLE
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: Pictures written down in one transaction: a kill costs at most these, and those on their way through the network.
STEP = 32

#: A file that says itself that an AI system made it.
STATED = "stated"

_MESSAGE = "Judging pictures"


def judge_run(ws: Workspace, run_id: str, report: Report = silent) -> int:
    """Judge the files of a run that are not judged yet; returns how many those were.

    The version that the run began with judges all of them. A file that cannot be used is noted with the reason.

    Raises
    ------
    JobCancelled
        The run was stopped or deleted.
    ArchiveError, InvalidInput, NotFound, NoModel, BackboneUnavailable
        The files as a whole, or the model, cannot be used.
    """
    run = invoke_runs.get_run(ws.db, run_id)
    report("invoke", 0, run.total, "Making ready", None)
    # As it was trained: what it was adapted by may change, and is put to the scores when they are read.
    serving = load_serving_model(ws, run.function_id, run.model_id).without_recentring()
    with open_source(ws, {"from": "run", "run": run_id, "title": run.title}) as source:
        entries = source.entries()
        invoke_runs.set_total(ws.db, run_id, len(entries))
        waiting, done = _left(ws, run_id, entries)
        if waiting:
            step = _Steps(ws, run_id, serving, report, done, done + len(waiting))
            step.run(waiting, serving_backbone(ws, serving))
    return len(waiting)


def _left(ws: Workspace, run_id: str, entries: list[Entry]) -> tuple[list[tuple[int, Entry]], int]:
    """The files that are not done with their positions, and how many are done.

    By name, not by position: a folder of the server may have other files than when the run began.
    """
    done = invoke_runs.names(ws.db, run_id)
    known = set(done.values())
    free = (position for position in range(len(entries) + len(done)) if position not in done)
    left = [entry for entry in entries if entry.path not in known]
    return list(zip(free, left, strict=False)), len(done)


class _Steps:
    """Files on their way, and what was found of them until it is written."""

    def __init__(
        self, ws: Workspace, run_id: str, serving: ServingModel, report: Report, done: int, total: int
    ) -> None:
        self._ws, self._run_id, self._serving, self._report = ws, run_id, serving, report
        self._done, self._before, self._total = done, done, total
        self._start = time.monotonic()
        self._names: dict[int, str] = {}
        self._hashes: dict[int, str] = {}
        self._flags: dict[int, tuple[str, ...]] = {}
        # Filled by the threads that decode.
        self._looks: dict[int, FileLook] = {}
        self._thumbnails: dict[int, bytes] = {}
        self._found: list[tuple[RunPicture, bytes | None]] = []

    def run(self, waiting: list[tuple[int, Entry]], backbone: Backbone) -> None:
        # Here, not above: it brings torch, and pages read of this module what a flag is called.
        from detector.backbones.pipeline import embed_files

        self._say()
        ws = self._ws
        embed_files(
            self._files(waiting), backbone, ws.limits, ws.settings.threads, self._collect, on_decoded=self._decoded
        )
        self._write(0)

    def _files(self, waiting: list[tuple[int, Entry]]) -> Iterator[tuple[int, bytes, str]]:
        for position, entry in waiting:
            self._names[position] = entry.path
            try:
                data = entry.read()
            except ImageError as error:
                self._bad(position, error)
                self._write(STEP)
                continue
            self._hashes[position] = sha256_hex(data)
            self._flags[position] = (STATED,) if read_provenance(data).tells_of_ai else ()
            yield position, data, entry.path

    def _decoded(self, position: int, decoded: DecodedImage) -> None:
        self._thumbnails[position] = make_thumbnail(decoded.pixels)
        self._looks[position] = look_of(decoded, self._serving.asks_rescaling)

    def _collect(self, rows: list[tuple[int, dict[str, np.ndarray]]], failures: list[tuple[int, ImageError]]) -> None:
        for position, error in failures:
            self._bad(position, error)
        if rows:
            whole = np.stack([as_stored(views[WHOLE]).astype(np.float32) for _, views in rows])
            detail = np.stack([as_stored(views.get(DETAIL, views[WHOLE])).astype(np.float32) for _, views in rows])
            probabilities = self._serving.probabilities({WHOLE: whole, DETAIL: detail})
            likenesses = likenesses_of(self._serving, whole)
            for (position, _), scores, likeness in zip(rows, probabilities.tolist(), likenesses, strict=True):
                self._good(position, scores, likeness)
        self._write(STEP)

    def _good(self, position: int, scores: list[float], likeness: Likeness | None) -> None:
        labels = self._serving.labels
        picture = RunPicture(
            position,
            self._names.pop(position),
            self._hashes.pop(position),
            {label.id: score for label, score in zip(labels, scores, strict=True)},
            said_of(misses_of(self._serving, self._looks.pop(position), likeness)),
            self._flags.pop(position),
        )
        self._found.append((picture, self._thumbnails.pop(position)))

    def _bad(self, position: int, error: ImageError) -> None:
        sha256, flags = self._hashes.pop(position, None), self._flags.pop(position, ())
        self._looks.pop(position, None)
        thumbnail = self._thumbnails.pop(position, None)
        name = self._names.pop(position)
        self._found.append((RunPicture(position, name, sha256, flags=flags, problem=str(error)), thumbnail))

    def _write(self, at_least: int) -> None:
        if len(self._found) < max(at_least, 1):
            return
        invoke_runs.add_pictures(self._ws.db, self._run_id, self._found)
        self._done += len(self._found)
        self._found = []
        self._say()

    def _say(self) -> None:
        elapsed, made = time.monotonic() - self._start, self._done - self._before
        self._report("invoke", self._done, self._total, _MESSAGE, made / elapsed if made and elapsed > 0 else None)
