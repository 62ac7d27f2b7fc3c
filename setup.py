"""What the wheel holds and needs; everything else about the package stands in pyproject.toml.

Streamlit puts the folder of the script that it runs on the import path, and reads ``.streamlit/config.toml`` beside it.
So the dashboard keeps its shape when installed, but in a folder of its own: ``detector/dashboard/``. At the top of
site-packages, ``pages`` and ``.streamlit`` would be in everybody's way.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

DASHBOARD = "detector.dashboard"


class BuildModules(build_py):
    """Takes one module of the checkout's top folder: setuptools would take them all, this file included."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if package != DASHBOARD or entry[1] == "streamlit_app"]


def app_requirements() -> list[str]:
    """The lines of requirements.txt without those for the test run, which stand last."""
    text = Path(__file__).with_name("requirements.txt").read_text(encoding="utf-8")
    lines = text.split("# For the test run.")[0].splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    packages=[*find_packages(include=["detector", "detector.*"]), DASHBOARD, f"{DASHBOARD}.pages"],
    package_dir={DASHBOARD: ".", f"{DASHBOARD}.pages": "pages"},
    # Named one by one: what else lies there (secrets.toml) is the user's own.
    package_data={
        DASHBOARD: [".streamlit/config.toml"],
        f"{DASHBOARD}.pages": ["*.css", "*.html", "*.js", "*.svg"],
    },
    install_requires=app_requirements(),
    cmdclass={"build_py": BuildModules},
)
