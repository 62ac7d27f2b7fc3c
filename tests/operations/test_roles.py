"""What each role may do, asked of every write itself: no door has to remember it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from detector import jobs
from detector.errors import InvalidInput, NotAllowed
from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.importing.posting import Post, SamplePoster
from detector.operations import capture, labels, records
from detector.pipeline.build import put_back
from detector.storage import functions as stored
from detector.storage import keys, users
from detector.storage.acting import API, LABEL, LOOK, MANAGE, PAGE, ROLES, Actor, acting, least_role, may
from detector.storage.annotating import history
from detector.storage.audit_log import list_entries
from detector.storage.records import count_records, get_record, list_records
from detector.storage.samples import find_samples
from detector.storage.schema import metadata
from detector.storage.trash import delete_samples
from detector.upkeep.background import running_check, start_check
from detector.web import people
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.factories import empty_function, labelled_function, make_image, workspace, write_zip
from tests.made_evidence import evidence_json
from tests.operations.test_every_write import _public

ANNA = Actor("anna", LABEL, PAGE, "user:a")
BEN = Actor("ben", LOOK, PAGE, "user:b")
EVA = Actor("eva", MANAGE, PAGE, "user:e")

#: Beside `detector.operations`: whatever else a door calls to write.
FURTHER: dict[str, Callable[..., Any]] = {
    "jobs.request_import": jobs.request_import,
    "build.put_back": put_back,
    "posting.SamplePoster.post": SamplePoster.post,
    "keys.create_key": keys.create_key,
    "keys.revoke_key": keys.revoke_key,
    "users.add_user": users.add_user,
    "users.set_role": users.set_role,
    "users.set_disabled": users.set_disabled,
    "users.set_password": users.set_password,
    "people.create_user": people.create_user,
    "people.give_password": people.give_password,
}

EVERY = {**_public(), **FURTHER}


@dataclass(frozen=True)
class Model:
    """Which model said it."""

    id: str = "c" * 32


@dataclass(frozen=True)
class Evidence:
    """A verdict as it is kept."""

    perceptual_hash: str = "0" * 32
    model: Model = field(default_factory=Model)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return evidence_json()


def contents(ws: Workspace) -> dict[str, list[Any]]:
    """All rows of all tables."""
    with ws.db.read() as connection:
        return {table.name: list(map(tuple, connection.execute(select(table)))) for table in metadata.sorted_tables}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    opened = workspace(tmp_path_factory.mktemp("roles"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def function_id(ws: Workspace) -> str:
    return labelled_function(ws, 2).id


def test_every_write_says_the_least_role_that_may_do_it() -> None:
    assert {name for name, function in EVERY.items() if least_role(function) not in ROLES} == set()


@pytest.mark.parametrize("name", sorted(name for name, write in EVERY.items() if least_role(write) != LOOK))
def test_a_lower_role_is_refused_and_nothing_is_changed(ws: Workspace, function_id: str, name: str) -> None:
    """Whatever it is called with: the role is asked before anything else, so that no argument can slip past."""
    write = EVERY[name]
    needed = least_role(write)
    arguments = [_argument(ws, function_id, parameter) for parameter in _needed(write)]
    before = contents(ws)
    for role in ROLES[: ROLES.index(needed or "")]:
        with acting(Actor("carl", role, PAGE, "user:c")), pytest.raises(NotAllowed) as refused:
            write(*arguments)
        assert "carl has the role" in str(refused.value)
        assert f"takes the role {needed!r}" in str(refused.value)
        assert "Ask somebody with the role 'manage'" in str(refused.value)
    assert contents(ws) == before


def _needed(write: Callable[..., Any]) -> list[inspect.Parameter]:
    return [
        parameter
        for parameter in inspect.signature(write).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.KEYWORD_ONLY
    ]


def _argument(ws: Workspace, function_id: str, parameter: inspect.Parameter) -> Any:
    known = {"ws": ws, "db": ws.db, "function_id": function_id}
    return known.get(parameter.name, "x")


def test_without_an_actor_and_for_those_who_manage_everything_is_allowed(ws: Workspace, function_id: str) -> None:
    for actor in (None, EVA, Actor(None, MANAGE, PAGE)):
        with acting(actor):
            labels.create_label(ws, function_id, f"made by {actor}"[:60])
            assert may(MANAGE)
    with acting(ANNA):
        assert may(LABEL)
        assert not may(MANAGE)


def test_a_label_says_in_whose_name_it_was_given(ws: Workspace, function_id: str) -> None:
    """A key cannot pass for a user of the same name."""
    with ws.db.read() as connection:
        sample_id = connection.scalar(select(metadata.tables["samples"].c.id).limit(1))
    first, second = stored.list_labels(ws.db, function_id)[:2]
    assert sample_id is not None
    for actor, label in ((None, None), (ANNA, first), (Actor("anna", LABEL, API, "key:1"), second)):
        with acting(actor):
            labels.give_label(ws, function_id, [sample_id], label)
    assert [entry.who for entry in history(ws.db, sample_id)][:3] == ["anna (key)", "anna", None]


def test_a_posted_sample_says_whose_label_it_has(ws: Workspace, function_id: str) -> None:
    [label, *_] = stored.list_labels(ws.db, function_id)
    with acting(ANNA):
        sample_id = SamplePoster(ws).post(Post(function_id, make_image(711), "new.png", label.name))
    [entry] = history(ws.db, sample_id)
    assert entry.who == "anna"


@pytest.mark.long
def test_labels_of_an_import_say_who_asked_for_it(ws: Workspace, tmp_path: Path) -> None:
    """The worker writes them, later and in nobody's name."""
    function = empty_function(ws, "Imported")
    path = write_zip(ws.spool / "abc.zip", {"real/a.png": make_image(801), "synthetic/b.png": make_image(802)})
    with acting(ANNA):
        jobs.request_import(ws, function.id, zip_payload(path, LabelPlan("folders", level=0), "abc.zip"), "zip")
    run_pending(ws, function.id)
    made = find_samples(ws.db, function.id, limit=9)
    assert len(made) == 2
    assert {entry.who for sample in made for entry in history(ws.db, sample.id)} == {"anna"}


