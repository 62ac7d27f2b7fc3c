"""Whether this machine has a graphics card for the networks, asked without torch where there plainly is none.

Choosing a backbone must not bring torch, which takes seconds; only where torch was built for a card and the system
shows one is torch itself asked, which every look at an image needs anyway.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

#: What a driver puts there: NVIDIA's, NVIDIA's or AMD's below Windows, AMD's, Intel's.
_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/dri")
_BUILT_FOR = re.compile(r"^(?:cuda|hip|rocm|xpu)\b.*=\s*['\"]", re.MULTILINE)


@cache
def has_graphics_card() -> bool:
    """Whether networks are calculated on a graphics card (or another accelerator) here; see `accelerator`."""
    if not may_have_graphics_card(sys.platform, _torch_version_file(), [Path(name).exists() for name in _DEVICES]):
        return False
    try:
        from detector.backbones.accelerator import accelerator

        return accelerator() is not None
    except Exception as error:  # a driver that does not fit raises anything, and then there is no card to use
        log.warning("Whether there is a graphics card could not be asked (%r); the processor is used", error)
        return False


def may_have_graphics_card(platform: str, torch_version: str, devices: list[bool]) -> bool:
    """Whether torch should be asked for a card.

    Parameters
    ----------
    platform : str
        As `sys.platform` has it.
    torch_version : str
        Text of torch's ``version.py``; empty where it cannot be read, which rules nothing out.
    devices : list of bool
        Whether each of the devices is there that drivers make, on Linux.
    """
    if platform == "darwin":
        return True
    if torch_version and not _BUILT_FOR.search(torch_version):
        return False
    return any(devices) or not platform.startswith("linux")


def _torch_version_file() -> str:
    # Read, not imported: with torch/version.py comes all of torch.
    try:
        found = importlib.util.find_spec("torch")
        folders = found.submodule_search_locations if found is not None else None
        return (Path(folders[0]) / "version.py").read_text(encoding="utf-8") if folders else ""
    except (OSError, ValueError, ImportError):
        return ""
