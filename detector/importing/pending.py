"""What is about to be imported: the paths of an archive or folder, before anybody decided on labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.errors import InvalidInput, NotFound
from detector.importing.archive_names import ArchiveNames
from detector.importing.batch import folder_payload, parquet_payload, zip_payload
from detector.importing.clutter import is_clutter, passed_over
from detector.importing.entries import ZipSource, printable
from detector.importing.guessing import image_paths
from detector.importing.label_tables import FoundTable, find_tables
from detector.importing.labelling import LabelPlan
from detector.importing.opening import open_source, rows_of
from detector.importing.table_columns import Row
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.importing.parquet_layout import ParquetColumns

_PARQUET_MAGIC = b"PAR1"
_NO_PLAN = LabelPlan("none")


@dataclass(frozen=True)
class Pending:
    """A source that can be read.

    Attributes
    ----------
    path : Path
        Of the archive or folder; of the first of several parquet files.
    title : str
        What people call it.
    paths : tuple of str
        Its files as shown to people, without tables of labels.
    tables : tuple of FoundTable
    passed_over : str
        One sentence about files that are nobody's samples, or empty.
    names : ArchiveNames or None
        Of an archive: how its names were read.
    source : dict
        The payload of its import, but for the plan.
    rows : mapping of path to Row
        What it says of its files itself: the columns of parquet files.
    """

    path: Path
    title: str
    paths: tuple[str, ...]
    tables: tuple[FoundTable, ...] = ()
    passed_over: str = ""
    names: ArchiveNames | None = None
    source: dict[str, Any] = field(default_factory=dict, repr=False)
    rows: Mapping[str, Row] = field(default_factory=dict, repr=False)

    def payload(self, plan: LabelPlan, relabel: bool = False) -> dict[str, Any]:
        """The import job's payload for this source and plan; plain JSON types."""
        wanted = {**self.source, "plan": plan.to_json()}
        if relabel:
            wanted["relabel"] = True
        return dict(json.loads(json.dumps(wanted)))


def pending_zip(
    ws: Workspace, path: Path, title: str, encoding: str | None = None, columns: ParquetColumns | None = None
) -> Pending:
    """List an archive or a parquet file, such as one in the spool.

    Raises ArchiveError, InvalidInput (it holds no files).
    """
    if is_parquet_file(path):
        return _pending(ws, path, title, parquet_payload([(path, title)], _NO_PLAN, title, columns))
    return _pending(ws, path, title, zip_payload(path, _NO_PLAN, title, encoding))


def pending_path(
    ws: Workspace, path: Path, encoding: str | None = None, columns: ParquetColumns | None = None
) -> Pending:
    """List a folder, archive or parquet file of this machine, for somebody in their own shell: links are followed.

    Raises
    ------
    ArchiveError, InvalidInput
        It cannot be read, or holds no files.
    """
    title = printable(path.name)
    if path.is_dir():
        return _folder(ws, path, title, True, columns)
    if not path.is_file():
        raise InvalidInput(f"There is no folder {printable(str(path))}. Give one that holds a folder for each label.")
    return pending_zip(ws, path, title, encoding, columns)


def is_parquet_file(path: Path) -> bool:
    """Whether a file begins as parquet files do."""
    try:
        # A pipe would be waited for.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(4) == _PARQUET_MAGIC
    except OSError:
        return False


def pending_folder(ws: Workspace, wanted: str) -> Pending:
    """List a folder below the allowed root.

    Raises
    ------
    InvalidInput
        Reading folders is off, the folder is not below the root, or holds no files.
    NotFound
        There is no such folder.
    """
    if not ws.settings.import_root:
        raise InvalidInput("Reading folders of the server is off. Set DETECTOR_IMPORT_ROOT to the folder to allow.")
    root = Path(ws.settings.import_root).expanduser().resolve()
    try:
        path = (root / wanted.strip().lstrip("/")).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name that no file can have
        raise NotFound("folder", wanted) from error
    # After resolving, so that neither ".." nor a link leads out.
    if not path.is_relative_to(root):
        raise InvalidInput(f"{wanted} does not lie below the folder that may be read. Choose one inside it.")
    if not path.is_dir():
        raise NotFound("folder", wanted)
    return _folder(ws, path, printable(path.name), False)


def import_folders(ws: Workspace, limit: int = 200) -> list[str]:
    """The folders directly below the allowed root, to choose from; empty when reading folders is off."""
    if not ws.settings.import_root:
        return []
    root = Path(ws.settings.import_root).expanduser().resolve()
    if not root.is_dir():
        return []
    inside = (item for item in root.iterdir() if item.is_dir() and item.resolve().is_relative_to(root))
    return sorted(printable(item.name) for item in inside if not is_clutter(item.name))[:limit]


def _folder(
    ws: Workspace, path: Path, title: str, follow_links: bool, columns: ParquetColumns | None = None
) -> Pending:
    found = _pending(ws, path, title, folder_payload(path, _NO_PLAN, follow_links))
    parquet = [name for name in found.paths if name.lower().endswith(".parquet")]
    # The hub's own layout: a folder of parquet files and a README. Beside images they are files like any other.
    if parquet and image_paths(found.paths) == list(found.paths):
        files = [(path / name, name) for name in parquet if is_parquet_file(path / name)]
        if files:
            return _pending(ws, path, title, {**parquet_payload(files, _NO_PLAN, title, columns), "path": str(path)})
    return found


def _pending(ws: Workspace, path: Path, title: str, source: dict[str, Any]) -> Pending:
    with open_source(ws, source) as opened:
        entries = opened.entries()
        tables = tuple(find_tables(entries))
        left_out = passed_over(opened.passed_over)
        names = opened.names if isinstance(opened, ZipSource) else None
        rows = rows_of(opened)
    if not entries:
        raise InvalidInput(f"There are no files in {title}. Choose one with images in it. {left_out}".rstrip())
    listed = {name for table in tables for name in table.paths}
    paths = tuple(entry.path for entry in entries if entry.path not in listed)
    return Pending(path, title, paths, tables, left_out, names, source, rows)
