"""What the copies of a photograph of 12 megapixels, and the map of where, cost beside its invoke."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from PIL import Image

from detector.evidence.regions import examine_regions
from detector.evidence.stability import examine_stability
from detector.imaging import decode_image
from detector.imaging.degraded_copies import encoded
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, answer, examine
from detector.serving.model import load_serving_model, serving_backbone
from tests.benchmarks.figure import Figure, median_ratio
from tests.benchmarks.photographs import photographs
from tests.factories import labelled_function, workspace

_SIZE = (4000, 3000)
_REPEATS = 5

Found = TypeVar("Found")


def stability_s(folder: Path) -> Figure:
    """Five copies of one photograph made and judged, in turns with an invoke of its file."""
    ws = workspace(folder)
    function = labelled_function(ws, 40)
    build(ws, function.id)
    serving = load_serving_model(ws, function.id)
    backbone = serving_backbone(ws, serving)
    [square] = photographs(1, side=max(_SIZE))
    with Image.open(io.BytesIO(square)) as picture:
        data = encoded(picture.crop((0, 0, *_SIZE)), "JPEG", quality=92)
    decoded = decode_image(data, "photograph.jpg", ws.limits)
    verdict = examine(ws, serving, backbone, "photograph.jpg", decoded).verdict
    copies: list[float] = []
    invokes: list[float] = []
    maps: list[float] = []
    for _ in range(_REPEATS):
        [said] = _timed(invokes, lambda: answer(ws, serving, backbone, [("photograph.jpg", data)]))
        assert isinstance(said, Verdict)
        _timed(copies, lambda: examine_stability(ws, serving, backbone, decoded, verdict))
    found = _timed(maps, lambda: examine_regions(ws, serving, backbone, decoded))
    ws.close()
    return Figure(
        "stability_s",
        "the verdict on five copies of a JPEG of 4000 x 3000 pixels, offline backbone",
        median(copies),
        "s",
        3,
        at_least=False,
        measurements={"copies, s": copies, "invoke, s": invokes, "map of where, s": maps},
        note=f"{median_ratio(copies, invokes):.1f} times one invoke of the same file; the map of where takes "
        f"{maps[0]:.1f} s for {found.crops} small pictures.",
    )


def _timed(into: list[float], work: Callable[[], Found]) -> Found:
    start = time.perf_counter()
    found = work()
    into.append(time.perf_counter() - start)
    return found
