"""Heavy loops: results in order, a bounded number ahead, and an end when one comes."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from detector.errors import EmptyFile
from detector.system.batches import map_batches, threads
from detector.system.priority import NICE, lower_thread_priority

#: Nothing here takes long; whoever waits longer waits for what never comes.
PATIENCE = 20.0


class Gate:
    """Work that stays where it is until the gate opens, and counts itself."""

    def __init__(self) -> None:
        self.begun: list[list[int]] = []
        self.open = threading.Event()
        self._changed = threading.Condition()

    def work(self, batch: list[int]) -> list[int]:
        with self._changed:
            self.begun.append(batch)
            self._changed.notify_all()
        assert self.open.wait(PATIENCE)
        return batch

    def wait_for(self, batches: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= batches, PATIENCE)


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def soon(happened: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not happened() and time.monotonic() < end:
        time.sleep(0.005)
    return happened()


def numbers(count: int, read: list[int] | None = None) -> Iterator[int]:
    """An iterator that does not know its length, and notes how far it was read."""
    for number in range(count):
        if read is not None:
            read.append(number)
        yield number


@pytest.mark.slow
def test_whoever_waits_for_a_result_is_asked_again_and_again_and_may_end_the_work() -> None:
    """Kind: a cancelled job that hears of it only when a piece of some minutes is done."""
    release = threading.Event()
    asked: list[int] = []

    def waiting() -> None:
        asked.append(1)
        if len(asked) == 2:
            release.set()
            raise KeyError("enough")

    results = map_batches(lambda batch: release.wait(PATIENCE), range(4), size=1, workers=1, waiting=waiting)
    with pytest.raises(KeyError):
        next(results)
    assert len(asked) == 2


def test_results_come_in_the_items_order_whichever_batch_is_done_first() -> None:
    first_may_end = threading.Event()

    def work(batch: list[int]) -> list[int]:
        if batch[0] == 0:
            assert first_may_end.wait(PATIENCE)
        elif batch[0] == 3:
            first_may_end.set()
        return batch

    found = list(map_batches(work, numbers(10), size=3, workers=2))
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_several_batches_are_worked_on_at_once() -> None:
    together = threading.Barrier(3)
    found = list(map_batches(lambda batch: (together.wait(PATIENCE), batch)[1], numbers(6), size=1, workers=3))
    assert found == [[number] for number in range(6)]


def test_one_worker_works_on_one_batch_after_the_other() -> None:
    at_once, most = [0], [0]

    def work(batch: list[int]) -> int:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.002)
        at_once[0] -= 1
        return batch[0]

    assert list(map_batches(work, numbers(20), size=1, workers=1)) == list(range(20))
    assert most == [1]


def test_zero_workers_mean_one_per_core() -> None:
    gate = Gate()
    results = map_batches(gate.work, numbers(100), size=1, workers=0, name="per-core")
    taking = threading.Thread(target=list, args=(results,))
    taking.start()
    gate.wait_for(os.cpu_count() or 1)
    assert len(threads_named("per-core")) == (os.cpu_count() or 1)
    gate.open.set()
    taking.join(PATIENCE)
    assert len(gate.begun) == 100


def test_nothing_comes_of_no_items_and_no_work_is_called() -> None:
    assert list(map_batches(lambda batch: pytest.fail(f"was given {batch}"), [], size=4, workers=2)) == []


def test_items_are_read_no_further_than_the_batches_ahead() -> None:
    gate, read = Gate(), list[int]()
    results = map_batches(gate.work, numbers(1000, read), size=2, workers=2, ahead=5, name="ahead")
    assert read == []
    found: list[list[int]] = []
    taking = threading.Thread(target=lambda: found.append(next(results)))
    taking.start()
    gate.wait_for(2)
    assert soon(lambda: len(read) == 10)
    # Time to read on, for whoever would.
    time.sleep(0.05)
    assert len(read) == 10
    assert len(gate.begun) == 2
    gate.open.set()
    taking.join(PATIENCE)
    assert found == [[0, 1]]
    # Nobody takes the second, so nobody makes room for another.
    assert soon(lambda: len(gate.begun) == 5)
    time.sleep(0.05)
    assert (len(read), len(gate.begun)) == (10, 5)
    assert next(results) == [2, 3]
    assert len(read) == 12
    results.close()  # type: ignore[attr-defined]


def test_heavy_items_wait_until_the_lighter_ones_before_them_are_done() -> None:
    gate, weights = Gate(), [10, 10, 10, 500, 10]
    read: list[int] = []
    results = map_batches(
        gate.work,
        numbers(5, read),
        size=1,
        workers=4,
        ahead=5,
        weigh=lambda batch: weights[batch[0]],
        most_weight=25,
        name="heavy",
    )
    found: list[list[int]] = []
    taking = threading.Thread(target=lambda: found.extend(results))
    taking.start()
    gate.wait_for(2)
    time.sleep(0.05)
    # The third is read, to be weighed, and waits.
    assert (read, len(gate.begun)) == ([0, 1, 2], 2)
    gate.open.set()
    taking.join(PATIENCE)
    assert found == [[0], [1], [2], [3], [4]]


def test_an_error_of_the_work_comes_with_its_own_type_after_the_results_before_it() -> None:
    read: list[int] = []

    def work(batch: list[int]) -> int:
        if batch[0] == 5:
            raise EmptyFile("five.png")
        return batch[0]

    found: list[int] = []
    with pytest.raises(EmptyFile) as caught:
        found.extend(map_batches(work, numbers(10_000, read), size=1, workers=2, name="failing"))
    assert caught.value.name == "five.png"
    assert found == [0, 1, 2, 3, 4]
    # Five, and the four that may be ahead of it.
    assert len(read) <= 10
    assert threads_named("failing") == []


def test_no_further_batch_begins_once_one_has_failed() -> None:
    first_may_end, failed = threading.Event(), threading.Event()
    begun: list[int] = []

    def work(batch: list[int]) -> int:
        begun.append(batch[0])
        if batch[0] == 0:
            assert first_may_end.wait(PATIENCE)
        if batch[0] == 1:
            failed.set()
            threading.Timer(0.3, first_may_end.set).start()
            raise EmptyFile("one.png")
        return batch[0]

    def items() -> Iterator[int]:
        yield 0
        yield 1
        assert failed.wait(PATIENCE)
        # The error is noted a moment after it was raised, by the same thread.
        time.sleep(0.1)
        yield 2
        yield 3

    results = map_batches(work, items(), size=1, workers=2, ahead=100)
    assert next(results) == 0
    with pytest.raises(EmptyFile):
        next(results)
    assert sorted(begun) == [0, 1]


def test_an_error_of_the_items_comes_after_the_results_of_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError(28, "No space left on device")

    found: list[list[int]] = []
    with pytest.raises(OSError, match="No space left") as caught:
        found.extend(map_batches(lambda batch: batch, items(), size=2, workers=2, name="source"))
    assert caught.value.errno == 28
    assert found == [[0, 1], [2, 3], [4]]
    assert threads_named("source") == []


def test_closing_early_ends_the_threads_and_what_has_not_begun_never_does() -> None:
    begun: list[int] = []

    def work(batch: list[int]) -> int:
        begun.append(batch[0])
        time.sleep(0.005)
        return batch[0]

    results = map_batches(work, numbers(1000), size=1, workers=2, ahead=50, name="closing")
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    there = len(begun)
    assert there < 50
    assert threads_named("closing") == []
    time.sleep(0.05)
    assert len(begun) == there


def test_an_error_of_whoever_takes_the_results_ends_the_work() -> None:
    def take() -> None:
        for number in map_batches(lambda batch: batch[0], numbers(10_000), size=1, workers=2, name="taking"):
            if number == 7:
                raise KeyError(number)

    with pytest.raises(KeyError):
        take()
    assert soon(lambda: threads_named("taking") == [])


def test_an_executor_that_lasts_works_for_many_and_is_not_shut_down() -> None:
    with threads(2, "lasting") as executor:
        for _ in range(3):
            found = list(map_batches(lambda batch: sum(batch), range(10), size=5, workers=2, executor=executor))
            assert found == [10, 35]
        assert 1 <= len(threads_named("lasting")) <= 2
    assert threads_named("lasting") == []


def test_items_that_were_worked_on_are_let_go() -> None:
    class Picture:
        pass

    living: list[weakref.ref[Picture]] = []

    def items() -> Iterator[Picture]:
        for _ in range(6):
            # Nothing here holds on to what is handed out.
            pictures = [Picture()]
            living.append(weakref.ref(pictures[0]))
            yield pictures.pop()

    results = map_batches(len, items(), size=1, workers=2, ahead=3)
    assert next(results) == 1
    assert len(living) == 3
    assert soon(lambda: all(picture() is None for picture in living))
    assert list(results) == [1] * 5


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_the_work_has_the_priority_of_who_asks_for_it() -> None:
    found: list[int] = []

    def priority(_batch: list[int]) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def ask() -> None:
        lower_thread_priority()
        found.extend(map_batches(priority, range(4), size=1, workers=2))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(PATIENCE)
    assert len(found) == 4
    assert min(found) >= NICE


@pytest.mark.parametrize(("size", "ahead"), [(0, None), (-1, 2), (1, 0)])
def test_a_batch_of_nothing_is_refused_at_once(size: int, ahead: int | None) -> None:
    with pytest.raises(ValueError, match="1 at least"):
        map_batches(len, [1], size=size, workers=1, ahead=ahead)
