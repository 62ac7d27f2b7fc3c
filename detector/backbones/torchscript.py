"""A network as one call into torch, which holds Python's lock at its beginning and its end only.

Called layer by layer, a network takes that lock some hundred times a batch, and each time it waits for whatever else
the process does in Python: pages, requests, other networks. Measured with the offline backbone beside one thread that
does nothing but count: 6 images/s layer by layer, 80 in one call, and the same 300 with nothing beside.

torch.jit is the way for networks that a process calculates itself, without a compiler on the user's machine. It is kept
by torch but no longer developed; so its answer is compared with the plain network's, to the last digit, and wherever it
fails or differs the plain network stays. This module can go once a network can be called without Python by a part of
torch that is being developed, without a compiler (torch.export's packages need one).
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch

log = logging.getLogger(__name__)

# The tracer cannot write down the numbers that a fused operation takes (a list of optional numbers); what they stand
# for, it can. So while it watches, a convolution and its clipping are two operations, and afterwards these are one
# again. Once the tracer writes such lists, the rewriting by torch's private pass can go.
_TWO = """
graph(%x, %weight, %bias, %padding, %stride, %dilation, %groups, %low, %high):
  %maps = aten::mkldnn_convolution(%x, %weight, %bias, %padding, %stride, %dilation, %groups)
  %clipped = aten::hardtanh(%maps, %low, %high)
  return (%clipped)"""
_ONE = """
graph(%x, %weight, %bias, %padding, %stride, %dilation, %groups, %low, %high):
  %after : str = prim::Constant[value="hardtanh"]()
  %algorithm : str = prim::Constant[value=""]()
  %numbers : Scalar?[] = prim::ListConstruct(%low, %high)
  %clipped = mkldnn::_convolution_pointwise(
    %x, %weight, %bias, %padding, %stride, %dilation, %groups, %after, %numbers, %algorithm)
  return (%clipped)"""


def as_torchscript(network: Any, example: Any) -> Any:
    """The network as one call for inputs like ``example``, or itself where that cannot be had exactly.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on the CPU.
    example : torch.Tensor
        An input; others must have its shape and type.
    """
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            # Of the deprecation, and of sizes that the tracer takes for constants: they are.
            warnings.simplefilter("ignore")
            traced = torch.jit.freeze(torch.jit.trace(network, example, check_trace=False).eval())
            torch._C._jit_pass_custom_pattern_based_rewrite_graph(_TWO, _ONE, traced.graph)
            expected = network(example)
            # The first calls are observed, and those after them run what was made of the observations.
            if all(torch.equal(traced(example), expected) for _ in range(3)):
                return traced
        log.warning("torch.jit calculates other digits; the network is called layer by layer")
    except Exception as error:  # torch.jit fails in many ways, and none of them is the user's concern
        log.warning("torch.jit cannot take this network (%s); it is called layer by layer", type(error).__name__)
    return network
