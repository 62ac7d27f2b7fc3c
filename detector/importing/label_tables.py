"""Tables of labels beside the images of a source: which are there, what they say, and for which file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from detector.errors import EntryUnreadable, ImageError, ImageTooManyBytes, InvalidInput
from detector.importing.entries import Entry, printable, read_file
from detector.importing.guessing import image_paths
from detector.importing.labelling import TableChoice
from detector.importing.table_columns import Columns, Matched, combine, guess_columns, match
from detector.importing.tables import (
    MAX_TABLE_BYTES,
    LabelTable,
    is_hugging_face_metadata,
    looks_like_table,
    read_table,
    table_too_large,
)

# Some sets have a small JSON file beside each image: these say nothing of labels, and reading all would take minutes.
_TABLES_LOOKED_AT = 24


@dataclass(frozen=True)
class FoundTable:
    """One table beside the images, or several of one name and columns, as train/metadata.csv and test/metadata.csv.

    Attributes
    ----------
    paths : tuple of str
        Their entries' paths.
    columns : tuple of str
    guess : Columns
    listed : int
        Images that its rows name.
    """

    paths: tuple[str, ...]
    columns: tuple[str, ...]
    guess: Columns
    listed: int

    @property
    def name(self) -> str:
        """What people call it."""
        return self.choice().name

    @property
    def is_conventional(self) -> bool:
        """Whether it lies there by the convention of the Hugging Face hub, which says how it is to be read."""
        return all(is_hugging_face_metadata(path) for path in self.paths)

    def choice(self, columns: Columns | None = None) -> TableChoice:
        """These tables for a plan, with the columns given or guessed."""
        chosen = columns or self.guess
        return TableChoice(chosen.file, self.paths, None, chosen.label, chosen.source, chosen.split)


def find_tables(entries: Sequence[Entry]) -> list[FoundTable]:
    """The tables among entries whose rows name images among them; those that name most first."""
    candidates = sorted(
        (entry for entry in entries if looks_like_table(entry.path)), key=lambda entry: (-(entry.size or 0), entry.path)
    )
    if not candidates:
        return []
    images = image_paths(entry.path for entry in entries)
    together: dict[tuple[str, tuple[str, ...]], list[tuple[str, LabelTable]]] = {}
    for entry in candidates[:_TABLES_LOOKED_AT]:
        try:
            table = read_table(entry.read(), entry.path)
        except (InvalidInput, ImageError):
            continue  # not a table that we can read; the import reports the file like any other
        together.setdefault((PurePosixPath(entry.path).name, table.columns), []).append((entry.path, table))
    found = []
    for (_, columns), tables in together.items():
        if (guess := _guess(tables, images)) is not None:
            listed = len({path for path, table in tables for path in match(table, guess, images, path).rows})
            if listed:
                found.append(FoundTable(tuple(sorted(path for path, _ in tables)), columns, guess, listed))
    return sorted(found, key=lambda item: (-item.listed, item.paths))


def _guess(tables: Sequence[tuple[str, LabelTable]], images: Sequence[str]) -> Columns | None:
    """The columns of several tables of one shape: what the first that has an opinion says, completed by the others."""
    guess: Columns | None = None
    for path, table in tables:
        found = guess_columns(table, images, path)
        if found is None:
            continue
        if guess is None:
            guess = found
        elif found.file == guess.file:
            guess = replace(
                guess,
                label=guess.label or found.label,
                source=guess.source or found.source,
                split=guess.split or found.split,
            )
    return guess


def read_outside(path: Path, images: Sequence[str], title: str | None = None) -> tuple[LabelTable, Columns | None]:
    """A table of this machine, which people call ``title``, and its columns as guessed. Raises InvalidInput."""
    return (table := _outside(path, title)), guess_columns(table, images)


def read_rows(entries: Sequence[Entry], choice: TableChoice) -> Matched:
    """What the chosen tables together say of the images among entries.

    Raises
    ------
    InvalidInput
        A table is gone or has no such column.
    """
    images = image_paths(entry.path for entry in entries if entry.path not in choice.paths)
    columns = Columns(choice.file, choice.label, choice.source, choice.split)
    parts = _matched(entries, choice, columns, images)
    for place, part in parts:
        if not part.rows:
            raise InvalidInput(
                f"No row of {place} names a file of this import by its column {choice.file!r}. Choose another column."
            )
    return combine([part for _, part in parts], images)


def _matched(
    entries: Sequence[Entry], choice: TableChoice, columns: Columns, images: Sequence[str]
) -> list[tuple[str, Matched]]:
    if choice.outside is not None:
        table = _outside(Path(choice.outside), choice.title)
        return [(table.name, match(_checked(table, columns), columns, images))]
    by_path = {entry.path: entry for entry in entries}
    found = []
    for path in choice.paths:
        if path not in by_path:
            raise InvalidInput(f"There is no table {path} any more. Start the import again.")
        try:
            table = read_table(by_path[path].read(), path)
        except ImageError as error:
            raise InvalidInput(f"The table {path} cannot be read: {error}") from error
        found.append((path, match(_checked(table, columns), columns, images, path)))
    return found


def _checked(table: LabelTable, columns: Columns) -> LabelTable:
    for name in (columns.file, columns.label, columns.source, columns.split):
        if name is not None and name not in table.columns:
            shown = ", ".join(table.columns[:12])
            raise InvalidInput(f"{table.name} has no column {name!r}; it has {shown}.")
    return table


def _outside(path: Path, title: str | None) -> LabelTable:
    name = title or printable(path.name)
    try:
        data = read_file(path, name, MAX_TABLE_BYTES)
    except ImageTooManyBytes as error:
        raise table_too_large(name, error.found) from error
    except EntryUnreadable as error:
        raise InvalidInput(f"The table {name} cannot be read ({error.why}). Check its name and rights.") from error
    return read_table(data, name)