def test_merged_labels_say_who_merged_them(ws: Workspace) -> None:
    function = labelled_function(ws, 1, "Merged")
    first, second = stored.list_labels(ws.db, function.id)
    with acting(EVA):
        labels.merge_labels(ws, [first], second)
    told = [entry.who for sample in find_samples(ws.db, function.id, limit=9) for entry in history(ws.db, sample.id)]
    assert told.count("eva") == 1


def test_a_label_that_is_taken_back_says_who_took_it_back(ws: Workspace) -> None:
    function = labelled_function(ws, 1, "Undone")
    first, second = stored.list_labels(ws.db, function.id)
    sample = next(item for item in find_samples(ws.db, function.id, limit=9) if item.label_id == first.id)
    with acting(ANNA):
        labels.give_label(ws, function.id, [sample.id], second)
    with acting(EVA):
        labels.undo_labels(ws, function.id)
    newest = history(ws.db, sample.id)[0]
    assert (newest.who, newest.undone_who) == ("anna", "eva")


def test_deleted_and_merged_labels_are_written_down(ws: Workspace) -> None:
    function = labelled_function(ws, 1, "Fewer labels")
    first, second = stored.list_labels(ws.db, function.id)
    with acting(EVA):
        labels.merge_labels(ws, [first], second)
        labels.delete_label(ws, second)
    entries = list_entries(ws.db, action="label deleted")
    mine = [(entry, entry.facts) for entry in entries if entry.facts and entry.facts["function"] == function.id]
    told = [(entry.who, entry.what, facts["samples"]) for entry, facts in mine]
    assert told == [("eva", second.name, 2), ("eva", first.name, 1)]


