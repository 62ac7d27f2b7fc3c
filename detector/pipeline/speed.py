"""How fast this machine looks at images with each backbone: measured on request and by every build, kept with the data.

A measurement counts only on the machine that it was made on: a data folder may move.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from detector.formatting import count, duration
from detector.storage.database import now
from detector.workspace import Workspace

#: Builds of fewer images say little: much of their time is the start.
LEAST_IMAGES = 200

_FILE = "speed.json"
_SECONDS = 3.0
_PICTURES = 64
_SIDE = 256

Origin = Literal["build", "bench"]


def measure(ws: Workspace, backbone_id: str, seconds: float = _SECONDS) -> float:
    """Images a second of a backbone, from encoded files to embeddings, on made images; kept for `estimate`.

    Loads the backbone; choosing its precision may take some seconds more.

    Raises
    ------
    BackboneUnavailable
        The weights cannot be had.
    """
    # Here, not above: it brings torch, and pages ask this module for estimates.
    from detector.backbones import choose_precision, get_backbone
    from detector.backbones.pipeline import embed_files

    backbone = get_backbone(backbone_id, choose_precision(backbone_id, ws.settings), ws.settings)
    files = _made_files()
    start, done = 0.0, 0

    def items() -> Iterator[tuple[int, bytes, str]]:
        # The first round prepares the network and is not counted.
        nonlocal start
        for place in range(backbone.round_size):
            yield place, files[place % len(files)], "made"
        place = backbone.round_size
        while not start or time.perf_counter() - start < seconds:
            yield place, files[place % len(files)], "made"
            place += 1

    def count_on(rows: list[Any], failures: list[Any]) -> None:
        nonlocal start, done
        if start:
            done += len(rows) + len(failures)
        else:
            start = time.perf_counter()

    embed_files(items(), backbone, ws.limits, ws.settings.threads, count_on)
    rate = done / (time.perf_counter() - start)
    note_rate(ws, backbone_id, rate, "bench")
    return rate


def note_rate(ws: Workspace, backbone_id: str, rate: float, origin: Origin) -> None:
    """Keep a measured rate, in images a second; what the disk refuses is not kept."""
    known = _read(ws)
    known.setdefault(backbone_id, {})[origin] = {"rate": rate, "at": now()}
    file = ws.settings.data_dir / _FILE
    beside = file.with_name(f"{_FILE}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        try:
            beside.write_text(json.dumps({"machine": _machine(ws), "backbones": known}) + "\n", encoding="utf-8")
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)


def estimate(ws: Workspace, backbone_id: str, images: int) -> float | None:
    """Seconds to look at so many images, from the latest build on this machine, else from ``bench``; None: not known.

    Parameters
    ----------
    backbone_id : str
        A registry id.
    images : int
    """
    measured = _read(ws).get(backbone_id, {})
    for origin in ("build", "bench"):
        # Images of a build are a person's own, made ones are small.
        rate = measured.get(origin, {}).get("rate")
        if rate:
            return float(images / rate)
    return None


def expected_time(ws: Workspace, backbone_id: str, images: int) -> str:
    """ "about 2 min for 2,000 images on this machine"; empty where nothing was measured."""
    seconds = estimate(ws, backbone_id, images)
    if seconds is None or not images:
        return ""
    return f"about {duration(max(1.0, float(round(seconds))))} for {count(images, 'image')} on this machine"


def _read(ws: Workspace) -> dict[str, dict[str, Any]]:
    try:
        stored = json.loads((ws.settings.data_dir / _FILE).read_text(encoding="utf-8"))
        return dict(stored["backbones"]) if stored["machine"] == _machine(ws) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _machine(ws: Workspace) -> str:
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        names = {line for line in information.read_text(errors="replace").splitlines() if line.startswith("model name")}
        processor += "".join(sorted(names))
    facts = f"{processor} {os.cpu_count()} {ws.settings.threads} {ws.settings.precision}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _made_files() -> list[bytes]:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(_PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
        file = io.BytesIO()
        coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files
