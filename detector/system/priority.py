"""Who waits for a page goes before who waits for a thousand images."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

# Jobs and networks take what pages and requests leave.
NICE = 10


def lower_thread_priority() -> None:
    """Lower the priority of this thread, and of those that it starts, below that of pages and requests.

    On Linux, where the system allows it; elsewhere priorities belong to whole processes.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))
