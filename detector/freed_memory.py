"""Freed memory stays with the process, for the next pass of the network.

What a pass frees, glibc gives back to the system as soon as it is more than twice the largest piece, and the next pass
is handed the same pages anew, emptied one by one: measured on single invokes with the offline backbone, 8,208 page
faults and 12 of 36 ms, in some processes always and in others never. A fixed limit above what a pass needs ends that.
"""

from __future__ import annotations

import ctypes
import platform

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
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((_M_TRIM_THRESHOLD, KEPT), (_M_TOP_PAD, HEAP), (_M_MMAP_THRESHOLD, LARGE_PIECE)):
        mallopt(option, value)
