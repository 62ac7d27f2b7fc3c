"""A thread that computes on one core, whatever the others do."""

from __future__ import annotations


def stay_single_threaded() -> None:
    """From here on torch computes with one core in the calling thread, and in no other.

    Not ``torch.set_num_threads``: that also reaches every thread which uses torch for the first time later, and where
    it is undone at once, whoever begins in between keeps one core for good. What OpenMP is told is the thread's own.
    """
    import torch
    from threadpoolctl import threadpool_limits

    # The question comes first: torch sets a thread up at its first use, and would undo the limit.
    torch.get_num_threads()
    threadpool_limits(limits=1, user_api="openmp")
