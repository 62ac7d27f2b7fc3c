"""One image at a time from many connections: inspected side by side, written together.

A transaction of its own for each image would make ten connections wait for ten disk writes in a row. Instead whoever
comes while another one writes waits, and the next writer takes all that wait along in one transaction.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from detector import jobs
from detector.errors import DetectorError, NotFound
from detector.imaging import sha256_hex
from detector.importing.storing import store_image
from detector.storage.acting import LABEL, actor_now, needs
from detector.storage.functions import find_label, get_function
from detector.storage.known_labels import no_label
from detector.storage.posted_samples import PostedSample, add_posted, already_there, find_sample_id
from detector.storage.room import require_room
from detector.workspace import Workspace


@dataclass(frozen=True)
class Post:
    """One image as it was posted. An empty ``name`` stands for "no file name was given".

    ``captured``, ``a_month`` and ``origin`` are as of `detector.storage.posted_samples.PostedSample`.
    """

    function_id: str
    data: bytes
    name: str = ""
    label_name: str | None = None
    external_id: str | None = None
    sample_sets: tuple[str, ...] = ()
    captured: str | None = None
    a_month: int | None = None
    origin: str = "api"


@dataclass
class _Waiting:
    post: PostedSample
    answer: Future[str] = field(default_factory=Future)


class SamplePoster:
    """Takes posted samples of one workspace. Safe to call from many threads."""

    def __init__(self, ws: Workspace) -> None:
        self._ws = ws
        # A picture of 100 megapixels takes hundreds of megabytes while it is decoded: no more at once than cores.
        self._decoding = threading.BoundedSemaphore(ws.settings.threads or os.cpu_count() or 1)
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Waiting] = []

    @needs(LABEL, "putting pictures among the samples")
    def post(self, post: Post) -> str:
        """Store one image as a new sample; returns its id once bytes and row are on disk.

        Raises
        ------
        ImageError
            The bytes cannot be used as an image.
        Conflict
            The function has a sample with exactly these bytes; ``existing_id`` says which.
        InvalidInput
            There is no label of that name.
        NotFound
            There is no such function.
        CaptureBoundReached
        TooLittleRoom
        """
        image_hash = sha256_hex(post.data)
        existing = find_sample_id(self._ws.db, post.function_id, image_hash)
        if existing is not None:
            raise already_there(existing)
        get_function(self._ws.db, post.function_id)
        if post.label_name is not None and find_label(self._ws.db, post.function_id, post.label_name) is None:
            raise no_label(post.label_name)
        require_room(self._ws.settings)
        with self._decoding:
            image = store_image(self._ws, post.data, post.name or "The image")
        name = post.name or post.external_id or f"{image_hash[:12]}.{image.format.lower()}"
        # Here: whoever writes for all that wait acts in the name of none of them.
        actor = actor_now()
        return self._write(
            PostedSample(
                *(post.function_id, image, name, post.label_name, post.external_id, post.sample_sets),
                *(post.captured, post.a_month, post.origin, actor.shown if actor is not None else None),
            )
        )

    def _write(self, post: PostedSample) -> str:
        mine = _Waiting(post)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if not mine.answer.done():
                with self._lock:
                    together, self._waiting = self._waiting, []
                self._write_together(together)
        return mine.answer.result()

    def _write_together(self, together: list[_Waiting]) -> None:
        try:
            answers = add_posted(self._ws.db, [waiting.post for waiting in together])
            for function_id in {
                waiting.post.function_id
                for waiting, answer in zip(together, answers, strict=True)
                if isinstance(answer, str)
            }:
                # Deleted in this moment: then its samples are gone as well.
                with suppress(NotFound):
                    jobs.request_embedding(self._ws, function_id)
        except BaseException as error:
            # Everybody's answer hangs on this one transaction.
            for waiting in together:
                waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(together, answers, strict=True):
            if isinstance(answer, DetectorError):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)
