"""Embeddings: as many numbers as the backbone gives, all of them numbers, under a key that some backbone here makes.

And the very bytes that were stored, as far as a checksum was stored with them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import delete, func, select, tuple_, update

from detector.backbones import SPECS
from detector.formatting import count
from detector.jobs import request_build
from detector.progress import Pace
from detector.storage.embeddings import checksum_of
from detector.storage.schema import embeddings, functions, samples
from detector.storage.stored_names import DETAIL, WHOLE
from detector.upkeep.findings import EMBEDDINGS, Check, run_repair, shown

_PAGE = 500
_SIZES = {"float16": 2, "float32": 4}


def check_embeddings(check: Check) -> None:
    """Look at all embeddings; of a quick check at their lengths only."""
    shapes = _shapes(check)
    dimensions = _dimensions(shapes)
    total = sum(shapes.values())
    check.looked_at["embeddings"] += total
    _name_unknown(check, shapes)
    bad: dict[str, set[str]] = defaultdict(set)
    reasons: Counter[str] = Counter()
    wrong = [shape for shape in shapes if not _fits(shape, dimensions)]
    for shape in wrong:
        hashes = _hashes_of(check, shape)
        bad[shape[0]].update(hashes)
        reasons["have another length than the others"] += len(hashes)
    if not check.quick:
        pace = Pace(check.report, "embeddings", total, "Reading all embeddings")
        seen = 0
        for page in _pages(check):
            unsummed = []
            for row in page:
                if (row.backbone_key, row.view, row.dtype, len(row.data)) in wrong:
                    continue
                reason = _why_bad(row)
                if reason and row.image_hash not in bad[row.backbone_key]:
                    bad[row.backbone_key].add(row.image_hash)
                    reasons[reason] += 1
                elif not reason and row.checksum is None:
                    unsummed.append(row)
            if check.repair and unsummed:
                _note_checksums(check, unsummed)
            seen += len(page)
            pace.at(min(seen, total))
    _settle(check, {key: hashes for key, hashes in bad.items() if hashes}, reasons)


#: Backbone key, view, type of the numbers, bytes.
_Shape = tuple[str, str, str, int]


def _shapes(check: Check) -> dict[_Shape, int]:
    parts = (embeddings.c.backbone_key, embeddings.c.view, embeddings.c.dtype, func.length(embeddings.c.data))
    with check.ws.db.read() as connection:
        return {
            (row[0], row[1], row[2], int(row[3])): row[4]
            for row in connection.execute(select(*parts, func.count()).group_by(*parts))
        }


def _backbone(key: str) -> str:
    """The backbone's own key; those of degraded copies begin with how the copies were made."""
    return key.rpartition(" ")[2]


