"""Which sample is held out in which fold: stratified, grouped, and steady when a label changes.

A fold is chosen for whole groups (near-duplicates, or patches of one photograph), never for single samples of one: else
the model is asked about pictures that it has seen. Each group has its own order of preferred folds, from the hash of
its name, and takes the first that still has room for its label. So a group's place depends hardly on the others, and
relabelling one sample moves few groups; dealing them out in turns would shift every group behind the changed one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detector.arrays import Ints

MAX_FOLDS = 5


@dataclass
class _Group:
    name: str
    counts: dict[int, int]  # samples by label

    @property
    def size(self) -> int:
        return sum(self.counts.values())


def make_folds(labels: Ints, groups: Sequence[str], max_folds: int = MAX_FOLDS, seed: int = 0) -> Ints | None:
    """Assign every sample to a fold.

    Parameters
    ----------
    labels : (n,) int array
        Index of each sample's label.
    groups : n str
        Samples with the same group name always share a fold. The name should be stable over time, such as the smallest
        hash among the group's images, because the fold follows from it.
    max_folds : int, >= 2
        Fewer are made when a label has fewer groups.
    seed : int
        Another seed deals the groups out differently.

    Returns
    -------
    (n,) int array of fold indices, or None
        In every fold each label occurs among the held-out samples, and so also among those trained on. None when not
        even two such folds exist. The order of the samples does not matter.
    """
    labels = np.asarray(labels, dtype=np.int64)
    table: dict[str, _Group] = {}
    for label, name in zip(labels.tolist(), groups, strict=True):
        group = table.setdefault(name, _Group(name, {}))
        group.counts[label] = group.counts.get(label, 0) + 1
    groups_of_label: dict[int, int] = {}
    for group in table.values():
        for label in group.counts:
            groups_of_label[label] = groups_of_label.get(label, 0) + 1
    if not groups_of_label:
        return None
    for folds in range(min(max_folds, min(groups_of_label.values())), 1, -1):
        fold_of_group = _deal(list(table.values()), groups_of_label, folds, seed)
        assigned = np.array([fold_of_group[name] for name in groups], dtype=np.int64)
        if _every_fold_has_every_label(assigned, labels, folds):
            return assigned
    return None


def _deal(groups: list[_Group], groups_of_label: dict[int, int], folds: int, seed: int) -> dict[str, int]:
    digests = {group.name: hashlib.sha256(f"{seed}:{group.name}".encode()).digest() for group in groups}
    # Hard cases first: groups of several labels, then large ones. The many single samples fill what they leave.
    # Backwards, because the digest's beginning says which fold is preferred, and the two should not be related.
    order = sorted(groups, key=lambda group: (-len(group.counts), -group.size, digests[group.name][::-1]))
    samples_of_label: dict[int, int] = dict.fromkeys(groups_of_label, 0)
    for group in groups:
        for label, count in group.counts.items():
            samples_of_label[label] += count
    load = {label: [0] * folds for label in groups_of_label}
    empty = dict.fromkeys(groups_of_label, folds)
    remaining = dict(groups_of_label)
    result = {}
    for group in order:
        # A group's rarest label decides: the others have more groups to be balanced with.
        primary = min(group.counts, key=lambda label: (groups_of_label[label], label))
        preferred = _preferred_folds(digests[group.name], folds)
        # When a label has no more groups left than folds without it, each of them must go to such a fold.
        urgent = [label for label in group.counts if remaining[label] <= empty[label]]
        if urgent:
            gain = [sum(load[label][fold] == 0 for label in urgent) for fold in range(folds)]
            best = max(gain)
            preferred = [fold for fold in preferred if gain[fold] == best]
        room = samples_of_label[primary] // folds - group.counts[primary]
        held = load[primary]
        chosen = next((fold for fold in preferred if held[fold] <= room), None)
        if chosen is None:
            chosen = min(preferred, key=lambda fold: held[fold])
        for label, count in group.counts.items():
            empty[label] -= load[label][chosen] == 0
            load[label][chosen] += count
            remaining[label] -= 1
        result[group.name] = chosen
    return result


def _preferred_folds(digest: bytes, folds: int) -> list[int]:
    # Two bytes a fold make ties (broken by the index) rare; 16 folds fit into the digest, more reuse it in a circle.
    return sorted(range(folds), key=lambda fold: (digest[(2 * fold) % 32], digest[(2 * fold + 1) % 32], fold))


def _every_fold_has_every_label(assigned: Ints, labels: Ints, folds: int) -> bool:
    distinct, index = np.unique(labels, return_inverse=True)
    seen = np.zeros((folds, len(distinct)), dtype=bool)
    seen[assigned, index] = True
    return bool(seen.all())
