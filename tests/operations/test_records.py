"""Records: nothing is kept unasked, what is kept goes by age, and a disputed verdict makes a sample of its picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from detector.errors import InvalidInput, NotFound
from detector.evidence.explain import explain
from detector.imaging import sha256_hex
from detector.operations import records as operations
from detector.pipeline.build import build
from detector.storage import functions, jobs, records, samples, trash
from detector.storage.database import now
from detector.storage.functions import Function
from detector.storage.posted_samples import find_sample_id
from detector.storage.records import API, PAGE, Record
from detector.storage.schema import metadata
from detector.worker.runner import JobRunner
from detector.workspace import Workspace
from tests.factories import label_ids, labelled_function, make_image, near_duplicate, workspace
from tests.made_evidence import kept

PICTURE = make_image(900)


@dataclass
class Scene:
    ws: Workspace
    function: Function

    @property
    def id(self) -> str:
        return self.function.id

    def keep(self, data: bytes = PICTURE, name: str = "seen.png") -> Record:
        evidence = explain(self.ws, self.id, name, data)
        return operations.keep_record(self.ws, self.id, evidence, b"RIFF", PAGE)

    def dispute(self, record: Record, label: str, data: bytes = PICTURE) -> str:
        ids = label_ids(self.ws, self.function)
        return operations.dispute_record(self.ws, self.id, record.id, ids[label], data, "seen.png").said

    def sample_label(self, data: bytes = PICTURE) -> str | None:
        sample_id = find_sample_id(self.ws.db, self.id, sha256_hex(data))
        assert sample_id is not None
        by_id = {label.id: label.name for label in functions.list_labels(self.ws.db, self.id)}
        label_id = samples.get_sample(self.ws.db, sample_id).label_id
        return by_id[label_id] if label_id else None


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    ws = workspace(tmp_path_factory.mktemp("records"))
    function = labelled_function(ws, 5)
    build(ws, function.id)
    yield Scene(ws, function)
    ws.close()


@pytest.fixture(autouse=True)
def nothing_kept_before(scene: Scene) -> None:
    records.delete_records(scene.ws.db, scene.id, None)


def everything(ws: Workspace) -> tuple[dict[str, int], set[Path]]:
    """Rows by table, and files."""
    with ws.db.read() as connection:
        rows = {
            table.name: connection.exec_driver_sql(f"SELECT count(*) FROM {table.name}").scalar() or 0
            for table in metadata.sorted_tables
        }
    return rows, {path for path in ws.settings.data_dir.rglob("*") if path.is_file() and "-wal" not in path.name}


@pytest.mark.slow
def test_nothing_of_a_picture_is_kept_unless_somebody_asks(scene: Scene) -> None:
    explain(scene.ws, scene.id, "first.png", make_image(901))
    before = everything(scene.ws)
    explain(scene.ws, scene.id, "second.png", make_image(902))
    assert everything(scene.ws) == before
    scene.keep()
    after = everything(scene.ws)
    assert after[1] == before[1]
    assert {name for name in after[0] if after[0][name] != before[0][name]} == {"records"}


def test_a_kept_verdict_says_what_the_model_said(scene: Scene) -> None:
    evidence = explain(scene.ws, scene.id, "seen.png", PICTURE)
    record = operations.keep_record(scene.ws, scene.id, evidence, b"RIFF", API)
    assert record.evidence == evidence.to_json()
    assert (record.verdict, record.grade, record.sha256) == (evidence.said, evidence.grade, sha256_hex(PICTURE))
    assert (record.model_id, record.door, record.thumbnail) == (evidence.model.id, API, b"RIFF")
    assert operations.keep_record(scene.ws, scene.id, evidence, None, PAGE) == record


@pytest.mark.slow
def test_the_next_verdict_on_a_picture_says_that_one_was_kept(scene: Scene) -> None:
    assert not explain(scene.ws, scene.id, "seen.png", PICTURE).known
    record = scene.keep()
    scene.keep(make_image(907))
    [known] = explain(scene.ws, scene.id, "again.png", near_duplicate(PICTURE)).known
    assert (known["kind"], known["record"]) == ("record", record.id)
    assert known["sentence"].startswith("A near-duplicate of this picture was invoked on ")
    [known] = explain(scene.ws, scene.id, "again.png", PICTURE).known
    assert known["sentence"].startswith("This very picture was invoked on ")


def test_a_disputed_picture_becomes_a_sample_with_the_claimed_label(scene: Scene) -> None:
    data = make_image(903)
    record = scene.keep(data)
    said = scene.dispute(record, "synthetic", data)
    assert said == (
        "The picture is now a sample: synthetic. The record is marked as disputed. A new model follows by itself."
    )
    assert scene.sample_label(data) == "synthetic"
    marked = records.get_record(scene.ws.db, scene.id, record.id)
    assert (marked.disputed_label, marked.evidence) == ("synthetic", record.evidence)
    assert [job.kind for job in jobs.list_jobs(scene.ws.db, limit=10)][:1] == ["build"]


def test_a_verdict_that_was_not_kept_can_be_disputed_and_is_not_kept_for_that(scene: Scene) -> None:
    data = make_image(906)
    ids = label_ids(scene.ws, scene.function)
    said = operations.dispute_record(scene.ws, scene.id, None, ids["real"], data, "seen.png").said
    assert said == "The picture is now a sample: real. A new model follows by itself."
    assert scene.sample_label(data) == "real"
    assert records.count_records(scene.ws.db, scene.id) == 0


def test_a_disputed_sample_takes_the_claimed_label_and_one_that_has_it_stays(scene: Scene) -> None:
    data = make_image(0)
    record = scene.keep(data)
    assert scene.sample_label(data) == "real"
    assert "was a sample already: real" in scene.dispute(record, "real", data)
    assert "was a sample already and has another label now: synthetic" in scene.dispute(record, "synthetic", data)
    assert scene.sample_label(data) == "synthetic"


def test_a_disputed_picture_comes_out_of_the_bin(scene: Scene) -> None:
    data = make_image(1)
    record = scene.keep(data)
    sample_id = find_sample_id(scene.ws.db, scene.id, sha256_hex(data))
    assert sample_id is not None
    trash.delete_samples(scene.ws.db, scene.id, [sample_id])
    assert "is now a sample: real" in scene.dispute(record, "real", data)
    assert scene.sample_label(data) == "real"


def test_another_file_another_functions_label_and_no_record_are_refused(scene: Scene) -> None:
    record = scene.keep()
    with pytest.raises(InvalidInput, match="not the file of the record"):
        scene.dispute(record, "real", make_image(904))
    other = labelled_function(scene.ws, 1, "Other")
    foreign = label_ids(scene.ws, other)["real"]
    with pytest.raises(InvalidInput, match="another function"):
        operations.dispute_record(scene.ws, scene.id, record.id, foreign, PICTURE, "seen.png")
    with pytest.raises(NotFound):
        operations.dispute_record(scene.ws, other.id, record.id, foreign, PICTURE, "seen.png")
    assert records.get_record(scene.ws.db, scene.id, record.id).disputed_at is None


def aged(ws: Workspace, record: Record, days: float) -> None:
    with ws.db.write() as connection:
        connection.execute(
            text("UPDATE records SET created_at = :at WHERE id = :id"),
            {"at": now() - days * 24 * 3600, "id": record.id},
        )


@pytest.mark.slow
def test_records_go_at_the_age_limit_of_their_function_and_without_one_they_stay(scene: Scene) -> None:
    other = labelled_function(scene.ws, 1, "Without a limit")
    old, young, theirs = scene.keep(), scene.keep(make_image(905)), kept(scene.ws, other.id)
    aged(scene.ws, old, 31)
    aged(scene.ws, young, 29)
    aged(scene.ws, theirs, 4000)
    operations.set_keeping(scene.ws, scene.id, False, 30)
    assert operations.sweep_records(scene.ws) == 1
    assert [record.id for record in records.list_records(scene.ws.db, scene.id)[0]] == [young.id]
    assert records.count_records(scene.ws.db, other.id) == 1
    assert operations.delete_records_older(scene.ws, scene.id, 28).said == "1 record deleted."
    assert operations.delete_records(scene.ws, scene.id, None).said == "There was no record to delete."


def test_the_background_process_sweeps_when_it_starts(scene: Scene) -> None:
    record = scene.keep()
    aged(scene.ws, record, 3)
    operations.set_keeping(scene.ws, scene.id, True, 2)
    runner = JobRunner(scene.ws)
    try:
        runner.start()
    finally:
        runner.stop()
    assert records.count_records(scene.ws.db, scene.id) == 0


@pytest.mark.parametrize("days", [0, -1, 40_000])
def test_an_age_limit_that_cannot_be_is_refused(scene: Scene, days: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be kept"):
        operations.set_keeping(scene.ws, scene.id, True, days)
