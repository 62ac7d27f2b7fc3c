"""Records: kept once, found by file, picture and words, and gone when they are deleted."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from sqlalchemy import event

from detector.errors import InvalidInput, NotFound
from detector.storage import functions, records
from detector.storage.database import now
from detector.workspace import Workspace
from tests.factories import empty_function, workspace
from tests.made_evidence import FULL, HOSTILE, evidence_json, hostile_json, kept


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


#: The hashes of a picture that shows something: plain ones are nobody's near-duplicates.
SHOWN = "0123456789abcdef" * 2


def differing(first: int, second: int) -> str:
    """Hashes that differ from `SHOWN` in these bits."""
    return f"{int(SHOWN[:16], 16) ^ first:016x}{int(SHOWN[16:], 16) ^ second:016x}"


def some(ws: Workspace, function_id: str, number: int) -> list[str]:
    return [kept(ws, function_id, evidence_json(sha256=f"{n:064x}", file=f"Picture-{n}.png")).id for n in range(number)]


def test_a_record_comes_back_as_it_was_kept(ws: Workspace) -> None:
    function = empty_function(ws)
    record = kept(ws, function.id, thumbnail=b"RIFF")
    found = records.get_record(ws.db, function.id, record.id)
    assert found == record
    assert found.thumbnail == b"RIFF"
    answer = found.to_json()
    assert {name: answer[name] for name in FULL} == FULL
    assert answer["record"] == record.id
    assert "disputed" not in answer


def test_the_same_verdict_of_the_same_model_is_kept_once(ws: Workspace) -> None:
    function, other = empty_function(ws), empty_function(ws, "Other")
    first = kept(ws, function.id)
    assert kept(ws, function.id, evidence_json(at="2026-11-04T10:00:00+00:00")) == first
    assert kept(ws, function.id, evidence_json(verdict="real")).id != first.id
    assert kept(ws, function.id, model_id="f" * 32).id != first.id
    assert kept(ws, other.id).id != first.id
    assert records.count_records(ws.db, function.id) == 3


def test_a_verdict_is_never_kept_under_the_name_limit_or_offset_of_another_one(ws: Workspace) -> None:
    """Kind: who kept a verdict was handed an older record: another person's file name, a limit that was not in force.

    Records of before carry no offset: they are of a model that answered as it was trained.
    """
    function = empty_function(ws)
    first = kept(ws, function.id)
    renamed = kept(ws, function.id, evidence_json(file="mine.jpg"))
    assert (renamed.file_name, renamed.id != first.id) == ("mine.jpg", True)
    assert kept(ws, function.id, evidence_json(file="mine.jpg")) == renamed
    for change in ({"falseAccusationLimit": 0.1}, {"offset": 0.7}):
        evidence = evidence_json()
        evidence["model"] |= change
        record = kept(ws, function.id, evidence)
        assert record.id not in (first.id, renamed.id)
        assert record.evidence["model"] == evidence["model"]
    unadapted = evidence_json()
    unadapted["model"]["offset"] = None
    assert kept(ws, function.id, unadapted) == first


def test_pages_follow_each_other_from_the_newest_on(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = some(ws, function.id, 7)
    seen: list[str] = []
    place = None
    for size in (3, 3, 1):
        page, place = records.list_records(ws.db, function.id, 3, place)
        assert len(page) == size
        seen += [record.id for record in page]
    assert place is None
    assert sorted(seen) == sorted(ids)
    times = [records.get_record(ws.db, function.id, record_id).created_at for record_id in seen]
    assert times == sorted(times, reverse=True)


def test_records_are_found_by_file_name_and_verdict_and_signs_stand_for_themselves(ws: Workspace) -> None:
    function = empty_function(ws)
    kept(ws, function.id, evidence_json(sha256="1" * 64, file="Wald_1.png", verdict="real"))
    kept(ws, function.id, evidence_json(sha256="2" * 64, file="Waldx1.png"))
    assert records.count_records(ws.db, function.id, "wald_1") == 1
    assert records.count_records(ws.db, function.id, "WALD") == 2
    assert records.count_records(ws.db, function.id, "SYNTH") == 1
    assert records.count_records(ws.db, function.id, "%") == 0
    [found], _ = records.list_records(ws.db, function.id, search="real")
    assert found.file_name == "Wald_1.png"


def test_letters_beyond_ascii_are_found_in_whatever_case_and_form(ws: Workspace) -> None:
    """Kind: SQLite folds only a to z, so that "Ärger" found nothing; and a Mac writes Ä as A with two dots."""
    function = empty_function(ws)
    names = ("ÄRGER.png", unicodedata.normalize("NFD", "Ärger auf der Straße.png"), "Москва.png")
    for number, name in enumerate(names):
        kept(ws, function.id, evidence_json(sha256=f"{number:064x}", file=name))
    for search, expected in (("ärger", 2), ("Ärger", 2), ("STRASSE", 1), ("москва", 1), ("МОСКВА", 1), ("Arger", 0)):
        assert records.count_records(ws.db, function.id, search) == expected, search
        found, following = records.list_records(ws.db, function.id, search=search)
        assert (len(found), following) == (expected, None)
    [first], place = records.list_records(ws.db, function.id, 1, search="ärger")
    [second], end = records.list_records(ws.db, function.id, 1, place, search="ärger")
    assert (first.file_name, second.file_name, end) == (names[1], names[0], None)


def test_near_duplicates_are_found_by_the_rule_of_the_samples(ws: Workspace) -> None:
    function = empty_function(ws)
    hashes = {
        "same": SHOWN,
        "near": differing(0b111111, 0b1),
        "first-too-far": differing(0b1111111, 0),
        "second-too-far": differing(0, 2**10 - 1),
    }
    for number, (name, value) in enumerate(hashes.items()):
        kept(ws, function.id, evidence_json(sha256=f"{number:064x}", file=name), perceptual_hash=value)

    def found(sha256: str) -> list[tuple[str, bool]]:
        near = records.near_records(ws.db, function.id, sha256, SHOWN)
        return [(records.get_record(ws.db, function.id, item.id).file_name, item.same_file) for item in near]

    assert found(f"{0:064x}") == [("same", True), ("near", False)]
    # The same bytes are the same picture, whatever the hashes say; they come first.
    assert found(f"{3:064x}")[0] == ("second-too-far", True)
    assert {name for name, _ in found(f"{9:064x}")} == {"same", "near"}
    assert records.near_records(ws.db, empty_function(ws, "Other").id, f"{3:064x}", SHOWN) == []


def test_hashes_are_read_once_and_again_only_where_records_came_or_went(ws: Workspace) -> None:
    """Kind: each rerun of a page read all of all records, evidence and small copies too, to compare their hashes."""
    function = empty_function(ws)
    for number in range(5):
        kept(ws, function.id, evidence_json(sha256=f"{number:064x}"), perceptual_hash=differing(0, 2**number - 1))
    kept(ws, function.id, evidence_json(sha256="f" * 64), perceptual_hash=differing(2**20 - 1, 0))
    said: list[str] = []
    event.listen(ws.db.engine, "before_cursor_execute", lambda *given: said.append(given[2]))

    def near() -> set[str]:
        return {item.id for item in records.near_records(ws.db, function.id, "0" * 64, SHOWN)}

    first = near()
    assert len(first) == 5
    assert not [statement for statement in said if "evidence" in statement or "thumbnail" in statement]
    said.clear()
    assert near() == first
    assert not [statement for statement in said if "perceptual_hash" in statement]
    # As many as before, but others.
    gone = sorted(first)[0]
    records.delete_records(ws.db, function.id, [gone])
    new = kept(ws, function.id, evidence_json(sha256="a" * 64), perceptual_hash=SHOWN)
    assert near() == first - {gone} | {new.id}
    records.mark_disputed(ws.db, function.id, new.id, "real")
    found = records.near_records(ws.db, function.id, "a" * 64, SHOWN)[0]
    assert (found.id, found.same_file, found.disputed_label) == (new.id, True, "real")


def test_one_all_and_old_records_are_deleted_and_those_of_others_stay(ws: Workspace) -> None:
    function, other = empty_function(ws), empty_function(ws, "Other")
    ids, theirs = some(ws, function.id, 5), some(ws, other.id, 2)
    assert records.delete_records(ws.db, function.id, [ids[0], theirs[0]]) == 1
    assert records.delete_older(ws.db, function.id, now() - 3600) == 0
    assert records.delete_older(ws.db, function.id, now() + 1) == 4
    assert records.delete_records(ws.db, other.id, None) == 2
    assert records.count_records(ws.db, function.id) == records.count_records(ws.db, other.id) == 0


def test_thousands_are_deleted_at_once(ws: Workspace) -> None:
    function = empty_function(ws)
    ids = some(ws, function.id, 3)
    assert records.delete_records(ws.db, function.id, [*ids, *(f"{n:032x}" for n in range(40_000))]) == 3


def test_records_of_a_deleted_function_go_with_it_and_those_of_another_are_not_shown(ws: Workspace) -> None:
    function, other = empty_function(ws), empty_function(ws, "Other")
    record = kept(ws, function.id)
    with pytest.raises(NotFound):
        records.get_record(ws.db, other.id, record.id)
    functions.delete_function(ws.db, function.id)
    with ws.db.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM records").scalar() == 0
    with pytest.raises(NotFound):
        kept(ws, function.id)


def test_what_a_file_says_is_kept_without_control_characters_and_not_at_any_length(ws: Workspace) -> None:
    function = empty_function(ws)
    record = kept(ws, function.id, hostile_json())
    text = str(record.evidence) + record.file_name + record.verdict
    assert not set(text) & set("\x00\x1b\n\u202e")
    assert "<script>" in text
    long = evidence_json(sha256="9" * 64, reason="x" * 100_000)
    assert len(kept(ws, function.id, long).evidence["reason"]) == records.MAX_TEXT
    assert len(HOSTILE) > 10


def test_evidence_that_is_too_large_is_refused_with_its_size(ws: Workspace) -> None:
    function = empty_function(ws)
    with pytest.raises(InvalidInput, match="more than the 500,000"):
        kept(ws, function.id, evidence_json(known=[{"kind": "sample", "sentence": "x" * 600}] * 1000))
    assert records.count_records(ws.db, function.id) == 0


def test_a_file_that_says_very_much_of_itself_does_not_keep_its_verdict_from_being_kept(ws: Workspace) -> None:
    function = empty_function(ws)
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    stated = [{"tier": "stated", "name": f"chunk {n}", "value": "x" * 100_000} for n in range(100)]
    record = kept(ws, function.id, evidence_json(provenance=[*stated, {"tier": "hint", "value": deep}]))
    assert [len(item["value"]) for item in record.evidence["provenance"][:2]] == [600, 600]
    assert len(str(record.evidence["provenance"][-1])) < 200


def test_a_disputed_record_says_the_label_that_is_claimed(ws: Workspace) -> None:
    function = empty_function(ws)
    record = kept(ws, function.id)
    records.mark_disputed(ws.db, function.id, record.id, "real")
    answer = records.get_record(ws.db, function.id, record.id).to_json()
    assert answer["disputed"]["labelName"] == "real"
    with pytest.raises(NotFound):
        records.mark_disputed(ws.db, empty_function(ws, "Other").id, record.id, "real")
