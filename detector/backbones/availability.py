"""Which backbone can be had on this machine now, which one `auto` means, and loading it once per process.

Nothing here imports torch before a backbone is loaded: saying what is available must take seconds at most.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detector.backbones.graphics_card import has_graphics_card
from detector.backbones.hub import cached_weights, download_weights, hub_reachable, offline_mode
from detector.backbones.inner import why_no_inner_blocks
from detector.backbones.registry import DEFAULT_CLIP, GRAPHICS_CARD_CLIP, OFFLINE, SPECS, BackboneSpec, get_spec
from detector.errors import BackboneUnavailable, InvalidInput
from detector.progress import Report, silent
from detector.settings import Settings

if TYPE_CHECKING:
    from detector.backbones.network import Backbone

log = logging.getLogger(__name__)

AUTO = "auto"
LOADED_AT_ONCE = 2
ON_A_GRAPHICS_CARD = " on this machine, which has a graphics card"

REMEDY = (
    "Connect this machine to the model hub, give a local file in DETECTOR_CLIP_CHECKPOINT, "
    f"or choose the backbone {OFFLINE}."
)


@dataclass(frozen=True)
class Availability:
    """Whether a backbone's weights can be had now, and how.

    Attributes
    ----------
    available : bool
    how : {"checkpoint", "cache", "hub", "package", "no"}
    sentence : str
        For people: where the weights come from, or why they cannot be had.
    why : str
        The reason alone, without full stop; empty when available.
    """

    available: bool
    how: Literal["checkpoint", "cache", "hub", "package", "no"]
    sentence: str
    why: str = ""


@dataclass(frozen=True)
class BackboneFamily:
    """How the backbones of one kind are found and loaded; see `FAMILIES`.

    Attributes
    ----------
    load : callable
        (spec, precision, settings) -> Backbone, called only where its weights are available. Imports torch when it is
        called, not before.
    availability : callable
        (spec, settings) -> Availability, within a few seconds and without torch. Where it says that the weights come
        from the hub, they are fetched from the spec's ``hub_repo`` before a training.
    remedy : str
        For people: what to do where the weights are not available.
    load_inner : callable, optional
        As ``load``, with inner blocks among the features (`detector.backbones.inner`); called only for specs that say
        that they are transformers. None: the family has none.
    """

    load: Callable[[BackboneSpec, str, Settings], Backbone]
    availability: Callable[[BackboneSpec, Settings], Availability]
    remedy: str
    load_inner: Callable[[BackboneSpec, str, Settings], Backbone] | None = None


@dataclass(frozen=True)
class Resolution:
    """The backbone that a choice stands for, and one sentence that says why."""

    spec: BackboneSpec
    sentence: str


def checkpoints(settings: Settings) -> dict[str, Path]:
    """The local weights files by registry id, in the order given.

    Raises
    ------
    InvalidInput
        The setting is not of the form ``<registry id>:<file>``, or names an unknown or a non-CLIP backbone.
    """
    files: dict[str, Path] = {}
    for part in filter(None, (part.strip() for part in settings.clip_checkpoint.split(";"))):
        backbone_id, colon, file = (piece.strip() for piece in part.partition(":"))
        if not colon or not file:
            raise InvalidInput(f"DETECTOR_CLIP_CHECKPOINT holds {part!r}; expected <registry id>:<file>.")
        if get_spec(backbone_id).family != "clip":
            raise InvalidInput(f"DETECTOR_CLIP_CHECKPOINT names {backbone_id}, which is not a CLIP backbone.")
        files[backbone_id] = Path(file).expanduser()
    return files


def cached_locally(spec: BackboneSpec) -> bool:
    """Whether the hub's local cache holds the weights; never touches the network."""
    return cached_weights(spec) is not None


def availability(spec: BackboneSpec, settings: Settings) -> Availability:
    """Whether and how the weights can be had now; takes at most the hub's deadline of 3 seconds.

    A configured checkpoint whose file is missing makes the backbone unavailable: quietly taking other weights from the
    hub would not be what was asked for.
    """
    return FAMILIES[spec.family].availability(spec, settings)


def _offline_availability(spec: BackboneSpec, settings: Settings) -> Availability:
    if importlib.util.find_spec(spec.pretrained) is not None:
        return Availability(True, "package", "Installed with the app; nothing is downloaded.")
    return _no("its package of weights is not installed")


