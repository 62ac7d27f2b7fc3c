"""From the payload of an import job to the source it reads from: one place for every kind of source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.datasets import SampleImage
from detector.datasets.builtin import builtin_sample
from detector.datasets.cifake import fetch_cifake
from detector.errors import InvalidInput
from detector.importing.entries import FolderSource, Source, ZipLimits, ZipSource
from detector.importing.run_files import SomeFiles, run_source
from detector.importing.table_columns import Row
from detector.progress import Report, silent
from detector.storage import invoke_runs
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


@dataclass(frozen=True)
class ReadyMade:
    """Images that bring their labels themselves, so that no plan names any: ``total`` of them are to come."""

    images: Iterable[SampleImage]
    total: int


@dataclass(frozen=True)
class ImportKind:
    """One kind of what can be imported; see `KINDS`.

    Attributes
    ----------
    name : str
        The payload's ``from``. Jobs that wait carry it: it must never change.
    open : callable
        (workspace, payload, report) -> `Source`, used in a ``with`` statement, whose files the payload's plan labels;
        or `ReadyMade`.
    after : callable
        (workspace, payload) -> files of the spool that the import reads. They are kept while it waits or runs, and
        removed when it has ended.
    """

    name: str
    open: Callable[[Workspace, Mapping[str, Any], Report], Source | ReadyMade]
    after: Callable[[Workspace, Mapping[str, Any]], list[Path]]


def open_source(ws: Workspace, payload: Mapping[str, Any]) -> Source:
    """Open the files that a payload names; use it in a ``with`` statement.

    Raises
    ------
    ArchiveError, InvalidInput
        It cannot be used as a whole.
    """
    opened = KINDS[payload["from"]].open(ws, payload, silent)
    if isinstance(opened, ReadyMade):
        raise InvalidInput(f"{payload['title']} has no files that could be listed. Import it as a whole.")
    return opened


def _zip(ws: Workspace, payload: Mapping[str, Any], _report: Report) -> Source:
    return ZipSource(Path(payload["path"]), zip_limits(ws), payload["title"], payload.get("encoding"))


def _folder(ws: Workspace, payload: Mapping[str, Any], _report: Report) -> Source:
    path = Path(payload["path"])
    if not path.is_dir():
        raise InvalidInput(f"There is no folder {payload['title']}. Check the name.")
    return FolderSource(path, ws.settings.max_image_bytes, bool(payload.get("follow_links")))


def _parquet(ws: Workspace, payload: Mapping[str, Any], _report: Report) -> Source:
    # Here, not above: pyarrow takes a moment, and most imports do without it.
    from detector.importing.parquet import ParquetColumns, ParquetSource

    chosen = payload.get("columns")
    files = [(Path(path), name) for path, name in payload["files"]]
    return ParquetSource(files, zip_limits(ws), ParquetColumns.from_json(chosen) if chosen else None)


def _run(ws: Workspace, payload: Mapping[str, Any], _report: Report) -> Source:
    """The files of a run of invokes: all of them, or those at some positions."""
    source = open_source(ws, run_source(ws, payload["run"]))
    positions = payload.get("positions")
    if positions is None:
        return source
    return SomeFiles(source, list(invoke_runs.names(ws.db, payload["run"], positions).values()))


def _sample(_ws: Workspace, _payload: Mapping[str, Any], report: Report) -> ReadyMade:
    report("import", 0, 0, "Making the built-in sample", None)
    made = list(builtin_sample())
    return ReadyMade(made, len(made))


def _cifake(ws: Workspace, payload: Mapping[str, Any], report: Report) -> ReadyMade:
    report("import", 0, 0, "Fetching CIFAKE", None)
    per_label = int(payload["per_label"])

    def fetching(done: int, total: int, message: str) -> None:
        report("import", done, total, message, None)

    fetched = fetch_cifake(per_label, int(payload["seed"]), ws.settings.data_dir / "cifake", fetching)
    return ReadyMade(fetched, 2 * per_label)


def spooled_files(ws: Workspace, payload: Mapping[str, Any]) -> list[Path]:
    """The upload that a payload names, and the table of labels that was given with it, as far as they lie in the spool.

    The `ImportKind.after` of every kind whose payload says ``path``.
    """
    table = (payload.get("plan") or {}).get("table") or {}
    named = [payload.get("path"), table.get("outside")]
    return [path for path in map(Path, filter(None, named)) if path.parent == ws.spool]


def nothing_spooled(_ws: Workspace, _payload: Mapping[str, Any]) -> list[Path]:
    """The `ImportKind.after` of kinds that read nothing from the spool."""
    return []


_BUILT_IN = (
    ImportKind("zip", _zip, spooled_files),
    ImportKind("folder", _folder, spooled_files),
    ImportKind("parquet", _parquet, spooled_files),
    # Its files are the run's, and go with it.
    ImportKind("run", _run, nothing_spooled),
    ImportKind("sample", _sample, nothing_spooled),
    ImportKind("cifake", _cifake, nothing_spooled),
)

#: Every kind of import by the ``from`` of its payload.
KINDS: dict[str, ImportKind] = {kind.name: kind for kind in _BUILT_IN}
