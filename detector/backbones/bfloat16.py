"""bfloat16 on processors that have none: whether this one can calculate it, and the same numbers where it cannot.

A function keeps its precision, because embeddings of two precisions cannot be compared; so one that was made in
bfloat16 must be calculated in it wherever its data folder is taken. A product of bfloat16 is, in hardware, a float32
sum rounded at the end. Calculating in float32 what was rounded before, and rounding the result, gives the same but for
the order of the sum, at about the speed of float32. torch's own bfloat16 without the hardware took 4 to 33 times as
long, and oneDNN refuses it. Lowest cosine between the numbers of a processor with bfloat16 and these, on 80 real
pictures: 0.999998 with the offline backbone, 0.99996 with ViT-B/32; neither is that near to float32.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from detector.backbones.accelerator import accelerator

FLOAT32_INSTEAD = "DETECTOR_PRECISION says bfloat16, which this machine cannot calculate: float32 was taken instead."
BY_WAY_OF_FLOAT32 = (
    "This machine cannot calculate bfloat16, in which these embeddings are stored: the same numbers are calculated by "
    "way of float32, about as fast as float32."
)


@cache
def calculates_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16, by its graphics card or by oneDNN, the library behind torch on a CPU.

    Tried, not looked up: what the processor has is not always what the library was built for, or told to use.
    """
    device = accelerator()
    if device is not None:
        return device.type == "cuda" or _multiplies_bfloat16(device)
    try:
        # Private operations: torch has no public question for what oneDNN multiplies. With one, this trial can go.
        operations = torch.ops.mkldnn
        if not torch.backends.mkldnn.is_available() or not operations._is_mkldnn_bf16_supported():
            return False
        with torch.inference_mode():
            maps = torch.ones(1, 8, 4, 4, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
            kernel, rows = torch.ones(8, 8, 1, 1, dtype=torch.bfloat16), torch.ones(4, 8, dtype=torch.bfloat16)
            convolved = operations._convolution_pointwise(maps, kernel, None, [0, 0], [1, 1], [1, 1], 1, "none", [], "")
            multiplied = operations._linear_pointwise(rows, kernel.flatten(1), None, "none", [], "")
    except Exception:  # the operation is not there, takes something else, or refuses: float32 is right everywhere
        return False
    return bool((convolved == 8).all() and (multiplied == 8).all())


def _multiplies_bfloat16(device: Any) -> bool:
    try:
        ones = torch.ones(8, 8, dtype=torch.bfloat16, device=device)
        return bool(((ones @ ones).cpu() == 8).all())
    except Exception:  # drivers raise anything
        return False


def rounded_products() -> AbstractContextManager[Any]:
    """Within it, this thread's products of bfloat16 can be had on any machine: where it has none, by way of float32.

    A new one each time: it cannot be entered twice.
    """
    return nullcontext() if calculates_bfloat16() else _RoundedProducts()


class _RoundedProducts(TorchFunctionMode):
    """Layers that multiply take bfloat16 as float32 and give it rounded again; all others are left to torch.

    Torch's own attention is among those: its bfloat16 is as fast as its float32 everywhere.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function not in _PRODUCTS or not any(_is_rounded(value) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        found = function(*map(_exact, args), **{name: _exact(value) for name, value in kwargs.items()})
        return tuple(map(_rounded, found)) if isinstance(found, tuple) else _rounded(found)


_PRODUCTS = {
    nn.functional.linear,
    nn.functional.conv2d,
    nn.functional.multi_head_attention_forward,
    torch.matmul,
    torch.mm,
    torch.bmm,
    torch.addmm,
    torch.baddbmm,
    torch.einsum,
    torch.Tensor.matmul,
    torch.Tensor.mm,
    torch.Tensor.bmm,
    torch.Tensor.__matmul__,
    torch.Tensor.__rmatmul__,
}


def _is_rounded(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def _exact(value: Any) -> Any:
    return value.float() if _is_rounded(value) else value


def _rounded(value: Any) -> Any:
    return value.bfloat16() if isinstance(value, torch.Tensor) and value.dtype == torch.float32 else value
