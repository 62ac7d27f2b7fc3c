"""Verdicts on any number of pictures, one batch after the other: the same as `detector.serving.invoke` gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import ImageError
from detector.imaging import DecodedImage
from detector.imaging.file_look import FileLook
from detector.serving.invoke import Verdict, look_of, verdicts_of
from detector.serving.model import ServingModel
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone


def answer_many(
    ws: Workspace,
    serving: ServingModel,
    backbone: Backbone,
    files: Iterable[tuple[int, bytes, str]],
    on_answers: Callable[[Mapping[int, Verdict | ImageError]], None],
    on_decoded: Callable[[int, DecodedImage], None] | None = None,
) -> None:
    """Judge files as they come, in bounded memory: they are read, decoded and looked at side by side.

    Parameters
    ----------
    serving, backbone :
        The model, and the backbone that belongs to it.
    files : iterable of (position, bytes, name)
        Read lazily and in the calling thread.
    on_answers : callable
        Called in this thread with what was finished since the last call, by position: a Verdict, or the ImageError that
        says why this file cannot be used. What it raises ends the work.
    on_decoded : callable, optional
        Called with (position, decoded picture), in the threads that decode.
    """
    # Here, not above: it brings torch, which the server needs only once it looks at images.
    from detector.backbones.pipeline import embed_files

    names: dict[int, str] = {}
    # Filled by the threads that decode.
    looks: dict[int, FileLook] = {}
    start, answered = perf_counter(), 0

    def named() -> Iterator[tuple[int, bytes, str]]:
        for position, data, name in files:
            names[position] = name
            yield position, data, name

    def decoded_one(position: int, decoded: DecodedImage) -> None:
        looks[position] = look_of(decoded, serving.asks_rescaling)
        if on_decoded is not None:
            on_decoded(position, decoded)

    def collect(rows: list[tuple[int, dict[str, np.ndarray]]], failures: list[tuple[int, ImageError]]) -> None:
        nonlocal answered
        answered += len(rows) + len(failures)
        verdicts = verdicts_of(serving, rows, names, looks, (perf_counter() - start) / answered)
        for position in (*verdicts, *(position for position, _ in failures)):
            names.pop(position)
            looks.pop(position, None)
        on_answers({**dict(failures), **verdicts})

    embed_files(named(), backbone, ws.limits, ws.settings.threads, collect, on_decoded=decoded_one)