def _clip_availability(spec: BackboneSpec, settings: Settings) -> Availability:
    file = checkpoints(settings).get(spec.id)
    if file is not None:
        if file.is_file():
            return Availability(True, "checkpoint", f"The weights are read from {file}.")
        return _no(f"DETECTOR_CLIP_CHECKPOINT names {file}, which does not exist")
    if cached_locally(spec):
        return Availability(True, "cache", "The weights are in the local cache of the model hub.")
    if not spec.hub_repo:
        return _no("its weights are not on the model hub and no local file is given")
    if hub_reachable():
        size = f"{spec.download_bytes / 1e6:,.0f} MB"
        return Availability(True, "hub", f"The weights are downloaded once from {spec.hub_repo} (about {size}).")
    if offline_mode():
        return _no("its weights are not on this machine and HF_HUB_OFFLINE forbids downloads")
    return _no("its weights are not on this machine and the model hub does not answer")


def _no(why: str) -> Availability:
    return Availability(False, "no", f"Not available: {why}.", why)


def resolve(choice: str, settings: Settings) -> Resolution:
    """Turn a choice into a backbone that can be had now.

    Parameters
    ----------
    choice : str
        A registry id, or ``auto``: the first of `automatic_order` whose weights can be had, else the offline one.
    settings : Settings

    Returns
    -------
    Resolution

    Raises
    ------
    InvalidInput
        There is no such backbone.
    BackboneUnavailable
        An explicit choice cannot be had now.
    """
    if choice != AUTO:
        spec = get_spec(choice)
        found = availability(spec, settings)
        if not found.available:
            raise _unavailable(spec, found)
        return Resolution(spec, _with_licence(spec, f"{spec.title} was chosen. {found.sentence}"))
    reasons = []
    files = list(checkpoints(settings))
    for backbone_id in automatic_order(files, has_graphics_card()):
        spec = SPECS[backbone_id]
        found = availability(spec, settings)
        if found.available:
            because = "" if backbone_id in files or backbone_id != GRAPHICS_CARD_CLIP else ON_A_GRAPHICS_CARD
            sentence = f"{spec.title} is the automatic choice{because}. {found.sentence}"
            return Resolution(spec, _with_licence(spec, sentence))
        reasons.append(f"{spec.title} is not available: {found.why}.")
    spec = get_spec(OFFLINE)
    return Resolution(spec, f"{spec.title} is the automatic choice. {' '.join(reasons)}")


def automatic_order(files: Sequence[str], graphics_card: bool) -> list[str]:
    """The backbones that ``auto`` asks for, the one that it likes best first; the offline one follows them.

    Parameters
    ----------
    files : sequence of str
        Ids of those with a local weights file, in the order given: who gives a file wants it used.
    graphics_card : bool
        Whether there is one; without it the strongest network would take minutes for what the default does in seconds.
    """
    return list(dict.fromkeys([*files, *([GRAPHICS_CARD_CLIP] if graphics_card else []), DEFAULT_CLIP]))


def _with_licence(spec: BackboneSpec, sentence: str) -> str:
    return f"{sentence} Its licence allows {spec.only_for} only." if spec.only_for else sentence


def _unavailable(spec: BackboneSpec, found: Availability) -> BackboneUnavailable:
    return BackboneUnavailable(spec.id, found.why, FAMILIES[spec.family].remedy)


def fetch_weights(backbone_id: str, settings: Settings, report: Report = silent) -> None:
    """Download a backbone's weights if they have to come from the hub; `get_backbone` then finds them.

    Apart from `get_backbone` because it may take minutes, which somebody should hear of and be able to stop.

    Raises
    ------
    BackboneUnavailable
        The download failed.
    """
    spec = get_spec(backbone_id)
    if availability(spec, settings).how == "hub":
        download_weights(spec, report)


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    backbone: Backbone | None = None


_slots: OrderedDict[tuple[str, str, str, int, bool], _Slot] = OrderedDict()
_slots_lock = threading.Lock()