def _dimensions(shapes: dict[_Shape, int]) -> dict[str, int]:
    """How many numbers an embedding of each backbone has: what most of them have."""
    votes: dict[str, Counter[int]] = defaultdict(Counter)
    for (key, view, dtype, size), rows in shapes.items():
        if dtype in _SIZES and size and size % _SIZES[dtype] == 0 and view in (WHOLE, DETAIL):
            votes[_backbone(key)][size // _SIZES[dtype]] += rows
    return {key: counted.most_common(1)[0][0] for key, counted in votes.items()}


def _fits(shape: _Shape, dimensions: dict[str, int]) -> bool:
    key, view, dtype, size = shape
    return view in (WHOLE, DETAIL) and dtype in _SIZES and dimensions.get(_backbone(key)) == size / _SIZES[dtype]


def _hashes_of(check: Check, shape: _Shape) -> list[str]:
    key, view, dtype, size = shape
    statement = select(embeddings.c.image_hash).where(
        embeddings.c.backbone_key == key,
        embeddings.c.view == view,
        embeddings.c.dtype == dtype,
        func.length(embeddings.c.data) == size,
    )
    with check.ws.db.read() as connection:
        return list(connection.scalars(statement))


def _pages(check: Check) -> Iterator[Sequence[Any]]:
    key = (embeddings.c.image_hash, embeddings.c.backbone_key, embeddings.c.view)
    statement = select(*key, embeddings.c.dtype, embeddings.c.data, embeddings.c.checksum).order_by(*key).limit(_PAGE)
    after = ("", "", "")
    while True:
        with check.ws.db.read() as connection:
            page = connection.execute(statement.where(tuple_(*key) > after)).all()
        yield page
        if len(page) < _PAGE:
            return
        last = page[-1]
        after = (last.image_hash, last.backbone_key, last.view)


def _why_bad(row: Any) -> str:
    if row.checksum is not None and row.checksum != checksum_of(row.data):
        return "do not match the checksum that was stored with them"
    if not np.isfinite(np.frombuffer(row.data, dtype=row.dtype)).all():
        return "hold something that is no number"
    return ""


def _note_checksums(check: Check, rows: Sequence[Any]) -> None:
    """Rows of before there were checksums: from now on a flipped bit in them is found."""
    with check.ws.db.write([]) as connection:
        for row in rows:
            connection.execute(
                update(embeddings)
                .where(
                    embeddings.c.image_hash == row.image_hash,
                    embeddings.c.backbone_key == row.backbone_key,
                    embeddings.c.view == row.view,
                    embeddings.c.checksum.is_(None),
                )
                .values(checksum=checksum_of(row.data))
            )


def _name_unknown(check: Check, shapes: dict[_Shape, int]) -> None:
    rows: Counter[str] = Counter()
    for (key, *_), number in shapes.items():
        if _backbone(key).partition(":")[0] not in SPECS:
            rows[key] += number
    for key, number in rows.items():
        backbone_id = _backbone(key).partition(":")[0]
        with check.ws.db.read() as connection:
            used = connection.scalar(select(functions.c.name).where(functions.c.backbone_id == backbone_id).limit(1))
        what = f"{count(number, 'embedding')} of a backbone that this program does not know ({shown(backbone_id)})."
        if used is not None:
            check.found(EMBEDDINGS, f"{what} The function {shown(used)} needs it: install its extension again.")
            continue
        if check.repair:
            with check.ws.db.read() as connection:
                hashes = connection.scalars(
                    select(embeddings.c.image_hash).where(embeddings.c.backbone_key == key).distinct()
                ).all()
            _drop(check, key, hashes)
            _ask_for_builds(check, set(hashes), None)
        done = "No function uses it; they were removed, and what lacks is made again." if check.repair else run_repair()
        check.found(EMBEDDINGS, f"{what} {done}", check.repair)


def _settle(check: Check, bad: dict[str, set[str]], reasons: Counter[str]) -> None:
    if not bad:
        return
    number = sum(map(len, bad.values()))
    why = "; ".join(f"{rows:,} {reason}" for reason, rows in reasons.items())
    what = f"{count(number, 'stored embedding')} damaged: {why}."
    if not check.repair:
        check.found(EMBEDDINGS, f"{what} {run_repair()}")
        return
    for key, hashes in bad.items():
        _drop(check, key, sorted(hashes))
        _ask_for_builds(check, hashes, _backbone(key).partition(":")[0])
    check.found(EMBEDDINGS, f"{what} They were removed; a build that looks at these images again was asked for.", True)


def _drop(check: Check, key: str, hashes: Sequence[str]) -> None:
    for start in range(0, len(hashes), _PAGE):
        with check.ws.db.write() as connection:
            connection.execute(
                delete(embeddings).where(
                    embeddings.c.backbone_key == key, embeddings.c.image_hash.in_(hashes[start : start + _PAGE])
                )
            )


def _ask_for_builds(check: Check, hashes: set[str], backbone_id: str | None) -> None:
    wanted: set[str] = set()
    ordered = sorted(hashes)
    for start in range(0, len(ordered), _PAGE):
        statement = (
            select(samples.c.function_id)
            .join(functions, functions.c.id == samples.c.function_id)
            .where(samples.c.image_hash.in_(ordered[start : start + _PAGE]), samples.c.deleted_at.is_(None))
            .distinct()
        )
        if backbone_id is not None:
            statement = statement.where(functions.c.backbone_id == backbone_id)
        with check.ws.db.read() as connection:
            wanted.update(connection.scalars(statement))
    for function_id in wanted:
        request_build(check.ws, function_id)
