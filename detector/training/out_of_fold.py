"""The out-of-fold probabilities of one model as a file: what its predictions, thresholds and figures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detector.arrays import Floats, Ints
from detector.errors import ModelFileInvalid


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Of every sample that a model was trained and judged on.

    Attributes
    ----------
    hashes : n str, 64 hex digits each
    probabilities : (n, k) array, calibrated, in the model's order of labels
    labels : (n,) int array
        The labels at the time of the training, as indices into the model's labels.
    groups : (n,) int array; equal numbers are near-duplicates or belong together otherwise
    copies : (n, k) array, optional
        The same probabilities of one degraded copy of each; NaN where one has none. None where no copies were trained
        on.
    """

    hashes: Sequence[str]
    probabilities: Floats
    labels: Ints
    groups: Ints
    copies: Floats | None = None

    def by_hash(self) -> dict[str, Floats]:
        """(k,) probabilities by image hash."""
        return dict(zip(self.hashes, self.probabilities, strict=True))

    def restrict(self, columns: Sequence[int]) -> OutOfFold:
        """Only the samples of these labels, with probabilities over these labels alone."""
        place = {column: index for index, column in enumerate(columns)}
        kept = np.flatnonzero(np.isin(self.labels, list(columns)))

        def rest_of(prob: Floats) -> Floats:
            rest = prob[kept][:, list(columns)]
            return np.asarray(rest / np.maximum(rest.sum(axis=1, keepdims=True), 1e-300))

        return OutOfFold(
            [self.hashes[index] for index in kept.tolist()],
            rest_of(self.probabilities),
            np.array([place[label] for label in self.labels[kept].tolist()], dtype=np.int64),
            self.groups[kept],
            None if self.copies is None else rest_of(self.copies),
        )

    def to_bytes(self) -> bytes:
        """A safetensors file."""
        names = np.frombuffer(b"".join(map(bytes.fromhex, self.hashes)), np.uint8).reshape(-1, 32)
        arrays: dict[str, np.ndarray] = {
            "hashes": names.copy(),
            "probabilities": np.ascontiguousarray(self.probabilities),
            "labels": np.ascontiguousarray(self.labels, dtype=np.int64),
            "groups": np.ascontiguousarray(self.groups, dtype=np.int64),
        }
        if self.copies is not None:
            arrays["copies"] = np.ascontiguousarray(self.copies)
        return save(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> OutOfFold:
        """The inverse of ``to_bytes``. Raises ModelFileInvalid."""
        try:
            arrays = load(data)
            hashes = [bytes(name).hex() for name in arrays["hashes"]]
            found = cls(hashes, arrays["probabilities"], arrays["labels"], arrays["groups"], arrays.get("copies"))
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelFileInvalid(f"The out-of-fold file of a model cannot be read ({error}).") from error
        if not len(hashes) == len(found.probabilities) == len(found.labels) == len(found.groups) or (
            found.copies is not None and found.copies.shape != found.probabilities.shape
        ):
            raise ModelFileInvalid("The out-of-fold file of a model does not hold together.")
        return found
