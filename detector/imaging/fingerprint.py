"""Fingerprints: of the bytes (SHA-256), of the picture (perceptual hash), and which pictures are nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image

from detector.errors import InvalidInput
from detector.imaging.perceptual import both_hashes
from detector.imaging.thumbnail import shrink

HASH_BITS = 64
#: Most bits in which near-duplicates differ.
PHASH_DISTANCE = 6
DHASH_DISTANCE = 9
# Cells of one comparison matrix: 4 million numbers of 64 bits are 32 MB.
_BLOCK_CELLS = 4_000_000
# Pairs kept before they are merged into groups: bounds the memory when thousands of pictures are all alike.
_MOST_PENDING_PAIRS = 4_000_000


def sha256_hex(data: bytes) -> str:
    """SHA-256 of the bytes as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: Image.Image) -> str:
    """Two 64-bit fingerprints of the picture, which survive saving it anew, scaling and small crops.

    The first is the pHash: the signs of the 8 x 8 lowest frequencies of its 32 x 32 grey version. The second is the
    dHash: which of two neighbours is the brighter one in its 9 x 8 grey version.

    Parameters
    ----------
    image : PIL.Image.Image
        An upright RGB picture; it is shrunk to thumbnail size first, so a picture and its thumbnail agree.

    Returns
    -------
    str
        16 and 16 hexadecimal digits, as written by `ImageHash <https://github.com/JohannesBuchner/imagehash>`_.
    """
    return both_hashes(shrink(image).convert("L"))


def near_duplicate_groups(
    hashes: Sequence[str], distance: int = PHASH_DISTANCE, second_distance: int = DHASH_DISTANCE
) -> np.ndarray:
    """Group pictures whose perceptual hashes differ in few bits.

    Two pictures are in one group when a chain of pictures joins them in which neighbours differ in at most ``distance``
    bits of the pHash and ``second_distance`` bits of the dHash. The pHash alone also joins smooth pictures of different
    things (a fish and a crowd, a poster and a stormy sky): of 5,627 photographs and made pictures 7 pairs differ in
    6 of its bits, and 6 of these in 10 and more bits of the dHash. Of 600 of them saved anew (JPEG 50), halved, or made
    brighter, both together find 99.8 % and more.

    The result is exact: by the pigeonhole principle, hashes that differ in at most ``d`` bits agree in at least one of
    ``d + 1`` bands, so only pictures that share a band are compared.

    Parameters
    ----------
    hashes : sequence of str, n of them
        From `perceptual_hash`; of 16 digits (older ones) only the pHash is compared.
    distance : int, 0..16
        At 10 and more, chains join unrelated pictures.
    second_distance : int, 0..64

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        For each picture the smallest index in its group; its own where it stands alone.

    Raises
    ------
    InvalidInput
        A hash is not 16 or 32 hexadecimal digits, or a distance is out of range.
    """
    if not 0 <= distance <= 16:
        raise InvalidInput(f"The distance of near-duplicates is {distance}; expected 0 to 16 bits.")
    if not 0 <= second_distance <= HASH_BITS:
        raise InvalidInput(f"The second distance of near-duplicates is {second_distance}; expected 0 to 64 bits.")
    values = np.array([_as_integers(text) for text in hashes], dtype=np.uint64).reshape(-1, 3)
    if not len(values):
        return np.zeros(0, dtype=np.int64)
    # Equal hashes first: a folder of blank scans would else be compared pair by pair.
    unique, inverse = np.unique(values, axis=0, return_inverse=True)
    component = _components(unique, distance, second_distance)[inverse.reshape(-1)]
    smallest = np.full(component.max() + 1, len(values), dtype=np.int64)
    np.minimum.at(smallest, component, np.arange(len(values), dtype=np.int64))
    return smallest[component]


