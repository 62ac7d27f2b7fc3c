"""Which label and source an entry gets, guessed from its folders and then fixed in a plan that a person has seen."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

from detector.errors import InvalidInput
from detector.importing.entries import Entry

Mode = Literal["one", "folders", "none"]
_MODES = ("one", "folders", "none")

_REAL_WORDS = {"real", "nature", "natural", "authentic", "genuine", "photo", "photos", "photograph", "photographs"}
_SYNTHETIC_WORDS = {"fake", "fakes", "ai", "generated", "synthetic", "synth", "artificial", "aigc", "aigen", "gan"}
_NEGATIONS = {"non", "not", "no"}
# Words beside the ones that matter: "0_real", "train_fake", "ai-generated images".
_FILLER_WORDS = {"image", "images", "img", "imgs", "picture", "pictures", "art", "data", "set", "the", "class"}
_SPLIT_WORDS = {"train", "training", "test", "testing", "val", "valid", "validation", "eval", "dev"}
_IMAGE_ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
# More names than this on one level are scenes, persons or numbers, and not labels.
_MOST_UNKNOWN_LABELS = 20

#: The folder of an export for images without a label; to an import it is no label either.
NO_LABEL = "no label"


@dataclass(frozen=True)
class LabelPlan:
    """How an import labels its files.

    Attributes
    ----------
    mode : {"one", "folders", "none"}
        One label for all, the folder's name, or unlabelled.
    label : str or None
        The label of mode "one".
    level : int or None
        The folder level of mode "folders"; 0 is the topmost folder.
    mapping : dict of str to (str or None)
        Folder name -> label. A name that is absent is its own label; None leaves its files out.
    source : str or None
        Source tag of every file; goes before ``source_level``.
    source_level : int or None
        Folder level whose name becomes the source tag.
    per_label : int or None
        At most so many accepted images of each label, chosen at random; None: all.
    seed : int
        Of that choice.
    """

    mode: Mode
    label: str | None = None
    level: int | None = None
    mapping: dict[str, str | None] = field(default_factory=dict)
    source: str | None = None
    source_level: int | None = None
    per_label: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise InvalidInput(f"The labelling mode is {self.mode!r}; expected one of {', '.join(_MODES)}.")
        if self.mode == "one" and not self.label:
            raise InvalidInput("One label for all files was chosen, but no label was given. Choose a label.")
        if self.mode == "folders" and (self.level is None or self.level < 0):
            raise InvalidInput("Labels from folders were chosen, but no folder level was given. Choose a level.")
        if self.source_level is not None and self.source_level < 0:
            raise InvalidInput(f"The folder level of the sources is {self.source_level}; expected 0 or more.")
        if self.per_label is not None and self.per_label < 1:
            raise InvalidInput(f"At most {self.per_label} images per label were asked for; expected 1 or more.")

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Read what :meth:`to_json` wrote, or the JSON text of it.

        Raises
        ------
        InvalidInput
            It is not a plan.
        """
        try:
            return cls(**(json.loads(data) if isinstance(data, str) else data))
        except (TypeError, ValueError) as error:
            raise InvalidInput("The labelling plan cannot be read. Start the import again.") from error


@dataclass(frozen=True)
class LevelPreview:
    """One folder level of an import: the names on it, sorted, with their file counts; ``missing`` files have none."""

    level: int
    names: list[tuple[str, int]]
    missing: int


@dataclass(frozen=True)
class Assignment:
    """What the plan says about one file; ``label`` None with ``included`` True means unlabelled."""

    label: str | None
    source: str | None
    included: bool


@dataclass(frozen=True)
class Chosen:
    """An entry that the plan includes, with its label and source."""

    entry: Entry
    label: str | None
    source: str | None


