"""From files to embeddings: decoding in threads, ahead of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from detector.backbones.network import Backbone, join_views
from detector.backbones.views import PreparedViews
from detector.errors import ImageError
from detector.imaging.decode import DecodedImage, ImageLimits, decode_image, memory_kept
from detector.system.batches import Executor, map_batches, thread_count

Key = TypeVar("Key", bound=Hashable)

# Files read but not yet decoded; one file larger than this is still taken, alone.
LOOK_AHEAD_BYTES = 128_000_000
LOOK_AHEAD_ROUNDS = 2


@dataclass
class _Unfinished:
    """One image on its way through the network, crop by crop."""

    key: Hashable
    missing: int
    rows: list[np.ndarray] = field(default_factory=list)


def embed_files(
    items: Iterable[tuple[Key, bytes, str]],
    backbone: Backbone,
    limits: ImageLimits,
    threads: int,
    on_batch: Callable[[list[tuple[Key, dict[str, np.ndarray]]], list[tuple[Key, ImageError]]], None],
    decoders: Executor | None = None,
    on_decoded: Callable[[Key, DecodedImage], None] | None = None,
) -> None:
    """Decode and embed files, and hand over the results batch by batch, in the order of `items`.

    Full batches are made from the crops of neighbouring images, so that padding costs nothing but at the end.

    Parameters
    ----------
    items : iterable of (key, bytes, name)
        Read lazily and in the calling thread; `name` is for messages.
    backbone : Backbone
    limits : ImageLimits
    threads : int
        Decoding threads; 0: one per core.
    on_batch : callable
        Called in this thread with ``[(key, {view: float32 array (D,)})]`` and ``[(key, error)]`` of what was finished
        since the last call. What it raises ends the run and reaches the caller: a cancelled job does this.
    decoders : Executor, optional
        Threads that last, of whoever calls often with a few files each time.
    on_decoded : callable, optional
        Called with (key, decoded picture), in the threads that decode: for what else is asked of its file and pixels.
    """
    waiting: deque[tuple[_Unfinished, np.ndarray]] = deque()
    started: deque[tuple[list[_Unfinished], Future[np.ndarray]]] = deque()
    unfinished: deque[_Unfinished] = deque()
    failed: list[tuple[Key, ImageError]] = []

    def start(crops: int) -> None:
        batch = [waiting.popleft() for _ in range(crops)]
        started.append(([image for image, _ in batch], backbone.start_batch([crop for _, crop in batch])))

    def hand_over(batches: int) -> None:
        """Wait for the oldest batches, and pass on what they have finished."""
        for _ in range(batches):
            images, rows = started.popleft()
            for image, row in zip(images, rows.result(), strict=True):
                image.rows.append(row)
        done: list[tuple[Key, dict[str, np.ndarray]]] = []
        while unfinished and len(unfinished[0].rows) == unfinished[0].missing:
            image = unfinished.popleft()
            done.append((image.key, join_views(np.stack(image.rows))))  # type: ignore[arg-type]
        if done or failed:
            on_batch(done, failed.copy())
            failed.clear()

    try:
        for key, outcome in _decoded_ahead(items, backbone, limits, threads, decoders, on_decoded):
            if isinstance(outcome, ImageError):
                failed.append((key, outcome))
            else:
                crops = outcome.crops()
                unfinished.append(_Unfinished(key, len(crops)))
                waiting.extend((unfinished[-1], crop) for _, crop in crops)
            while len(waiting) >= backbone.bulk_size:
                start(backbone.bulk_size)
            # As many ahead as are waited for: a core that is done with its batch never waits for another.
            while len(started) >= 2 * backbone.workers:
                hand_over(backbone.workers)
            if len(failed) >= backbone.round_size:
                hand_over(0)
        while waiting:
            start(min(len(waiting), backbone.batch_size))
        while started or failed:
            hand_over(min(len(started), backbone.workers))
    finally:
        for _, rows in started:
            rows.cancel()


def _decoded_ahead(
    items: Iterable[tuple[Key, bytes, str]],
    backbone: Backbone,
    limits: ImageLimits,
    threads: int,
    decoders: Executor | None,
    on_decoded: Callable[[Key, DecodedImage], None] | None,
) -> Iterator[tuple[Key, PreparedViews | ImageError]]:
    def prepare(batch: list[tuple[Key, bytes, str]]) -> tuple[Key, PreparedViews | ImageError]:
        [(key, data, name)] = batch
        try:
            decoded = decode_image(data, name, limits)
            if on_decoded is not None:
                on_decoded(key, decoded)
            return key, backbone.views_of(decoded.pixels)
        except ImageError as error:
            return key, error

    workers = thread_count(threads)
    with memory_kept(workers):
        yield from map_batches(
            prepare,
            items,
            size=1,
            workers=workers,
            name="decode",
            ahead=max(LOOK_AHEAD_ROUNDS * backbone.round_size, 2 * workers),
            weigh=lambda batch: len(batch[0][1]),
            most_weight=LOOK_AHEAD_BYTES,
            executor=decoders,
        )
