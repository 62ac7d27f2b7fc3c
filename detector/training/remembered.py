"""Eigenbases of the latest trainings, kept for the next one.

A basis depends on the features of the training samples only. After a few labels were changed it is the same to the last
digit, and making it is most of the work of a training of some thousand samples.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from detector.training.basis import Eigenbasis
from detector.training.scaling import Embeddings

#: Larger sets are not remembered: their bases are large, and most of their training is something else.
MOST_SAMPLES = 4000
#: Of all remembered bases together; two (one for each scaling) of 2,900 samples fit.
MOST_BYTES = 140_000_000

Choice = tuple[str, tuple[tuple[int, int], ...], str]


class RememberedBases:
    """Bases by the content of the embeddings and by what was chosen of them. Safe to use from many threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._bases: OrderedDict[tuple[str, Choice], Eigenbasis] = OrderedDict()

    def get(self, digest: str | None, choice: Choice, make: Callable[[], Eigenbasis]) -> Eigenbasis:
        """The basis of these embeddings (see :func:`content_digest`) and this choice; ``make`` is asked if need be."""
        if digest is None:
            return make()
        key = (digest, choice)
        with self._lock:
            known = self._bases.get(key)
            if known is not None:
                self._bases.move_to_end(key)
                return known
        basis = make()
        basis.vectors.setflags(write=False)
        with self._lock:
            self._bases[key] = basis
            while sum(each.vectors.nbytes for each in self._bases.values()) > self._most_bytes:
                self._bases.popitem(last=False)
        return basis

    def forget(self) -> None:
        """Let all go: the next training makes its own, as the first one of a process does."""
        with self._lock:
            self._bases.clear()


def content_digest(embeddings: Embeddings) -> str | None:
    """A name for exactly these numbers; None for sets that are too large to be remembered."""
    digest = hashlib.blake2b(digest_size=32)
    for view, rows in sorted(embeddings.items()):
        if len(rows) > MOST_SAMPLES:
            return None
        whole = np.ascontiguousarray(rows[:])
        digest.update(f"{view} {whole.shape} {whole.dtype.str};".encode())
        digest.update(whole.data)
    return digest.hexdigest()


REMEMBERED = RememberedBases()
