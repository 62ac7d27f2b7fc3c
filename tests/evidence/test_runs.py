"""Runs of invokes: judged by a job, read under the limit of now, kept with their files, and added to the samples."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import event, update

from detector.backbones import OFFLINE
from detector.errors import ArchiveError, InvalidInput, JobCancelled, NoModel, NotFound
from detector.evidence.judge_run import STATED, STEP
from detector.evidence.runs import CANT_TELL, NOT_READ, SAMPLE, Judged, Order, picture_bytes, read_run
from detector.imaging.thumbnail import thumbnail_type
from detector.importing.pending import pending_folder, pending_zip
from detector.importing.run_files import KEPT_DAYS, sweep_runs
from detector.importing.spool import sweep_spool
from detector.jobs import BUILD, IMPORT, INVOKE
from detector.operations import recentring
from detector.operations.deletion import delete_function
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.runs import STOPPED, add_run_to_samples, delete_run, start_run, stop_run
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.storage import functions, invoke_runs, jobs, samples
from detector.storage.invoke_runs import RunPicture
from detector.storage.schema import invoke_runs as table
from detector.worker.running import BACKGROUND_LANES, LANES, run_job, run_pending
from detector.workspace import Workspace
from tests.databases import copy_data
from tests.factories import LABELS, add_images, images, labelled_function, make_image, workspace, write_zip
from tests.runs import PICTURES, claimed, given, worked_off

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder with a trained function, and its id."""
    folder = tmp_path_factory.mktemp("runs") / "data"
    ws = workspace(folder)
    function = labelled_function(ws, 40)
    assert build(ws, function.id).model is not None
    ws.close()
    return folder, function.id