class LabelQuota:
    """Counts accepted images, so that rejected and repeated files do not use up "at most N per label"."""

    def __init__(self, plan: LabelPlan, accepted: Mapping[str | None, int] | None = None) -> None:
        self._limit = plan.per_label
        self._accepted: Counter[str | None] = Counter(accepted or {})

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all; without one, every file is wanted."""
        return self._limit is not None

    def wants(self, label: str | None) -> bool:
        """Whether one more image of this label is to be imported."""
        return self._limit is None or self._accepted[label] < self._limit

    def accept(self, label: str | None) -> None:
        """Count one imported image."""
        self._accepted[label] += 1


def folder_levels(paths: Iterable[str]) -> list[LevelPreview]:
    """What lies on each folder level, for the preview in which a person picks the label's level.

    Parameters
    ----------
    paths : iterable of str
        Relative paths with "/". Where any of them ends like an image, the others are not counted.

    Returns
    -------
    list of LevelPreview
        One a level, topmost first; empty when no file lies in a folder.
    """
    folders = [path.split("/")[:-1] for path in _image_paths(paths)]
    depth = max(map(len, folders), default=0)
    previews = []
    for level in range(depth):
        counts = Counter(parts[level] for parts in folders if len(parts) > level)
        previews.append(LevelPreview(level, sorted(counts.items()), len(folders) - counts.total()))
    return previews


def suggest_plan(paths: Iterable[str], known_labels: Sequence[str]) -> LabelPlan:
    """Guess how a person meant the folders.

    The label's level is the topmost one on which most files lie in folders named like a known label or like "real",
    "fake", "ai", "generated" and so on; failing that, the topmost one that distinguishes at least two names other than
    "train" and "test". Such names are mapped to the labels ``real`` and ``synthetic`` where the function has them.
    Sources come from the next level below where every file has one.

    Parameters
    ----------
    paths : iterable of str
        Relative paths with "/".
    known_labels : sequence of str
        The function's labels.

    Returns
    -------
    LabelPlan
        Mode "none" where the folders say nothing.
    """
    levels = folder_levels(paths)
    level = _recognised_level(levels, known_labels)
    if level is None:
        level = _distinguishing_level(levels)
    if level is None:
        return LabelPlan("none")
    mapping: dict[str, str | None] = {}
    for name, _ in levels[level].names:
        label = _known_label(name, known_labels)
        if label is not None and label != name:
            mapping[name] = label
    below = level + 1
    has_sources = below < len(levels) and levels[below].missing == 0
    return LabelPlan("folders", level=level, mapping=mapping, source_level=below if has_sources else None)


def assign(entry_path: str, plan: LabelPlan) -> Assignment:
    """Label and source of one file.

    In mode "folders" a file that lies above the label's level is included without a label: it is in plain sight in
    Review then, where leaving it out would go unnoticed. So is one in a folder called ``NO_LABEL``.
    """
    folders = entry_path.split("/")[:-1]
    source = plan.source
    if source is None and plan.source_level is not None and plan.source_level < len(folders):
        source = folders[plan.source_level]
    if plan.mode == "none":
        return Assignment(None, source, True)
    if plan.mode == "one":
        return Assignment(plan.label, source, True)
    assert plan.level is not None
    if plan.level >= len(folders):
        return Assignment(None, source, True)
    name = folders[plan.level]
    label = plan.mapping.get(name, name)
    return Assignment(None if label == NO_LABEL else label, source, label is not None)


def choose(entries: Iterable[Entry], plan: LabelPlan) -> list[Chosen]:
    """The files that an import includes, in the order in which to take them.

    Parameters
    ----------
    entries : iterable of Entry
    plan : LabelPlan

    Returns
    -------
    list of Chosen
        Without ``per_label``: as they came. With it: each label in an order that is random but depends only on the
        seed and the paths, the labels in turn. The importer takes files while :class:`LabelQuota` wants them; the list
        holds all the others too, so that the next file can take a rejected one's place.
    """
    chosen = []
    for entry in entries:
        assignment = assign(entry.path, plan)
        if assignment.included:
            chosen.append(Chosen(entry, assignment.label, assignment.source))
    if plan.per_label is None:
        return chosen
    # By hash and not by a shuffle: a file more or less, or a resumed import, leaves the order of the others alone.
    chosen.sort(key=lambda item: (_random_order(item.entry.path, plan.seed), item.entry.path))
    seen: Counter[str | None] = Counter()
    ranked: list[tuple[int, str, Chosen]] = []
    for item in chosen:
        ranked.append((seen[item.label], item.label or "", item))
        seen[item.label] += 1
    return [item for _, _, item in sorted(ranked, key=lambda row: row[:2])]


def _random_order(path: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{path}".encode()).digest()


def _image_paths(paths: Iterable[str]) -> list[str]:
    """A README beside the images must not change what the folders mean."""
    everything = list(paths)
    return [path for path in everything if path.lower().endswith(_IMAGE_ENDINGS)] or everything


def _recognised_level(levels: list[LevelPreview], known_labels: Sequence[str]) -> int | None:
    best: tuple[float, int] = (0.5, 0)
    found = None
    for preview in levels:
        total = preview.missing + sum(count for _, count in preview.names)
        recognised = [(name, count) for name, count in preview.names if _meaning(name, known_labels) is not None]
        share = sum(count for _, count in recognised) / total
        meanings = {_meaning(name, known_labels) for name, _ in recognised}
        # Levels that tell labels apart go before those on which all files agree, as in real/photos/.
        if share > 0.5 and (len(meanings), share) > (best[1], best[0]):
            best, found = (share, len(meanings)), preview.level
    return found


def _distinguishing_level(levels: list[LevelPreview]) -> int | None:
    for preview in levels:
        names = {name for name, _ in preview.names if not set(_words(name)) <= _SPLIT_WORDS}
        if 2 <= len(names) <= _MOST_UNKNOWN_LABELS:
            return preview.level
    return None


def _meaning(name: str, known_labels: Sequence[str]) -> str | None:
    return _known_label(name, known_labels) or _role(name)


def _known_label(name: str, known_labels: Sequence[str]) -> str | None:
    """The function's label that a folder's name means: its own name first, then "real" or "synthetic"."""
    by_name = {label.casefold(): label for label in known_labels}
    return by_name.get(name.strip().casefold()) or by_name.get(_role(name) or "")


def _role(name: str) -> str | None:
    words = set(_words(name)) - _FILLER_WORDS - _SPLIT_WORDS
    negated = bool(words & _NEGATIONS)
    words -= _NEGATIONS
    if words and words <= _SYNTHETIC_WORDS:
        return "real" if negated else "synthetic"
    if words and words <= _REAL_WORDS:
        return "synthetic" if negated else "real"
    return None


def _words(name: str) -> list[str]:
    """Lower-case words without digits: "0_real" -> real, "AI-Generated" -> ai, generated."""
    return re.findall(r"[a-z]+", name.casefold())
