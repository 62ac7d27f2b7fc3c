"""An object store that goes away, does not answer or lets nobody in: it is said in a sentence, and nothing is lost."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from detector.errors import StoreUnavailable
from detector.jobs import request_build
from detector.settings import Settings
from detector.storage import jobs, models, object_blobs, s3_objects
from detector.storage.functions import get_function
from detector.storage.stores import CACHE, open_blobs
from detector.storage.workers import live_workers
from detector.web.signing import picture_path
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Server
from tests.cluster.one_machine import SETTINGS as CLUSTER
from tests.cluster.one_machine import until
from tests.command_line import OFFLINE, Ran, run, run_here, start
from tests.factories import labelled_function, make_image
from tests.made_folders import make_folder
from tests.s3_server import BUCKET, KEY, SECRET, Gate, S3Server, prefix_of
from tests.stored import number, query

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

DATA = make_image(1)
HASH = hashlib.sha256(DATA).hexdigest()


def refused_sentence(ran: Ran) -> str:
    """What a command said that could not use its store: one sentence, without address and keys."""
    assert ran.code == 1
    assert "Traceback" not in ran.err
    for secret in ("127.0.0.1", KEY, SECRET):
        assert secret not in ran.err + ran.out
    return ran.sentence


def test_a_store_that_goes_away_in_the_middle_of_an_import_loses_nothing(server: S3Server, tmp_path: Path) -> None:
    gate = Gate(server.port)
    folder = make_folder(tmp_path / "set", {"real": 40, "synthetic": 40})
    data, store = tmp_path / "data", f"s3://{BUCKET}/{prefix_of(tmp_path)}"
    settings = {"DETECTOR_STORE": store, "DETECTOR_COPIES": "0", "DETECTOR_PRECISION": "float32"} | server.environment(
        gate.address
    )
    gate.shut_after = 35
    failed = run(data, "train", folder, "--function", "set", *OFFLINE, **settings)
    assert refused_sentence(failed).startswith(
        "The object store that holds pictures and models cannot be used just now: "
    )
    there = len(server.keys(f"{prefix_of(tmp_path)}/images/"))
    assert 0 < there < 80
    # What is stored is a sample already, but for those on their way whose answer was cut off: they are found again.
    on_the_way = object_blobs.ObjectBlobs.together
    assert there - on_the_way <= number(data, "SELECT COUNT(*) FROM samples") <= there
    assert number(data, "SELECT COUNT(*) FROM import_rejections") == 0
    gate.open()
    went_on = run_here(data, "train", folder, "--function", "set", *OFFLINE, "--json", **settings)
    assert went_on.code == 0, went_on.err
    assert (went_on.json["samples"], went_on.json["rejected"]) == (80, [])
    assert len(server.keys(f"{prefix_of(tmp_path)}/images/")) == 80
    gate.shut()


def test_a_server_says_so_in_a_sentence_and_goes_on_when_the_store_is_back(
    server: S3Server, store: str, tmp_path: Path
) -> None:
    gate = Gate(server.port)
    app = Server(tmp_path, {**SETTINGS, "DETECTOR_STORE": store, **server.environment(gate.address)})
    try:
        caller = app.caller()
        path = caller.create_function()
        for seed in range(12):
            for label in ("real", "synthetic"):
                assert caller.post_image(path, make_image(seed, label), label).status_code == 200
        caller.wait_until_trained(path)
        gate.shut()
        refused = caller.post_image(path, make_image(100), "real")
        assert refused.status_code == 503
        assert "The object store that holds pictures and models cannot be used just now" in refused.text
        assert refused.headers["retry-after"]
        one = app.workspace.db
        [(image_hash,)] = query(app.data, "SELECT hash FROM images LIMIT 1")
        shutil.rmtree(app.data / CACHE)
        shown = httpx.get(f"{app.address}{picture_path(one, 'image', image_hash)}", timeout=60)
        assert (shown.status_code, "object store" in shown.text) == (503, True)
        gate.open()
        assert caller.post_image(path, make_image(100), "real").status_code == 200
        assert httpx.get(f"{app.address}{picture_path(one, 'image', image_hash)}", timeout=60).status_code == 200
        assert caller.wait_until_trained(path)["sampleCount"] == 25
        for secret in ("127.0.0.1", KEY, SECRET):
            assert secret not in refused.text + shown.text
        assert f"127.0.0.1:{gate.port}" not in app.log
        assert SECRET not in app.log
    finally:
        app.stop()
        gate.shut()


def test_a_training_waits_for_a_store_that_is_away(server: S3Server, store: str, tmp_path: Path) -> None:
    """As on a full disk: the job is put off, says why, and is done when the store is back."""
    gate = Gate(server.port)
    ws = Workspace.open(Settings(data_dir=tmp_path / "data", store=store, precision="float32", copies=0))
    function = labelled_function(ws, 12)
    settings = {**CLUSTER, "DETECTOR_STORE": store, "DETECTOR_STORE_CACHE_MB": "0", **server.environment(gate.address)}
    worker = start(tmp_path / "data", "worker", **settings)
    try:
        until(lambda: live_workers(ws.db), "the worker is there")
        gate.shut()
        job_id = request_build(ws, function.id)
        until(lambda: "object store" in jobs.get_job(ws.db, job_id).message, "the job says what it waits for")
        assert jobs.get_job(ws.db, job_id).state == "queued"
        gate.open()
        until(lambda: jobs.get_job(ws.db, job_id).state == "done", "the job ends")
        live = get_function(ws.db, function.id).live_model_id
        assert live is not None
        assert models.get_model(ws.db, live).sample_count == 24
        assert number(tmp_path / "data", "SELECT COUNT(*) FROM jobs WHERE state = 'failed'") == 0
    finally:
        worker.kill()
        worker.communicate()
        gate.shut()
        ws.close()


def test_what_is_wrong_with_the_store_is_said_at_the_start(server: S3Server, tmp_path: Path) -> None:
    def functions_with(store: str, **changed: str) -> str:
        settings = {"DETECTOR_STORE": store} | server.environment() | changed
        return refused_sentence(run(tmp_path / "data", "functions", **settings))

    gate = Gate(server.port)
    gate.shut()
    said = {
        "bucket": functions_with("s3://no-such-bucket/x"),
        "address": functions_with(f"s3://{BUCKET}/x", AWS_ENDPOINT_URL=gate.address),
        "no address": functions_with(f"s3://{BUCKET}/x", AWS_ENDPOINT_URL="nonsense"),
        "keys": functions_with(f"s3://{BUCKET}/x", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY=""),
    }
    found = {what: sentence.split(": ", 1)[1].split(". ")[0] for what, sentence in said.items()}
    assert found == {
        "bucket": "the bucket that DETECTOR_STORE names does not exist",
        "address": "it does not answer",
        "no address": "AWS_ENDPOINT_URL is no address",
        "keys": "there are no keys for it (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    }


@contextmanager
def asking_server(folder: Path) -> Iterator[tuple[S3Server, dict[str, str]]]:
    """A server that asks who calls, and the keys of the one that it lets in."""
    server = S3Server(folder, free_actions=4)
    try:
        iam = server.client("iam")
        iam.create_user(UserName="detector")
        everything = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
        iam.put_user_policy(UserName="detector", PolicyName="all", PolicyDocument=everything)
        keys = iam.create_access_key(UserName="detector")["AccessKey"]
        server.client().create_bucket(Bucket=BUCKET)
        yield server, {"key": keys["AccessKeyId"], "secret": keys["SecretAccessKey"]}
    finally:
        server.stop()


def test_wrong_keys_are_said_and_never_shown(tmp_path: Path) -> None:
    pytest.importorskip("moto.server")
    with asking_server(tmp_path) as (server, keys):
        said = []
        for given in ({}, {"key": keys["key"], "secret": SECRET}):
            settings = {"DETECTOR_STORE": f"s3://{BUCKET}/x"} | server.environment(**given)
            said.append(refused_sentence(run(tmp_path / "data", "functions", **settings)))
            assert keys["key"] not in said[-1]
        settings = {"DETECTOR_STORE": f"s3://{BUCKET}/x"} | server.environment(**keys)
        let_in = run(tmp_path / "data", "functions", **settings)
    assert "it does not know the access key (AWS_ACCESS_KEY_ID)" in said[0]
    assert "the secret key (AWS_SECRET_ACCESS_KEY) is not the one of the access key" in said[1]
    assert let_in.code == 0, let_in.err


def test_a_store_that_takes_connections_and_does_not_answer_is_given_up(
    server: S3Server, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_objects, "_ANSWER_SECONDS", 1)
    blobs = open_blobs(store, tmp_path, 0)
    blobs.put_image(HASH, DATA)
    server.pause()
    try:
        with pytest.raises(StoreUnavailable, match="it does not answer"):
            blobs.image(HASH)
    finally:
        server.go_on()
    assert blobs.image(HASH) == DATA
