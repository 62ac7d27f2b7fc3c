"""What a write did: how many samples it changed, and the sentence for the person who asked for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What a write did.

    Attributes
    ----------
    changed : int
        How many samples are other than before.
    said : str
        The same as a sentence, and what follows from it.
    """

    changed: int
    said: str
