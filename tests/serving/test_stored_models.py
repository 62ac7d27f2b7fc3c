"""What a function has worked out and cannot be read any more: a sentence, and it is worked out anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from detector.errors import StoredEmbeddingsDamaged, StoredModelUnusable
from detector.evaluation.audit import audit
from detector.pipeline.build import build, predict_all
from detector.serving import model as serving_model
from detector.storage import functions, jobs, samples
from detector.storage.schema import embeddings as embeddings_table
from detector.workspace import Workspace
from tests.api.server import Server
from tests.factories import labelled_function, make_image, workspace

pytestmark = pytest.mark.slow

DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "another file": lambda path: path.write_bytes(b"\xff" * 5000),
}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace(tmp_path_factory.mktemp("stored"))


def _model_file(ws: Workspace, function_id: str, ending: str) -> Path:
    live = functions.get_function(ws.db, function_id).live_model_id
    return ws.settings.data_dir / "blobs" / "models" / f"{live}{ending}"


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ending", [".safetensors", ".out-of-fold.safetensors"])
@pytest.mark.long
def test_a_build_trains_a_new_model_where_the_file_of_the_live_one_cannot_be_read(
    ws: Workspace, ending: str, damage: str
) -> None:
    """The kind: a file of a model is damaged or missing. Every build and audit ended in an unnamed error, for ever."""
    function = labelled_function(ws, 4)
    first = build(ws, function.id).model
    assert first is not None
    DAMAGES[damage](_model_file(ws, function.id, ending))
    with pytest.raises(StoredModelUnusable, match=f"model {first.version} is (missing|damaged)"):
        _ask_anew(ws, function.id)
    again = build(ws, function.id)
    assert again.trained
    assert again.model is not None
    assert functions.get_function(ws.db, function.id).live_model_id == again.model.id != first.id
    audit(ws, function.id)
    assert not build(ws, function.id).trained


def _ask_anew(ws: Workspace, function_id: str) -> None:
    # As after a restart.
    serving_model._cache.clear()
    predict_all(ws, function_id)


@pytest.mark.parametrize("values", [{"data": b""}, {"data": b"\xde\xad\xbe\xef"}, {"dtype": "zz"}])
@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.long
def test_damaged_embeddings_are_made_anew(ws: Workspace, values: dict[str, object], number: int) -> None:
    """The kind: stored numbers are damaged. The build ended in an unnamed error, and did so each time."""
    function = labelled_function(ws, 4)
    first = build(ws, function.id).model
    assert first is not None
    hashes = [row.image_hash for row in samples.training_rows(ws.db, function.id)][:number]
    with ws.db.write() as connection:
        connection.execute(
            update(embeddings_table)
            .where(embeddings_table.c.image_hash.in_(hashes), embeddings_table.c.view == "whole")
            .values(**values)
        )
    with pytest.raises(StoredEmbeddingsDamaged):
        predict_all(ws, function.id)
    found = build(ws, function.id)
    assert found.embedded == len(hashes)
    # The same numbers as before: nothing to train.
    assert not found.trained
    audit(ws, function.id)


@pytest.mark.long
def test_a_server_says_so_and_trains_a_new_model_by_itself(tmp_path: Path) -> None:
    """The kind: a file of a model is damaged. Invokes were an error 500 until somebody changed a label."""
    server = Server(tmp_path)
    try:
        caller = server.caller()
        function_id = labelled_function(server.workspace, 3).id
        assert build(server.workspace, function_id).trained
        path = f"/v1/functions/{function_id}"
        file = _model_file(server.workspace, function_id, ".safetensors")
        server.kill()
        file.write_bytes(b"")
        server.start()
        answer = caller.post(f"{path}/invoke", data=make_image(1))
        assert answer.status_code == 503, answer.text
        assert "is damaged" in answer.json()["message"]
        caller.wait_until_trained(path)
        assert caller.post(f"{path}/invoke", data=make_image(1)).status_code == 200
        assert not [job for job in jobs.list_jobs(server.workspace.db, function_id) if job.kind == "build"]
    finally:
        server.stop()
    assert "Traceback" not in server.log, server.log
