"""The package as ``pip install .`` leaves it: a wheel built from a copy of the checkout, unpacked into a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version as version_of
from pathlib import Path

import pytest
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[1]
# What git knows of them; data, caches and a user's secrets lie in a checkout as well.
_SOURCES = (
    *("LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "requirements.txt", "setup.py", "streamlit_app.py"),
    *("detector", "pages", ".streamlit"),
)


def require_setuptools() -> None:
    """Skip the calling test where the build backend is missing or older than pyproject.toml asks for."""
    pytest.importorskip("setuptools", reason="setuptools of requirements-dev.txt is not installed")
    if Version(version_of("setuptools")) < Version("77"):
        pytest.skip("setuptools is older than requirements-dev.txt asks for")


def copy_checkout(folder: Path) -> Path:
    """The sources that a package is built from, in ``folder``: a build leaves its traces where it builds."""
    for name in _SOURCES:
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "secrets.toml"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    return folder


def build(kind: str, sources: Path, folder: Path) -> Path:
    """Build a ``wheel`` or an ``sdist`` with the backend's own call: no network, no environment of its own."""
    folder.mkdir(exist_ok=True)
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=sources, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    (built,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def install(wheel: Path, folder: Path) -> Path:
    """Install the wheel alone into ``folder``; what it needs is that of this environment."""
    pytest.importorskip("pip", reason="pip is not in this environment")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    return folder


def environment(installed: Path, home: Path) -> dict[str, str]:
    """The environment of somebody who has installed it: no setting, a home folder, no checkout on the path."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DETECTOR_", "STREAMLIT_", "XDG"))
    }
    return {**kept, "PYTHONPATH": str(installed), "HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"}
