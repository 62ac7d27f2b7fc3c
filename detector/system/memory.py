"""Freed memory stays with the process, for the next pass of the network.

What a pass frees, glibc gives back to the system as soon as it is more than twice the largest piece, and the next pass
is handed the same pages anew, emptied one by one: measured on single invokes with the offline backbone, 8,208 page
faults and 12 of 36 ms, in some processes always and in others never. A fixed limit above what a pass needs ends that.

What a training on a large set frees between its parts is another matter: it lies between pieces still in use, and adds
up. There it is given back by hand: 100,000 samples of CLIP then need 1.9 GB at most instead of 2.1.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

#: Bytes that are kept; a pass of the backbones needs some tens of millions.
KEPT = 128 * 2**20
#: Pieces from this size on go back to the system at once (glibc allows no more): embeddings of a whole set, not passes.
LARGE_PIECE = 32 * 2**20

#: Threads have heaps of at most this size; one that is empty is given back whole unless so much is to be kept free.
HEAP = 64 * 2**20

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


@cache
def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
