"""The table of settings and what is read from the environment."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from detector.errors import InvalidInput
from detector.settings import CHECKOUT, Settings, default_data_dir, load_settings
from detector.workspace import Workspace


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load_settings({}) == Settings()
    assert load_settings({"DETECTOR_THREADS": "  "}) == Settings()
    assert Settings().data_dir == CHECKOUT / "data"


def test_an_installed_package_keeps_its_data_where_the_system_keeps_a_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the code lies site-packages: an update, or a look into another environment, would lose the data."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    named = tmp_path / "named"
    found = {
        (platform, bool(environment)): default_data_dir(tmp_path / "site-packages", environment, platform)
        for platform in ("linux", "darwin", "win32")
        for environment in ({}, {"XDG_DATA_HOME": str(named), "LOCALAPPDATA": str(named)})
    }
    name = "ai-image-detector"
    assert found == {
        ("linux", False): tmp_path / ".local" / "share" / name,
        ("linux", True): named / name,
        ("darwin", False): tmp_path / "Library" / "Application Support" / name,
        ("darwin", True): tmp_path / "Library" / "Application Support" / name,
        ("win32", False): tmp_path / "AppData" / "Local" / name,
        ("win32", True): named / name,
    }
    relative = default_data_dir(tmp_path / "site-packages", {"XDG_DATA_HOME": "relative"}, "linux")
    assert relative == tmp_path / ".local" / "share" / name


def test_every_setting_is_read_from_its_variable_in_its_type(tmp_path: Path) -> None:
    given = {}
    for item in fields(Settings):
        text = str(tmp_path) if isinstance(item.default, Path) else "true" if isinstance(item.default, bool) else "7"
        if item.metadata["choices"] is not None:
            text = next(choice for choice in item.metadata["choices"] if choice != item.default)
        given[f"DETECTOR_{item.name.upper()}"] = text
    found = load_settings(given)
    for item in fields(Settings):
        value = getattr(found, item.name)
        assert type(value) is (type(tmp_path) if isinstance(item.default, Path) else type(item.default)), item.name
        assert value != item.default, item.name


def test_every_setting_says_what_it_is_for() -> None:
    assert all(len(item.metadata["help"]) > 20 and item.metadata["help"].endswith(".") for item in fields(Settings))


@pytest.mark.parametrize("value", ["many", "1.5", "-1"])
def test_what_is_no_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings({"DETECTOR_THREADS": value})
    assert "DETECTOR_THREADS" in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", ["threads", "Process", "7"])
def test_what_is_none_of_the_choices_is_refused_by_name(value: str) -> None:
    with pytest.raises(
        InvalidInput, match=f"^DETECTOR_WORKER is '{value}'; expected process or inside or imports or none. "
    ):
        load_settings({"DETECTOR_WORKER": value})


@pytest.mark.parametrize("value", ["nan", "inf", "-0.5", "1e308", "1e400"])
@pytest.mark.parametrize("name", ["MAX_ZIP_GB", "REQUEST_SECONDS", "UPLOAD_STALL_SECONDS", "RETRAIN_DELAY"])
def test_numbers_that_no_clock_or_disk_has_are_refused(name: str, value: str) -> None:
    """An absurd setting is a sentence at the start: with 1e308 GB every upload was an error 500."""
    with pytest.raises(InvalidInput, match=rf"^DETECTOR_{name} is .*; expected a number from 0 to "):
        load_settings({f"DETECTOR_{name}": value})


@pytest.mark.parametrize("name", ["INVOKE_PLACES", "UPLOAD_PLACES", "BATCH_FILES", "MAX_IMAGE_MB", "MAX_ZIP_ENTRIES"])
def test_nothing_at_all_is_no_limit(name: str) -> None:
    """An absurd setting: with no places, "0 invokes are being answered already" was said for ever."""
    with pytest.raises(InvalidInput, match=rf"^DETECTOR_{name} is '0'; expected a number from 1 to "):
        load_settings({f"DETECTOR_{name}": "0"})


def test_thousands_of_threads_are_refused() -> None:
    """An absurd setting: a hundred thousand were started, and the machine stood still."""
    with pytest.raises(InvalidInput, match=r"^DETECTOR_THREADS is '100000'; expected a number from 0 to "):
        load_settings({"DETECTOR_THREADS": "100000"})
    assert load_settings({"DETECTOR_THREADS": "64"}).threads == 64


def test_limits_come_in_units_that_people_use() -> None:
    given = {"DETECTOR_MAX_IMAGE_MB": "2", "DETECTOR_MAX_MEGAPIXELS": "3", "DETECTOR_MAX_ZIP_GB": "0.5"}
    settings = load_settings(given)
    limits = (settings.max_image_bytes, settings.max_pixels, settings.max_zip_bytes)
    assert limits == (2_000_000, 3_000_000, 500_000_000)


def test_the_database_lies_in_the_data_folder_unless_another_is_named(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).url == f"sqlite:///{tmp_path / 'detector.sqlite'}"
    assert Settings(database_url="sqlite:///elsewhere.db").url == "sqlite:///elsewhere.db"


def test_opening_a_workspace_makes_its_data_folder(tmp_path: Path) -> None:
    ws = Workspace.open(Settings(data_dir=tmp_path / "new" / "data", max_image_mb=1, max_megapixels=2))
    assert ws.spool.is_dir()
    assert (ws.limits.max_bytes, ws.limits.max_pixels) == (1_000_000, 2_000_000)
    assert (tmp_path / "new" / "data" / "detector.sqlite").is_file()
    ws.close()
