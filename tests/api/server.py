"""The real server as a process, and a caller with a key of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from detector.settings import load_settings
from detector.storage import keys
from detector.workspace import Workspace
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 90

#: The offline backbone in one precision: measuring it takes seconds. A short pause before a training, to test quickly.
SETTINGS = {"DETECTOR_BACKBONE": "efficientnet-lite0", "DETECTOR_PRECISION": "float32", "DETECTOR_RETRAIN_DELAY": "0.5"}


class Server:
    """One ``streamlit run streamlit_app.py`` on a data folder of its own, which ``workspace`` opens beside it.

    Parameters
    ----------
    folder : Path
        For the data and the log.
    port : int
        0: any free one.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None, port: int = 0) -> None:
        self.data, self._log = folder / "data", folder / "server.log"
        self._settings = {"DETECTOR_DATA_DIR": str(self.data), **(SETTINGS if settings is None else settings)}
        self._port = port or free_port()
        self.address = f"http://localhost:{self._port}"
        self.start()
        self.workspace = Workspace.open(load_settings(self._settings))
        self.key = keys.create_key(self.workspace.db, "Tests")

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def cpu_seconds(self) -> float:
        """Processor time that the server has used so far."""
        return float(sum(psutil.Process(self._process.pid).cpu_times()[:2]))

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "streamlit", "run", "streamlit_app.py"),
                    *("--server.headless", "true", "--server.port", str(self._port)),
                ],
                cwd=CHECKOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("DETECTOR_")}
                | self._settings,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                requests.get(f"{self.address}/_stcore/health", timeout=5).raise_for_status()
            except requests.RequestException:
                time.sleep(0.2)
            else:
                return
        self.kill()
        pytest.fail(f"The server did not answer within {START_SECONDS} s:\n{self.log}")

    def kill(self) -> None:
        """End the process as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End the process as a person would, and everything with it."""
        self.workspace.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def caller(self) -> Caller:
        """A caller with a fresh token for this server's key."""
        answer = requests.post(
            f"{self.address}/connect/token",
            data={"client_id": self.key.id, "client_secret": self.key.secret, "grant_type": "client_credentials"},
            timeout=30,
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
