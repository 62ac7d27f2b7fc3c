"""Folder and column names that divide a set into training and test, and therefore are neither labels nor sources."""

from __future__ import annotations

import re
from functools import lru_cache

from detector.storage.stored_names import TEST, TRAIN, Split

_TRAINING = {"train", "training", "trained", "trn", "trainval", "traindev"}
_HELD_OUT = {
    "test", "testing", "tst", "val", "valid", "validation", "validate", "eval", "evaluation", "dev", "holdout",
    "heldout", "minival", "testdev",
}  # fmt: skip
_TOGETHER = (("hold", "out"), ("held", "out"), ("train", "val"), ("mini", "val"))
#: Words beside the ones that matter: "0_real", "train_fake", "ai-generated images", "public_test".
FILLER_WORDS = {
    "image", "images", "img", "imgs", "picture", "pictures", "art", "data", "dataset", "set", "sets", "split", "the",
    "class", "folder", "public", "private", "files", "v", "ver", "version",
}  # fmt: skip

# Half a million files lie in few folders.
_REMEMBERED = 50_000


@lru_cache(maxsize=_REMEMBERED)
def words_of(name: str) -> tuple[str, ...]:
    """Lower-case words without digits: "0_real" -> real, "AI-Generated" -> ai, generated, "testSet" -> test, set."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", name)
    words = re.findall(r"[^\W\d_]+", apart.casefold())
    for first, second in _TOGETHER:
        for at in range(len(words) - 1):
            if words[at : at + 2] == [first, second]:
                words[at : at + 2] = [first + second]
    return tuple(words)


def split_word(word: str) -> Split | None:
    """The split that one word of `words_of` means."""
    for ending in ("", "set", "data", "images"):
        stem = word.removesuffix(ending) if ending and word.endswith(ending) else word
        if stem in _TRAINING:
            return TRAIN
        if stem in _HELD_OUT:
            return TEST
    return None


@lru_cache(maxsize=_REMEMBERED)
def pure_split(name: str) -> Split | None:
    """The split that a name means which means nothing else: "val2017", "Test images"; None for any other name."""
    found = [split_word(word) for word in words_of(name) if word not in FILLER_WORDS]
    if not found or None in found:
        return None
    return TRAIN if TRAIN in found else TEST


@lru_cache(maxsize=_REMEMBERED)
def named_split(name: str) -> Split | None:
    """The split that is part of a name which also means something else: "test_fake" -> test."""
    found = {split_word(word) for word in words_of(name)} - {None}
    return found.pop() if len(found) == 1 else None
