"""File names as one long text: a part of a name is found in a million of them within milliseconds."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.arrays import Ints

#: Behind each name. No text in UTF-8 has this byte, so that nothing is ever found across two names.
_END = b"\xff"
#: Parts that people look for whose names stay in memory: a byte a name each.
_KEPT = 8


class Names:
    """Names in the order of the rows they belong to. Never changes.

    Parameters
    ----------
    text : bytes
        The names in UTF-8, each with ``_END`` behind it.
    starts : (n,) int64
        Where each begins.
    """

    def __init__(self, text: bytes, starts: Ints) -> None:
        self._text, self._starts = text, starts
        self._found: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """From the names one by one."""
        encoded = [name.encode(errors="surrogatepass") for name in names]
        lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)) + 1
        return cls(b"".join(name + _END for name in encoded), np.cumsum(lengths) - lengths)

    @classmethod
    def joined(cls, parts: Sequence[Names]) -> Names:
        """Several behind one another."""
        offsets = np.cumsum([0, *(len(part._text) for part in parts)])
        starts = [part._starts + offset for part, offset in zip(parts, offsets.tolist(), strict=False)]
        return cls(b"".join(part._text for part in parts), np.concatenate(starts) if starts else np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, row: int) -> str:
        start = int(self._starts[row])
        return self._text[start : self._text.index(_END, start)].decode(errors="surrogatepass")

    def tolist(self) -> list[str]:
        """All of them."""
        return [name.decode(errors="surrogatepass") for name in self._text.split(_END)[:-1]]

    def holding(self, part: str) -> NDArray[np.bool_]:
        """Which names have ``part`` somewhere, as a (n,) bool array that nobody may change."""
        found = self._found.get(part)
        if found is None:
            found = self._found[part] = self._holding(part.encode(errors="surrogatepass"))
            while len(self._found) > _KEPT:
                # Two threads may get here at once; either may throw out the oldest.
                with contextlib.suppress(KeyError):
                    self._found.popitem(last=False)
        return found

    def _holding(self, part: bytes) -> NDArray[np.bool_]:
        result = np.zeros(len(self), bool)
        if not part:
            result[:] = True
        if not part or not len(self):
            return result
        text = np.frombuffer(self._text, np.uint8)
        # By its rarest byte first: of the others only those few need a look.
        counts = [self._text.count(bytes([byte])) for byte in part]
        rarest = int(np.argmin(counts))
        places = np.flatnonzero(text == part[rarest]) - rarest
        places = places[(places >= 0) & (places <= len(text) - len(part))]
        for offset, byte in enumerate(part):
            if offset != rarest:
                places = places[text[places + offset] == byte]
        if len(places) < len(self) / 8:
            result[np.searchsorted(self._starts, places, "right") - 1] = True
            return result
        there = np.zeros(len(text), bool)
        there[places] = True
        found: NDArray[Any] = np.logical_or.reduceat(there, self._starts)
        return found
