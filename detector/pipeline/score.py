"""Millions of pictures judged by one frozen model, never stored as samples: part by part, and resumed after a stop.

`score_part` is the whole of the work on one part: it reads, judges and writes by itself, leaves alone what is there
already, and can be given the same part again, in this process or in any other that reaches the data and the results.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from detector import __version__
from detector.errors import ImageError, InvalidInput, NotFound, ScoredOtherwise, SharedWorkFailed
from detector.formatting import count, limit
from detector.imaging import DecodedImage, sha256_hex
from detector.pipeline.score_parts import (
    PART_ROWS,
    START_OVER,
    Begun,
    Results,
    digest_of,
    probability_column,
    table_of,
)
from detector.pipeline.score_places import Fetch, places_of, read_place, shown
from detector.progress import Pace, Report, silent
from detector.serving.invoke import Verdict
from detector.serving.many_pictures import answer_many
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.serving.shared_work import At, SharedWork, share
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.system.batches import map_batches
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: Files that are read at the same time: an object store answers after a while, but many at once.
READERS = 8
#: Names that are listed between two words on it.
_LISTED_AT_A_TIME = 10_000
_CHANGED = "the thresholds of its model, or its labels, have changed since"


@dataclass(frozen=True)
class ScoreSettings:
    """What to score, with which model, and where to.

    Attributes
    ----------
    function : str
        Name or id.
    place : str
        See `detector.pipeline.score_places.places_of`.
    out : Path
        The folder of the results.
    version : int, optional
        Of the model; the live one unless given.
    start_over : bool
        Remove what is there, and score everything again.
    first_list : bool
        Keep to the list as it was first read, whatever has changed since.
    rows : int
        Of a part.
    """

    function: str
    place: str
    out: Path
    version: int | None = None
    start_over: bool = False
    first_list: bool = False
    rows: int = PART_ROWS


@dataclass(frozen=True)
class Scored:
    """What was done.

    Attributes
    ----------
    begun : Begun
    there : int
        Rows that were there already.
    made : int
        Rows that are new.
    verdicts : dict of str to int
        Of the new ones, how often each verdict was given.
    errors : int
        New rows of files that could not be read or judged.
    notes : tuple of str
        Sentences about what has changed since the first start.
    stopped : bool
        Whether it was stopped before the end.
    """

    begun: Begun
    there: int
    made: int
    verdicts: dict[str, int]
    errors: int
    notes: tuple[str, ...] = ()
    stopped: bool = False


def score(
    ws: Workspace,
    settings: ScoreSettings,
    report: Report = silent,
    fetch: Fetch = None,
    stop: threading.Event | None = None,
) -> Scored:
    """Score all pictures of a place.

    Parameters
    ----------
    settings : ScoreSettings
    report : Report
    fetch : callable, optional
        How addresses of the web are fetched; without it they are not.
    stop : threading.Event, optional
        Set: what is on its way is judged and written, then this ends.

    Raises
    ------
    PlaceUnusable, InvalidInput, NotFound, NoModel, BackboneUnavailable
    ScoredOtherwise
        The results that are there were made with another model, other thresholds or another list.
    """
    stop = stop or threading.Event()
    function = functions.find_function(ws.db, settings.function)
    results = Results(settings.out)
    # What is there goes only once there is something to begin with: see `_begin`.
    before = None if settings.start_over else results.begun()
    serving = _serving(ws, function, settings, before)
    begun, notes = _begin(ws, function, serving, results, settings, before, report)
    there = [results.rows_there(begun, part) for part in range(begun.parts)]
    left = begun.pictures - sum(there)
    if before is not None:
        notes = (*notes, f"{count(sum(there), 'picture')} of {begun.pictures:,} were scored before.")
    if not left:
        return Scored(begun, sum(there), 0, {}, 0, notes)
    if ws.settings.dask and fetch is None:
        _on_a_cluster(ws, begun, settings.out, there, report, stop)
    else:
        _here(ws, serving, begun, results, there, report, fetch, stop)
    # What lies there counts, not what was answered: a worker may have written its part and died before it said so.
    new = results.new_rows(begun, there)
    return Scored(begun, sum(there), new.rows, new.verdicts, new.errors, notes, new.rows < left)


def _here(
    ws: Workspace,
    serving: ServingModel,
    begun: Begun,
    results: Results,
    there: list[int],
    report: Report,
    fetch: Fetch,
    stop: threading.Event,
) -> None:
    """Score what is missing in this process."""
    left = begun.pictures - sum(there)
    report("score", 0, left, "Loading the backbone", None)
    backbone = serving_backbone(ws, serving)
    pace = Pace(report, "score", left, "Scoring pictures", every=0)
    made = 0

    def judged(rows: list[dict[str, Any]]) -> None:
        nonlocal made
        made += len(rows)
        pace.at(made)

    for part, places in results.parts_of_list(begun.rows):
        if stop.is_set():
            break
        if there[part] < len(places):
            score_part(ws, serving, backbone, begun, results, part, places, fetch, stop, judged)


class _Stopped(Exception):
    """By hand; parts that are on their way are written by whoever has them."""


def _on_a_cluster(
    ws: Workspace, begun: Begun, out: Path, there: list[int], report: Report, stop: threading.Event
) -> None:
    """As `_here`, with the parts handed out to a Dask cluster, whose workers reach the pictures and the results."""
    missing = [part for part, rows in enumerate(there) if rows < begun.rows_of(part)]
    pace = Pace(report, "score", begun.pictures - sum(there), "Scoring pictures", every=0)

    def at(parts: int) -> None:
        if stop.is_set():
            raise _Stopped
        pace.at(sum(begun.rows_of(part) - there[part] for part in missing[:parts]))

    parameters = {"out": str(out.resolve())}
    with suppress(_Stopped):
        share(ws, SCORE, parameters, missing, at, lambda: _score_parts(ws, parameters, missing, at))


def _score_parts(ws: Workspace, parameters: dict[str, Any], parts: list[int], at: At) -> dict[str, Any]:
    results = Results(Path(parameters["out"]))
    begun = results.begun()
    if begun is None:
        raise SharedWorkFailed(
            f"the results {shown(parameters['out'])} are not there. Give all workers the same folder"
        )
    serving = load_serving_model(ws, begun.function, begun.model_id)
    backbone = serving_backbone(ws, serving)
    at(0)
    for done, part in enumerate(parts, start=1):
        score_part(ws, serving, backbone, begun, results, part, results.part_of_list(begun.rows, part))
        at(done)
    return {"done": len(parts)}


#: Parts of a list of pictures, one at a time: each is some thousand of them.
SCORE = SharedWork("score", _score_parts, size=1)


def score_part(
    ws: Workspace,
    serving: ServingModel,
    backbone: Backbone,
    begun: Begun,
    results: Results,
    part: int,
    places: list[str],
    fetch: Fetch = None,
    stop: threading.Event | None = None,
    judged: Any = lambda _rows: None,
) -> int:
    """Judge the pictures of one part and write it; returns how many rows are new.

    What is there of it stays. Doing it twice does nothing twice.

    Parameters
    ----------
    serving, backbone :
        The model that ``begun`` names, and the backbone that belongs to it: loaded once, for many parts.
    part : int
    places : list of str
        All of this part.
    fetch, stop : see `score`
    judged : callable, optional
        Called with the rows that were finished since the last call.

    Raises
    ------
    ScoredOtherwise
        The model judges by other thresholds than those of ``begun``: they have changed since.
    """
    if judged_by(serving) != begun.judged_by:
        raise ScoredOtherwise(results.name, _CHANGED, START_OVER)
    there = results.rows_there(begun, part)
    if there >= len(places):
        return 0
    old = results.read_part(part) if there else None
    rows = _rows(ws, serving, backbone, places[there:], fetch, stop or threading.Event(), judged)
    if rows:
        new = table_of(begun, rows)
        results.write_part(part, new if old is None else pa.concat_tables([old, new]))
    return len(rows)


def _rows(
    ws: Workspace,
    serving: ServingModel,
    backbone: Backbone,
    places: list[str],
    fetch: Fetch,
    stop: threading.Event,
    judged: Any,
) -> list[dict[str, Any]]:
    """Of each picture a row, in their order; fewer where it was stopped."""
    found: dict[int, dict[str, Any]] = {}
    hashes: dict[int, str] = {}
    facts: dict[int, tuple[int, int, str]] = {}

    def finished(answers: Mapping[int, Verdict | ImageError]) -> None:
        new = [
            _row(shown(places[at]), hashes.pop(at, None), answer, facts.pop(at, None), serving)
            for at, answer in answers.items()
        ]
        found.update(zip(answers, new, strict=True))
        judged(new)

    def read() -> Iterator[tuple[int, bytes, str]]:
        def read_one(batch: list[tuple[int, str]]) -> tuple[int, str, bytes | ImageError]:
            [(at, place)] = batch
            try:
                return at, shown(place), read_place(place, ws.settings.max_image_bytes, fetch)
            except ImageError as error:
                return at, shown(place), error

        for at, name, data in map_batches(
            read_one, enumerate(places), size=1, workers=READERS, ahead=READERS, name="read"
        ):
            if isinstance(data, ImageError):
                finished({at: data})
            else:
                hashes[at] = sha256_hex(data)
                yield at, data, name
            if stop.is_set():
                return

    def decoded(at: int, picture: DecodedImage) -> None:
        facts[at] = (picture.facts.width, picture.facts.height, picture.facts.format)

    answer_many(ws, serving, backbone, read(), finished, decoded)
    return [found[at] for at in sorted(found)]


def _row(
    path: str,
    sha256: str | None,
    answer: Verdict | ImageError,
    facts: tuple[int, int, str] | None,
    serving: ServingModel,
) -> dict[str, Any]:
    width, height, kind = facts or (None, None, None)
    row: dict[str, Any] = {"path": path, "sha256": sha256, "width": width, "height": height, "format": kind}
    if isinstance(answer, ImageError):
        return {**row, "error": str(answer)}
    return {
        **row,
        "label": answer.label,
        "verdict": answer.verdict,
        "grade": answer.grade,
        "confidence": answer.confidence,
        **{probability_column(score.label): score.confidence for score in answer.scores},
        "reason": answer.reason,
        "unlike": ", ".join(miss.fact for miss in answer.unlike),
        "error": None,
    }


def _serving(ws: Workspace, function: Function, settings: ScoreSettings, before: Begun | None) -> ServingModel:
    """The model that judges: the version asked for, else the one that was begun with, else the live one."""
    if settings.version is not None:
        rows = models.list_models(ws.db, function.id)
        found = next((row.id for row in rows if row.version == settings.version), None)
        if found is None:
            raise NotFound("model version", str(settings.version))
        return load_serving_model(ws, function.id, found)
    if before is not None and before.function == function.id:
        try:
            return load_serving_model(ws, function.id, before.model_id)
        except NotFound as error:
            raise ScoredOtherwise(
                shown(str(settings.out)), f"model {before.model_version}, which is deleted, has judged", START_OVER
            ) from error
    return load_serving_model(ws, function.id)


def _begin(
    ws: Workspace,
    function: Function,
    serving: ServingModel,
    results: Results,
    settings: ScoreSettings,
    before: Begun | None,
    report: Report,
) -> tuple[Begun, tuple[str, ...]]:
    """What the results belong to; raises ScoredOtherwise where those that are there belong to something else."""
    thresholds = serving.thresholds
    begun = Begun(
        function.id,
        serving.row.id,
        serving.row.version,
        serving.row.backbone_key,
        __version__,
        tuple(label.name for label in serving.labels),
        thresholds.false_accusation_limit if thresholds is not None else None,
        judged_by(serving),
        settings.place,
        rows=settings.rows,
    )
    notes: tuple[str, ...] = ()
    if before is not None:
        _require_same(results.name, before, begun, settings)
        if function.live_model_id != before.model_id:
            notes = (f"Model {before.model_version} judges, as at the first start; another version is live by now.",)
        if before.program_version != __version__:
            notes = (*notes, f"The first part was written by version {before.program_version} of this program.")
        if settings.first_list:
            if not results.has_list():
                raise ScoredOtherwise(results.name, "the list of pictures in it is gone", START_OVER)
            return before, notes
    listed = _said(places_of(settings.place, settings.out), report)
    if before is None:
        first = next(listed, None)
        if first is None:
            raise InvalidInput(f"There are no pictures in {shown(settings.place)}. Give another place.")
        if settings.start_over:
            results.clear()
        number, digest = results.write_list(chain([first], listed))
    else:
        number, digest = digest_of(listed)
        if digest != before.list_digest:
            raise ScoredOtherwise(
                results.name,
                f"the list of pictures has changed since ({count(before.pictures, 'picture')} then, {number:,} now)",
                f"Give --first-list to keep to the list of then. {START_OVER}",
            )
        if not results.has_list():
            # Somebody was stopped while they removed it; the places are the same, so it can be had again.
            results.write_list(_said(places_of(settings.place, settings.out), report))
        return before, notes
    begun = replace(begun, pictures=number, list_digest=digest)
    results.begin(begun)
    return begun, notes


def _require_same(name: str, before: Begun, now: Begun, settings: ScoreSettings) -> None:
    what = ""
    if before.function != now.function:
        what = "another function has judged"
    elif before.model_id != now.model_id:
        what = f"model {before.model_version} has judged, not {now.model_version}"
    elif before.limit != now.limit and before.limit is not None and now.limit is not None:
        what = f"the function's limit of false accusations was {limit(before.limit)} and is {limit(now.limit)} now"
    elif before.judged_by != now.judged_by:
        what = _CHANGED
    elif before.place != now.place and not settings.first_list:
        what = f"the place was {shown(before.place)}"
    if what:
        raise ScoredOtherwise(name, what, START_OVER)


def judged_by(serving: ServingModel) -> str:
    """A name for everything that decides on a verdict: equal names, equal verdicts."""
    facts = [
        serving.row.id,
        [(label.id, label.name) for label in serving.labels],
        serving.thresholds.to_json() if serving.thresholds else None,
        serving.coverage.to_json() if serving.coverage else None,
        serving.judge_unlike,
        serving.recentring.to_json() if serving.recentring else None,
        hashlib.sha256(serving.likeness.to_bytes()).hexdigest() if serving.likeness else None,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _said(places: Iterator[str], report: Report) -> Iterator[str]:
    """The same, with a word on how many there are from time to time."""
    for number, place in enumerate(places, 1):
        if number % _LISTED_AT_A_TIME == 0:
            report("list", number, 0, "Listing pictures", None)
        yield place
