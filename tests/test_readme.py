"""The README promises commands and settings; these tests hold it to them."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from detector.settings import Settings

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_help() -> None:
    for setting in fields(Settings):
        row = next(
            (line for line in README.splitlines() if line.startswith(f"| `DETECTOR_{setting.name.upper()}`")), None
        )
        assert row is not None, setting.name
        assert setting.metadata["help"] in row


def test_every_default_in_the_table_is_the_one_in_force() -> None:
    for setting in fields(Settings):
        if setting.name == "data_dir" or setting.default == "":
            continue
        row = next(line for line in README.splitlines() if line.startswith(f"| `DETECTOR_{setting.name.upper()}`"))
        default = str(setting.default).lower() if isinstance(setting.default, bool) else setting.default
        assert f"| `{default}` |" in row


def test_the_table_names_no_setting_that_does_not_exist() -> None:
    known = {f"DETECTOR_{setting.name.upper()}" for setting in fields(Settings)}
    named = {line.split("`")[1] for line in README.splitlines() if line.startswith("| `DETECTOR_")}
    assert named == known


def test_every_picture_of_the_readme_is_there() -> None:
    folder = Path(__file__).resolve().parent.parent
    names = [part.split(")")[0] for part in README.split("](")[1:] if part.startswith("docs/")]
    assert names
    assert all((folder / name).is_file() for name in names)


def test_every_test_that_the_page_on_imports_names_is_there() -> None:
    """docs/imports.md promises a test for each layout and table."""
    folder = Path(__file__).resolve().parent
    text = (folder.parent / "docs" / "imports.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)?test_\w+\.py)(?:: (\w+))?`", text)
    assert len(named) > 15
    for file, test in named:
        found = [path for path in folder.rglob(Path(file).name) if path.is_file()]
        assert found, file
        assert not test or f"def test_{test}" in "".join(path.read_text(encoding="utf-8") for path in found), test
