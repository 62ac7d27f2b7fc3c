"""bfloat16 where the machine has none: said in a sentence, never taken for a new function, and still the same numbers.

Such a machine is made of this one: oneDNN and torch can be told to use nothing beyond AVX2, which is all that many
processors have.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detector.backbones.bfloat16 import FLOAT32_INSTEAD, _RoundedProducts, calculates_bfloat16, rounded_products
from detector.backbones.clip import load_clip
from detector.backbones.network import Backbone
from detector.backbones.offline import load_offline
from detector.backbones.precision import bfloat16_in_hardware
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.storage import embeddings, functions
from tests.backbones.pictures import picture
from tests.backbones.small_clip import TIMM, TRANSFORMER, make_small_clip
from tests.command_line import CHECKOUT, environment, run
from tests.factories import add_images, images, labelled_function, make_image, workspace
from tests.made_folders import make_folder

AVX2_ONLY = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
#: Of the other machine, in a process of its own: these settings are read when torch is loaded.
SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.precision import bfloat16_in_hardware
from tests.backbones.test_bfloat16 import backbones, crops
found = {}
for name, backbone in backbones(Path(sys.argv[1])).items():
    found[name] = backbone.embed_crops(crops(backbone))
np.savez(sys.argv[2], **found)
print(json.dumps([calculates_bfloat16(), bfloat16_in_hardware()]))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        platform.machine().lower() not in ("x86_64", "amd64"),
        reason="only x86 can be told to be a lesser processor",
    ),
]


def backbones(folder: Path, precision: str = "bfloat16") -> dict[str, Backbone]:
    """One of each kind: convolutions, open_clip's own transformer, and one of timm."""
    found = {"offline": load_offline(precision)}
    for name, vision in (("transformer", TRANSFORMER), ("timm", TIMM)):
        clip = make_small_clip(folder, vision, name=f"bfloat16-{name}-test")
        found[name] = load_clip(clip.spec, clip.checkpoint, precision)
    return found


def crops(backbone: Backbone) -> list[np.ndarray]:
    return [np.asarray(picture(backbone.input_size, backbone.input_size, seed=seed)) for seed in range(5)]


@dataclass(frozen=True)
class OtherMachine:
    calculates: bool
    in_hardware: bool
    rows: dict[str, np.ndarray]
    log: str


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> OtherMachine:
    folder = tmp_path_factory.mktemp("other")
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(folder / "rows.npz")],
        cwd=CHECKOUT,
        env=environment(folder, **AVX2_ONLY),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    with np.load(folder / "rows.npz") as rows:
        return OtherMachine(*json.loads(ran.stdout), dict(rows), ran.stderr)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a graphics card calculates bfloat16 itself")
def test_the_question_is_answered_by_what_may_be_used_not_by_what_the_processor_has(other: OtherMachine) -> None:
    """Kind: asking the processor where the library decides. torch's probes still see what this processor has."""
    assert not other.calculates
    assert not other.in_hardware


@pytest.mark.skipif(torch.cuda.is_available(), reason="a graphics card calculates bfloat16 itself")
def test_it_says_by_what_way_the_numbers_are_had(other: OtherMachine) -> None:
    """Kind: a fallback that nobody is told of. Said once for each backbone that is loaded."""
    assert other.log.count("This machine cannot calculate bfloat16") == 3


@pytest.mark.long
@pytest.mark.parametrize("name", ["offline", "transformer", "timm"])
def test_a_machine_without_bfloat16_gives_the_numbers_of_one_that_has_it(
    name: str, other: OtherMachine, tmp_path: Path
) -> None:
    """Kind: bfloat16 that a machine cannot calculate. These rows stand under the same key, so they must be the same."""
    here = backbones(tmp_path)[name]
    exact = backbones(tmp_path, "float32")[name].embed_crops(crops(here))
    rows = here.embed_crops(crops(here))

    def distance(left: np.ndarray, right: np.ndarray) -> float:
        return float(np.linalg.norm(left - right) / np.linalg.norm(right))

    assert not np.array_equal(other.rows[name], exact)
    assert distance(other.rows[name], exact) < 0.02
    # Not further apart than rounding itself moves them.
    assert distance(other.rows[name], rows) < 1.2 * distance(rows, exact)