def test_what_an_age_limit_would_delete_is_counted_of_ones_own_records(ws: Workspace) -> None:
    function = empty_function(ws, "Older")
    with acting(ANNA):
        records.keep_record(ws, function.id, Evidence(), None, PAGE)
    with acting(BEN):
        assert "No record is older" in records.older_words(ws, function.id, 0)
    with acting(EVA):
        assert "1 record is older" in records.older_words(ws, function.id, 0)


def test_what_the_settings_keep_is_kept_whoever_looks(ws: Workspace) -> None:
    """Somebody who manages the function has said so: the role of who invokes is not asked."""
    function = empty_function(ws, "Kept by itself")
    with acting(BEN), pytest.raises(NotAllowed):
        records.keep_record(ws, function.id, Evidence(), None, PAGE)
    assert count_records(ws.db, function.id) == 0
    records.set_keeping(ws, function.id, True, None)
    with acting(BEN):
        kept = records.keep_record(ws, function.id, Evidence(), None, PAGE)
    assert kept.kept_by == "user:b"


def test_records_are_read_by_who_kept_them_and_by_those_who_manage(ws: Workspace) -> None:
    function = empty_function(ws, "Whose records")
    with acting(ANNA):
        kept = records.keep_record(ws, function.id, Evidence(), None, PAGE)
    other = Actor("carl", LABEL, PAGE, "user:c")
    with acting(other):
        assert count_records(ws.db, function.id) == 0
        assert list_records(ws.db, function.id)[0] == []
        with pytest.raises(Exception, match="record"):
            get_record(ws.db, function.id, kept.id)
        # The same verdict once more is a record of their own, not the one that they may not read.
        mine = records.keep_record(ws, function.id, Evidence(), None, PAGE)
    assert mine.id != kept.id
    for actor, seen in ((ANNA, {kept.id}), (other, {mine.id}), (EVA, {kept.id, mine.id}), (None, {kept.id, mine.id})):
        with acting(actor):
            assert {record.id for record in list_records(ws.db, function.id)[0]} == seen


def test_a_picture_that_the_settings_capture_is_captured_whoever_looks(ws: Workspace, function_id: str) -> None:
    from tests.operations.test_every_write import verdict

    capture.change_capture(ws, function_id, capture.CaptureSettings(random_share=1.0))
    with acting(BEN):
        assert capture.maybe_capture(ws, function_id, "new.png", make_image(712), verdict()) is not None
        with pytest.raises(NotAllowed):
            capture.capture_now(ws, function_id, "new.png", make_image(713))


def test_an_unknown_role_is_refused_by_name(ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="There is no role 'root'"):
        keys.create_key(ws.db, "K", "root")


def test_deleting_writes_its_line_in_the_same_transaction(ws: Workspace, function_id: str) -> None:
    from detector.operations.deletion import delete_function, empty_bin
    from detector.storage.audit_log import list_entries

    other = empty_function(ws, "Gone soon")
    with acting(EVA):
        delete_function(ws, other.id)
        with ws.db.read() as connection:
            table = metadata.tables["samples"]
            kept = (table.c.function_id == function_id) & table.c.deleted_at.is_(None)
            sample_id = connection.scalar(select(table.c.id).where(kept).limit(1))
        delete_samples(ws.db, function_id, [str(sample_id)])
        empty_bin(ws, function_id)
    emptied, deleted = list_entries(ws.db)[:2]
    assert (deleted.who, deleted.door, deleted.action, deleted.what) == ("eva", PAGE, "function deleted", "Gone soon")
    assert (emptied.action, (emptied.facts or {})["samples"]) == ("bin emptied", 1)


def test_repairing_is_for_those_who_manage_and_looking_for_everybody(ws: Workspace) -> None:
    with acting(BEN), pytest.raises(NotAllowed):
        start_check(ws, repair=True)
    with acting(BEN):
        thread = start_check(ws, quick=True)
    assert thread is not None
    thread.join()
    assert running_check(ws) is None
