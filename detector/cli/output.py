"""What all commands share: options, sentences on stderr, and the progress bar."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from detector.progress import Report, says_amounts


def json_option(parser: argparse.ArgumentParser, help_text: str = "print the answer as JSON") -> None:
    """``--json``, which every command takes."""
    parser.add_argument("--json", action="store_true", help=help_text)


def backbone_option(parser: argparse.ArgumentParser) -> None:
    """``--backbone``, for commands that may make a function."""
    parser.add_argument("--backbone", help="auto or a backbone id (see: backbones)")


def say(sentence: str) -> None:
    """A sentence for people, beside the answer on stdout."""
    print(sentence, file=sys.stderr)


def answer(value: Any) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False))


@contextmanager
def progress_bar() -> Iterator[Report]:
    """A bar on stderr, and the report that moves it."""
    bar: tqdm[Any] | None = None
    phase = ""

    def report(name: str, done: int, total: int, message: str, _rate: float | None) -> None:
        nonlocal bar, phase
        if name != phase or bar is None or (total and bar.total != total):
            if bar is not None:
                bar.close()
            # Bytes, where the message counts them.
            unit: dict[str, Any] = {"unit": "B", "unit_scale": True} if says_amounts(message) else {"unit": ""}
            bar = tqdm(total=total or None, desc=message, file=sys.stderr, dynamic_ncols=True, **unit)
            phase = name
        # Not set_description: it adds a colon of its own.
        bar.set_description_str(message, refresh=False)
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        if bar is not None:
            bar.close()