def hash_numbers(hashes: Sequence[str]) -> np.ndarray:
    """Perceptual hashes as numbers that `near_duplicates_of` compares: n str -> (n, 3) uint64. Raises InvalidInput."""
    whole = "".join(hashes)
    if hashes and all(len(text) == HASH_BITS // 2 for text in hashes) and whole.isalnum():
        try:
            both = np.frombuffer(bytes.fromhex(whole), ">u8").reshape(-1, 2).astype(np.uint64)
        except ValueError:
            # One of them is none: which, is said below.
            pass
        else:
            return np.column_stack([both, np.full(len(both), 2**HASH_BITS - 1, dtype=np.uint64)])
    return np.array([_as_integers(text) for text in hashes], dtype=np.uint64).reshape(-1, 3)


def shows_nothing(perceptual_hash: str) -> bool:
    """Whether a picture is as plain as white paper: all such have nearly one hash, and are not the same picture."""
    first, second, known = _as_integers(perceptual_hash)
    return first.bit_count() <= 1 and second & known in (0, known)


def near_duplicates_of(perceptual_hash: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of many pictures are nearly the same as one, by the rule of `near_duplicate_groups` without its chains.

    None for a picture that `shows_nothing`.

    Parameters
    ----------
    perceptual_hash : str
    numbers : (n, 3) uint64, from `hash_numbers`

    Returns
    -------
    (m,) int array, (m,) int array
        Places of the near-duplicates, the nearest first, and in how many bits of the pHash each differs.
    """
    if shows_nothing(perceptual_hash):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, second, known = hash_numbers([perceptual_hash])[0]
    bits = np.bitwise_count(numbers[:, 0] ^ first)
    others = np.bitwise_count((numbers[:, 1] ^ second) & numbers[:, 2] & known)
    places = np.flatnonzero((bits <= PHASH_DISTANCE) & (others <= DHASH_DISTANCE))
    order = np.lexsort((places, others[places], bits[places]))
    return places[order], bits[places][order].astype(np.int64)


def _as_integers(text: str) -> tuple[int, int, int]:
    """pHash, dHash, and the bits of the dHash that are known: all or none."""
    try:
        if len(text) == HASH_BITS // 4:
            return int(text, 16), 0, 0
        if len(text) == HASH_BITS // 2:
            return int(text[:16], 16), int(text[16:], 16), 2**HASH_BITS - 1
    except ValueError:
        pass
    raise InvalidInput(f"{text!r} is not a perceptual hash; expected 32 hexadecimal digits.")


def _components(unique: np.ndarray, distance: int, second_distance: int) -> np.ndarray:
    """Connected components (numbers from 0) of different hashes (n, 3)."""
    count = len(unique)
    component = np.arange(count, dtype=np.int64)
    left: list[np.ndarray] = []
    right: list[np.ndarray] = []
    pending = 0
    for rows, columns in _close_pairs(unique, distance, second_distance):
        left.append(rows)
        right.append(columns)
        pending += len(rows)
        if pending > _MOST_PENDING_PAIRS:
            component = _merge(component, left, right)
            left, right, pending = [], [], 0
    return _merge(component, left, right)


def _merge(component: np.ndarray, left: list[np.ndarray], right: list[np.ndarray]) -> np.ndarray:
    if not left:
        return component
    rows, columns = component[np.concatenate(left)], component[np.concatenate(right)]
    size = int(component.max()) + 1
    # Pairs occur more than once and are added up: a small integer type could overflow to 0, which is no edge.
    # Here, not above: pages import this module, and the first one must not wait for scipy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    labels = connected_components(graph.tocsr(), directed=False)[1]
    return labels.astype(np.int64)[component]


def _close_pairs(unique: np.ndarray, distance: int, second_distance: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    first, second, known = np.ascontiguousarray(unique.T)
    for members in _candidate_sets(first, distance):
        values = first[members]
        step = max(1, _BLOCK_CELLS // len(members))
        for start in range(0, len(members), step):
            block = values[start : start + step, None] ^ values[None, start:]
            rows, columns = np.nonzero(np.bitwise_count(block) <= distance)
            later = columns > rows
            one, other = members[rows[later] + start], members[columns[later] + start]
            differing = (second[one] ^ second[other]) & known[one] & known[other]
            close = np.bitwise_count(differing) <= second_distance
            if close.any():
                yield one[close], other[close]


def _candidate_sets(unique: np.ndarray, distance: int) -> Iterator[np.ndarray]:
    """Sets of indices; every close pair is together in at least one of them."""
    everything = np.arange(len(unique), dtype=np.int64)
    sets: list[np.ndarray] = []
    edges = np.linspace(0, HASH_BITS, distance + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = (unique >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        borders = np.flatnonzero(np.diff(band[order])) + 1
        sets.extend(members for members in np.split(order, borders) if len(members) > 1)
    # Hashes that crowd into few bands: comparing all with all once is then less work.
    if sum(len(members) ** 2 for members in sets) >= len(unique) ** 2:
        sets = [everything] if len(unique) > 1 else []
    yield from sets
