"""Whether a picture is one of the samples already: the very same file, or nearly the same picture."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from detector.imaging.fingerprint import hash_numbers, near_duplicates_of
from detector.storage.gallery_rows import revisions
from detector.storage.schema import images, labels, samples
from detector.storage.stored_names import TEST
from detector.workspace import Workspace

SAMPLE, NEAR_DUPLICATE = "sample", "near-duplicate"
#: Near-duplicates that are named; a video's frames could be thousands.
MOST = 10
#: More are looked up than named: some may have been removed for good.
_LOOKED_UP = 200
#: Characters of a file's name in a sentence.
_NAME_LENGTH = 80
#: Functions whose hashes are kept in memory: of 100,000 samples they have 3 MB.
_CACHED = 4


@dataclass(frozen=True)
class KnownSample:
    """A sample that is the picture asked about, or nearly the same.

    Attributes
    ----------
    kind : ``SAMPLE`` for the same bytes, ``NEAR_DUPLICATE`` for nearly the same picture
    sample_id, file_name : str
    label : name of its label; None where it has none
    in_test_set, in_bin : bool
    bits : in how many of 64 bits the perceptual hashes differ; 0 for the same bytes
    """

    kind: str
    sample_id: str
    file_name: str
    label: str | None
    in_test_set: bool
    in_bin: bool
    bits: int = 0

    @property
    def sentence(self) -> str:
        """What is known, for people. The name and the label come from outside: to be shown as text."""
        label = f"labelled {_shown(self.label)}" if self.label is not None else "without a label"
        place = (
            " It lies in the bin." if self.in_bin else " It lies in the locked test set." if self.in_test_set else ""
        )
        if self.kind == SAMPLE:
            return f"This very picture is one of your samples, {label}.{place}"
        return f"Nearly the same picture is one of your samples: {_shown(self.file_name)}, {label}.{place}"

    def to_json(self) -> dict[str, Any]:
        """As evidence lists it."""
        return {
            "kind": self.kind,
            "sentence": self.sentence,
            "sample": self.sample_id,
            "label": self.label,
            "file": self.file_name,
        }


def known_samples(ws: Workspace, function_id: str, sha256: str, perceptual_hash: str) -> list[KnownSample]:
    """The samples of a function that a picture is, or nearly is; those in the bin and in the test set too.

    Near-duplicates are pictures whose perceptual hashes differ as little as those of one group of a training.

    Parameters
    ----------
    sha256 : str
        Of the file.
    perceptual_hash : str
        Of the picture.

    Returns
    -------
    at most MOST + 1 KnownSample
        The same file first, then near-duplicates, the nearest first.
    """
    hashes = _hashes_of(ws, function_id)
    places, bits = near_duplicates_of(perceptual_hash, hashes.numbers)
    sequences = hashes.sequences[places].tolist()[:_LOOKED_UP]
    bits_of = dict(zip(sequences, bits.tolist(), strict=False))
    near: dict[int, KnownSample] = {}
    same: list[KnownSample] = []
    columns = (samples.c.sequence, samples.c.id, samples.c.image_hash, samples.c.file_name, samples.c.split)
    with ws.db.read() as connection:
        rows = connection.execute(
            select(*columns, samples.c.deleted_at, labels.c.name.label("label"))
            .outerjoin(labels, labels.c.id == samples.c.label_id)
            .where(
                samples.c.function_id == function_id,
                samples.c.sequence.in_(sequences) | (samples.c.image_hash == sha256),
            )
        )
        for row in rows:
            place = row.split == TEST, row.deleted_at is not None
            if row.image_hash == sha256:
                same.append(KnownSample(SAMPLE, row.id, row.file_name, row.label, *place))
            else:
                distance = bits_of[row.sequence]
                near[row.sequence] = KnownSample(NEAR_DUPLICATE, row.id, row.file_name, row.label, *place, distance)
    return [*same, *[near[sequence] for sequence in sequences if sequence in near][:MOST]]


@dataclass(frozen=True, eq=False)
class _Hashes:
    """Of every sample of a function that was there at a revision; some may have been removed since."""

    revision: int
    purge_revision: int
    sequences: np.ndarray
    numbers: np.ndarray


_NONE = _Hashes(0, 0, np.zeros(0, np.int64), np.zeros((0, 3), np.uint64))
_cache: OrderedDict[tuple[str, str], _Hashes] = OrderedDict()
_lock = threading.Lock()


def _hashes_of(ws: Workspace, function_id: str) -> _Hashes:
    """The hashes of a function's samples, from memory but for those that are new."""
    key = (str(ws.settings.data_dir), function_id)
    revision, purged = revisions(ws.db, function_id)
    with _lock:
        known = _cache.get(key, _NONE)
        if known.purge_revision != purged or known.revision > revision:
            # Some went for good, or this is another database in the same place.
            known = _NONE
        if known.revision != revision:
            # Hashes never change: of what was changed since, only what is new is added.
            sequences, texts = _read(ws, function_id, known.revision)
            new = np.flatnonzero(~np.isin(sequences, known.sequences))
            known = _Hashes(
                revision,
                purged,
                np.concatenate([known.sequences, sequences[new]]),
                np.concatenate([known.numbers, hash_numbers([texts[place] for place in new.tolist()])]),
            )
        _cache[key] = known
        _cache.move_to_end(key)
        while len(_cache) > _CACHED:
            _cache.popitem(last=False)
        return known


def _read(ws: Workspace, function_id: str, after: int) -> tuple[np.ndarray, list[str]]:
    """Sequences and perceptual hashes of the samples that were changed after a revision."""
    statement = (
        select(samples.c.sequence, images.c.perceptual_hash)
        .join(images, images.c.hash == samples.c.image_hash)
        .where(samples.c.function_id == function_id)
    )
    if after:
        statement = statement.where(samples.c.revision > after)
    with ws.db.read() as connection:
        rows = connection.execute(statement).all()
    return np.array([sequence for sequence, _ in rows], dtype=np.int64), [text for _, text in rows]


def _shown(text: str) -> str:
    """A name from outside on one line: control characters and marks of direction visible, and never long."""
    visible = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return visible if len(visible) <= _NAME_LENGTH else f"{visible[: _NAME_LENGTH - 1]}…"
