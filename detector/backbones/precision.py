"""Which numbers a backbone calculates with: measured, once per function, and stored with it by the caller.

Processor time is measured, not time: embeddings of two precisions cannot be compared, so two functions of one machine
should not differ because something else was running when one of them was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from detector.backbones.accelerator import accelerator
from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.network import BFLOAT16, FLOAT32, Backbone

# Less than this is not worth numbers of 8 bits instead of 24.
WORTHWHILE_RATIO = 1.25
REPEATS = 3
BUDGET_SECONDS = 10.0


def bfloat16_in_hardware() -> bool:
    """Whether this processor multiplies bfloat16 itself; elsewhere it is emulated, and far slower than float32."""
    # The processor is not all: what oneDNN refuses, or was told not to use, is emulated too.
    if not calculates_bfloat16():
        return False
    # torch has no public question for this (with one, these can go); where a version lacks them, float32 is right.
    return any(_says_yes(name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _says_yes(probe: str) -> bool:
    import torch

    try:
        return bool(getattr(torch.cpu, probe)())
    except Exception:  # a private question may be gone, or want to be asked otherwise
        return False


def choose_precision(load: Callable[[str], Backbone]) -> str:
    """Choose between float32 and bfloat16 by a measurement of some seconds.

    Parameters
    ----------
    load : callable
        Takes ``"float32"`` or ``"bfloat16"``, returns the backbone in that precision. Not called at all where the
        processor has no bfloat16, or where there is a GPU.

    Returns
    -------
    {"float32", "bfloat16"}
        bfloat16 only where it is at least 1.25 times as fast. Where it is about that, the answer may differ from one
        measurement to the next: store it.
    """
    if accelerator() is not None or not bfloat16_in_hardware():
        return FLOAT32
    backbones = {name: load(name) for name in (FLOAT32, BFLOAT16)}
    seconds = batch_seconds(backbones)
    return BFLOAT16 if seconds[FLOAT32] >= WORTHWHILE_RATIO * seconds[BFLOAT16] else FLOAT32


def batch_seconds(backbones: dict[str, Backbone]) -> dict[str, float]:
    """Least processor time of each backbone for one batch.

    They take turns, so that a busy moment of the machine hits all alike.
    """
    best = dict.fromkeys(backbones, float("inf"))
    crops = {
        name: [np.zeros((backbone.input_size, backbone.input_size, 3), dtype=np.uint8)] * backbone.batch_size
        for name, backbone in backbones.items()
    }
    for name, backbone in backbones.items():
        backbone.embed_crops(crops[name] * backbone.workers)  # the first call also prepares kernels
    end = time.perf_counter() + BUDGET_SECONDS
    for _ in range(REPEATS):
        for name, backbone in backbones.items():
            best[name] = min(best[name], backbone.processor_seconds(crops[name]))
        if time.perf_counter() > end:
            break
    return best
