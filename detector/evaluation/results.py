"""What the parts of an audit found, as plain data for pages, figures and JSON. Light to import: no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: Changes that a picture meets on its way: name in JSON, and what it is called in figures. No copy that is trained on
#: is changed so strongly, see `detector.imaging.degraded_copies`.
STRESSES = {
    "jpeg-95": "JPEG 95",
    "jpeg-40": "JPEG 40",
    "blur-2": "blur",
    "scale-35": "35 % of its size",
    "crop-65": "inner 65 %",
    "noise-8": "noise",
    "webp-60": "WebP 60",
    "messenger": "messenger",
}
#: Those of versions before, as long as their results are there.
FORMER_STRESSES = {
    "jpeg-75": "JPEG 75",
    "jpeg-50": "JPEG 50",
    "half-size": "half size and back",
    "centre-crop": "centre crop",
    "webp": "WebP",
}


def stress_title(name: str) -> str:
    """What a change is called in figures."""
    return STRESSES.get(name) or FORMER_STRESSES.get(name, name)


@dataclass(frozen=True)
class SourceScore:
    """How the images of one source and label fare.

    Attributes
    ----------
    source, label : str
    n : int
    accuracy : float or None
        Out-of-fold, so the model has seen other images of this source. None where there are no folds.
    accuracy_unseen : float or None
        By a model trained without this source. None where a label has no other source.
    interval : (low, high)
        Wilson, 95 %, of ``accuracy_unseen``; of ``accuracy`` where that is None.
    interval_seen : (low, high) or None
        Of ``accuracy``.
    """

    source: str
    label: str
    n: int
    accuracy: float | None
    accuracy_unseen: float | None
    interval: tuple[float, float]
    interval_seen: tuple[float, float] | None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SourceScore:
        seen = data["interval_seen"]
        return cls(**(data | {"interval": tuple(data["interval"]), "interval_seen": tuple(seen) if seen else None}))


@dataclass(frozen=True)
class Sources:
    """All sources of a function; ``untagged`` samples carry none, ``left_out`` sources were too many to be tried."""

    sources: tuple[SourceScore, ...]
    untagged: int
    left_out: int

    def to_json(self) -> dict[str, Any]:
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sources:
        return cls(tuple(map(SourceScore.from_json, data["sources"])), data["untagged"], data["left_out"])


@dataclass(frozen=True)
class UnseenSources:
    """Which sources were left out of the training and judged, each by itself: (label, source, different images).

    An empty source stands for the smaller ones of a label together. The scores lie beside the model, and what they
    promise at the limit of its function in its thresholds.
    """

    judged: tuple[tuple[str, str, int], ...]

    def to_json(self) -> dict[str, Any]:
        return {"judged": [list(item) for item in self.judged]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> UnseenSources:
        return cls(tuple((label, source, n) for label, source, n in data["judged"]))


@dataclass(frozen=True)
class StressScore:
    """Out-of-fold models on changed copies.

    ``n`` copies of ``of`` samples; ``accuracy_as_imported`` is that of the same samples without the change;
    ``flipped`` is the share of verdicts that differ between the two; ``by_label`` holds, by annotated label's id, how
    many copies there are and how many of them are right, and is empty in what was stored before this was counted.
    """

    name: str
    n: int
    of: int
    accuracy: float
    interval: tuple[float, float]
    accuracy_as_imported: float
    flipped: float
    by_label: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return stress_title(self.name)

    def to_json(self) -> dict[str, Any]:
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StressScore:
        by_label = {label_id: (n, right) for label_id, (n, right) in data.get("by_label", {}).items()}
        return cls(**(data | {"interval": tuple(data["interval"]), "by_label": by_label}))


@dataclass(frozen=True)
class LearningPoint:
    """Accuracy with ``n`` samples to train on: mean over the repeats, and where 95 % of repeats lie."""

    n: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy over training size.

    Attributes
    ----------
    points : from few samples to all that a fold leaves for training
    folds, repeats : int
    measured : int
        Samples that each repeat judges, all of them out-of-fold.
    step : int
        More samples that the forecast is about.
    gain : float or None
        By how much the accuracy would rise with ``step`` more; None where nothing can be said.
    gain_interval : (low, high) or None
        Over the repeats, 95 %.
    sentence : str
    """

    points: tuple[LearningPoint, ...]
    folds: int
    repeats: int
    measured: int
    step: int
    gain: float | None
    gain_interval: tuple[float, float] | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        return _plain(asdict(self))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LearningCurve:
        points = tuple(LearningPoint(**(p | {"interval": tuple(p["interval"])})) for p in data["points"])
        bounds = tuple(data["gain_interval"]) if data["gain_interval"] else None
        return cls(**(data | {"points": points, "gain_interval": bounds}))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
