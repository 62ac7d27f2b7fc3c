"""One way through every heavy loop: work on batches side by side, a bounded number of them ahead of whoever takes them.

What is a heavy loop: many pictures or hashes, each a matter of the processor. A server's own threads, which answer
requests one by one, and the network's, which calculate side by side to promise the same numbers, are none.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Given = TypeVar("Given")

_WAITING_SECONDS = 1.0


class Executor(Protocol):
    """Where batches are worked on. ``concurrent.futures`` has those of this machine."""

    def submit(self, work: Callable[[Given], Result], given: Given, /) -> Future[Result]:
        """Begin ``work(given)`` as soon as there is room."""


def thread_count(workers: int) -> int:
    """As many threads as asked for; 0: one per core."""
    return workers or os.cpu_count() or 1


def threads(workers: int, name: str) -> ThreadPoolExecutor:
    """An executor of threads, for `map_batches`; they have the priority of the thread that brings them work.

    Parameters
    ----------
    workers : int
        0: one per core.
    name : str
        What the threads are called.
    """
    return ThreadPoolExecutor(thread_count(workers), thread_name_prefix=name)


def map_batches(
    work: Callable[[list[Item]], Result],
    items: Iterable[Item],
    *,
    size: int,
    workers: int,
    name: str = "batches",
    ahead: int | None = None,
    weigh: Callable[[list[Item]], int] | None = None,
    most_weight: int = 0,
    executor: Executor | None = None,
    waiting: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Work on items in batches, several at once; the results come in the order of the items.

    Nothing begins before the first result is asked for. Where the work or the items raise, no further batch begins; the
    results before that place still come, then the error itself. Whoever stops taking results, or closes the iterator,
    ends the work: batches that have not begun never do.

    Parameters
    ----------
    work : callable
        Batch -> result, in another thread. It commits what it writes by itself, and can be given the same batch again.
    items : iterable
        Of any length. Read batch by batch in the calling thread, no further than ``ahead``.
    size : int
        Items a batch; the last one may have fewer.
    workers : int
        Threads; 0: one per core.
    name : str
        What the threads are called.
    ahead : int, optional
        Most batches that are begun and not yet taken. Twice the workers unless given.
    weigh : callable, optional
        Batch -> its weight, such as its bytes. Batches that are not yet finished weigh at most ``most_weight``
        together; one that is heavier than that is still taken, alone.
    executor : Executor, optional
        Of whoever keeps one, see `threads`: it is not shut down here, and what runs at the end may still run. Otherwise
        threads are started, and all have ended when the iterator does.
    waiting : callable, optional
        Called in the calling thread about once a second while a result is waited for. May raise, which ends the work.

    Yields
    ------
    The result of each batch.
    """
    if size < 1 or (ahead is not None and ahead < 1):
        raise ValueError(f"A batch of {size} items, {ahead} ahead: both must be 1 at least.")
    # A function of its own, so that the question above is asked at once.
    return _results(work, iter(items), size, workers, name, ahead, weigh, most_weight, executor, waiting)


def _results(
    work: Callable[[list[Item]], Result],
    items: Iterator[Item],
    size: int,
    workers: int,
    name: str,
    ahead: int | None,
    weigh: Callable[[list[Item]], int] | None,
    most_weight: int,
    executor: Executor | None,
    waiting: Callable[[], None] | None,
) -> Iterator[Result]:
    own = threads(workers, name) if executor is None else None
    place: Executor = executor if executor is not None else own  # type: ignore[assignment]
    most = ahead or 2 * thread_count(workers)
    failed = threading.Event()
    # Of a batch only its weight is kept here: what the items hold is free as soon as they are worked on.
    running: deque[tuple[int, Future[Result]]] = deque()
    error: Exception | None = None
    try:
        while error is None:
            batch, error = _next_batch(items, size)
            if not batch or failed.is_set():
                break
            weight = weigh(batch) if weigh is not None else 0
            while running and weigh is not None and _unfinished_weight(running) + weight > most_weight:
                yield _result(running.popleft()[1], waiting)
            future = place.submit(work, batch)
            future.add_done_callback(lambda done: failed.set() if _has_failed(done) else None)
            running.append((weight, future))
            del batch, future
            while len(running) >= most:
                yield _result(running.popleft()[1], waiting)
        while running:
            yield _result(running.popleft()[1], waiting)
        if error is not None:
            raise error
    finally:
        for _, future in running:
            future.cancel()
        if own is not None:
            own.shutdown()


def _result(future: Future[Result], waiting: Callable[[], None] | None) -> Result:
    while waiting is not None and not wait([future], _WAITING_SECONDS).done:
        waiting()
    return future.result()


def _next_batch(items: Iterator[Item], size: int) -> tuple[list[Item], Exception | None]:
    """The next items, and what ended them before there were as many."""
    batch: list[Item] = []
    try:
        for item in islice(items, size):
            batch.append(item)
    except Exception as error:
        return batch, error
    return batch, None


def _unfinished_weight(running: Iterable[tuple[int, Future[Result]]]) -> int:
    return sum(weight for weight, future in running if not future.done())


def _has_failed(future: Future[Result]) -> bool:
    return not future.cancelled() and future.exception() is not None
