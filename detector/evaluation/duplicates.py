"""Near-duplicates: how many there are, what they would have done to the score, and which contradict one another.

Pictures that are nearly the same always share a fold. Were they dealt out freely, a model would be asked about
pictures whose twins it has learned by heart, and the score would rise for nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from detector.arrays import Floats, Ints
from detector.imaging import near_duplicate_groups
from detector.progress import Report, silent
from detector.storage import samples
from detector.training.metrics import Z95
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.evaluation.audit_data import AuditData

#: Longer lists are cut: whoever has mended these asks again.
MOST_LISTED = 200
#: How often the near-duplicates are dealt out freely; the mean counts.
SCATTERINGS = 5


@dataclass(frozen=True)
class Contradiction:
    """Two pictures that are the same or nearly so and carry different labels.

    ``distance`` counts the bits in which their perceptual hashes differ: 0 looks identical.
    """

    sample_id: str
    file: str
    label: str
    other_sample_id: str
    other_file: str
    other_label: str
    distance: int


@dataclass(frozen=True)
class Duplicates:
    """What is known of a model's near-duplicates.

    Attributes
    ----------
    groups, samples, pairs : int
        Groups of at least two samples that look nearly the same, the samples in them, and the pairs that they make.
    n : int
        Samples measured.
    accuracy_grouped, accuracy_ungrouped : float or None
        Cross-validated at the chosen hyperparameters, with the groups kept together and dealt out freely: mean of
        ``SCATTERINGS`` seeds, in which all other samples keep their folds. None without folds.
    contradictions : tuple of Contradiction
        The most alike first, at most ``MOST_LISTED``; ``contradiction_count`` counts them all.
    inflation_interval : (low, high) or None
        95 %, of ``inflation``; groups count as one observation.
    """

    groups: int
    samples: int
    pairs: int
    n: int
    accuracy_grouped: float | None
    accuracy_ungrouped: float | None
    contradictions: tuple[Contradiction, ...]
    contradiction_count: int
    inflation_interval: tuple[float, float] | None = None

    @property
    def measurable(self) -> bool:
        """Whether the inflation is more than chance explains."""
        return self.inflation_interval is not None and self.inflation_interval[0] > 0

    @property
    def inflation(self) -> float | None:
        """By how much the accuracy would have been too high without grouping."""
        if self.accuracy_grouped is None or self.accuracy_ungrouped is None:
            return None
        return self.accuracy_ungrouped - self.accuracy_grouped

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **asdict(self),
            "contradictions": [asdict(item) for item in self.contradictions],
            "inflation": self.inflation,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Duplicates:
        """The inverse of ``to_json``."""
        values = {name: value for name, value in data.items() if name != "inflation"}
        bounds = values.pop("inflation_interval", None)
        contradictions = tuple(Contradiction(**item) for item in data["contradictions"])
        return cls(
            **{**values, "contradictions": contradictions, "inflation_interval": tuple(bounds) if bounds else None}
        )


def measure_duplicates(ws: Workspace, audit_data: AuditData, report: Report = silent) -> Duplicates:
    """Count a model's near-duplicates and train again as if they were unrelated."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(audit_data.groups):
        members.setdefault(group, []).append(index)
    several = [indices for indices in members.values() if len(indices) > 1]
    report("evaluate", 0, 1, "Comparing near-duplicates", None)
    grouped = ungrouped = bounds = None
    if audit_data.folds is not None and audit_data.out_of_fold is not None:
        if several:
            # Both anew and in the same way, so that nothing else tells them apart.
            together = _right(audit_data, audit_data.folds)
            grouped = float(together.mean())
            scattered = [_right(audit_data, folds) for folds in _scatterings(audit_data, several)]
            if scattered:
                apart = np.mean(scattered, axis=0)
                ungrouped = float(apart.mean())
                bounds = _interval(apart - together, audit_data.groups)
        else:
            grouped = ungrouped = float(np.mean(audit_data.out_of_fold.argmax(axis=1) == audit_data.y))
            bounds = (0.0, 0.0)
    alike = several if all(row.group_key is None for row in audit_data.rows) else _alike(audit_data)
    found = _contradictions(audit_data, alike)
    names = samples.file_names(ws.db, [item for a, b, _ in found[:MOST_LISTED] for item in (a, b)])
    label_of = {
        row.sample_id: audit_data.label_names[label]
        for row, label in zip(audit_data.rows, audit_data.y.tolist(), strict=True)
    }
    report("evaluate", 1, 1, "Comparing near-duplicates", None)
    return Duplicates(
        groups=len(alike),
        samples=sum(map(len, alike)),
        pairs=sum(len(indices) * (len(indices) - 1) // 2 for indices in alike),
        n=len(audit_data.rows),
        accuracy_grouped=grouped,
        accuracy_ungrouped=ungrouped,
        contradictions=tuple(
            Contradiction(a, names[a], label_of[a], b, names[b], label_of[b], distance)
            for a, b, distance in found[:MOST_LISTED]
        ),
        contradiction_count=len(found),
        inflation_interval=bounds,
    )


def _alike(audit_data: AuditData) -> list[list[int]]:
    """Groups of pictures that look nearly the same: patches of one photograph share a fold and are no duplicates."""
    members: dict[int, list[int]] = {}
    groups = near_duplicate_groups([row.perceptual_hash for row in audit_data.rows])
    for index, group in enumerate(groups):
        members.setdefault(int(group), []).append(index)
    return [indices for indices in members.values() if len(indices) > 1]


def _scatterings(audit_data: AuditData, several: Sequence[Sequence[int]]) -> Iterator[Ints]:
    """Folds in which the near-duplicates lie anywhere, and all others where they were.

    New folds for everybody would measure how folds happen to fall, which is more than a few near-duplicates do.
    """
    assert audit_data.folds is not None
    moved = [index for indices in several for index in indices]
    for seed in range(SCATTERINGS):
        folds = audit_data.folds.copy()
        for index in moved:
            digest = hashlib.sha256(f"scattered {seed}:{audit_data.rows[index].image_hash}".encode()).digest()
            folds[index] = int.from_bytes(digest[:8]) % audit_data.fold_count
        # A model that has not seen one of the labels cannot be compared.
        if all(len(np.unique(audit_data.y[folds != fold])) == audit_data.k for fold in range(audit_data.fold_count)):
            yield folds


def _interval(difference: Floats, groups: Sequence[str]) -> tuple[float, float]:
    """95 %, of the mean of paired differences, with each group as one observation."""
    index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    mean = float(difference.mean())
    error = float(np.sqrt(np.sum(np.bincount(index, difference - mean) ** 2))) / len(difference)
    return mean - Z95 * error, mean + Z95 * error


def _right(audit_data: AuditData, folds: Ints) -> Floats:
    """(n,) 1.0 where a model that has not seen the sample's fold is right, else 0.0."""
    # Here, not above: it brings torch, which pages that only show these figures do not need.
    from detector.training.refit import fit_subsets, predicted

    used = folds[:, None] != np.arange(int(folds.max()) + 1)
    fitted = fit_subsets(
        audit_data.views,
        audit_data.y,
        audit_data.k,
        audit_data.hyperparameters,
        used,
        coefficients=False,
        prepared=audit_data.prepared,
        copies=audit_data.copies,
    )
    held_out = fitted.logits[np.arange(len(folds)), folds]
    return np.asarray(predicted(held_out) == audit_data.y, dtype=np.float64)


def _contradictions(audit_data: AuditData, several: Sequence[Sequence[int]]) -> list[tuple[str, str, int]]:
    """(sample id, sample id, distance) of the pairs within a group that carry different labels."""
    found = []
    for indices in several:
        if len(set(audit_data.y[list(indices)].tolist())) < 2:
            continue
        hashes = [int(audit_data.rows[index].perceptual_hash, 16) for index in indices]
        for place, first in enumerate(indices):
            for other, second in enumerate(indices[place + 1 :], place + 1):
                if audit_data.y[first] != audit_data.y[second]:
                    distance = (hashes[place] ^ hashes[other]).bit_count()
                    found.append((audit_data.rows[first].sample_id, audit_data.rows[second].sample_id, distance))
    return sorted(found, key=lambda item: item[2])
