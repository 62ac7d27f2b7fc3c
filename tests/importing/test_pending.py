"""Looking into a ZIP or a folder of the server before anything is imported."""

from __future__ import annotations

from pathlib import Path

import pytest

from detector.errors import ArchiveError, InvalidInput, NotFound
from detector.importing.labelling import LabelPlan
from detector.importing.pending import import_folders, pending_folder, pending_zip
from detector.workspace import Workspace
from tests.factories import make_image, workspace, write_zip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be read, beside one that may not."""
    for name in ("root/set/real", "root/empty", "root/.hidden", "root-other", "outside/real"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root/set/real/a.png").write_bytes(make_image(1))
    (tmp_path / "outside/real/secret.png").write_bytes(make_image(2))
    (tmp_path / "root-other/secret.png").write_bytes(make_image(2))
    (tmp_path / "root/link").symlink_to(tmp_path / "outside")
    return tmp_path / "root"


@pytest.fixture
def ws(tmp_path: Path, root: Path) -> Workspace:
    return workspace(tmp_path / "data", import_root=str(root))


def test_a_folder_below_the_root_is_listed(ws: Workspace, root: Path) -> None:
    pending = pending_folder(ws, " set ")
    assert (pending.path, pending.title) == (root / "set", "set")
    assert pending.paths == ("real/a.png",)
    payload = pending.payload(LabelPlan("folders", level=0))
    assert (payload["from"], payload["path"]) == ("folder", str(root / "set"))


@pytest.mark.parametrize("wanted", ["..", "../outside", "set/../../outside", "link", "link/real", "../root-other"])
def test_a_way_out_of_the_root_is_refused(ws: Workspace, wanted: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        pending_folder(ws, wanted)
    assert "does not lie below" in str(caught.value)


def test_an_absolute_name_is_read_below_the_root(ws: Workspace, root: Path, tmp_path: Path) -> None:
    assert pending_folder(ws, "/set").path == root / "set"
    with pytest.raises(NotFound):
        pending_folder(ws, str(tmp_path / "outside"))


def test_a_name_that_no_file_can_have_is_refused(ws: Workspace) -> None:
    with pytest.raises((InvalidInput, NotFound)):
        pending_folder(ws, "set\0")


def test_a_missing_and_an_empty_folder_end_in_a_sentence(ws: Workspace) -> None:
    with pytest.raises(NotFound):
        pending_folder(ws, "missing")
    with pytest.raises(InvalidInput) as caught:
        pending_folder(ws, "empty")
    assert "no files in empty" in str(caught.value)


def test_reading_folders_is_off_without_a_root(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    with pytest.raises(InvalidInput) as caught:
        pending_folder(ws, "set")
    assert "DETECTOR_IMPORT_ROOT" in str(caught.value)
    assert import_folders(ws) == []


def test_the_folders_to_choose_from_leave_hidden_ones_out(ws: Workspace) -> None:
    assert [name for name in import_folders(ws) if name != "link"] == ["empty", "set"]
    assert import_folders(ws, limit=1) == ["empty"]


def test_a_folder_that_leads_out_is_not_offered(ws: Workspace) -> None:
    assert "link" not in import_folders(ws)


def test_a_zip_of_the_spool_is_listed(ws: Workspace) -> None:
    path = write_zip(ws.spool / "ab12.zip", {"real/a.png": b"1", "__MACOSX/x": b"2", "b/c.png": b"3"})
    pending = pending_zip(ws, path, "holiday.zip")
    assert (pending.source["from"], pending.title, pending.paths) == ("zip", "holiday.zip", ("b/c.png", "real/a.png"))
    payload = pending.payload(LabelPlan("none"))
    assert (payload["from"], payload["path"], payload["title"]) == ("zip", str(path), "holiday.zip")


def test_a_bad_or_empty_zip_ends_in_a_sentence(ws: Workspace) -> None:
    bad = ws.spool / "bad.zip"
    bad.write_bytes(b"no archive")
    with pytest.raises(ArchiveError):
        pending_zip(ws, bad, "bad.zip")
    with pytest.raises(InvalidInput):
        pending_zip(ws, write_zip(ws.spool / "empty.zip", {}), "empty.zip")
