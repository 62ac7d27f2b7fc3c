"""Sets of labelled images to start from: the built-in sample (:mod:`.builtin`) and CIFAKE (:mod:`.cifake`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SampleImage:
    """One image of a set, ready to be imported.

    Attributes
    ----------
    file_name : str
        Unique within the set, as shown to people.
    data : bytes
        The image file.
    label : {"real", "synthetic"}
    source : str
        The generator or collection it came from.
    group : str
        Images with the same group must stay in one fold; empty where nothing is known to belong together.
    """

    file_name: str
    data: bytes
    label: Literal["real", "synthetic"]
    source: str
    group: str