@pytest.mark.long
def test_bfloat16_asked_for_where_it_cannot_be_had_is_float32_and_a_sentence(tmp_path: Path) -> None:
    """Kind: a setting that this machine cannot follow. Said on the command line, and kept where the backbone's reason
    is shown; what is stored is what was calculated."""
    if torch.cuda.is_available():
        pytest.skip("a graphics card calculates bfloat16 itself")
    folder = make_folder(tmp_path / "images", {"real": 4, "synthetic": 4})
    asked = {**AVX2_ONLY, "DETECTOR_PRECISION": "bfloat16", "DETECTOR_BACKBONE": "efficientnet-lite0"}
    ran = run(tmp_path / "data", "train", folder, "--json", **asked)
    assert ran.code == 0, ran.err
    assert ran.err.count(FLOAT32_INSTEAD) == 1
    ws = workspace(tmp_path / "data")
    [found] = [item.function for item in functions.list_functions(ws.db)]
    assert found.precision == "float32"
    assert found.backbone_reason.endswith(FLOAT32_INSTEAD)
    ws.close()


@pytest.mark.long
def test_a_function_made_in_bfloat16_elsewhere_answers_and_learns_on(tmp_path: Path) -> None:
    """Kind: a data folder that came from another machine. Nothing is embedded anew, and nothing under another key."""
    data = tmp_path / "data"
    ws = workspace(data)
    function = labelled_function(ws, 5)
    functions.set_precision(ws.db, function.id, "bfloat16")
    model = build(ws, function.id).model
    assert model is not None
    question = tmp_path / "new.png"
    question.write_bytes(make_image(60, "synthetic"))
    [verdict] = invoke(ws, function.id, [("new.png", question.read_bytes())])
    assert isinstance(verdict, Verdict)
    ws.close()

    asked = run(data, "invoke", function.name, question, **AVX2_ONLY)
    assert asked.code == 0, asked.err
    answer = asked.json
    assert answer["labelName"] == verdict.label == "synthetic"
    assert answer["confidence"] == pytest.approx(verdict.confidence, abs=0.01)

    ws = workspace(data)
    add_images(ws, function, images(7)[10:])
    ws.close()
    trained = subprocess.run(
        [sys.executable, "-c", _BUILD, function.id],
        cwd=CHECKOUT,
        env=environment(data, **AVX2_ONLY),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout) == [4, 14, model.backbone_key]
    ws = workspace(data)
    assert len(embeddings.embedded_hashes(ws.db, function.id, model.backbone_key)) == 14
    ws.close()


_BUILD = """
import json, sys
from detector.pipeline.build import build
from detector.settings import load_settings
from detector.workspace import Workspace
with_embeddings = build(Workspace.open(load_settings()), sys.argv[1])
print(json.dumps([with_embeddings.embedded, with_embeddings.model.sample_count, with_embeddings.model.backbone_key]))
"""


def _products(kind: torch.dtype) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(4)
    x, y = (torch.randn(2, 6, 8, generator=generator).to(kind) for _ in range(2))
    maps, kernel = (torch.randn(*shape, generator=generator).to(kind) for shape in ((1, 3, 9, 9), (4, 3, 3, 3)))
    attention = torch.nn.MultiheadAttention(8, 2, batch_first=True).to(kind).eval()
    with torch.no_grad():
        for place, weights in enumerate(attention.parameters()):
            weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(place)))
    return {
        "linear": torch.nn.functional.linear(x, y[0]),
        "linear by name": torch.nn.functional.linear(input=x, weight=y[0], bias=None),
        "conv2d": torch.nn.functional.conv2d(maps, kernel, stride=2),
        "@": x @ y.transpose(1, 2),
        "matmul": x.matmul(y.transpose(1, 2)),
        "bmm": torch.bmm(x, y.transpose(1, 2)),
        "mm": torch.mm(x[0], y[0].T),
        "einsum": torch.einsum("bij,bkj->bik", x, y),
        "attention": attention(x, y, y)[0],
    }


def test_rounded_products_are_bfloat16_and_float32_is_left_alone() -> None:
    """Kind: an operation that is missed. Each comes out in its own kind of number, near to float32's."""
    with torch.inference_mode():
        exact = _products(torch.float32)
        with _RoundedProducts():
            again, rounded = _products(torch.float32), _products(torch.bfloat16)
    for name, expected in exact.items():
        assert torch.equal(again[name], expected), name
        assert rounded[name].dtype == torch.bfloat16, name
        assert (rounded[name].float() - expected).norm() < 0.02 * expected.norm(), name
    if calculates_bfloat16():
        assert not isinstance(rounded_products(), _RoundedProducts)
    else:
        assert not bfloat16_in_hardware()
