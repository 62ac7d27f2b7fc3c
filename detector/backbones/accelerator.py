"""The graphics card or other accelerator that networks are calculated on, where torch knows one of this machine."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch

log = logging.getLogger(__name__)


@cache
def accelerator() -> Any:
    """A torch.device, or None where networks are calculated by the processor.

    NVIDIA and AMD cards are "cuda" to torch. Others (Apple's, Intel's) are taken only if they calculate what the
    processor does: torch knows fewer operations there, and some versions have them wrong.
    """
    found = _named()
    if found is None or found.type == "cuda":
        return found
    try:
        good = _calculates_as_the_processor(found)
    except Exception as error:  # drivers raise anything
        log.warning("This machine's accelerator (%s) cannot be used (%r); the processor is", found, error)
        return None
    if not good:
        log.warning("This machine's accelerator (%s) calculates other numbers than the processor, which is used", found)
    return found if good else None


def _named() -> Any:
    try:
        if torch.accelerator.is_available():
            return torch.accelerator.current_accelerator()
    except Exception as error:
        # torch has it since 2.6, and calls it likely to change. Once it is declared stable this way can go.
        log.warning("torch cannot say which accelerator there is (%r); only CUDA is looked for", error)
        return torch.device("cuda") if torch.cuda.is_available() else None
    return None


def _calculates_as_the_processor(device: Any) -> bool:
    """A convolution and a product of ones: exact in any order of the sums."""
    with torch.inference_mode():
        maps = torch.ones(2, 3, 8, 8, device=device).contiguous(memory_format=torch.channels_last)
        convolved = torch.nn.functional.conv2d(maps, torch.ones(4, 3, 4, 4, device=device), stride=4)
        multiplied = convolved.flatten(1) @ torch.ones(16, 5, device=device)
        return bool((convolved.cpu() == 48).all() and (multiplied.cpu() == 768).all())