def get_backbone(backbone_id: str, precision: str, settings: Settings, inner: bool = False) -> Backbone:
    """The loaded backbone; the two used last stay in memory for the whole process. Thread-safe.

    Parameters
    ----------
    backbone_id : str
        A registry id (`resolve` turns ``auto`` into one).
    precision : {"float32", "bfloat16"}
        As stored with the function.
    settings : Settings
    inner : bool
        With inner blocks among its features, under a key of its own.

    Raises
    ------
    InvalidInput
        Unknown id or precision.
    BackboneUnavailable
        The weights cannot be had, the file is not what the registry says, or there are no inner blocks.
    """
    spec = get_spec(backbone_id)
    key = (backbone_id, precision, settings.clip_checkpoint, settings.threads, inner)
    with _slots_lock:
        slot = _slots.setdefault(key, _Slot())
        _slots.move_to_end(key)
        while len(_slots) > LOADED_AT_ONCE:
            _slots.popitem(last=False)
    # A slow download of one backbone must not keep others waiting: each has its own lock.
    with slot.lock:
        if slot.backbone is None:
            slot.backbone = _load(spec, precision, settings, inner)
        return slot.backbone


def choose_precision(backbone_id: str, settings: Settings) -> str:
    """The precision for a new function: the setting, or a short measurement where it says ``auto``. Store the answer.

    float32 where the setting is a bfloat16 that this machine cannot calculate.

    Raises
    ------
    InvalidInput
        The setting is none of auto, float32, bfloat16.
    BackboneUnavailable
        As `get_backbone`.
    """
    if settings.precision == "bfloat16":
        # Here, not above: it brings torch.
        from detector.backbones.bfloat16 import FLOAT32_INSTEAD, calculates_bfloat16

        if calculates_bfloat16():
            return settings.precision
        log.warning(FLOAT32_INSTEAD)
        return "float32"
    if settings.precision == "float32":
        return settings.precision
    if settings.precision != AUTO:
        raise InvalidInput(f"DETECTOR_PRECISION is {settings.precision!r}; expected auto, float32 or bfloat16.")
    from detector.backbones.precision import choose_precision as measured_choice

    spec = get_spec(backbone_id)
    # Loaded aside: two passing copies must not push the backbones in use out of memory.
    return measured_choice(lambda precision: _load(spec, precision, settings))


def _load(spec: BackboneSpec, precision: str, settings: Settings, inner: bool = False) -> Backbone:
    found = availability(spec, settings)
    if not found.available:
        raise _unavailable(spec, found)
    family = FAMILIES[spec.family]
    if not inner:
        return family.load(spec, precision, settings)
    if family.load_inner is None or why_no_inner_blocks(spec) is not None:
        raise BackboneUnavailable(spec.id, "it has no inner blocks", "Switch them off in the expert settings.")
    return family.load_inner(spec, precision, settings)


def _load_offline(spec: BackboneSpec, precision: str, settings: Settings) -> Backbone:
    from detector.backbones.offline import load_offline

    return load_offline(precision, spec, settings.threads)


def _load_clip(spec: BackboneSpec, precision: str, settings: Settings, inner: bool = False) -> Backbone:
    from detector.backbones.clip import load_clip

    file = _weights_file(spec, settings)
    try:
        return load_clip(spec, file, precision, settings.threads, inner)
    except BackboneUnavailable as error:
        from detector.backbones.download import drop_if_damaged

        if spec.id in checkpoints(settings) or not drop_if_damaged(file):
            raise
        why = "its weights were damaged in the hub's local cache and have been removed"
        raise BackboneUnavailable(spec.id, why, "Try again: they are downloaded again.") from error


def _load_clip_with_inner_blocks(spec: BackboneSpec, precision: str, settings: Settings) -> Backbone:
    return _load_clip(spec, precision, settings, inner=True)


def _weights_file(spec: BackboneSpec, settings: Settings) -> Path:
    return checkpoints(settings).get(spec.id) or cached_weights(spec) or download_weights(spec)


#: The families by the name that a `BackboneSpec` gives; which backbones there are of each, `SPECS` says.
FAMILIES: dict[str, BackboneFamily] = {
    "clip": BackboneFamily(_load_clip, _clip_availability, REMEDY, _load_clip_with_inner_blocks),
    "offline": BackboneFamily(_load_offline, _offline_availability, "Install the packages of requirements.txt again."),
}
