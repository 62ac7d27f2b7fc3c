"""The data folders that older versions made, unpacked."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Every version of the tables that was in somebody's hands and has a folder here.
FOLDERS = sorted(path.stem for path in HERE.glob("folder_*.zip"))


def unpack(name: str, root: Path) -> Path:
    """Unpack a folder below ``root``; returns where it lies. Images that it never saw lie beside it, in ``asked``."""
    with zipfile.ZipFile(HERE / f"{name}.zip") as archive:
        archive.extractall(root)
    return root / "data"


def figures(name: str) -> dict[str, Any]:
    """What the version that made it said of it."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found
