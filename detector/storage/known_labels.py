"""A function's labels as they are looked up by name: by the exact spelling first, else by any spelling of the name."""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category, normalize

from sqlalchemy import Connection, select

from detector.errors import InvalidInput
from detector.storage.label_names import TURNING, label_key
from detector.storage.schema import functions, labels


def without_controls(name: str) -> str:
    """``name`` trimmed, control characters, and halves of characters that no database stores, as spaces.

    What turns the direction of reading round is left out.
    """
    return "".join(
        " " if category(character) in ("Cc", "Cs") else character for character in name if character not in TURNING
    ).strip()


def stored_spelling(name: str) -> str:
    """``name`` as a new label is stored under it: trimmed, control characters as spaces, accents in one form (NFC)."""
    return normalize("NFC", without_controls(name))


class KnownLabels:
    """Label ids by name.

    Two labels of one name in two spellings may be stored from before names were compared by ``label_key``: the exact
    spelling tells them apart, any other spelling means the older one.

    Parameters
    ----------
    rows : iterable of (name, id)
        In the order of their making.
    """

    def __init__(self, rows: Iterable[tuple[str, str]] = ()) -> None:
        self.ids: dict[str, str] = {}
        self._spellings: dict[str, str] = {}
        for name, label_id in rows:
            self.add(name, label_id)

    def add(self, name: str, label_id: str) -> None:
        self.ids[name] = label_id
        self._spellings.setdefault(label_key(name), name)

    def spelling(self, name: str) -> str | None:
        """The stored name that ``name`` means; None where there is no such label."""
        for exact in (name, without_controls(name)):
            if exact in self.ids:
                return exact
        return self._spellings.get(label_key(without_controls(name)))

    def find(self, name: str) -> str | None:
        """The id of the label that ``name`` means; None where there is none."""
        spelling = self.spelling(name)
        return None if spelling is None else self.ids[spelling]


def no_label(name: str) -> InvalidInput:
    """The refusal of a label that a function does not have."""
    return InvalidInput(f"There is no label {name!r} in this function. Create it first.")


def known_labels(connection: Connection, function_id: str) -> KnownLabels:
    """The labels of a function."""
    rows = connection.execute(
        select(labels.c.name, labels.c.id).where(labels.c.function_id == function_id).order_by(labels.c.position)
    )
    return KnownLabels((row.name, row.id) for row in rows)


def hold_labels(connection: Connection, function_id: str) -> bool:
    """Have nobody else make or rename labels of a function until the transaction ends; whether the function is there.

    Which spellings are one name is no constraint of the database's. SQLite has one writer anyway; other databases let
    two transactions look, find nothing and insert.
    """
    found = connection.scalar(select(functions.c.id).where(functions.c.id == function_id).with_for_update())
    return found is not None
