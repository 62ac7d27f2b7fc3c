"""Runs of invokes as people read them: every picture judged by the limit of now, sorted, filtered and counted.

What is stored of a picture are its scores. The word for them is worked out here whenever the run is read, so that
another limit of false accusations, another name of a label, or an adapted model counts at once, and no picture is
looked at again.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from detector.errors import NotFound
from detector.evidence.judge_run import STATED
from detector.importing.opening import open_source
from detector.serving.invoke import with_its_file
from detector.serving.model import ServingModel, load_serving_model, renormalised
from detector.storage import invoke_runs
from detector.storage.invoke_runs import Run, RunPicture
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace

#: What a picture may be flagged as: its file was never tried with every label; it states how it was made; its very
#: bytes are one of the samples.
UNLIKE, SAMPLE = "unlike", "sample"
FLAG_WORDS = {UNLIKE: "unlike your samples", STATED: "says that AI made it", SAMPLE: "among your samples"}

#: What the count of files is called that could not be used.
NOT_READ = "not read"

#: Runs whose pictures are kept judged, for the next page of them.
_KEPT_RUNS = 4


class Order(StrEnum):
    """How pictures of a run are sorted."""

    POSITION = "position"
    SUREST = "surest"
    UNSUREST = "unsurest"
    NAME = "name"
    VERDICT = "verdict"


@dataclass(frozen=True)
class Judged:
    """One picture of a run, and what the function says of it now.

    Attributes
    ----------
    scores : tuple of (label's name, probability)
        The most confident first; empty where the file could not be used.
    label, confidence : str, float
        The first of them; empty and 0 where there is none.
    verdict : str
        The label's name where the function is sure enough of it, else ``CANT_TELL``; empty where there is no score.
    grade, reason : str
        As of `detector.serving.invoke.Verdict`.
    unlike, problem, flags, sha256, file_name, position
        As stored: see `RunPicture`.
    """

    position: int
    file_name: str
    sha256: str | None
    scores: tuple[tuple[str, float], ...]
    verdict: str
    grade: str
    reason: str
    unlike: str
    flags: tuple[str, ...]
    problem: str

    @property
    def label(self) -> str:
        return self.scores[0][0] if self.scores else ""

    @property
    def confidence(self) -> float:
        return self.scores[0][1] if self.scores else 0.0


@dataclass(frozen=True)
class JudgedRun:
    """A run with its pictures, as far as they are done.

    Attributes
    ----------
    labels : tuple of str
        The names of the labels that the model may answer with.
    samples : frozenset of int
        Positions of pictures that are samples of the function.
    limit : float
        The function's limit of false accusations that the verdicts keep to; 0 where the model has no thresholds.
    """

    run: Run
    model_version: int
    labels: tuple[str, ...]
    pictures: tuple[Judged, ...]
    samples: frozenset[int]
    limit: float

    def flags(self, picture: Judged) -> tuple[str, ...]:
        """Short names of what else is to be said of a picture, of `FLAG_WORDS`."""
        unlike = (UNLIKE,) if picture.unlike else ()
        return (*unlike, *picture.flags, *((SAMPLE,) if picture.position in self.samples else ()))

    def counts(self) -> list[tuple[str, int]]:
        """How many pictures got each verdict, the labels in their order, and how many files were not read."""
        found = Counter(picture.verdict for picture in self.pictures)
        said = [(verdict, found[verdict]) for verdict in (*self.labels, CANT_TELL)]
        return [*said, (NOT_READ, found[""])] if found[""] else said

    def grades(self) -> dict[str, int]:
        """How many pictures got each grade."""
        return dict(Counter(picture.grade for picture in self.pictures if picture.grade))

    def reasons(self) -> list[tuple[str, int]]:
        """What stands behind the grades, the most frequent first: of how many pictures it is said.

        Without what is said of a single picture's file, which stands beside that picture.
        """
        said = (picture.reason.removeprefix(picture.unlike).strip() for picture in self.pictures)
        return Counter(filter(None, said)).most_common()

    def flagged(self) -> dict[str, int]:
        """How many pictures have each flag."""
        return dict(Counter(flag for picture in self.pictures for flag in self.flags(picture)))

    def select(
        self,
        order: Order = Order.POSITION,
        verdicts: Sequence[str] = (),
        grades: Sequence[str] = (),
        flags: Sequence[str] = (),
        name: str = "",
    ) -> list[Judged]:
        """The pictures that match, sorted.

        Parameters
        ----------
        verdicts, grades, flags : sequences of str
            Any of them will do; empty: all. `NOT_READ` stands for files that could not be used.
        name : str
            A part of the file's name.
        """
        wanted, asked, part = {"" if item == NOT_READ else item for item in verdicts}, set(flags), name.casefold()
        found = [
            picture
            for picture in self.pictures
            if (not verdicts or picture.verdict in wanted)
            and (not grades or picture.grade in grades)
            and (not asked or asked.intersection(self.flags(picture)))
            and (not part or part in picture.file_name.casefold())
        ]
        # Files without a score come last, whatever is asked for; ties stay in the order of the files.
        if order is Order.SUREST:
            found.sort(key=lambda picture: -picture.confidence)
        elif order is Order.UNSUREST:
            found.sort(key=lambda picture: picture.confidence or 2.0)
        elif order is Order.NAME:
            found.sort(key=lambda picture: picture.file_name.casefold())
        elif order is Order.VERDICT:
            places = {verdict: place for place, verdict in enumerate((*self.labels, CANT_TELL, ""))}
            found.sort(key=lambda picture: (places.get(picture.verdict, len(places)), -picture.confidence))
        return found

    def picture(self, position: int) -> Judged:
        """The picture at a position. Raises NotFound."""
        found = next((picture for picture in self.pictures if picture.position == position), None)
        if found is None:
            raise NotFound("picture", f"{self.run.id}-{position}")
        return found


_judged: OrderedDict[tuple[str, str], tuple[object, tuple[Judged, ...]]] = OrderedDict()
_lock = threading.Lock()


def read_run(ws: Workspace, run_id: str) -> JudgedRun:
    """A run, judged by the limit of now.

    Raises
    ------
    NotFound, NoModel, StoredModelUnusable
        The run or its model is gone, or the model cannot answer any more.
    """
    run = invoke_runs.get_run(ws.db, run_id)
    serving = load_serving_model(ws, run.function_id, run.model_id)
    place = (ws.settings.url, run_id)
    # Whatever the words depend on. Pictures are only ever added, so that their number says which there are.
    state = (
        invoke_runs.count_pictures(ws.db, run_id),
        repr(serving.labels),
        repr(serving.row.thresholds),
        repr(serving.recentring),
        serving.judge_unlike,
    )
    with _lock:
        known = _judged.get(place)
    if known is None or known[0] != state:
        known = (state, tuple(judge(serving, invoke_runs.stored_pictures(ws.db, run_id))))
        with _lock:
            _judged[place] = known
            while len(_judged) > _KEPT_RUNS:
                _judged.popitem(last=False)
    with _lock:
        if place in _judged:
            _judged.move_to_end(place)
    return JudgedRun(
        run,
        serving.row.version,
        tuple(label.name for label in serving.labels),
        known[1],
        invoke_runs.sample_positions(ws.db, run_id),
        float((serving.row.thresholds or {}).get("tolerated", 0.0)),
    )


def judge(serving: ServingModel, pictures: Sequence[RunPicture]) -> list[Judged]:
    """What a model says of pictures by their scores of the training, under its thresholds of now."""
    ids, names = [label.id for label in serving.labels], [label.name for label in serving.labels]
    scored = [picture for picture in pictures if picture.scores is not None and picture.scores.keys() >= set(ids)]
    said: dict[int, tuple[tuple[tuple[str, float], ...], str, str]] = {}
    if scored:
        rows = np.array([[(picture.scores or {})[label_id] for label_id in ids] for picture in scored])
        # A label may have been deleted since; the others share its part.
        rows = np.where(
            np.array([len(picture.scores or {}) > len(ids) for picture in scored])[:, None], renormalised(rows), rows
        )
        if serving.recentring is not None:
            rows = serving.recentring.shift(rows)
        order = np.argsort(-rows, axis=1, kind="stable")
        reasons: dict[tuple[str, str, str], tuple[str, str]] = {}
        for picture, row, places, grade in zip(
            scored, rows.tolist(), order.tolist(), serving.grades(rows), strict=True
        ):
            scores = tuple((names[place], row[place]) for place in places)
            asked = (scores[0][0], grade, picture.unlike)
            if asked not in reasons:
                reasons[asked] = with_its_file(serving, *asked)
            said[picture.position] = (scores, *reasons[asked])
    judged = []
    for picture in pictures:
        scores, grade, reason = said.get(picture.position, ((), "", ""))
        verdict = "" if not scores else CANT_TELL if grade == CANT_TELL else scores[0][0]
        judged.append(
            Judged(
                picture.position,
                picture.file_name,
                picture.sha256,
                scores,
                verdict,
                grade,
                reason,
                picture.unlike,
                picture.flags,
                picture.problem or ("" if scores else _OTHER_LABELS),
            )
        )
    return judged


_OTHER_LABELS = "The labels are others than those that this picture was judged by. Judge it again."


def picture_bytes(ws: Workspace, run_id: str, position: int) -> bytes:
    """The file at a position of a run, as it was given.

    Raises
    ------
    NotFound
        There is no such picture, or its file is gone.
    ImageError, ArchiveError
        It cannot be read.
    """
    for _, data in picture_files(ws, run_id, [position]):
        return data
    raise NotFound("picture", f"{run_id}-{position}")


def picture_files(ws: Workspace, run_id: str, positions: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of some files of a run, read one by one. Raises NotFound, ImageError, ArchiveError."""
    run = invoke_runs.get_run(ws.db, run_id)
    payload = {"from": "run", "run": run_id, "title": run.title, "positions": list(positions)}
    with open_source(ws, payload) as source:
        for entry in source.entries():
            yield entry.path, entry.read()