@pytest.fixture
def ws(made: tuple[Path, str], tmp_path: Path) -> Iterator[Workspace]:
    copy_data(made[0], tmp_path / "data")
    opened = workspace(tmp_path / "data", import_root=str(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def function_id(made: tuple[Path, str]) -> str:
    return made[1]


def _files(ws: Workspace) -> list[str]:
    return sorted(path.name.partition(".")[2] for path in ws.spool.iterdir())


@pytest.mark.usefixtures("nothing_remembered")
def test_each_picture_gets_the_verdict_that_a_single_invoke_gives(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    worked_off(ws)
    run = read_run(ws, run_id)
    assert (run.run.state, run.run.total, run.run.title) == ("done", len(PICTURES), "holiday.zip")
    assert [picture.file_name for picture in run.pictures] == sorted(PICTURES)
    assert _says_what_invoke_says(ws, function_id, run_id)
    for picture in run.pictures:
        assert [score for _, score in picture.scores] == sorted((score for _, score in picture.scores), reverse=True)
        assert thumbnail_type(invoke_runs.thumbnail(ws.db, run_id, picture.position)) == "image/jpeg"
    assert {picture.label for picture in run.pictures} == {"real", "synthetic"}


def test_a_bad_file_is_noted_with_its_sentence_and_clutter_is_passed_over(ws: Workspace, function_id: str) -> None:
    files = {"deep/er/a.png": make_image(800), "notes.txt": b"no picture", "cut.png": make_image(801)[:200]}
    run_id = given(ws, function_id, {**files, "__MACOSX/._a.png": b"x", ".DS_Store": b"x", "empty.jpg": b""})
    worked_off(ws)
    run = read_run(ws, run_id)
    by_name = {picture.file_name: picture for picture in run.pictures}
    assert by_name.keys() == {"deep/er/a.png", "notes.txt", "cut.png", "empty.jpg"}
    assert by_name["deep/er/a.png"].scores
    for name in ("notes.txt", "cut.png", "empty.jpg"):
        assert name in by_name[name].problem
        assert (by_name[name].verdict, by_name[name].grade, by_name[name].scores) == ("", "", ())
    assert dict(run.counts())[NOT_READ] == 3
    assert (run.run.state, run.run.total) == ("done", 4)


def test_a_picture_whose_file_says_that_ai_made_it_is_flagged(ws: Workspace, function_id: str) -> None:
    text = PngInfo()
    text.add_text("parameters", "a harbour at dawn\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 80x80")
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(840))).save(file, "PNG", pnginfo=text)
    run_id = given(ws, function_id, {"made.png": file.getvalue(), "plain.png": make_image(841)})
    worked_off(ws)
    run = read_run(ws, run_id)
    assert [picture.file_name for picture in run.select(flags=[STATED])] == ["made.png"]


def test_another_limit_judges_the_stored_scores_anew_without_the_files(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    worked_off(ws)
    set_false_accusation_limit(ws, function_id, 0.2)
    generous = read_run(ws, run_id)
    assert any(picture.verdict != CANT_TELL for picture in generous.pictures)
    for path in ws.spool.glob("*.run"):
        path.unlink()
    set_false_accusation_limit(ws, function_id, 0.001)
    strict = read_run(ws, run_id)
    assert {picture.verdict for picture in strict.pictures} == {CANT_TELL}
    assert [picture.scores for picture in strict.pictures] == [picture.scores for picture in generous.pictures]
    assert (generous.limit, strict.limit) == (0.2, 0.001)


def _says_what_invoke_says(ws: Workspace, function_id: str, run_id: str) -> bool:
    alone = invoke(ws, function_id, list(PICTURES.items()))
    singly = {verdict.name: verdict for verdict in alone if isinstance(verdict, Verdict)}
    for picture in read_run(ws, run_id).pictures:
        verdict = singly[picture.file_name]
        assert (picture.verdict, picture.grade, picture.reason) == (verdict.verdict, verdict.grade, verdict.reason)
        assert dict(picture.scores) == pytest.approx({score.label: score.confidence for score in verdict.scores})
    return True


def test_adapting_the_model_counts_for_pictures_that_were_judged_before(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    worked_off(ws)
    before = read_run(ws, run_id)
    elsewhere = {
        label: [(f"{label}-{n}.png", partial(make_image, 500 + n, label)) for n in range(10)] for label in LABELS
    }
    recentring.adapt(ws, recentring.try_on(ws, function_id, elsewhere))
    assert _says_what_invoke_says(ws, function_id, run_id)
    assert [p.scores for p in read_run(ws, run_id).pictures] != [p.scores for p in before.pictures]
    # What is judged while the model is adapted is stored as of the training, too.
    late = given(ws, function_id, PICTURES)
    worked_off(ws)
    assert _says_what_invoke_says(ws, function_id, late)
    recentring.undo(ws, function_id)
    assert [p.scores for p in read_run(ws, run_id).pictures] == [p.scores for p in before.pictures]
    assert _says_what_invoke_says(ws, function_id, late)


def test_labels_that_are_renamed_or_deleted_since_are_so_in_a_run(ws: Workspace) -> None:
    function = labelled_function(ws, 8, "Three", (*LABELS, "drawing"))
    assert build(ws, function.id).model is not None
    run_id = given(ws, function.id, PICTURES)
    worked_off(ws)
    by_name = {label.name: label for label in functions.list_labels(ws.db, function.id)}
    functions.rename_label(ws.db, by_name["real"].id, "photograph")
    assert read_run(ws, run_id).labels == ("photograph", "synthetic", "drawing")
    assert _says_what_invoke_says(ws, function.id, run_id)
    functions.delete_label(ws.db, by_name["drawing"].id)
    assert read_run(ws, run_id).labels == ("photograph", "synthetic")
    assert _says_what_invoke_says(ws, function.id, run_id)


def test_a_run_keeps_to_the_model_that_it_began_with(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    before = functions.get_function(ws.db, function_id).live_model_id
    add_images(ws, functions.get_function(ws.db, function_id), [("new.png", make_image(990), "real")])
    build(ws, function_id)
    assert functions.get_function(ws.db, function_id).live_model_id != before
    worked_off(ws)
    assert (read_run(ws, run_id).run.model_id, read_run(ws, run_id).model_version) == (before, 1)
    alone = invoke(ws, function_id, list(PICTURES.items()), before)
    singly = {verdict.name: verdict.confidence for verdict in alone if isinstance(verdict, Verdict)}
    for picture in read_run(ws, run_id).pictures:
        assert picture.confidence == pytest.approx(singly[picture.file_name], abs=1e-6)


def test_a_run_that_was_ended_in_the_middle_goes_on_with_what_is_left(ws: Workspace, function_id: str) -> None:
    """Every file once, whatever was on its way: as after a kill, but of the process see tests/worker."""
    files = {f"{n:03}.png": make_image(1000 + n, size=40) for n in range(3 * STEP)}
    run_id = given(ws, function_id, files)

    class Killed(BaseException):
        pass

    def kill(_phase: str, done: int, *_rest: object) -> None:
        if done >= STEP:
            raise Killed

    job = claimed(ws)
    with pytest.raises(Killed):
        run_job(ws, job, kill)
    first = invoke_runs.stored_pictures(ws.db, run_id)
    assert STEP <= len(first) < len(files)
    said: list[tuple[int, int]] = []
    run_job(ws, jobs.get_job(ws.db, job.id), lambda _phase, done, total, *_: said.append((done, total)))
    after = invoke_runs.stored_pictures(ws.db, run_id)
    assert after[: len(first)] == first
    assert [picture.file_name for picture in after] == sorted(files)
    assert [picture.position for picture in after] == list(range(len(files)))
    assert said[1] == (len(first), len(files))
    assert said[-1] == (len(files), len(files))
    assert invoke_runs.get_run(ws.db, run_id).state == "done"


@pytest.mark.long
def test_a_run_can_be_stopped_and_keeps_what_is_judged(ws: Workspace, function_id: str) -> None:
    files = {f"{n:03}.png": make_image(1000 + n, size=40) for n in range(3 * STEP)}
    run_id = given(ws, function_id, files)

    def stop(_phase: str, done: int, *_rest: object) -> None:
        if done >= STEP:
            stop_run(ws, run_id)

    job = claimed(ws)
    with pytest.raises(JobCancelled):
        run_job(ws, job, stop)
    run = invoke_runs.get_run(ws.db, run_id)
    assert (run.state, run.note) == ("failed", STOPPED)
    assert STEP <= invoke_runs.count_pictures(ws.db, run_id) < len(files)
    assert jobs.get_job(ws.db, job.id).state == "cancelled"


def test_the_files_stay_until_the_run_is_deleted(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    worked_off(ws)
    for path in ws.spool.iterdir():
        os.utime(path, (1.0, 1.0))
    assert sweep_spool(ws) == 0
    assert sweep_runs(ws) == 0
    for picture in read_run(ws, run_id).pictures:
        assert picture_bytes(ws, run_id, picture.position) == PICTURES[picture.file_name]
    with pytest.raises(NotFound):
        picture_bytes(ws, run_id, 99)
    delete_run(ws, run_id)
    assert _files(ws) == []
    with pytest.raises(NotFound):
        read_run(ws, run_id)


def test_an_old_run_is_swept_with_its_files_and_a_younger_one_is_not(ws: Workspace, function_id: str) -> None:
    old, young, waiting = (given(ws, function_id, {"a.png": make_image(800)}) for _ in range(3))
    worked_off(ws)
    worked_off(ws)
    for run_id, days in ((old, KEPT_DAYS + 0.1), (young, KEPT_DAYS - 0.1), (waiting, KEPT_DAYS + 0.1)):
        began = time.time() - days * 24 * 3600
        with ws.db.write() as connection:
            connection.execute(update(table).where(table.c.id == run_id).values(created_at=began))
    assert sweep_runs(ws) == 1
    # What a job still names is wanted, however old it is.
    assert invoke_runs.run_ids(ws.db) == {young, waiting}
    assert {path.name.partition("-")[0] for path in ws.spool.iterdir()} == {young, waiting}


def test_files_of_a_run_that_is_gone_are_swept(ws: Workspace, function_id: str) -> None:
    """Kind: a kill between the deletion of the row and that of the file."""
    run_id = given(ws, function_id, PICTURES)
    kept = given(ws, function_id, PICTURES)
    invoke_runs.delete_run(ws.db, run_id)
    sweep_runs(ws)
    assert {path.name.partition("-")[0] for path in ws.spool.iterdir()} == {kept}


def test_deleting_a_function_deletes_the_files_of_its_runs(ws: Workspace, function_id: str) -> None:
    other = labelled_function(ws, 6, "Other")
    build(ws, other.id)
    given(ws, function_id, PICTURES)
    kept = given(ws, other.id, PICTURES)
    delete_function(ws, function_id)
    assert {path.name.partition("-")[0] for path in ws.spool.iterdir()} == {kept}
    assert invoke_runs.run_ids(ws.db) == {kept}


def test_a_function_without_a_model_takes_no_run_and_leaves_the_upload(ws: Workspace) -> None:
    function = functions.create_function(ws.db, "Empty", backbone_id=OFFLINE)
    path = write_zip(ws.spool / "abc.zip", PICTURES)
    with pytest.raises(NoModel):
        start_run(ws, function.id, pending_zip(ws, path, "x.zip"))
    assert path.exists()
    assert invoke_runs.run_ids(ws.db) == set()


def test_a_folder_of_the_server_is_judged_where_it_lies(ws: Workspace, function_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name, data in PICTURES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    run_id = start_run(ws, function_id, pending_folder(ws, "pictures"))
    worked_off(ws)
    assert [picture.file_name for picture in read_run(ws, run_id).pictures] == sorted(PICTURES)
    assert picture_bytes(ws, run_id, 0) == PICTURES[sorted(PICTURES)[0]]
    delete_run(ws, run_id)
    assert len(list(folder.rglob("*.png"))) == len(PICTURES)


def test_chosen_pictures_become_samples_and_are_flagged_as_such(ws: Workspace, function_id: str) -> None:
    [known, *_] = images(1)
    run_id = given(ws, function_id, {**PICTURES, "zz.png": known[1]})
    worked_off(ws)
    run = read_run(ws, run_id)
    assert [SAMPLE in run.flags(picture) for picture in run.pictures] == [False] * len(PICTURES) + [True]
    before = samples.count_by(ws.db, function_id).total
    outcome = add_run_to_samples(ws, run_id, [1, 2])
    assert "2 pictures" in outcome.said
    with pytest.raises(InvalidInput):
        delete_run(ws, run_id)
    [job] = [job for job in jobs.list_jobs(ws.db, function_id) if job.kind == IMPORT]
    assert job.payload["positions"] == [1, 2]
    job = jobs.claim(ws.db, (IMPORT,)) or job
    run_job(ws, job)
    assert samples.count_by(ws.db, function_id).total == before + 2
    again = read_run(ws, run_id)
    assert [p.position for p in again.pictures if SAMPLE in again.flags(p)] == [1, 2, len(PICTURES)]
    assert {job.kind for job in jobs.list_jobs(ws.db, function_id)} == {BUILD}
    # The run's files are the run's: the import takes none of them away.
    assert picture_bytes(ws, run_id, 1)
    delete_run(ws, run_id)
    with pytest.raises(InvalidInput):
        add_run_to_samples(ws, run_id, [])


def test_runs_have_a_lane_of_their_own_and_nobody_waits_for_them_in_a_shell(ws: Workspace, function_id: str) -> None:
    assert (INVOKE,) in BACKGROUND_LANES
    assert (INVOKE,) not in LANES
    run_id = given(ws, function_id, PICTURES)
    [found] = functions.list_functions(ws.db)
    assert not found.busy
    run_pending(ws, function_id)
    assert invoke_runs.count_pictures(ws.db, run_id) == 0


def test_a_damaged_archive_ends_its_run_with_a_sentence(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, PICTURES)
    [path] = ws.spool.glob("*.run")
    path.write_bytes(b"PK no archive")
    with pytest.raises(ArchiveError):
        worked_off(ws)
    run = invoke_runs.get_run(ws.db, run_id)
    assert run.state == "failed"
    assert "holiday.zip" in run.note


def _made(position: int, name: str, confidence: float, verdict: str, grade: str, **more: object) -> Judged:
    scores = (("synthetic", confidence), ("real", 1 - confidence)) if grade else ()
    return Judged(position, name, "h", scores, verdict, grade, "", str(more.get("unlike", "")), (), "")


def test_pictures_are_sorted_and_filtered(ws: Workspace, function_id: str) -> None:
    run_id = given(ws, function_id, {"a.png": make_image(800)})
    run = replace(
        read_run(ws, run_id),
        pictures=(
            _made(0, "b.png", 0.7, CANT_TELL, CANT_TELL, unlike="It is small."),
            _made(1, "a.png", 0.99, "synthetic", "strong"),
            _made(2, "C.png", 0.0, "", ""),
            _made(3, "d.png", 0.9, "synthetic", "moderate"),
        ),
        samples=frozenset({3}),
    )

    def places(*wanted: object, **asked: object) -> list[int]:
        return [picture.position for picture in run.select(*wanted, **asked)]  # type: ignore[arg-type]

    assert places() == [0, 1, 2, 3]
    assert places(Order.SUREST) == [1, 3, 0, 2]
    assert places(Order.UNSUREST) == [0, 3, 1, 2]
    assert places(Order.NAME) == [1, 0, 2, 3]
    assert places(Order.VERDICT) == [1, 3, 0, 2]
    assert places(verdicts=["synthetic", NOT_READ]) == [1, 2, 3]
    assert places(grades=["strong", CANT_TELL]) == [0, 1]
    assert places(flags=["unlike"]) == [0]
    assert places(flags=["unlike", "sample"]) == [0, 3]
    assert places(name="c.P") == [2]
    assert run.counts() == [("real", 0), ("synthetic", 2), (CANT_TELL, 1), (NOT_READ, 1)]
    assert run.grades() == {CANT_TELL: 1, "strong": 1, "moderate": 1}
    assert run.flagged() == {"unlike": 1, "sample": 1}


def test_a_run_is_read_with_as_many_statements_whether_it_has_few_pictures_or_many(
    ws: Workspace, function_id: str
) -> None:
    model_id = functions.get_function(ws.db, function_id).live_model_id
    assert model_id is not None
    ids = [label.id for label in functions.list_labels(ws.db, function_id)]
    taken = []
    for n in (3, 3000):
        run_id = invoke_runs.create_run(ws.db, function_id, "many", model_id)
        scores = dict(zip(ids, (0.3, 0.7), strict=True))
        rows = [(RunPicture(place, f"{place}.png", f"{place:064}", scores), b"small") for place in range(n)]
        invoke_runs.add_pictures(ws.db, run_id, rows)
        statements: list[str] = []

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)  # noqa: B023

        event.listen(ws.db.engine, "before_cursor_execute", note)
        run = read_run(ws, run_id)
        small = invoke_runs.thumbnails(ws.db, run_id, [picture.position for picture in run.pictures])
        event.remove(ws.db.engine, "before_cursor_execute", note)
        assert (len(run.pictures), len(small)) == (n, n)
        taken.append(len(statements))
    assert taken[0] == taken[1]
