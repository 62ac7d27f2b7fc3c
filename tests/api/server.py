"""The real server as a process, and a caller with a key of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import requests

from detector.storage import keys
from tests.app_server import AppServer

#: The offline backbone in one precision: measuring it takes seconds. A short pause before a training, to test quickly.
SETTINGS = {"DETECTOR_BACKBONE": "efficientnet-lite0", "DETECTOR_PRECISION": "float32", "DETECTOR_RETRAIN_DELAY": "0.5"}
#: What a caller meets whose server is killed: before its answer, or in the middle of one.
CUT_OFF = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


class Server(AppServer):
    """The app with a key for callers."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = SETTINGS, port: int = 0) -> None:
        super().__init__(folder, settings, port)
        self.key = keys.create_key(self.workspace.db, "Tests")

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the server has used so far."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:2]))

    def caller(self) -> Caller:
        """A caller with a fresh token for this server's key."""
        answer = requests.post(
            f"{self.address}/connect/token",
            data={"client_id": self.key.id, "client_secret": self.key.secret, "grant_type": "client_credentials"},
            timeout=120,
        )
        assert answer.status_code == 200, answer.text
        return Caller(self.address, answer.json()["access_token"])


class Caller(requests.Session):
    """A session that sends its token, to paths instead of URLs."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__()
        self.address, self.token = address, token
        self.headers["Authorization"] = f"Bearer {token}"

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As in `requests`, ``url`` being a path of the server."""
        kwargs.setdefault("timeout", 120)
        return super().request(method, f"{self.address}{url!s}", *args, **kwargs)

    def create_function(self, name: str = "Test", labels: tuple[str, ...] = ("real", "synthetic")) -> str:
        """A new function with labels; returns its path under ``/v1``."""
        answer = self.post("/v1/functions", json={"name": name, "input": "Image", "output": "Classification"})
        assert answer.status_code == 200, answer.text
        path = f"/v1/functions/{answer.json()['id']}"
        for label in labels:
            assert self.post(f"{path}/labels", json={"name": label}).status_code == 200
        return path

    def post_image(self, path: str, data: bytes, label: str | None = None, **fields: str) -> requests.Response:
        """Post a sample as multipart."""
        form = dict(fields) | ({"labelName": label} if label else {})
        return self.post(f"{path}/samples", files={"data": ("image.png", data)}, data=form)

    def metrics(self, path: str) -> dict[str, Any]:
        return self.get(path.replace("/v1/", "/v0.9/") + "/metrics").json()  # type: ignore[no-any-return]

    def state(self, path: str) -> str:
        return str(self.get(path.replace("/v1/", "/v0.9/")).json()["state"])

    def wait_until_trained(self, path: str, seconds: float = 120) -> dict[str, Any]:
        """The metrics once everything is predicted and nothing runs any more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            metrics = self.metrics(path)
            idle = not metrics["isTraining"] and metrics["sampleCount"] == metrics["predictionCount"]
            if idle and self.state(path) == "Browsing":
                return metrics
            time.sleep(0.3)
        raise AssertionError(f"not trained after {seconds:.0f} s: {self.metrics(path)}, {self.state(path)}")
