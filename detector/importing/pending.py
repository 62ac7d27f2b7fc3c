"""What is about to be imported: the paths of an archive or folder, before anybody decided on labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.errors import InvalidInput, NotFound
from detector.importing.batch import folder_payload, zip_limits, zip_payload
from detector.importing.entries import FolderSource, ZipSource
from detector.importing.labelling import LabelPlan
from detector.workspace import Workspace


@dataclass(frozen=True)
class Pending:
    """A source that can be read; ``paths`` are its files as shown to people."""

    kind: str
    path: Path
    title: str
    paths: tuple[str, ...]

    def payload(self, plan: LabelPlan) -> dict[str, Any]:
        """The import job's payload for this source and plan."""
        return zip_payload(self.path, plan, self.title) if self.kind == "zip" else folder_payload(self.path, plan)


def pending_zip(ws: Workspace, path: Path, title: str) -> Pending:
    """List an archive in the spool. Raises ArchiveError, InvalidInput (it holds no files)."""
    with ZipSource(path, zip_limits(ws), title) as source:
        return _pending("zip", path, title, [entry.path for entry in source.entries()])


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
    with FolderSource(path, ws.settings.max_image_bytes) as source:
        return _pending("folder", path, path.name, [entry.path for entry in source.entries()])


def import_folders(ws: Workspace, limit: int = 200) -> list[str]:
    """The folders directly below the allowed root, to choose from; empty when reading folders is off."""
    if not ws.settings.import_root:
        return []
    root = Path(ws.settings.import_root).expanduser().resolve()
    if not root.is_dir():
        return []
    inside = (item for item in root.iterdir() if item.is_dir() and item.resolve().is_relative_to(root))
    return sorted(item.name for item in inside if not item.name.startswith("."))[:limit]


def _pending(kind: str, path: Path, title: str, paths: list[str]) -> Pending:
    if not paths:
        raise InvalidInput(f"There are no files in {title}. Choose one with images in it.")
    return Pending(kind, path, title, tuple(paths))
