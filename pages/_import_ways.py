"""The ways in which images come to the Import page: an archive, single files, a folder of the server."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from detector.formatting import count, file_size
from detector.importing.archive_names import ENCODINGS
from detector.importing.pending import Pending, import_folders, pending_folder, pending_zip
from detector.importing.spool import spool_files
from pages._state import IMAGE_TYPES, escape, largest_upload_mb, workspace
from pages._zip_upload import zip_upload


@st.cache_data(show_spinner="Reading the archive", max_entries=8)
def _listed_zip(path: str, title: str, encoding: str | None = None) -> Pending:
    return pending_zip(workspace(), Path(path), title, encoding)


def _with_names(pending: Pending) -> Pending:
    """The archive with its names read as a person says, where only a guess says how they are written."""
    if pending.names is None or not pending.names.guessed:
        return pending
    encodings = list(ENCODINGS)
    shown = next((path for path in pending.paths if not path.isascii()), "")
    chosen = st.selectbox(
        "The archive does not say how its file names are written. This is a guess; choose another if they look wrong.",
        encodings,
        index=encodings.index(pending.names.encoding),
        format_func=ENCODINGS.__getitem__,
        key=f"names-{pending.path.name}",
    )
    if chosen != pending.names.encoding:
        pending = _listed_zip(str(pending.path), pending.title, chosen)
        shown = next((path for path in pending.paths if not path.isascii()), shown)
    st.caption(escape(f"For example: {shown}"))
    return pending


def _with_columns(pending: Pending) -> Pending:
    """The parquet file with the column for its labels that a person chooses."""
    from detector.importing.parquet import ParquetColumns, guess_parquet_columns, parquet_column_names

    guess = guess_parquet_columns(pending.path, pending.title)
    names = [name for name in parquet_column_names(pending.path, pending.title) if name != guess.image]
    options = ["no labels", *names]
    chosen = st.selectbox(
        "Column that holds the labels",
        options,
        index=options.index(guess.label) if guess.label in options else 0,
        key=f"column-{pending.path.name}",
    )
    wanted = None if chosen == options[0] else chosen
    if wanted == guess.label:
        return pending
    columns = ParquetColumns(guess.image, wanted, guess.source, guess.split)
    return pending_zip(workspace(), pending.path, pending.title, columns=columns)


def from_zip(function_id: str) -> Pending | None:
    """An archive that was dropped; None until one has arrived."""
    upload = zip_upload(function_id)
    if upload is None:
        st.caption(
            "Far more than 1,000 images at once are fine. Folders inside may name labels and sources. "
            f"Limit: {file_size(workspace().settings.max_zip_bytes)}."
        )
        return None
    st.caption(f"{escape(upload.title)} · {file_size(upload.byte_count)}")
    pending = _listed_zip(str(upload.path), upload.title)
    return _with_columns(pending) if pending.source["from"] == "parquet" else _with_names(pending)


def from_files(function_id: str) -> Pending | None:
    """Single files, kept as one archive in the spool."""
    given = given_files(function_id)
    files = st.file_uploader(
        "Images",
        accept_multiple_files=True,
        type=IMAGE_TYPES,
        max_upload_size=largest_upload_mb(),
        label_visibility="collapsed",
        key=f"files-{function_id}-{given.round}",
    )
    st.caption("For hundreds of files. The browser holds them all in memory: for more than about 900, make a ZIP.")
    if not files:
        return None
    marker = tuple(file.file_id for file in files)
    if given.marker != marker:
        path = workspace().spool / f"{secrets.token_hex(12)}.zip"
        spool_files(path, ((file.name, file.getvalue()) for file in files))
        given.marker, given.path = marker, str(path)
    return _listed_zip(given.path, count(len(files), "file"))


@dataclass
class GivenFiles:
    """The single files that a person gave for one function.

    Attributes
    ----------
    round : int
        Counts the imports: after each the widget is a new and empty one.
    marker : tuple of str
        Which files lie in the spool now.
    path : str
        The archive there that holds them.
    """

    round: int = 0
    marker: tuple[str, ...] = ()
    path: str = ""

    def forget(self) -> None:
        """Ready for the next files; the last ones now belong to their import."""
        self.round, self.marker = self.round + 1, ()


def given_files(function_id: str) -> GivenFiles:
    """Of this session."""
    found: GivenFiles = st.session_state.setdefault(f"given-files-{function_id}", GivenFiles())
    return found


def from_folder(function_id: str) -> Pending | None:
    """A folder of the server, where that is allowed."""
    if not workspace().settings.import_root:
        st.info("Importing folders of the server is off. The server's owner can allow one with DETECTOR_IMPORT_ROOT.")
        return None
    wanted = st.selectbox(
        "Folder, below the one that the server allows",
        import_folders(workspace()),
        index=None,
        accept_new_options=True,
        placeholder="Choose, or type a path such as archive/train",
        key=f"folder-{function_id}",
    )
    return pending_folder(workspace(), wanted) if wanted else None
