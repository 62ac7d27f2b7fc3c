"""``score``: any number of pictures -> a table of verdicts; they are not stored, and a stop loses nothing."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.formatting import count
from detector.importing.entries import printable
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.pipeline.score import Scored


def add_score_command(commands: Any) -> None:
    """Add ``score`` to the parser's commands."""
    score = commands.add_parser("score", help="judge any number of pictures into a parquet table, without storing them")
    score.add_argument("function", help="name or id")
    score.add_argument(
        "place", metavar="PLACE", help="a folder, a pattern ('/photos/**/*.jpg'), a list of paths, or s3://bucket/*.jpg"
    )
    score.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the results, such as results.parquet")
    score.add_argument("--model", type=int, metavar="VERSION", help="a version of the model; by default the live one")
    score.add_argument("--start-over", action="store_true", help="remove the results that are there, score everything")
    score.add_argument("--first-list", action="store_true", help="keep to the list of pictures as it was first read")
    json_option(score)
    score.set_defaults(run=_score)


def _score(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.pipeline.score import ScoreSettings, score

    settings = ScoreSettings(
        options.function, options.place, options.out, options.model, options.start_over, options.first_list
    )
    # Under the same setting and the same guard as the addresses that are pasted on the Invoke page.
    fetch = partial(_fetched, max_bytes=ws.settings.max_image_bytes) if ws.settings.allow_url_import else None
    with stopped_by_hand(bool(ws.settings.dask) and fetch is None) as stop, progress_bar() as report:
        done = score(ws, settings, report, fetch, stop)
    for note in done.notes:
        say(note)
    if options.json:
        answer(_as_json(done, options.out))
    else:
        for sentence in _sentences(done, options.out):
            say(sentence)
    if done.stopped:
        raise KeyboardInterrupt
    return 0


def _fetched(address: str, max_bytes: int) -> bytes:
    from detector.web.remote_pictures import fetch_picture

    return fetch_picture(address, max_bytes).data


@contextmanager
def stopped_by_hand(on_a_cluster: bool = False) -> Iterator[threading.Event]:
    """Ctrl-C sets this: what is on its way here is finished. A second one ends everything at once."""
    stop = threading.Event()

    def once(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        first = (
            "what the Dask workers are in the middle of is not waited for; what they do not finish is made next time."
            if on_a_cluster
            else "the pictures that are on their way are finished first."
        )
        sentence = f"Stopping: {first} Press Ctrl-C again to end at once."
        # By another thread: this one may be in the middle of writing its bar, and cannot begin a second time.
        threading.Thread(target=say, args=(sentence,), daemon=True).start()

    before = signal.getsignal(signal.SIGINT)
    # Python lets only the main thread ask; elsewhere nobody can press Ctrl-C.
    ours = threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, once)
    try:
        yield stop
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _as_json(done: Scored, out: Path) -> dict[str, Any]:
    begun = done.begun
    return {
        "function": begun.function,
        "model": {"id": begun.model_id, "version": begun.model_version},
        "file": printable(str(out)),
        "pictures": begun.pictures,
        "scoredBefore": done.there,
        "scored": done.made,
        "errors": done.errors,
        "verdicts": done.verdicts,
        "finished": not done.stopped,
        "notes": list(done.notes),
    }


def _sentences(done: Scored, out: Path) -> Iterator[str]:
    name = printable(str(out))
    if not done.made and done.stopped:
        all_of_them = count(done.begun.pictures, "picture")
        yield f"No picture was scored this time: {done.there:,} of {all_of_them} are in {name}."
        return
    if not done.made:
        yield f"Nothing was left to do: {count(done.begun.pictures, 'picture')} in {name}."
        return
    said = ", ".join(f"{number:,} {verdict}" for verdict, number in sorted(done.verdicts.items()))
    made = f"{count(done.made, 'picture')} scored by model {done.begun.model_version} into {name}"
    yield f"{made}: {said}." if said else f"{made}."
    if done.errors:
        yield f"{count(done.errors, 'file')} could not be used; the column error says why."
