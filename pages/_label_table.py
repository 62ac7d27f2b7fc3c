"""The part of the Import page that asks for a table of labels and what its columns mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import streamlit as st

from detector.importing.guessing import image_paths
from detector.importing.label_tables import read_outside
from detector.importing.labelling import TableChoice
from detector.importing.pending import Pending
from detector.importing.spool import spool_table
from detector.importing.tables import TABLE_ENDINGS
from pages._state import workspace

_NONE = "none"
_OWN = "another file"
_ASKED = {
    "file": "names the file",
    "label": "holds the label",
    "source": "holds the source",
    "split": "holds the split",
}


def label_table(pending: Pending, key: str) -> TableChoice | None:
    """Ask which table, of those beside the images or an uploaded one, and which columns; None while that is open."""
    found = {table.name: table for table in pending.tables}
    wanted = _OWN
    if found:
        wanted = st.selectbox("Table", [*found, _OWN], key=f"{key}-which")
    if wanted != _OWN:
        return _columns(found[wanted].columns, found[wanted].choice(), f"{key}-{wanted}")
    given = _uploaded(key)
    if given is None:
        return None
    path, name = given
    table, guess = read_outside(path, image_paths(pending.paths), name)
    start = TableChoice(table.columns[0], outside=str(path), title=name)
    if guess is not None:
        start = replace(start, file=guess.file, label=guess.label, source=guess.source, split=guess.split)
    return _columns(table.columns, start, f"{key}-{path.stem}")


def _uploaded(key: str) -> tuple[Path, str] | None:
    """A table that was dropped, kept in the spool: (path, name on the person's machine)."""
    file = st.file_uploader(
        "A CSV or JSON Lines file with a row for each image",
        type=[ending.lstrip(".") for ending in (*TABLE_ENDINGS, ".json")],
        key=f"{key}-file",
    )
    if file is None:
        return None
    kept: tuple[str, Path] | None = st.session_state.get(f"{key}-kept")
    if kept is None or kept[0] != file.file_id or not kept[1].exists():
        kept = (file.file_id, spool_table(workspace(), file.getvalue()))
        st.session_state[f"{key}-kept"] = kept
    return kept[1], file.name


def _columns(columns: tuple[str, ...], start: TableChoice, key: str) -> TableChoice | None:
    chosen: dict[str, str | None] = {}
    for place, (name, what) in zip(st.columns(len(_ASKED)), _ASKED.items(), strict=True):
        options = list(columns) if name == "file" else [_NONE, *columns]
        current = getattr(start, name)
        value = place.selectbox(
            f"Column that {what}",
            options,
            index=options.index(current) if current in options else 0,
            key=f"{key}-{name}",
        )
        chosen[name] = None if name != "file" and value == _NONE else value
    if chosen["label"] is None:
        st.caption("Choose the column that holds the label.")
        return None
    return replace(
        start, file=chosen["file"] or "", label=chosen["label"], source=chosen["source"], split=chosen["split"]
    )
