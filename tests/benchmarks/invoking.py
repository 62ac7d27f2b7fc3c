"""Invokes over HTTP beside the same decoding and forward pass without a server around them."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from detector.backbones import Backbone
from detector.backbones.pipeline import embed_files
from detector.evidence.explain import evidence_of, look_through, open_picture
from detector.imaging import decode_image
from detector.pipeline.build import build
from detector.pipeline.embedding import function_backbone
from detector.serving.model import load_serving_model
from detector.storage import functions, keys
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure, median_ratio
from tests.benchmarks.photographs import photographs
from tests.benchmarks.server import server
from tests.factories import add_images, empty_function, workspace

_REPEATS = 5
_CALLS = 60
_CONNECTIONS = 16
_IMAGES = 320
_EVIDENCE = 20
_BOUNDARY = "benchmark-of-the-invoke"


@dataclass(frozen=True)
class _Served:
    """A function with a live model, and a server that answers for it; ``backbone`` is the same one in this process."""

    ws: Workspace
    function_id: str
    backbone: Backbone
    host: str
    path: str
    token: str
    process: psutil.Process


def invoke_overhead(folder: Path) -> Figure:
    """One caller, one image after the other over a kept connection, beside decoding and forward pass in-process."""
    images = photographs(_CALLS)
    ours, bare = [], []
    with _served(folder) as at:
        connection = http.client.HTTPConnection(at.host, timeout=60)
        for _ in range(10):
            _ask(at, connection, images[0])
            _bare(at, images[0])
        for _ in range(_REPEATS):
            # The server closes a connection that was silent for 5 seconds, and the peer's turn may take longer.
            connection.close()
            _ask(at, connection, images[0])
            ours.append(_median_ms(lambda data: _ask(at, connection, data), images))
            bare.append(_median_ms(lambda data: _bare(at, data), images))
        precision = at.backbone.precision
    return Figure(
        "invoke_overhead",
        "median time of one invoke over HTTP / bare decoding and forward pass in-process, offline backbone",
        median_ratio(ours, bare),
        "x",
        1.3,
        at_least=False,
        measurements={"ours, ms": ours, "peer, ms": bare},
        note=f"Both in {precision}.",
    )


def invoke_throughput(folder: Path) -> Figure:
    """Sixteen callers at once, beside the embedding pipeline on the same images."""
    images = photographs(_IMAGES)
    ours, pipeline, server_ms, caller_ms, embed_ms = [], [], [], [], []
    with _served(folder) as at:
        _callers(at, images[: 4 * _CONNECTIONS])
        _embed(at, images[:64])
        here = psutil.Process()
        for _ in range(_REPEATS):
            before = _core_ms(at.process), _core_ms(here)
            ours.append(_callers(at, images))
            middle = _core_ms(at.process), _core_ms(here)
            pipeline.append(_embed(at, images))
            server_ms.append((middle[0] - before[0]) / len(images))
            caller_ms.append((middle[1] - before[1]) / len(images))
            embed_ms.append((_core_ms(here) - middle[1]) / len(images))
        precision = at.backbone.precision
    limit = statistics.median(embed_ms) / (statistics.median(server_ms) + statistics.median(caller_ms))
    return Figure(
        "invoke_throughput",
        f"invokes/s with {_CONNECTIONS} connections / images/s of the embedding pipeline on the same images",
        median_ratio(ours, pipeline),
        "x",
        0.7,
        at_least=True,
        measurements={"invokes/s": ours, "pipeline, images/s": pipeline},
        note=f"Both in {precision}; the callers share the cores with the server. Time of a core for one image: "
        f"{statistics.median(embed_ms):.1f} ms in the pipeline; {statistics.median(server_ms):.1f} ms in the server "
        f"and {statistics.median(caller_ms):.1f} ms in the callers. The limit: if no core ever waited, that would be "
        f"{limit:.2f} x.",
    )


def evidence_ratio(folder: Path) -> Figure:
    """The verdict with all that is shown at once beside it, in turns with a plain invoke over HTTP of the same file."""
    images = photographs(_EVIDENCE)
    ours, plain = [], []
    with _served(folder) as at:
        connection = http.client.HTTPConnection(at.host, timeout=60)
        serving = load_serving_model(at.ws, at.function_id)

        def with_evidence(data: bytes) -> None:
            seen = look_through(at.ws, serving, at.backbone, open_picture(at.ws, "image.jpg", data))
            evidence_of(at.ws, serving, seen, "image.jpg")

        for _ in range(_REPEATS):
            connection.close()
            _ask(at, connection, images[0])
            with_evidence(images[0])
            plain.append(_median_ms(lambda data: _ask(at, connection, data), images))
            ours.append(_median_ms(with_evidence, images))
    return Figure(
        "evidence_ratio",
        "the first verdict with its evidence, but for the copies / a plain invoke over HTTP of the same photograph",
        median_ratio(ours, plain),
        "x",
        1.5,
        at_least=False,
        measurements={"with evidence, ms": ours, "invoke, ms": plain},
    )


@contextmanager
def _served(folder: Path) -> Iterator[_Served]:
    ws = workspace(folder, precision="auto")
    function = empty_function(ws)
    pictures = photographs(80, seed=1)
    add_images(ws, function, [(f"{i}.jpg", data, ("real", "synthetic")[i % 2]) for i, data in enumerate(pictures)])
    build(ws, function.id)
    key = keys.create_key(ws.db, "Benchmark")
    backbone = function_backbone(ws, functions.get_function(ws.db, function.id))
    with server(folder) as (address, process):
        form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}
        with urllib.request.urlopen(f"{address}/connect/token", urllib.parse.urlencode(form).encode()) as answer:
            token = json.load(answer)["access_token"]
        host = address.removeprefix("http://")
        yield _Served(ws, function.id, backbone, host, f"/v1/functions/function_{function.id}/invoke", token, process)
    ws.close()


def _ask(at: _Served, connection: http.client.HTTPConnection, data: bytes) -> None:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="data"; filename="image.jpg"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + data + f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Authorization": f"Bearer {at.token}", "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    connection.request("POST", at.path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status == 200, said


def _bare(at: _Served, data: bytes) -> None:
    at.backbone.embed([at.backbone.views_of(decode_image(data, "image", at.ws.limits).pixels)])


def _median_ms(ask: object, images: Sequence[bytes]) -> float:
    took = []
    for data in images:
        start = time.perf_counter()
        ask(data)  # type: ignore[operator]
        took.append(1000 * (time.perf_counter() - start))
    return statistics.median(took)


def _callers(at: _Served, images: Sequence[bytes]) -> float:
    """Invokes a second."""
    local = threading.local()

    def one(data: bytes) -> None:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(at.host, timeout=60)
        _ask(at, local.connection, data)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        start = time.perf_counter()
        list(pool.map(one, images))
        return len(images) / (time.perf_counter() - start)


def _core_ms(process: psutil.Process) -> float:
    """Milliseconds of all cores that a process has used so far."""
    times = process.cpu_times()
    return 1000 * (times.user + times.system)


def _embed(at: _Served, images: Sequence[bytes]) -> float:
    """Images a second."""
    items = ((place, data, "image") for place, data in enumerate(images))
    start = time.perf_counter()
    embed_files(items, at.backbone, at.ws.limits, at.ws.settings.threads, lambda _rows, _failures: None)
    return len(images) / (time.perf_counter() - start)
