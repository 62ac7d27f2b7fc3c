"""The full list of commands and their options: whoever adds one adds it here, and every command with an answer takes
``--json``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from detector.cli.main import build_parser
from tests.command_line import CHECKOUT, environment, run_here
from tests.made_folders import make_folder

COMMANDS = {
    "serve": {"--address", "--port"},
    "worker": {"--for-server", "--kinds", "--once"},
    "train": {
        *("PATH", "--function", "--label-level", "--source-level", "--map", "--at-most", "--splits", "--labels"),
        *("--columns", "--names", "--relabel", "--strict", "--in-place", "--backbone", "--json"),
    },
    "invoke": {"function", "PATH", "--json"},
    "score": {"function", "PLACE", "--out", "--model", "--start-over", "--first-list", "--json"},
    "explain": {"function", "PATH", "--json", "--min-grade", "--keep"},
    "records": {"function", "--export", "--delete", "--older-than", "--json"},
    "measure": {"function", "FOLDER", "--json"},
    "harden": {"function", "--copies", "--json"},
    "coverage": {"function", "--judge-unlike", "--json"},
    "adapt": {"function", "FOLDER", "--undo", "--json"},
    "capture": {"function", "--low-grade", "--unlike", "--random", "--a-month", "--json"},
    "audit": {"function", "--json"},
    "functions": {"--json"},
    "backbones": {"--json"},
    "bench": {"--json"},
    "sample": {"--backbone", "--json"},
    "cifake": {"--per-label", "--seed", "--backbone", "--json"},
    "export": {"function", "FILE", "--json"},
    "copy-to-store": {"STORE", "--json"},
    "check": {"--repair", "--quick", "--json"},
    "backup": {"FILE", "--to", "--keep", "--encrypt", "--with-places", "--passphrase-file", "--json"},
    "restore": {"BACKUP", "--at", "--passphrase-file", "--json"},
    "sources": {"function", "--confirm", "--set", "--of", "--label", "--files", "--json"},
    "labels": {"function", "--merge", "--into", "--json"},
    "inner-blocks": {"function", "state", "--json"},
    "keys create": {"--name", "--role", "--expires", "--per-minute", "--json"},
    "keys list": {"--json"},
    "keys revoke": {"ID", "--json"},
    "password": {"--json"},
    "users list": {"--json"},
    "users create": {"NAME", "--role", "--identity", "--password-file", "--json"},
    "users disable": {"NAME", "--json"},
    "users enable": {"NAME", "--json"},
    "users role": {"NAME", "ROLE", "--json"},
    "users password": {"NAME", "--password-file", "--json"},
    "openapi": {"--json"},
}


def commands_of(parser: argparse.ArgumentParser, prefix: str = "") -> dict[str, set[str]]:
    """Every command with its options and arguments, nested ones by their whole name."""
    found: dict[str, set[str]] = {}
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in nested:
        for name, sub in action.choices.items():
            found |= commands_of(sub, f"{prefix}{name} ")
    if not nested:
        found[prefix.strip()] = {
            max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest)
            for action in parser._actions
            if not isinstance(action, argparse._HelpAction)
        }
    return found


def test_the_commands_and_their_options_are_these() -> None:
    assert commands_of(build_parser()) == COMMANDS


def test_every_command_with_an_answer_takes_json() -> None:
    """``serve`` and ``worker`` have none: they run until they are stopped."""
    without = {name for name, options in commands_of(build_parser()).items() if "--json" not in options}
    assert without == {"serve", "worker"}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the function ``set``, imported and trained."""
    root = tmp_path_factory.mktemp("commands")
    folder = make_folder(root / "set", {"real": 3, "synthetic": 3})
    assert run_here(root / "data", "train", folder, "--backbone", "efficientnet-lite0").code == 0
    return root / "data"


def test_json_is_one_document_on_stdout_whatever_is_said_beside_it(data_dir: Path, tmp_path: Path) -> None:
    """Missing on invoke, export, keys revoke, password and openapi."""
    made = run_here(data_dir, "keys", "create", "--name", "K", "--json").json
    image = make_folder(tmp_path, {"real": 1}, 900) / "real" / "000.png"
    answers = {
        "export": run_here(data_dir, "export", "set", tmp_path / "all.csv", "--json"),
        "invoke": run_here(data_dir, "invoke", "set", image, "--json"),
        "keys revoke": run_here(data_dir, "keys", "revoke", made["clientId"], "--json"),
        "openapi": run_here(data_dir, "openapi", "--json"),
        "sources": run_here(data_dir, "sources", "set", "--json"),
        "explain": run_here(data_dir, "explain", "set", image, "--json"),
        "records": run_here(data_dir, "records", "set", "--json"),
        "labels": run_here(data_dir, "labels", "set", "--json"),
    }
    hashed = subprocess.run(
        [sys.executable, "-m", "detector", "password", "--json"],
        cwd=CHECKOUT,
        env=environment(data_dir),
        input="a long enough password\n",
        capture_output=True,
        text=True,
    )
    assert json.loads(hashed.stdout)["hash"].startswith("scrypt:")
    parsed = {name: json.loads(ran.out) for name, ran in answers.items()}
    assert {ran.code for ran in answers.values()} == {0}
    assert parsed["export"]["samples"] == 6
    assert parsed["invoke"]["file"] == parsed["explain"]["file"] == str(image)
    assert parsed["keys revoke"] == {"clientId": made["clientId"], "revoked": True}
    assert "/v1/functions" in parsed["openapi"]["paths"]
