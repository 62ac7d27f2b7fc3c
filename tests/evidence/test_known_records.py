"""Records of the very picture, and of near-duplicates, stand with the next verdict on it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from detector.evidence.known_records import known_records
from detector.imaging import inspect_image, sha256_hex
from detector.storage import records
from detector.workspace import Workspace
from tests.factories import empty_function, make_image, near_duplicate, workspace
from tests.made_evidence import evidence_json, kept

#: 3 November 2026, 12:00 UTC.
_MOMENT = 1793707200.0


def keep(ws: Workspace, function_id: str, data: bytes, **changes: str) -> str:
    found = inspect_image(data, "a.png", ws.limits)
    evidence = evidence_json(sha256=found.sha256, **changes)
    record = kept(ws, function_id, evidence, perceptual_hash=found.perceptual_hash)
    with ws.db.write() as connection:
        connection.execute(text("UPDATE records SET created_at = :at WHERE id = :id"), {"at": _MOMENT, "id": record.id})
    return record.id


def known(ws: Workspace, function_id: str, data: bytes, without: str | None = None) -> list[str]:
    found = inspect_image(data, "b.png", ws.limits)
    return [item["sentence"] for item in known_records(ws, function_id, found.sha256, found.perceptual_hash, without)]


def test_the_very_picture_and_a_near_duplicate_are_named_with_day_and_verdict(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    picture = make_image(5)
    assert known(ws, function.id, picture) == []
    near = keep(ws, function.id, near_duplicate(picture), verdict="can't tell", grade="can't tell")
    same = keep(ws, function.id, picture)
    keep(ws, function.id, make_image(6))
    assert known(ws, function.id, picture) == [
        "This very picture was invoked on 3 Nov 2026, verdict synthetic (strong).",
        "A near-duplicate of this picture was invoked on 3 Nov 2026, verdict can't tell.",
    ]
    assert len(known(ws, function.id, picture, without=same)) == 1
    [first, second] = known_records(
        ws, function.id, sha256_hex(picture), records.get_record(ws.db, function.id, same).perceptual_hash
    )
    assert (first["record"], first["at"], second["record"]) == (same, "2026-11-03T12:00:00+00:00", near)
    assert first["kind"] == "record"


def test_a_dispute_is_said_and_many_records_are_counted(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws)
    picture = make_image(5)
    first = keep(ws, function.id, picture)
    records.mark_disputed(ws.db, function.id, first, "real")
    assert known(ws, function.id, picture)[0].endswith("Somebody disputed that: real.")
    for verdict in ("b", "c", "d", "e"):
        keep(ws, function.id, picture, verdict=verdict)
    assert known(ws, function.id, picture)[3] == "2 further records kept of this picture or of nearly the same one."
