"""The plan of an import: which label, source and split each file gets. A person sees it before it is carried out."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from detector.errors import InvalidInput
from detector.importing.entries import Entry
from detector.importing.splits import named_split, pure_split
from detector.storage.label_names import label_key
from detector.storage.stored_names import TRAIN, Split

if TYPE_CHECKING:
    from detector.importing.table_columns import Row

Mode = Literal["one", "folders", "table", "none"]
_MODES = ("one", "folders", "table", "none")
#: What becomes of folders such as train and test. "lock": those that are not for training are put aside as the locked
#: test set. "ignore": all alike are trained on. "folders": they are folders like any other.
Splits = Literal["lock", "ignore", "folders"]
_SPLITS = ("lock", "ignore", "folders")

#: The folder of an export for images without a label; to an import it is no label either.
NO_LABEL = "no label"


@dataclass(frozen=True)
class TableChoice:
    """The tables that give labels, and which of their columns.

    Attributes
    ----------
    paths : tuple of str
        Tables inside the source, by their entries' paths. All have the same columns.
    outside, title : str or None
        A table's file on this machine, instead of ``paths``, and what people call it; its rows name files by paths
        below the source.
    file, label, source, split : str or None
        Names of columns; only ``file`` is needed.
    """

    file: str
    paths: tuple[str, ...] = ()
    outside: str | None = None
    label: str | None = None
    source: str | None = None
    split: str | None = None
    title: str | None = None

    @property
    def name(self) -> str:
        """What people call the table, or the tables together."""
        if self.outside is not None:
            return self.title or self.outside.replace("\\", "/").rpartition("/")[2]
        if len(self.paths) == 1:
            return self.paths[0]
        return f"{self.paths[0].rpartition('/')[2]} in {len(self.paths)} folders"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what ``dataclasses.asdict`` wrote."""
        return cls(**{**data, "paths": tuple(data.get("paths", ()))})


@dataclass(frozen=True)
class LabelPlan:
    """How an import labels its files.

    Attributes
    ----------
    mode : {"one", "folders", "table", "none"}
        One label for all, the folder's name, what a table says, or unlabelled.
    label : str or None
        The label of mode "one".
    level : int or None
        The folder level of mode "folders"; 0 is the topmost folder. Unless ``splits`` is "folders", folders such as
        train and test are not counted, on whatever level they lie.
    mapping : dict of str to (str or None)
        Folder name, or value in the table -> label. A name that is absent is its own label; None leaves its files out.
        A folder that is mapped is no split, whatever it is called.
    source : str or None
        Source tag of every file; goes before ``source_level``.
    source_level : int or None
        Folder level whose name becomes the source tag; counted like ``level``.
    source_guessed : bool
        Nobody has said that the names on that level are collections or generators.
    per_label : int or None
        At most so many accepted images of each label, chosen at random, those put aside included; None: all.
    seed : int
        Of that choice.
    splits : {"lock", "ignore", "folders"}
    table : TableChoice or None
        Of mode "table".
    """

    mode: Mode
    label: str | None = None
    level: int | None = None
    mapping: dict[str, str | None] = field(default_factory=dict)
    source: str | None = None
    source_level: int | None = None
    per_label: int | None = None
    seed: int = 0
    splits: Splits = "folders"
    source_guessed: bool = False
    table: TableChoice | None = None

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise InvalidInput(f"The labelling mode is {self.mode!r}; expected one of {', '.join(_MODES)}.")
        if self.splits not in _SPLITS:
            raise InvalidInput(f"What becomes of splits is {self.splits!r}; expected one of {', '.join(_SPLITS)}.")
        if self.mode == "one" and not self.label:
            raise InvalidInput("One label for all files was chosen, but no label was given. Choose a label.")
        if self.mode == "folders" and (self.level is None or self.level < 0):
            raise InvalidInput("Labels from folders were chosen, but no folder level was given. Choose a level.")
        if self.mode == "table" and self.table is None:
            raise InvalidInput("Labels from a table were chosen, but no table was given. Choose a table.")
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
            values = dict(json.loads(data) if isinstance(data, str) else data)
            if isinstance(values.get("table"), Mapping):
                values["table"] = TableChoice.from_json(values["table"])
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise InvalidInput("The labelling plan cannot be read. Start the import again.") from error


@dataclass(frozen=True)
class Assignment:
    """What the plan says about one file; ``label`` None with ``included`` True means unlabelled."""

    label: str | None
    source: str | None
    included: bool
    split: Split = TRAIN


@dataclass(frozen=True)
class Chosen:
    """An entry that the plan includes, with its label, source and split."""

    entry: Entry
    label: str | None
    source: str | None
    split: Split = TRAIN


