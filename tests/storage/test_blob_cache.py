"""The cache of an object store: bounded, shared, and never the source of a wrong byte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from detector.storage.blob_cache import KEPT_SECONDS, BlobCache

LIMIT = 1_000_000
DATA = bytes(range(256)) * 40


def _key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("??/*") if path.is_file()]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def test_what_was_put_comes_back_to_every_process_that_shares_the_folder(tmp_path: Path) -> None:
    BlobCache(tmp_path, LIMIT).put(_key(1), DATA)
    assert BlobCache(tmp_path, LIMIT).get(_key(1)) == DATA
    assert BlobCache(tmp_path, LIMIT).get(_key(2)) is None


@pytest.mark.parametrize("how", ["a flipped bit", "cut off", "empty", "another file"])
def test_a_damaged_file_is_never_served_and_goes(tmp_path: Path, how: str) -> None:
    cache = BlobCache(tmp_path, LIMIT)
    cache.put(_key(1), DATA)
    [path] = _files(tmp_path)
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    path.write_bytes({"a flipped bit": flipped, "cut off": whole[:100], "another file": DATA}.get(how, b""))
    assert cache.get(_key(1)) is None
    assert _files(tmp_path) == []


def test_what_was_longest_not_read_goes_first(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, LIMIT)
    for number in range(80):
        cache.put(_key(number), DATA)
        cache.wait()
        # As if each had been put an hour before the next, and the first read a moment ago.
        path = tmp_path / _key(number)[:2] / _key(number)[2:]
        moment = time.time() - 3600.0 * (100 - number)
        os.utime(path, (moment, moment))
    assert cache.get(_key(0)) == DATA
    for number in range(80, 95):
        cache.put(_key(number), DATA)
        cache.wait()
    assert cache.get(_key(0)) == DATA
    assert cache.get(_key(1)) is None
    assert cache.get(_key(94)) == DATA


@pytest.mark.slow
def test_the_bound_holds_with_several_threads_and_processes(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib, pathlib\n"
        "from detector.storage.blob_cache import BlobCache\n"
        f"cache = BlobCache(pathlib.Path(sys.argv[1]), {LIMIT})\n"
        "for number in range(300):\n"
        "    cache.put(hashlib.sha256(f'{sys.argv[2]}-{number}'.encode()).hexdigest(), bytes(10_000))\n"
        "    cache.wait()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(number)]) for number in range(2)]
    cache = BlobCache(tmp_path, LIMIT)
    threads = [threading.Thread(target=_put_a_hundred, args=(cache, 1000 * part)) for part in range(2)]
    for thread in threads:
        thread.start()
    sizes = [_seen_size(tmp_path)]
    while any(process.poll() is None for process in processes) or any(thread.is_alive() for thread in threads):
        sizes.append(_seen_size(tmp_path))
        time.sleep(0.02)
    assert [process.returncode for process in processes] == [0, 0]
    assert LIMIT / 2 < max(sizes) <= LIMIT


def _put_a_hundred(cache: BlobCache, first: int) -> None:
    for number in range(first, first + 100):
        cache.put(_key(number), DATA)
        cache.wait()


def _seen_size(folder: Path) -> int:
    """The size while files come and go."""
    total = 0
    for path in _files(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def test_a_file_that_would_push_out_the_others_is_not_kept(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, LIMIT)
    cache.put(_key(1), bytes(LIMIT // 5))
    assert cache.get(_key(1)) is None
    nothing = BlobCache(tmp_path / "none", 0)
    nothing.put(_key(1), DATA)
    assert nothing.get(_key(1)) is None
    assert not (tmp_path / "none").exists()


def test_halves_of_killed_processes_and_what_nobody_reads_any_more_go(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, LIMIT)
    for number in range(3):
        cache.put(_key(number), DATA)
        cache.wait()
    old = tmp_path / _key(0)[:2] / _key(0)[2:]
    os.utime(old, (time.time() - KEPT_SECONDS - 60,) * 2)
    half = old.with_name(f"{old.name}.0123abcd.tmp")
    half.write_bytes(DATA)
    fresh = half.with_name(f"{old.name}.4567abcd.tmp")
    fresh.write_bytes(DATA)
    os.utime(half, (time.time() - 7200,) * 2)
    assert cache.trim() == 2
    assert not half.exists()
    assert fresh.exists()
    assert [cache.get(_key(number)) for number in range(3)] == [None, DATA, DATA]


def test_nobody_who_puts_waits_for_a_look_at_the_folder(tmp_path: Path) -> None:
    """Of a folder with 133,000 files it takes seconds. Another process is looking, and does not come to an end."""
    fcntl = pytest.importorskip("fcntl")
    cache = BlobCache(tmp_path, LIMIT)
    with (tmp_path / "trimming").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        putting = threading.Thread(target=lambda: [cache.put(_key(n), DATA) for n in range(200)], daemon=True)
        putting.start()
        putting.join(60)
        assert not putting.is_alive()
        # Nor is the bound broken meanwhile: what there is no room for is not kept.
        assert 0 < _size(tmp_path) < LIMIT / 10
        assert cache.get(_key(0)) == DATA
    cache.wait()
    cache.put(_key(500), DATA)
    assert cache.get(_key(500)) == DATA


def test_a_disk_that_takes_nothing_is_no_trouble(tmp_path: Path) -> None:
    """The folder cannot be made: a file lies in its place."""
    (tmp_path / "file").write_bytes(b"")
    cache = BlobCache(tmp_path / "file" / "cache", LIMIT)
    cache.put(_key(1), DATA)
    assert cache.get(_key(1)) is None
    assert cache.trim() == 0
