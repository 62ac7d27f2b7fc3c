"""Whether torch is asked for a graphics card at all, by facts of the machine; and that the others never bring torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from detector.backbones.accelerator import accelerator
from detector.backbones.graphics_card import _torch_version_file, has_graphics_card, may_have_graphics_card

NVIDIA = "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\nxpu: Optional[str] = None\n"
AMD = "cuda: Optional[str] = None\nhip: Optional[str] = '6.2'\n"
INTEL = "cuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = '20250101'\n"
PROCESSOR = "debug = False\ncuda: Optional[str] = None\nhip: Optional[str] = None\nxpu: Optional[str] = None\n"


@pytest.mark.parametrize(
    ("platform", "torch_version", "devices", "expected"),
    [
        ("linux", NVIDIA, [True, False], True),
        ("linux", NVIDIA, [False, False], False),
        ("linux", AMD, [False, True], True),
        ("linux", INTEL, [False, True], True),
        # A card that this torch cannot use.
        ("linux", PROCESSOR, [True, True], False),
        ("win32", PROCESSOR, [False], False),
        # Windows shows no devices; torch itself has to be asked.
        ("win32", NVIDIA, [False], True),
        ("darwin", PROCESSOR, [False], True),
        # A torch whose file says nothing rules nothing out.
        ("linux", "", [True], True),
        ("linux", "", [False], False),
    ],
)
def test_torch_is_asked_where_it_was_built_for_a_card_and_there_may_be_one(
    platform: str, torch_version: str, devices: list[bool], expected: bool
) -> None:
    assert may_have_graphics_card(platform, torch_version, devices) is expected


def test_the_file_that_is_read_is_torchs_own() -> None:
    """Kind: a part of another library. Where it is made otherwise, torch is asked more often, no more than that."""
    text = _torch_version_file()
    assert torch.__version__ in text
    built_for_a_card = any((torch.version.cuda, torch.version.hip))
    assert may_have_graphics_card("linux", text, [True]) is built_for_a_card or torch.xpu.is_available()


def test_the_answer_is_torchs() -> None:
    assert has_graphics_card() is (accelerator() is not None)


@pytest.mark.slow
@pytest.mark.skipif(torch.accelerator.is_available(), reason="torch is asked where there is a card")
def test_choosing_a_backbone_brings_no_torch_where_there_is_no_card() -> None:
    code = (
        "import sys; from detector.backbones import resolve; from detector.settings import Settings; "
        "resolve('auto', Settings()); sys.exit(int('torch' in sys.modules))"
    )
    environment = {"PATH": "", "HF_HUB_OFFLINE": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60).returncode == 0