class LabelQuota:
    """Counts accepted images, so that rejected and repeated files do not use up "at most N per label"."""

    def __init__(self, plan: LabelPlan) -> None:
        self._limit = plan.per_label
        self._accepted: Counter[str | None] = Counter()

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


def counted_folders(path: str, splits: Splits, mapped: Iterable[str] = ()) -> list[str]:
    """The folders of a path that count as levels: all but the splits, unless those are folders like any other."""
    folders = path.split("/")[:-1]
    if splits == "folders":
        return folders
    return [name for name in folders if name in mapped or pure_split(name) is None]


def split_of(path: str, mapped: Iterable[str] = ()) -> Split | None:
    """The split that a path's folders name: a folder of its own goes before one such as "test_fake"."""
    folder = path.rpartition("/")[0]
    return _split_of(folder, tuple(name for name in folder.split("/") if name in mapped))


@lru_cache(maxsize=65_536)
def _split_of(folder: str, mapped: tuple[str, ...]) -> Split | None:
    folders = folder.split("/")
    for read in (pure_split, named_split):
        for name in folders:
            if (read is named_split or name not in mapped) and (split := read(name)) is not None:
                return split
    return None


def assign(entry_path: str, plan: LabelPlan, row: Row | None = None) -> Assignment:
    """Label, source and split of one file.

    In mode "folders" a file that lies above the label's level is included without a label: it is in plain sight in
    Review then, where leaving it out would go unnoticed. So is one in a folder called ``NO_LABEL``, and in mode "table"
    one that no row names.

    Parameters
    ----------
    entry_path : str
    plan : LabelPlan
    row : Row, optional
        What the plan's table says of this file.
    """
    folders = counted_folders(entry_path, plan.splits, plan.mapping)
    source = plan.source
    if source is None and row is not None and row.source:
        source = row.source
    if source is None and plan.source_level is not None and plan.source_level < len(folders):
        source = folders[plan.source_level]
    split: Split = TRAIN
    if plan.splits == "lock":
        in_table = pure_split(row.split) if row is not None and row.split else None
        split = in_table or split_of(entry_path, plan.mapping) or TRAIN
    if plan.mode == "none":
        return Assignment(None, source, True, split)
    if plan.mode == "one":
        return Assignment(plan.label, source, True, split)
    if plan.mode == "table":
        name = row.label if row is not None else None
    else:
        assert plan.level is not None
        name = folders[plan.level] if plan.level < len(folders) else None
    if not name:
        return Assignment(None, source, True, split)
    label = plan.mapping.get(name, name)
    if label is None:
        return Assignment(None, source, False, split)
    named = None if label_key(label) == NO_LABEL else unicodedata.normalize("NFC", label)
    return Assignment(named, source, True, split)


def choose(entries: Iterable[Entry], plan: LabelPlan, rows: Mapping[str, Row] | None = None) -> list[Chosen]:
    """The files that an import includes, in the order in which to take them.

    Parameters
    ----------
    entries : iterable of Entry
    plan : LabelPlan
    rows : mapping of path to Row, optional
        What the plan's tables say.

    Returns
    -------
    list of Chosen
        Without ``per_label``: as they came. With it: each label in an order that is random but depends only on the
        seed and the paths, the labels in turn. The importer takes files while :class:`LabelQuota` wants them; the list
        holds all the others too, so that the next file can take a rejected one's place.
    """
    chosen = []
    for entry in entries:
        given = assign(entry.path, plan, rows.get(entry.path) if rows else None)
        if given.included:
            chosen.append(Chosen(entry, given.label, given.source, given.split))
    if plan.per_label is None:
        return chosen
    # By hash and not by a shuffle: a file more or less, or a resumed import, leaves the order of the others alone.
    chosen.sort(key=lambda item: (_random_order(item.entry.path, plan.seed), item.entry.path))
    seen: Counter[str | None] = Counter()
    ranked: list[tuple[int, str, Chosen]] = []
    for item in chosen:
        ranked.append((seen[item.label], item.label or "", item))
        seen[item.label] += 1
    return [item for _, _, item in sorted(ranked, key=lambda ranking: ranking[:2])]


def planned_counts(
    paths: Sequence[str], plan: LabelPlan, rows: Mapping[str, Row] | None = None
) -> Counter[tuple[str | None, Split]]:
    """How many files of each label and split a plan would import, bad files and repetitions counted too."""
    counts: Counter[tuple[str | None, Split]] = Counter()
    if plan.per_label is not None:
        # The order of the import itself.
        paths = sorted(paths, key=lambda path: (_random_order(path, plan.seed), path))
    quota = LabelQuota(plan)
    for path in paths:
        given = assign(path, plan, rows.get(path) if rows else None)
        if given.included and quota.wants(given.label):
            quota.accept(given.label)
            counts[given.label, given.split] += 1
    return counts


def _random_order(path: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{path}".encode()).digest()
