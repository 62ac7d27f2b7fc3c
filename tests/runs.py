"""Runs of invokes begun and worked off as the server does it, for the tests of several rooms."""

from __future__ import annotations

import io
import secrets
from collections.abc import Mapping

import numpy as np
from PIL import Image

from detector.importing.pending import pending_zip
from detector.jobs import INVOKE
from detector.operations.runs import start_run
from detector.progress import Report, silent
from detector.storage import jobs
from detector.storage.jobs import Job
from detector.worker.running import run_job
from detector.workspace import Workspace
from tests.factories import make_image, write_zip

#: Real, synthetic, real, ...; none of them is a sample of `tests.factories.images`.
PICTURES = {f"{label}/{n}.png": make_image(700 + n, label) for n in range(4) for label in ("real", "synthetic")}


def given(ws: Workspace, function_id: str, files: Mapping[str, bytes], title: str = "holiday.zip") -> str:
    """Upload files as one archive and ask for them to be judged; returns the run's id."""
    path = write_zip(ws.spool / f"{secrets.token_hex(12)}.zip", files)
    return start_run(ws, function_id, pending_zip(ws, path, title))


def claimed(ws: Workspace) -> Job:
    """The oldest job that judges pictures, taken by this process."""
    job = jobs.claim(ws.db, (INVOKE,))
    assert job is not None
    return job


def worked_off(ws: Workspace, report: Report = silent) -> None:
    """Judge what waits."""
    run_job(ws, claimed(ws), report)


def photograph(seed: int) -> bytes:
    """A JPEG of two megapixels; no two are equal."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((1600, 1200), Image.Resampling.BILINEAR).save(file, "JPEG", quality=90)
    return file.getvalue()
