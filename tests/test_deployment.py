"""What strangers deploy, held to the code: container image, compose file, systemd unit and constraints."""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from streamlit import config as streamlit_config

from detector.cli.main import build_parser
from detector.settings import Settings
from detector.web.password import PasswordHash
from tests.app_server import end, wait_until_it_answers
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
SETTINGS = {f"DETECTOR_{setting.name.upper()}" for setting in fields(Settings)}
PORT = int(streamlit_config.get_options_for_section("server")["port"])


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with what follows them, lines joined, comments left out."""
    text = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in joined.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def only(name: str) -> str:
    (found,) = of(name)
    return found


def image_environment() -> dict[str, str]:
    return dict(word.split("=", 1) for rest in of("ENV") for word in shlex.split(rest))


def health_check() -> list[str]:
    return list(json.loads(only("HEALTHCHECK").split("CMD ", 1)[1]))


def reaches_the_image(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last pattern that matches it, or a folder above it, decides."""
    through = True
    above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    for line in (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        patterns = (pattern, pattern.removeprefix("**/")) if pattern.startswith("**/") else (pattern,)
        names = [*above, *(Path(part).name for part in above if pattern.startswith("**/"))]
        if any(fnmatch.fnmatchcase(name, one) for name in names for one in patterns):
            through = line.startswith("!")
    return through


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return dict(yaml.safe_load((CHECKOUT / "compose.yaml").read_text(encoding="utf-8")))


def service() -> dict[str, Any]:
    (found,) = compose()["services"].values()
    return dict(found)


def unit_text() -> str:
    (found,) = re.findall(r"```ini\n(.*?)```", README, re.DOTALL)
    return str(found)


def unit() -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read_string(unit_text())
    return parsed


def test_the_image_gets_all_that_runs_and_nothing_private() -> None:
    """The kind: a file that the app needs and .dockerignore holds back, or data and secrets baked into an image."""
    product = [
        path.relative_to(CHECKOUT).as_posix()
        for folder in ("detector", "pages")
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    top = ["streamlit_app.py", ".streamlit/config.toml", "requirements.txt", "constraints.txt", "LICENSE"]
    assert all((CHECKOUT / name).is_file() for name in top)
    assert [name for name in (*product, *top) if not reaches_the_image(name)] == []
    private = [
        *(".streamlit/secrets.toml", ".env", ".git/config", "data/detector.sqlite", "tests/conftest.py"),
        *(".venv/bin/python", "detector/__pycache__/cli.pyc", "detector/api/__pycache__/app.pyc", "notes.txt"),
    ]
    assert [name for name in private if reaches_the_image(name)] == []
    copied = [name for rest in of("COPY") for name in rest.split()[:-1]]
    assert copied == ["requirements.txt", "constraints.txt", "."]


def test_the_image_is_no_root_and_keeps_all_it_writes_in_its_volume() -> None:
    environment, volume = image_environment(), only("VOLUME")
    assert only("USER").split(":")[0].isdigit()
    assert only("USER").split(":")[0] != "0"
    assert environment["DETECTOR_DATA_DIR"] == volume
    assert Path(environment["HF_HOME"]).is_relative_to(volume)
    assert {name for name in environment if name.startswith("DETECTOR_")} <= SETTINGS
    # Whoever the image runs as must own the folder before the volume is made from it.
    assert any(f"install -d -o detector -g detector {volume}" in rest for rest in of("RUN"))
    assert any(f"--uid {only('USER').split(':')[0]} " in rest for rest in of("RUN"))
    steps = [name for name, _ in instructions()]
    assert steps.index("USER") > max(index for index, name in enumerate(steps) if name in ("RUN", "COPY"))


def test_the_image_installs_what_ci_tested_on_a_python_that_the_package_takes() -> None:
    (installing,) = (rest for rest in of("RUN") if "pip install" in rest)
    parts = installing.split("&&")
    assert all("-c constraints.txt" in part for part in parts)
    assert "-r requirements.txt" in parts[-1]
    python = only("FROM").split(":")[1].split("-")[0]
    assert f"on Python {python}." in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8")


def test_the_image_starts_the_server_on_the_port_that_is_exposed_asked_and_published() -> None:
    command = json.loads(only("CMD"))
    options = build_parser().parse_args(command)
    assert json.loads(only("ENTRYPOINT")) == ["python", "-m", "detector"]
    assert (options.address, options.port) == ("0.0.0.0", PORT)
    assert int(only("EXPOSE")) == PORT
    assert f"'127.0.0.1', {PORT}," in health_check()[-1]
    (published,) = service()["ports"]
    assert published == f"127.0.0.1:{PORT}:{PORT}"


def test_compose_demands_a_password_and_keeps_the_data() -> None:
    found = service()
    given = found["environment"]
    assert set(given) <= SETTINGS
    assert re.fullmatch(r"\$\{DETECTOR_PASSWORD_HASH:\?[^}]+\}", given["DETECTOR_PASSWORD_HASH"])
    (volume,) = found["volumes"]
    name, place = volume.split(":")
    assert name in compose()["volumes"]
    assert place == only("VOLUME")
    # The sentence that stands in for a missing password names a command that there is.
    hint = given["DETECTOR_PASSWORD_HASH"].split("docker run --rm -it ")[1].rstrip("}").split()
    assert hint[0] == found["image"]
    assert callable(build_parser().parse_args(hint[1:]).run)
    assert f"docker run --rm -it {' '.join(hint)} " in README
    # Compose fills in what stands behind a dollar sign: a hash has none.
    assert "$" not in str(PasswordHash.make("a long enough password"))


def test_the_unit_starts_a_command_that_there_is_with_settings_that_there_are() -> None:
    found = unit()["Service"]
    folder = found["WorkingDirectory"]
    python, dash_m, module, *arguments = shlex.split(found["ExecStart"])
    assert Path(python).is_relative_to(folder)
    assert (dash_m, module) == ("-m", "detector")
    options = build_parser().parse_args(arguments)
    assert (options.address, options.port) == ("localhost", PORT)
    environment = dict(word.split("=", 1) for word in shlex.split(found["Environment"]))
    assert {name for name in environment if name.startswith("DETECTOR_")} <= SETTINGS
    assert environment["DETECTOR_DATA_DIR"] == f"/var/lib/{found['StateDirectory']}"
    assert Path(environment["HF_HOME"]).is_relative_to(environment["DETECTOR_DATA_DIR"])
    assert f"`{found['EnvironmentFile']}`" in README


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # The program must be there for it: the one of this test run is.
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", unit_text())
    file = tmp_path / "ai-image-detector.service"
    file.write_text(text, encoding="utf-8")
    ran = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    said = [line for line in ran.stderr.splitlines() if file.name in line]
    assert said == []


@pytest.fixture
def container(tmp_path: Path) -> tuple[list[str], dict[str, str], int]:
    """What the image would start, here: its command and environment, with a data folder and a port of the test's."""
    port = free_port()
    command = [sys.executable, *json.loads(only("ENTRYPOINT"))[1:], *json.loads(only("CMD"))]
    command[command.index(str(PORT))] = str(port)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DETECTOR_", "STREAMLIT_"))}
    here = {
        name: value.replace(only("VOLUME"), str(tmp_path / "data"), 1) for name, value in image_environment().items()
    }
    return command, {**kept, **here, "STREAMLIT_SERVER_HEADLESS": "true"}, port


def healthy(port: int) -> bool:
    """What the image's health check says of a server on this port."""
    python, *arguments, code = health_check()
    assert python == "python"
    command = [sys.executable, *arguments, code.replace(str(PORT), str(port))]
    # A proxy of the network must not stand in between: nothing of the kind is listening here.
    environment = {**os.environ, "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode == 0


@pytest.mark.slow
def test_the_images_server_refuses_without_a_password_and_with_one_is_healthy_until_it_ends(
    container: tuple[list[str], dict[str, str], int], tmp_path: Path
) -> None:
    command, environment, port = container
    refused = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=120)
    assert refused.returncode != 0
    assert "DETECTOR_PASSWORD_HASH" in refused.stderr.splitlines()[-1]
    assert not (tmp_path / "data").exists()

    environment |= {"DETECTOR_PASSWORD_HASH": str(PasswordHash.make("correct horse battery"))}
    process = subprocess.Popen(
        command, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_it_answers(f"http://127.0.0.1:{port}", process)
        assert healthy(port)
    finally:
        end(process)
    assert not healthy(port)
    assert (tmp_path / "data" / "detector.sqlite").is_file()


def constraints() -> dict[str, str]:
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    return dict(pinned)


def requirements() -> list[Requirement]:
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_constraints_pin_every_requirement_within_its_range() -> None:
    pinned = constraints()
    for requirement in requirements():
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    # Of a machine's own builds and addresses nothing stays.
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", exact) for exact in pinned.values())


def test_the_script_writes_constraints_of_the_very_environment_it_runs_in() -> None:
    script = CHECKOUT / ".ci" / "make_constraints.py"
    ran = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    lines = [line.split("==") for line in ran.stdout.splitlines() if not line.startswith("#")]
    names = [name for name, _exact in lines]
    assert names == sorted(set(names))
    assert {canonicalize_name(requirement.name) for requirement in requirements()} < set(names)
    # What requirements.txt needs in turn, and with extras: uvicorn comes with Streamlit.
    assert {"uvicorn", "click"} <= set(names)
    assert dict(lines)["packaging"] == version("packaging")


def test_every_file_that_the_pages_for_strangers_name_is_there() -> None:
    """CONTRIBUTING says which files to touch; a move of one must move it there too."""
    for page in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "README.md"):
        text = (CHECKOUT / page).read_text(encoding="utf-8")
        linked = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
        named = re.findall(r"`((?:detector|pages|tests|docs|\.ci)/[\w./]*)`", text)
        assert [name for name in (*linked, *named) if not (CHECKOUT / name).exists()] == [], page


def test_ci_checks_what_contributing_tells_and_runs_the_readmes_test_command() -> None:
    told = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    ci = (CHECKOUT / ".ci" / "run").read_text(encoding="utf-8")
    block = next(block for block in re.findall(r"```\n(.*?)```", told, re.DOTALL) if "mypy" in block)
    *checks, tests = block.splitlines()
    assert checks
    assert all(f"\n{check}\n" in ci for check in checks)
    # As .ci/run finds it.
    in_readme = subprocess.run(
        ["sed", "-n", r"s/^\(python -m pytest.*\)$/\1/p", "README.md"], cwd=CHECKOUT, capture_output=True, text=True
    ).stdout.splitlines()
    assert in_readme[0] == tests == "python -m pytest"
