"""What a transformer's inner blocks add to a backbone's feature sets: which blocks, under which names, for whom.

The last layer of a network trained on captions has learnt to ignore what generators leave in a picture; what blocks in
the middle say of it told unseen generators apart better in a published trial (RINE, Koutlis and Papadopoulos 2024,
arXiv 2402.19091). They are off until an expert switches them on for a function: that they help is not measured here.

Nothing here imports torch: pages ask whether the switch can be offered. `inner_tokens` reads the blocks.
"""

from __future__ import annotations

from collections.abc import Iterable

from detector.backbones.registry import BackboneSpec

#: Part of the key of embeddings that hold inner blocks. Raise it when the choice of blocks or their reading changes.
INNER = "inner-1"
BLOCKS_READ = 4
#: The mean of the last block's patch tokens.
PATCH_MEAN = "patch_mean"
_BLOCK = "block_"


def inner_blocks(count: int) -> tuple[int, ...]:
    """Places of the blocks that are read, from 0, of a network with ``count`` blocks: at fifths of its depth.

    Of 12 blocks the 3rd, 5th, 8th and 10th. The last is none of them, as its class token is what the answer is made
    of; only networks with fewer blocks than are read give all that they have.
    """
    # Rounded up, in whole numbers.
    return tuple(dict.fromkeys(-(-count * step // (BLOCKS_READ + 1)) - 1 for step in range(1, BLOCKS_READ + 1)))


def block_feature(place: int) -> str:
    """Name of the feature set of a block; people count blocks from 1."""
    return f"{_BLOCK}{place + 1}"


def is_inner_feature(name: str) -> bool:
    """Whether a feature set comes from inner blocks."""
    return name == PATCH_MEAN or name.startswith(_BLOCK)


def without_inner_features(names: Iterable[str]) -> list[str]:
    """Names of feature sets, those of inner blocks left out."""
    return [name for name in names if not is_inner_feature(name)]


def has_inner_features(backbone_key: str) -> bool:
    """Whether embeddings under this key hold inner blocks: a model's key tells with which backbone it serves."""
    return INNER in backbone_key.split(":")


def why_no_inner_blocks(spec: BackboneSpec) -> str | None:
    """In one sentence for people, why a backbone's inner blocks cannot be used; None where they can."""
    if spec.transformer:
        return None
    return (
        f"{spec.title} is no transformer, so it has no inner blocks that could be used. Choose another backbone first."
    )
