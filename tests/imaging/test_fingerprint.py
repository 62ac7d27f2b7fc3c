from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from detector.errors import InvalidInput
from detector.imaging import near_duplicate_groups, perceptual_hash, sha256_hex
from detector.imaging.fingerprint import (
    DHASH_DISTANCE,
    PHASH_DISTANCE,
    hash_numbers,
    near_duplicates_of,
    shows_nothing,
)
from tests.factories import make_image
from tests.imaging.pictures import picture
from tests.shared_data import require


def bits_apart(left: str, right: str) -> int:
    return (int(left, 16) ^ int(right, 16)).bit_count()


def as_text(values: np.ndarray) -> list[str]:
    return [f"{int(value):016x}" for value in values]


def near(left: str, right: str, distance: int, second_distance: int) -> bool:
    known = len(left) == len(right) == 32
    return bits_apart(left[:16], right[:16]) <= distance and (
        not known or bits_apart(left[16:], right[16:]) <= second_distance
    )


def naive_groups(hashes: list[str], distance: int, second_distance: int = DHASH_DISTANCE) -> list[int]:
    """Every pair, one by one: what the fast road must agree with."""
    group = list(range(len(hashes)))
    for _ in hashes:
        for i, left in enumerate(hashes):
            for j, right in enumerate(hashes):
                if near(left, right, distance, second_distance):
                    group[i] = group[j] = min(group[i], group[j])
    return group


def test_sha256_is_that_of_the_bytes() -> None:
    assert sha256_hex(b"abc") == hashlib.sha256(b"abc").hexdigest()


def test_the_hash_survives_scaling_and_recompression_and_tells_pictures_apart() -> None:
    image = picture(400, 300)
    original = perceptual_hash(image)
    assert len(original) == 32
    for changed in (image.resize((200, 150), Image.Resampling.BICUBIC), ImageEnhance.Brightness(image).enhance(1.05)):
        assert near_duplicate_groups([original, perceptual_hash(changed)]).tolist() == [0, 0]
    assert bits_apart(original, perceptual_hash(picture(400, 300, seed=9))) > 20


def test_smooth_pictures_with_nothing_in_common_are_no_near_duplicates_and_saved_anew_they_are() -> None:
    """Pairs that the pHash alone joins: a poster and a stormy sky, a fish and a crowd."""
    folder = require("mixed2000") / "synthetic" / "glid3_xl"
    names = ["13c4afa0acac", "59c106d4f42a", "081387fe8ea2", "bc47f1344493", "6f12a975cf19", "f89cf66d32ba"]
    pictures = [Image.open(folder / f"{name}.jpg").convert("RGB") for name in names]
    hashes = [perceptual_hash(image) for image in pictures]
    assert near_duplicate_groups([each[:16] for each in hashes]).tolist() == [0, 0, 2, 2, 4, 4]
    assert near_duplicate_groups(hashes).tolist() == [0, 1, 2, 3, 4, 5]
    for image, original in zip(pictures, hashes, strict=True):
        file = io.BytesIO()
        image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC).save(file, "JPEG", quality=60)
        again = perceptual_hash(Image.open(file).convert("RGB"))
        assert near_duplicate_groups([original, again]).tolist() == [0, 0]


def test_groups_of_nothing_and_of_one() -> None:
    assert near_duplicate_groups([]).tolist() == []
    assert near_duplicate_groups(["00000000000000ff"]).tolist() == [0]


def test_chains_form_one_group_named_by_its_smallest_index() -> None:
    hashes = ["ffffffff00000000", "000000000000003f", "0000000000000fff", "0000000000000000", "ffffffff00000001"]
    assert near_duplicate_groups(hashes, 6).tolist() == [0, 1, 1, 1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0, 1, 3, 6, 10, 16])
@pytest.mark.parametrize("crowded", [False, True])
def test_groups_equal_those_of_comparing_all_pairs(distance: int, crowded: bool) -> None:
    rng = np.random.default_rng(distance)
    centres = rng.integers(0, 2**63, 12, dtype=np.uint64)
    values = centres[rng.integers(0, 12, 60)]
    for flips in range(5 if crowded else 9):
        where = rng.random(60) < 0.7
        values[where] ^= np.uint64(1) << rng.integers(0, 16 if crowded else 64, int(where.sum())).astype(np.uint64)
        assert flips < 9
    hashes = as_text(values)
    assert near_duplicate_groups(hashes, distance).tolist() == naive_groups(hashes, distance)
    # A second hash for two of three, near that of some others.
    second = as_text(values[rng.integers(0, 60, 60)] & np.uint64(0x3FFFF))
    both = [text + (more if index % 3 else "") for index, (text, more) in enumerate(zip(hashes, second, strict=True))]
    assert near_duplicate_groups(both, distance, 5).tolist() == naive_groups(both, distance, 5)


