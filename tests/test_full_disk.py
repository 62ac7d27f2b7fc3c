"""The real server on a disk that fills up: a sentence, nothing acknowledged is lost, and the work goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import requests
from sqlalchemy import select
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.sync.client import connect

from detector.importing.batch import zip_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import BUILD, EVALUATE, IMPORT, request_audit, request_import
from detector.storage import annotating, functions, imports, jobs, models, samples
from detector.storage.functions import Function
from detector.storage.imports import ImportCounts
from detector.storage.jobs import Job
from detector.storage.schema import evaluations, images
from detector.web.signing import upload_token
from tests.api.server import SETTINGS, Caller, Server
from tests.factories import empty_function, label_ids, make_image, png, stored_batch, write_zip
from tests.faulty_disk import Disk, image_files, left_over, small_disk

pytestmark = [pytest.mark.slow, pytest.mark.long]

MINUTE = 60
PICTURES = 24
FULL = "The disk of the data folder is full"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with small_disk(tmp_path_factory.mktemp("full"), 64) as made:
        yield made


@pytest.fixture(scope="module")
def server(disk: Disk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {**SETTINGS, **disk.environment, "DETECTOR_DATA_DIR": str(disk.folder / "data")}
    running = Server(tmp_path_factory.mktemp("server"), settings)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def function(server: Server) -> Function:
    return empty_function(server.workspace)


@pytest.fixture(autouse=True)
def room(disk: Disk) -> Iterator[None]:
    yield
    disk.make_room()


def _noisy(seed: int) -> bytes:
    """A picture that takes some 100 kB."""
    rng = np.random.default_rng(seed)
    return png(rng.integers(0, 256, (180, 180, 3)))


def _until(holds: Callable[[], bool], what: str, server: Server, seconds: float = MINUTE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}\n{server.log[-3000:]}"
        time.sleep(0.05)


def _newest(server: Server, function: Function, kind: str) -> Job:
    return next(job for job in jobs.list_jobs(server.workspace.db, function.id, active=False) if job.kind == kind)


def _waits(server: Server, function: Function, kind: str) -> bool:
    """Whether a job is told to wait: by its row, or, where that could not be written, by the page alone."""
    job = _newest(server, function, kind)
    return (job.state == "queued" and FULL in job.message) or FULL in _page(server, function)


def _page(server: Server, function: Function) -> str:
    """Everything that the server sends to a browser which opens the Import page and stays for three seconds."""
    got = b""
    address = server.address.replace("http", "ws", 1)
    with connect(f"{address}/_stcore/stream", subprotocols=["streamlit"], max_size=None) as socket:  # type: ignore[list-item]
        message = BackMsg()
        message.rerun_script.query_string = f"function={function.id}"
        socket.send(message.SerializeToString())
        deadline = time.monotonic() + 3
        while (left := deadline - time.monotonic()) > 0 and FULL.encode() not in got:
            try:
                data = socket.recv(timeout=left)
            except TimeoutError:
                break
            assert isinstance(data, bytes)
            got += data
    return got.decode(errors="replace")


def _whole(server: Server) -> None:
    """Rows and files are one and the same, and nothing is half written."""
    blobs = server.workspace.settings.data_dir / "blobs"
    with server.workspace.db.read() as connection:
        hashes = set(connection.scalars(select(images.c.hash)))
    assert image_files(blobs) == hashes
    assert left_over(blobs) == []


def test_an_upload_says_that_the_disk_is_full_and_leaves_nothing(server: Server, disk: Disk) -> None:
    """Kind: a full disk during an upload."""
    address = f"{server.address}/uploads/"
    token = upload_token(server.workspace.db)
    disk.fill()
    refused = requests.put(address + token, data=bytes(3_000_000), timeout=60)
    assert refused.status_code == 507
    assert "disk has room for" in refused.text
    assert list(server.workspace.spool.iterdir()) == []
    disk.make_room()
    # The same address: nothing of it was used up.
    assert requests.put(address + token, data=bytes(3_000_000), timeout=60).status_code == 200
    for path in server.workspace.spool.iterdir():
        path.unlink()


def test_an_import_waits_for_room_and_ends_by_itself_with_every_file(
    server: Server, function: Function, disk: Disk
) -> None:
    """Kind: a job that met a full disk stayed "running" until a restart. Import, then the embedding that follows."""
    ws = server.workspace
    files = {f"real/{seed}.png": _noisy(seed) for seed in range(PICTURES)}
    files |= {f"synthetic/{seed}.png": make_image(seed, "synthetic") for seed in range(PICTURES)}
    path = write_zip(ws.spool / "ab12.zip", files)
    disk.fill(left=1_000_000)
    payload = zip_payload(path, LabelPlan("folders", level=0), "pictures.zip")
    batch, job_id = request_import(ws, function.id, payload, "zip")
    _until(lambda: _waits(server, function, IMPORT), "the import says nothing", server)
    # Reading goes on.
    assert requests.get(f"{server.address}/_stcore/health", timeout=120).status_code == 200
    assert functions.get_function(ws.db, function.id).name == "Test"

    disk.make_room()
    _until(lambda: jobs.get_job(ws.db, job_id).state == "done", "the import does not go on", server)
    assert imports.batch_counts(ws.db, batch) == ImportCounts(imported=2 * PICTURES)
    assert stored_batch(ws, batch).total == 2 * PICTURES
    _whole(server)
    assert list(ws.spool.iterdir()) == []

    _until(lambda: _newest(server, function, BUILD).state == "running", "no build", server)
    disk.fill()
    _until(lambda: _waits(server, function, BUILD), "the embedding says nothing", server)
    disk.make_room()
    _until(lambda: _newest(server, function, BUILD).state == "done", "the build does not go on", server)
    counts = samples.count_by(ws.db, function.id)
    assert counts.annotated == 2 * PICTURES
    model = models.list_models(ws.db, function.id)[0]
    assert (model.version, model.sample_count) == (1, 2 * PICTURES)


def test_labels_are_stored_or_refused_and_training_and_audit_wait_for_room(
    server: Server, function: Function, disk: Disk
) -> None:
    """Kind: as above, while people label, a model is trained and one is examined."""
    ws = server.workspace
    caller: Caller = server.caller()
    # An answer of 500 ends the connection.
    caller.headers["Connection"] = "close"
    path = f"/v1/functions/{function.id}"
    ids = [sample.id for sample in samples.find_samples(ws.db, function.id, sort=samples.Sort.OLDEST, limit=8)]
    names = {label_id: name for name, label_id in label_ids(ws, function).items()}
    before = {sample.id: sample.label_id for sample in samples.get_samples(ws.db, ids)}
    disk.fill()
    for sample_id in ids:
        other = next(name for label_id, name in names.items() if label_id != before[sample_id])
        answer = caller.put(f"{path}/samples/{sample_id}/annotation", json={"labelName": other})
        stored = samples.get_samples(ws.db, [sample_id])[0].label_id != before[sample_id]
        assert stored == (answer.status_code == 200), answer.text
        assert stored or answer.status_code >= 500
    posted = caller.post_image(path, _noisy(1000), "real")
    assert posted.status_code >= 500
    assert samples.count_samples(ws.db, function.id) == 2 * PICTURES

    disk.make_room()
    annotating.annotate(ws.db, ids[:1], None)
    jobs.enqueue(ws.db, function.id, BUILD, {}, 2.0)
    disk.fill()
    _until(lambda: _waits(server, function, BUILD), "the training says nothing", server)
    disk.make_room()

    def trained() -> bool:
        return _newest(server, function, BUILD).state == "done" and len(models.list_models(ws.db, function.id)) == 2

    _until(trained, "the training does not go on", server)
    # Of no attempt that failed is a file left.
    stored_files = list((ws.settings.data_dir / "blobs" / "models").iterdir())
    assert len(stored_files) == 2 * len(models.list_models(ws.db, function.id))
    _whole(server)

    model = models.list_models(ws.db, function.id)[0]
    request_audit(ws, function.id, model.id)
    disk.fill()
    _until(lambda: _waits(server, function, EVALUATE), "the audit says nothing", server)
    disk.make_room()
    _until(lambda: _examined(server, model.id), "the audit does not go on", server)


def _examined(server: Server, model_id: str) -> bool:
    """Whether the first part of the audit is stored; the others take their time."""
    with server.workspace.db.read() as connection:
        return (
            connection.execute(select(evaluations.c.part).where(evaluations.c.model_id == model_id)).first() is not None
        )
