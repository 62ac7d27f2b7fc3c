"""The package as strangers get it: what the wheel holds, and that it works far from the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import detector
from tests.app_server import end, wait_until_it_answers
from tests.installed import CHECKOUT, build, copy_checkout, environment, install, require_setuptools
from tests.ports import free_port

pytestmark = pytest.mark.slow

DASHBOARD = "detector/dashboard/"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout in which somebody has worked."""
    require_setuptools()
    folder = copy_checkout(tmp_path_factory.mktemp("package") / "sources")
    (folder / ".streamlit" / "secrets.toml").write_text("[auth]\n", encoding="utf-8")
    (folder / "my_notes.py").write_text("", encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "detector.sqlite").write_text("", encoding="utf-8")
    (folder / "pages" / "leftover.orig").write_text("", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path) -> Path:
    return build("wheel", sources, sources.parent / "built")


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    return install(wheel, wheel.parents[1] / "installed")


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (found,) = (entry for entry in archive.namelist() if entry.endswith(f".dist-info/{name}"))
        return archive.read(found).decode()


def test_the_wheel_holds_all_of_the_product_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    """The kind: a new room without a line somewhere, a script or stylesheet that is no Python, a user's own files."""
    product = {
        path.relative_to(CHECKOUT).as_posix()
        for folder in ("detector", "pages")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected = {name if name.startswith("detector/") else DASHBOARD + name for name in product}
    expected |= {f"{DASHBOARD}streamlit_app.py", f"{DASHBOARD}.streamlit/config.toml"}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        config = archive.read(f"{DASHBOARD}.streamlit/config.toml")
    assert held == expected
    assert config == (CHECKOUT / ".streamlit" / "config.toml").read_bytes()
    # The gallery is nothing without them.
    assert {Path(name).suffix for name in held} >= {".py", ".js", ".css", ".html", ".svg", ".toml"}


def test_it_needs_what_requirements_txt_lists_for_the_app_without_a_second_list(wheel: Path) -> None:
    told = Parser().parsestr(metadata(wheel, "METADATA"))
    needs = {Requirement(text) for text in told.get_all("Requires-Dist", []) if "extra ==" not in text}
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {Requirement(line) for line in lines if line and not line.startswith("#")}
    only_tests = {requirement.name for requirement in listed - needs}
    assert needs <= listed
    assert only_tests == {"pytest", "pytest-xdist", "hypothesis", "httpx", "imagehash"}


def test_the_object_store_needs_an_extra_that_nobody_gets_unasked(wheel: Path) -> None:
    told = Parser().parsestr(metadata(wheel, "METADATA"))
    asked = {text for text in told.get_all("Requires-Dist", []) if 'extra == "s3"' in text.replace("'", '"')}
    assert {Requirement(text).name for text in asked} == {"s3fs"}
    # The tests of it have it.
    assert "s3fs>=2025.2" in (CHECKOUT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()


def test_name_version_licence_and_command_are_told(wheel: Path) -> None:
    told = Parser().parsestr(metadata(wheel, "METADATA"))
    assert (told["Name"], told["Version"]) == ("ai-image-detector", detector.__version__)
    assert (told["License-Expression"], told["Requires-Python"]) == ("Apache-2.0", ">=3.11")
    assert metadata(wheel, "licenses/LICENSE") == (CHECKOUT / "LICENSE").read_text(encoding="utf-8")
    assert "ai-image-detector = detector.__main__:run" in metadata(wheel, "entry_points.txt")


def test_the_version_stands_in_one_place_and_the_changelog_tells_it() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    changes = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.findall(r"^## \[(\d[^\]]*)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)[0]
    assert newest == detector.__version__


def test_a_wheel_can_be_built_from_the_source_archive(sources: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(build("sdist", sources, tmp_path / "archive")) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.glob("ai_image_detector-*") if path.is_dir())
    again = build("wheel", unpacked, tmp_path / "again")
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_the_installed_command_says_its_version_and_its_own_name(installed: Path, tmp_path: Path) -> None:
    said = {}
    for option in ("--version", "--help"):
        ran = subprocess.run(
            [sys.executable, str(installed / "bin" / "ai-image-detector"), option],
            cwd=tmp_path,
            env=environment(installed, tmp_path),
            capture_output=True,
            text=True,
            check=True,
        )
        said[option] = ran.stdout
    assert said["--version"] == f"ai-image-detector {detector.__version__}\n"
    assert said["--help"].startswith("usage: ai-image-detector ")


def test_in_the_checkout_the_command_says_the_same_version() -> None:
    command = [sys.executable, "-m", "detector", "--version"]
    ran = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert ran.stdout == f"ai-image-detector {detector.__version__}\n"


def test_serve_works_from_anywhere_with_our_settings_of_streamlit_and_keeps_its_data_in_the_home(
    installed: Path, tmp_path: Path
) -> None:
    """Streamlit reads the settings of the folder it is started in: without ours it listens on every address, which the
    app refuses, and tells everybody's visits. The data must not come to lie beside the code."""
    home, elsewhere, port = tmp_path / "home", tmp_path / "elsewhere", free_port()
    home.mkdir()
    elsewhere.mkdir()
    before = sorted(installed.rglob("[!_]*.py"))
    process = subprocess.Popen(
        [sys.executable, str(installed / "bin" / "ai-image-detector"), "serve", "--port", str(port)],
        cwd=elsewhere,
        env=environment(installed, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        address = f"http://localhost:{port}"
        wait_until_it_answers(address, process)
        with urllib.request.urlopen(f"{address}/v1/openapi.json", timeout=120) as answer:
            assert answer.status == 200
    finally:
        end(process)
    said = process.communicate()[0]
    assert f"URL: {address}" in said
    # What Streamlit prints where it is told to listen on more than this machine.
    assert "Network URL" not in said
    assert "usage statistics" not in said
    found = {path.name: path for path in home.rglob("*.sqlite")}
    assert found["detector.sqlite"].parent.name == "ai-image-detector"
    assert list(elsewhere.iterdir()) == []
    assert not (installed / "data").exists()
    assert sorted(installed.rglob("[!_]*.py")) == before