def test_a_pair_that_differs_in_the_allowed_bits_anywhere_is_found() -> None:
    """The bands must leave no gap: each of these pairs differs in 6 bits spread in another way."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        value = int(rng.integers(0, 2**63))
        other = value
        for bit in rng.choice(64, 6, replace=False):
            other ^= 1 << int(bit)
        assert near_duplicate_groups([f"{value:016x}", f"{other:016x}"], 6).tolist() == [0, 0]


@pytest.mark.slow
def test_a_hundred_thousand_hashes_with_thousands_of_duplicates_are_grouped() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**63, 100_000, dtype=np.uint64)
    values[50_000:55_000] = values[:5_000] ^ np.uint64(0b101 << 40)
    values[60_000:70_000] = values[7]
    groups = near_duplicate_groups(as_text(values))
    assert (groups[50_000:55_000] == np.arange(5_000)).all()
    assert (groups[60_000:70_000] == 7).all()
    assert (groups <= np.arange(100_000)).all()


def test_what_is_no_hash_is_refused() -> None:
    for wrong in ("xyz", "0" * 15, "g" * 16, "0" * 31, "0" * 16 + "g" * 16):
        with pytest.raises(InvalidInput):
            near_duplicate_groups([wrong])
    with pytest.raises(InvalidInput):
        near_duplicate_groups(["0" * 16], distance=17)
    with pytest.raises(InvalidInput):
        near_duplicate_groups(["0" * 16], second_distance=65)


def test_the_near_duplicates_of_one_picture_are_those_of_the_rule_for_groups_the_nearest_first() -> None:
    rng = np.random.default_rng(5)
    asked = int(rng.integers(2**63)), int(rng.integers(2**63))
    hashes = []
    for _ in range(400):
        first, second = asked
        for bit in rng.choice(64, int(rng.integers(0, 12)), replace=False).tolist():
            first ^= 1 << bit
        for bit in rng.choice(64, int(rng.integers(0, 14)), replace=False).tolist():
            second ^= 1 << bit
        # Older hashes have no second half.
        hashes.append(f"{first:016x}{second:016x}" if rng.random() < 0.8 else f"{first:016x}")
    text = f"{asked[0]:016x}{asked[1]:016x}"
    places, bits = near_duplicates_of(text, hash_numbers(hashes))
    expected = {place for place, other in enumerate(hashes) if near(text, other, PHASH_DISTANCE, DHASH_DISTANCE)}
    assert 20 < len(expected) < 380
    assert set(places.tolist()) == expected
    assert bits.tolist() == [bits_apart(text[:16], hashes[place][:16]) for place in places.tolist()]
    assert bits.tolist() == sorted(bits.tolist())


def test_nothing_is_near_to_a_picture_among_none() -> None:
    places, bits = near_duplicates_of("0" * 32, hash_numbers([]))
    assert len(places) == len(bits) == 0


def test_hashes_read_together_are_those_read_one_by_one_and_a_bad_one_is_named() -> None:
    texts = [f"{value:032x}" for value in (0, 2**128 - 1, 0x0123456789ABCDEFFEDCBA9876543210)]
    np.testing.assert_array_equal(
        hash_numbers(texts), np.concatenate([hash_numbers([text, "0" * 16])[:1] for text in texts])
    )
    for bad in ("x" * 32, " " * 32):
        with pytest.raises(InvalidInput, match="is not a perceptual hash"):
            hash_numbers([texts[0], bad])


def test_plain_pictures_are_nobodys_near_duplicates() -> None:
    """Kind: white, black and grey have nearly one hash. A blank scan was said to be one of the samples."""
    plain = [perceptual_hash(Image.new("RGB", (90, 60), colour)) for colour in ("white", "black", "grey", "#d1603d")]
    assert all(map(shows_nothing, plain))
    assert not near_duplicates_of(plain[0], hash_numbers(plain))[0].size
    something = perceptual_hash(Image.open(io.BytesIO(make_image(1))))
    assert not shows_nothing(something)
    assert near_duplicates_of(something, hash_numbers([*plain, something]))[0].tolist() == [4]
