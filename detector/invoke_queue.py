"""Images that arrive at the same time share one forward pass: a queue with a small time window and a bound.

A backbone calculates batches of a fixed size, so one image costs nearly as much as a full batch. The first image that
arrives waits a few milliseconds for company; while a pass runs, the next batch gathers by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from detector.errors import ImageError, InvokeBusy
from detector.invoke import Verdict, invoke
from detector.workspace import Workspace

Answer = Verdict | ImageError

#: How long the first image waits for others.
WINDOW_SECONDS = 0.01
#: Images in one pass: decoded crops of all of them are in memory together.
MAX_TOGETHER = 32


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
        self._inside = 0
        self._waiting: list[_Question] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue for one request, whatever number of questions it asks one after another.

        Raises
        ------
        InvokeBusy
            All places are taken.
        """
        with self._changed:
            if self._inside >= self._places:
                raise InvokeBusy(self._places)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1

    def ask(
        self, function_id: str, images: Sequence[tuple[str, bytes]], model_id: str | None = None
    ) -> Future[list[Answer]]:
        """Classify a few images (name, bytes) inside a `place`; see `detector.invoke.invoke` for answers and errors."""
        question = _Question(function_id, model_id, images)
        with self._changed:
            if self._stopped:
                raise InvokeBusy(self._places)
            # Started by the first question: a server that is never asked needs no thread.
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="invokes", daemon=True)
                self._thread.start()
            self._waiting.append(question)
            self._changed.notify()
        return question.answers

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._stopped:
                        return
                    self._changed.wait()
            time.sleep(WINDOW_SECONDS)
            together = self._take()
            if together:
                self._answer(together)

    def _take(self) -> list[_Question]:
        """The oldest question and those behind it that ask the same model, as many as one pass takes."""
        with self._changed:
            # A question whose asker has gone away is not worth a pass.
            self._waiting = [item for item in self._waiting if not item.answers.cancelled()]
            if not self._waiting:
                return []
            first = self._waiting[0]
            together: list[_Question] = []
            images = 0
            for question in self._waiting:
                same = (question.function_id, question.model_id) == (first.function_id, first.model_id)
                if same and (not together or images + len(question.images) <= MAX_TOGETHER):
                    together.append(question)
                    images += len(question.images)
            self._waiting = [item for item in self._waiting if item not in together]
            return [item for item in together if item.answers.set_running_or_notify_cancel()]

    def _answer(self, together: list[_Question]) -> None:
        images = [image for question in together for image in question.images]
        try:
            answers = invoke(self._ws, together[0].function_id, images, together[0].model_id)
        except BaseException as error:
            for question in together:
                question.answers.set_exception(error)
            return
        start = 0
        for question in together:
            end = start + len(question.images)
            question.answers.set_result(answers[start:end])
            start = end
