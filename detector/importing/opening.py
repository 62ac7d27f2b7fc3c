"""From the payload of an import job to the source it reads from: one place for every kind of source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detector.errors import InvalidInput
from detector.importing.entries import FolderSource, Source, ZipLimits, ZipSource
from detector.importing.table_columns import Row
from detector.workspace import Workspace


def zip_limits(ws: Workspace) -> ZipLimits:
    """The limits of the settings for archives."""
    return ZipLimits(
        max_entries=ws.settings.max_zip_entries,
        max_entry_bytes=ws.settings.max_image_bytes,
        max_total_bytes=ws.settings.max_zip_bytes,
    )


def rows_of(source: Source) -> dict[str, Row]:
    """What a source itself says of its files: the columns of parquet files. Ask after ``entries``."""
    return dict(getattr(source, "rows", {}))


def open_source(ws: Workspace, payload: Mapping[str, Any]) -> Source:
    """Open what a payload names; use it in a ``with`` statement.

    Raises
    ------
    ArchiveError, InvalidInput
        It cannot be used as a whole.
    """
    return SOURCES[payload["from"]](ws, payload)


def _zip(ws: Workspace, payload: Mapping[str, Any]) -> Source:
    return ZipSource(Path(payload["path"]), zip_limits(ws), payload["title"], payload.get("encoding"))


def _folder(ws: Workspace, payload: Mapping[str, Any]) -> Source:
    path = Path(payload["path"])
    if not path.is_dir():
        raise InvalidInput(f"There is no folder {payload['title']}. Check the name.")
    return FolderSource(path, ws.settings.max_image_bytes, bool(payload.get("follow_links")))


def _parquet(ws: Workspace, payload: Mapping[str, Any]) -> Source:
    # Here, not above: pyarrow takes a moment, and most imports do without it.
    from detector.importing.parquet import ParquetColumns, ParquetSource

    chosen = payload.get("columns")
    files = [(Path(path), name) for path, name in payload["files"]]
    return ParquetSource(files, zip_limits(ws), ParquetColumns.from_json(chosen) if chosen else None)


#: How each kind of source is opened, by the payload's ``from``.
SOURCES: dict[str, Callable[[Workspace, Mapping[str, Any]], Source]] = {
    "zip": _zip,
    "folder": _folder,
    "parquet": _parquet,
}
