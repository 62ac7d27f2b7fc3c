"""What the columns of a table mean, guessed and then fixed by a person, and what the rows then say of each file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from detector.errors import InvalidInput
from detector.importing.table_files import FileIndex
from detector.importing.tables import LabelTable, ends_like_image
from detector.storage.label_names import label_key

# The surest names first.
_FILE_NAMES = (
    "filename", "filepath", "filepaths", "filenames", "file", "files", "path", "paths", "image", "images", "imagepath",
    "imagename", "imagefile", "img", "imgpath", "imgname", "imageid", "id", "name", "key", "url", "uri",
)  # fmt: skip
_LABEL_NAMES = (
    "label", "labels", "labelname", "labeltext", "isai", "isaigenerated", "aigenerated", "isgenerated", "generated",
    "isfake", "fake", "issynthetic", "synthetic", "isreal", "real", "realorfake", "realfake", "realorai", "aiorreal",
    "class", "classes", "classname", "classlabel", "target", "targets", "truth", "groundtruth", "gt", "annotation",
    "annotations", "category", "categoryname", "tag", "y", "labelid", "classid", "categoryid",
)  # fmt: skip
_LABEL_WORDS = ("label", "labels", "class", "target", "truth", "category", "annotation")
_SOURCE_NAMES = (
    "source", "sources", "sourcename", "generator", "generatorname", "model", "modelname", "collection", "camera",
    "cameramodel", "dataset", "datasetname", "origin", "creator", "method",
)  # fmt: skip
_SPLIT_NAMES = ("split", "splits", "set", "subset", "partition", "fold", "usage", "phase")
_SPLIT_VALUES = {
    "train", "training", "trainset", "test", "testing", "testset", "val", "valid", "validation", "eval", "evaluation",
    "dev", "holdout", "public", "private", "unlabeled", "unlabelled", "unsupervised", "extra",
}  # fmt: skip
_MOST_SPLITS = 12
_NEVER_LABELS = {"width", "height", "size", "format", "mode", "ext", "extension", "quality", "channels", "index"}
_SAMPLE_ROWS = 2_000
# As for folders: more are scenes, persons or numbers, and not labels.
_MOST_GUESSED_LABELS = 20
_MOST_NAMED_LABELS = 200


@dataclass(frozen=True)
class Columns:
    """Which column of a table names the file, and which say its label, source and split; None: no column does."""

    file: str
    label: str | None = None
    source: str | None = None
    split: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The choice as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        InvalidInput
            It is no such choice.
        """
        try:
            columns = cls(**data)
        except TypeError as error:
            raise InvalidInput("The choice of the table's columns cannot be read. Choose them again.") from error
        texts = (columns.label, columns.source, columns.split)
        if not isinstance(columns.file, str) or not all(text is None or isinstance(text, str) for text in texts):
            raise InvalidInput("The choice of the table's columns cannot be read. Choose them again.")
        return columns


@dataclass(frozen=True)
class Row:
    """What a table says of one file; None where it says nothing."""

    label: str | None
    source: str | None
    split: str | None


@dataclass(frozen=True)
class Matched:
    """What the rows of a table say of the files of an import.

    Attributes
    ----------
    rows : dict of str to Row
        Path -> what is said of it. Files that the table does not name are absent.
    unmatched_rows : int
        Rows that name none of the files.
    unlisted_files : int
        Files that no row names.
    contradictions : tuple of str
        Sorted paths of the files to which the table gives different labels; these get none.
    ambiguous_rows : int
        Those of ``unmatched_rows`` whose name fits several files.
    """

    rows: dict[str, Row]
    unmatched_rows: int
    unlisted_files: int
    contradictions: tuple[str, ...]
    ambiguous_rows: int = 0


