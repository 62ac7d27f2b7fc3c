"""Images that arrive at the same time share one forward pass: a queue with a bound.

A backbone calculates batches of a fixed size, so one image costs nearly as much as a full batch. Nobody waits for
company while the cores are idle: the first image goes at once. While a pass runs the next one gathers, and as soon as
it is as large as what the cores take at once it is decoded beside the running one, so that they never wait either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from detector.errors import Busy, ImageError, InvokeBusy
from detector.serving.invoke import Verdict, answer
from detector.serving.model import load_serving_model, serving_backbone
from detector.workspace import Workspace

Answer = Verdict | ImageError

#: Passes at once: one is calculated, one is decoded meanwhile.
_PASSES = 2


class Places:
    """So many requests at the same time, and no more. Safe to use from many threads.

    Parameters
    ----------
    count : int
    busy : callable
        The error for whoever comes when all are taken, made of ``count``.
    """

    def __init__(self, count: int, busy: Callable[[int], Busy] = InvokeBusy) -> None:
        self._count, self._busy = count, busy
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many are inside now."""
        return self._taken

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places. Raises what ``busy`` makes when all are taken."""
        with self._lock:
            if self._taken >= self._count:
                raise self._busy(self._count)
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1


@dataclass(eq=False)
class _Question:
    function_id: str
    model_id: str | None
    images: Sequence[tuple[str, bytes]]
    answers: Future[list[Answer]] = field(default_factory=Future)


class InvokeQueue:
    """Answers invokes of one workspace. Safe to call from many threads.

    Parameters
    ----------
    ws : Workspace
    places : int
        Requests inside at the same time; further ones are refused.
    """

    def __init__(self, ws: Workspace, places: int) -> None:
        self._ws = ws
        self._places = places
        self.places = Places(places)
        self._waiting: list[_Question] = []
        self._changed = threading.Condition()
        self._running = 0
        # What fills the cores once: of the backbone asked last, and 1 before the first question.
        self._full = 1
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def place(self) -> AbstractContextManager[None]:
        """A place in the queue for one request, whatever number of questions it asks one after another.

        Raises
        ------
        InvokeBusy
            All places are taken.
        """
        return self.places.place()

    def ask(
        self, function_id: str, images: Sequence[tuple[str, bytes]], model_id: str | None = None
    ) -> Future[list[Answer]]:
        """Classify a few images (name, bytes) inside a `place`; answers and errors as of `serving.invoke`."""
        question = _Question(function_id, model_id, images)
        with self._changed:
            if self._stopped:
                raise InvokeBusy(self._places)
            # Started by the first question: a server that is never asked needs no threads.
            if not self._threads:
                self._threads = [
                    threading.Thread(target=self._run, name=f"invokes-{number}", daemon=True)
                    for number in range(_PASSES)
                ]
                for thread in self._threads:
                    thread.start()
            self._waiting.append(question)
            if self._may_start():
                self._changed.notify()
        return question.answers

    def stop(self) -> None:
        """Answer what waits, then end the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _may_start(self) -> bool:
        """Whether a pass is worth its start: the cores are idle, or it fills them when their turn comes."""
        if not self._running:
            return bool(self._waiting)
        return sum(len(question.images) for question in self._waiting) >= self._full

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._may_start():
                    if self._stopped and not self._waiting:
                        return
                    self._changed.wait()
                self._running += 1
                together = self._take()
            try:
                if together:
                    self._answer(together)
            finally:
                # Not until the next pass: what was asked may be hundreds of megabytes, and nobody waits for it now.
                together = []
                with self._changed:
                    self._running -= 1
                    # What has gathered meanwhile, full or not; when stopped, both threads must hear of it.
                    self._changed.notify_all()

    def _take(self) -> list[_Question]:
        """The oldest question and those behind it that ask the same model, as many as one pass takes."""
        # A question whose asker has gone away is not worth a pass.
        self._waiting = [item for item in self._waiting if not item.answers.cancelled()]
        if not self._waiting:
            return []
        first = self._waiting[0]
        together: list[_Question] = []
        images = 0
        for question in self._waiting:
            same = (question.function_id, question.model_id) == (first.function_id, first.model_id)
            if same and (not together or images + len(question.images) <= self._full):
                together.append(question)
                images += len(question.images)
        self._waiting = [item for item in self._waiting if item not in together]
        return [item for item in together if item.answers.set_running_or_notify_cancel()]

    def _answer(self, together: list[_Question]) -> None:
        images = [image for question in together for image in question.images]
        sizes = [len(question.images) for question in together]
        try:
            serving = load_serving_model(self._ws, together[0].function_id, together[0].model_id)
            backbone = serving_backbone(self._ws, serving)
            self._full = backbone.round_size
            answers = answer(self._ws, serving, backbone, images)
        except BaseException as error:
            for question in together:
                question.answers.set_exception(error)
            return
        finally:
            # An error holds the frames that it came through, and with them the images, for as long as it is kept.
            images.clear()
            for question in together:
                question.images = ()
        start = 0
        for question, size in zip(together, sizes, strict=True):
            end = start + size
            question.answers.set_result(answers[start:end])
            start = end
