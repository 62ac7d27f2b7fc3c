"""The scores of left-out sources as a file beside their model. Light to import: no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detector.arrays import Floats, Ints
from detector.errors import ModelFileInvalid

#: Fewer different images than this say too little of a source for one rate.
FEWEST_IMAGES = 20


@dataclass(frozen=True, eq=False)
class UnseenScores:
    """Of every sample that was judged by a model which had never seen its source.

    Attributes
    ----------
    hashes : n str, 64 hex digits each
    probabilities : (n, k) array, at the temperature of the model itself, in its order of labels
    labels : (n,) int array, indices into the model's labels
    groups : (n,) int array; equal numbers are near-duplicates or belong together otherwise
    units : (n,) int array, indices into ``sources``
    sources : names of the units; an empty one stands for the smaller sources of a label together
    """

    hashes: Sequence[str]
    probabilities: Floats
    labels: Ints
    groups: Ints
    units: Ints
    sources: Sequence[str]

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        names = np.frombuffer(b"".join(map(bytes.fromhex, self.hashes)), np.uint8).reshape(-1, 32)
        return save(
            {
                "hashes": names.copy(),
                "probabilities": np.ascontiguousarray(self.probabilities),
                "labels": np.ascontiguousarray(self.labels, dtype=np.int64),
                "groups": np.ascontiguousarray(self.groups, dtype=np.int64),
                "units": np.ascontiguousarray(self.units, dtype=np.int64),
                # As an array, and not in the file's head: what is read is bounded by what is there.
                "sources": np.frombuffer(json.dumps(list(self.sources)).encode(), np.uint8).copy(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> UnseenScores:
        """The inverse of ``to_bytes``. Raises ModelFileInvalid."""
        try:
            arrays = load(data)
            found = cls(
                [bytes(name).hex() for name in arrays["hashes"]],
                arrays["probabilities"],
                arrays["labels"],
                arrays["groups"],
                arrays["units"],
                json.loads(arrays["sources"].tobytes()),
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelFileInvalid(f"The file of unseen sources of a model cannot be read ({error}).") from error
        n = len(found.hashes)
        if not n == len(found.probabilities) == len(found.labels) == len(found.groups) == len(found.units) or (
            n and int(found.units.max()) >= len(found.sources)
        ):
            raise ModelFileInvalid("The file of unseen sources of a model does not hold together.")
        return found