def guess_columns(table: LabelTable, paths: Sequence[str], table_path: str = "") -> Columns | None:
    """Guess what the columns of a table mean.

    The file's column is the one whose cells name the most of the files; the others go by their names, and a label's
    column may also be the only one left with 2 to 20 different values.

    Parameters
    ----------
    table : LabelTable
    paths : sequence of str
        Of the images.
    table_path : str
        Of the table, where it lies among them.

    Returns
    -------
    Columns or None
        None where no column names half of the files, nor files in half of its rows: the table is about something else.
    """
    index = FileIndex(paths, table_path)
    every = range(len(table.columns))
    # Some rows from all over tell enough, unless the table lists many more files than these.
    sample = table.rows[:: max(1, len(table.rows) // _SAMPLE_ROWS)]
    exact = [at for at in every if 10 * index.count_exact(row[at] for row in sample) >= 9 * len(sample)]
    file = _file_column(table, exact or every, sample, index)
    if file is None and len(sample) < len(table.rows):
        file = _file_column(table, every, table.rows, index)
    if file is None:
        return None
    label, source, split = guess_facts(table, {file})
    return Columns(file, label, source, split)


def _file_column(
    table: LabelTable, candidates: Iterable[int], rows: Sequence[Sequence[str]], index: FileIndex
) -> str | None:
    best: tuple[float, ...] = ()
    file = None
    for at in candidates:
        cells = [row[at] for row in rows]
        found = index.find(cells).files
        named = len(set(found.values()))
        telling = sum(cell in found for cell in cells)
        if not named or (2 * telling < len(cells) and 2 * named < index.count):
            continue
        column = table.columns[at]
        with_ending = any(map(ends_like_image, found))
        # Rounded: a file or two more are no reason to prefer the number of a row to the file's name.
        share = round(named / min(index.count, len(cells)), 2)
        score = (share, with_ending, -_rank(column, _FILE_NAMES), -at)
        if score > best:
            best, file = score, column
    return file


def names_label(column: str) -> bool:
    """Whether a column is called like one that holds labels, so that it need not be guessed from its values."""
    return _rank(column, _LABEL_NAMES) < len(_LABEL_NAMES) or bool(set(_words(column)) & set(_LABEL_WORDS))


def guess_facts(table: LabelTable, taken: Iterable[str]) -> tuple[str | None, str | None, str | None]:
    """Guess which columns hold the label, the source and the split, among those that are not taken."""
    left = {}
    for at, column in enumerate(table.columns):
        if column not in set(taken):
            values = Counter(row[at] for row in table.rows)
            del values[""]
            if values:
                left[column] = values
    split = _named(left, _SPLIT_NAMES, _are_splits) or next(
        (column for column, values in left.items() if len(values) > 1 and _are_split_words(values)), None
    )
    left = {column: values for column, values in left.items() if column != split and not _are_split_words(values)}
    label = _named(left, _LABEL_NAMES, lambda values: len(values) <= _MOST_NAMED_LABELS)
    others = {column: values for column, values in left.items() if column != label}
    source = _named(others, _SOURCE_NAMES, lambda values: len(values) <= max(_MOST_GUESSED_LABELS, values.total() / 2))
    if label is None:
        few = [
            column
            for column, values in left.items()
            if column != source
            and not set(_words(column)) & _NEVER_LABELS
            and 2 <= len(values) <= min(_MOST_GUESSED_LABELS, values.total() - 1)
            and not any(map(ends_like_image, values))
        ]
        spoken = [column for column in few if set(_words(column)) & set(_LABEL_WORDS)]
        if len(spoken) == 1 or len(few) == 1:
            label = (spoken if len(spoken) == 1 else few)[0]
    return label, source, split


def match(table: LabelTable, columns: Columns, paths: Sequence[str], table_path: str = "") -> Matched:
    """What a table says of each file.

    Parameters
    ----------
    table : LabelTable
    columns : Columns
    paths : sequence of str
        Of the images.
    table_path : str
        Of the table, where it lies among them.

    Returns
    -------
    Matched
        A file that is named twice has the label of the row that gives one; where its sources or splits differ, it has
        none. Cells with several values are one value.

    Raises
    ------
    InvalidInput
        The table has no such column.
    """
    at = table.index(columns.file)
    facts = [None if name is None else table.index(name) for name in (columns.label, columns.source, columns.split)]
    found = FileIndex(paths, table_path).find(row[at] for row in table.rows)
    rows: dict[int, Row] = {}
    contradictions: set[int] = set()
    unmatched = ambiguous = 0
    for cells in table.rows:
        number = found.files.get(cells[at])
        if number is None:
            unmatched += 1
            ambiguous += cells[at] in found.ambiguous
            continue
        row = Row(*(None if fact is None else _one_line(cells[fact]) for fact in facts))
        before = rows.get(number)
        if before is None:
            rows[number] = row
            continue
        if _contradict(before, row):
            contradictions.add(number)
        rows[number] = _joined(before, row)
    for number in contradictions:
        rows[number] = Row(None, rows[number].source, rows[number].split)
    return Matched(
        {paths[number]: row for number, row in rows.items()},
        unmatched,
        len(paths) - len(rows),
        tuple(sorted(paths[number] for number in contradictions)),
        ambiguous,
    )


def combine(parts: Sequence[Matched], paths: Sequence[str]) -> Matched:
    """What several tables say together, such as the ``metadata.csv`` of ``train/`` and that of ``test/``.

    Between them as within one: a file with two labels gets none and is among the contradictions.
    """
    rows: dict[str, Row] = {}
    contradictions = {path for part in parts for path in part.contradictions}
    for part in parts:
        for path, row in part.rows.items():
            before = rows.get(path)
            if before is not None and _contradict(before, row):
                contradictions.add(path)
            rows[path] = row if before is None else _joined(before, row)
    for path in contradictions:
        rows[path] = Row(None, rows[path].source, rows[path].split)
    return Matched(
        rows,
        sum(part.unmatched_rows for part in parts),
        len(paths) - len(rows),
        tuple(sorted(contradictions)),
        sum(part.ambiguous_rows for part in parts),
    )


def _contradict(one: Row, other: Row) -> bool:
    return bool(one.label and other.label) and label_key(one.label or "") != label_key(other.label or "")


def _joined(one: Row, other: Row) -> Row:
    return Row(one.label or other.label, _agreed(one.source, other.source), _agreed(one.split, other.split))


def _one_line(cell: str) -> str | None:
    if not cell.isprintable():
        cell = "".join(character if character.isprintable() else " " for character in cell)
        cell = " ".join(cell.split())
    return cell or None


def _agreed(one: str | None, other: str | None) -> str | None:
    return one if other is None or one == other else other if one is None else None


def _are_splits(values: Counter[str]) -> bool:
    return len(values) <= _MOST_SPLITS and (
        _are_split_words(values) or all(re.fullmatch(r"(fold)?[ _-]?\d{1,2}", value.casefold()) for value in values)
    )


def _are_split_words(values: Iterable[str]) -> bool:
    return all(words and words <= _SPLIT_VALUES for words in (set(_words(value)) for value in values))


def _named(
    columns: Mapping[str, Counter[str]], names: Sequence[str], fits: Callable[[Counter[str]], bool]
) -> str | None:
    fitting = [column for column, values in columns.items() if _rank(column, names) < len(names) and fits(values)]
    return min(fitting, key=lambda column: _rank(column, names), default=None)


def _rank(column: str, names: Sequence[str]) -> int:
    """The column's place among the names; of ``annotation.label`` the last part counts too."""
    joined = "".join(_words(column))
    last = "".join(_words(column.rpartition(".")[2]))
    ranks = [rank for rank, name in enumerate(names) if name in (joined, last)]
    if not ranks and names is _FILE_NAMES and joined.endswith("filename"):
        return 0
    return ranks[0] if ranks else len(names)


def _words(text: str) -> list[str]:
    """Lower-case words: "isAI_generated" -> is, ai, generated."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return re.findall(r"[^\W_]+", apart.casefold())
