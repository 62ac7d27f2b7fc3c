"""Which samples belong together: near-duplicates, and whatever came with the same group key."""

from __future__ import annotations

from collections.abc import Sequence

from detector.imaging import near_duplicate_groups
from detector.storage.samples import TrainingRow


def sample_groups(rows: Sequence[TrainingRow]) -> list[str]:
    """The group of each sample, as a name that does not depend on the order of import.

    Near-duplicates (perceptual hash) and samples with the same ``group_key`` are joined; a group is named by its
    smallest image hash.
    """
    if not rows:
        return []
    parent = [int(index) for index in near_duplicate_groups([row.perceptual_hash for row in rows])]

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row.group_key is not None:
            other = root(first.setdefault(row.group_key, index))
            mine = root(index)
            parent[max(other, mine)] = min(other, mine)
    # Rows come ordered by image hash, so the smallest index has the smallest hash.
    return [rows[root(index)].image_hash for index in range(len(rows))]
