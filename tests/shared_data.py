"""Where the development image sets lie. A user's clone has none of them: tests that need one skip and say why."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def require(name: str) -> Path:
    """The folder of the set ``name``; skips the calling test where it is absent."""
    folder = SHARED_DATA / name
    if not folder.is_dir():
        pytest.skip(f"the development image set {name} is not on this machine")
    return folder
