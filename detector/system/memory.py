"""Freed memory stays with the process, for the next pass of the network.

What a pass frees, glibc gives back to the system as soon as it is more than twice the largest piece, and the next pass
is handed the same pages anew, emptied one by one: measured on single invokes with the offline backbone, 8,208 page
faults and 12 of 36 ms, in some processes always and in others never. A fixed limit above what a pass needs ends that.

What a training on a large set frees between its parts is another matter: it lies between pieces still in use, and adds
up. There it is given back by hand: 100,000 samples of CLIP then need 1.9 GB at most instead of 2.1.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

#: Bytes that are kept; a pass of the backbones needs some tens of millions.
KEPT = 128 * 2**20
#: Pieces from this size on go back to the system at once (glibc allows no more): embeddings of a whole set, not passes.
LARGE_PIECE = 32 * 2**20

#: Threads have heaps of at most this size; one that is empty is given back whole unless so much is to be kept free.
HEAP = 64 * 2**20

#: New objects between two looks at the youngest, and looks between those at older ones. Python's own are 700, 10, 10.
_SELDOM = (20_000, 20, 20)
_collecting_lock = threading.Lock()
_collecting: list[tuple[int, int, int]] = []

# malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> None:
    """Tell the C library, where it is glibc."""
    if _glibc():
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_M_TRIM_THRESHOLD, KEPT), (_M_TOP_PAD, HEAP), (_M_MMAP_THRESHOLD, LARGE_PIECE)):
            mallopt(option, value)


def give_back_freed_memory() -> None:
    """All that is free, to the system: for the parts of a large training. Takes some milliseconds."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let Python look for circles of objects less often, for work that makes many objects and no circles.

    It looks through everything that is alive, the libraries of a network too, while all other threads wait.
    """
    with _collecting_lock:
        _collecting.append(gc.get_threshold())
        gc.set_threshold(*_SELDOM)
    try:
        yield
    finally:
        with _collecting_lock:
            before = _collecting.pop()
            # The first that came found how it is to be in the end; whoever ends before the last changes nothing.
            if not _collecting:
                gc.set_threshold(*before)


@cache
def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
