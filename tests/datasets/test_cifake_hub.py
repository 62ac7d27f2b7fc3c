"""CIFAKE from the hub: parquet files in a dataset repository on loopback, fetched by the real client."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from detector.datasets.cifake import REPOSITORY, cached_files, fetch_cifake
from detector.errors import DatasetUnavailable, JobCancelled
from detector.progress import says_amounts
from tests.command_line import OFFLINE, run, start
from tests.datasets.test_cifake import write_set
from tests.factories import forget_whether_the_hub_answers
from tests.hub_server import Hub, hub_server

pytestmark = pytest.mark.slow

CLIENT = "huggingface_hub.constants"
TEST, TRAIN = "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | Path]:
    folder = tmp_path_factory.mktemp("cifake")
    return {
        "README.md": b"CIFAKE",
        TRAIN: write_set(folder / TRAIN, ["FAKE", "REAL"], per_label=200, first=100),
        TEST: write_set(folder / TEST, ["FAKE", "REAL"], per_label=40),
    }


@pytest.fixture
def hub(files: dict[str, bytes | Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as served:
        served.add(REPOSITORY, files, "dataset")
        # The client's own settings, read once from the environment.
        monkeypatch.setattr(f"{CLIENT}.ENDPOINT", served.address)
        monkeypatch.setattr(
            f"{CLIENT}.HUGGINGFACE_CO_URL_TEMPLATE", served.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(f"{CLIENT}.HF_HUB_DOWNLOAD_TIMEOUT", 1)
        monkeypatch.setattr("detector.backbones.download.WAITS", (0.1,) * 4)
        forget_whether_the_hub_answers()
        yield served
    forget_whether_the_hub_answers()


class Heard:
    """A Progress that keeps what it hears."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[tuple[int, int, str]] = []
        self._stop_at = stop_at

    def __call__(self, done: int, total: int, message: str) -> None:
        self.lines.append((done, total, message))
        if self._stop_at is not None and done >= self._stop_at:
            raise JobCancelled("The job was cancelled.")


def size(file: bytes | Path) -> int:
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def fetched(cache: Path, per_label: int = 5, heard: Heard | None = None) -> Counter[str]:
    return Counter(image.label for image in fetch_cifake(per_label, 0, cache, heard or Heard()))


def refusal(cache: Path) -> str:
    with pytest.raises(DatasetUnavailable) as caught:
        fetched(cache)
    return str(caught.value)


def test_as_few_files_come_as_are_needed_and_then_work_without_the_hub(
    hub: Hub, files: dict[str, bytes | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: the road of a user who asks for CIFAKE, first a little of it, then more, then without a network."""
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}
    assert hub.sent == size(files[TEST])
    assert fetched(tmp_path, 60) == {"real": 60, "synthetic": 60}
    assert hub.sent == size(files[TEST]) + size(files[TRAIN])
    monkeypatch.setattr(f"{CLIENT}.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(f"{CLIENT}.ENDPOINT", "http://127.0.0.1:9")
    forget_whether_the_hub_answers()
    assert fetched(tmp_path, 60) == {"real": 60, "synthetic": 60}


def test_progress_says_bytes_and_time_left(hub: Hub, files: dict[str, bytes | Path], tmp_path: Path) -> None:
    """Kind: a wait in which nobody heard anything."""
    hub.faults.bytes_per_second = size(files[TEST]) / 3
    heard = Heard()
    fetched(tmp_path, heard=heard)
    downloading = [line for line in heard.lines if line[2].startswith("Downloading CIFAKE: ")]
    assert len({done for done, *_ in downloading}) >= 3
    assert {total for _, total, _ in downloading} == {size(files[TEST])}
    assert any(message.endswith(" s left") for *_, message in downloading)
    assert all(says_amounts(message) for *_, message in downloading)
    # Then the images, which are counted as before.
    assert heard.lines[-1] == (10, 10, "Reading CIFAKE")


def test_a_download_that_is_cut_off_is_taken_up_where_it_was(
    hub: Hub, files: dict[str, bytes | Path], tmp_path: Path
) -> None:
    """Kind: a line that breaks."""
    hub.faults.cut_after, hub.faults.cuts = size(files[TEST]) // 3, 2
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}
    assert hub.sent == size(files[TEST])


def test_other_bytes_than_announced_are_refused_and_removed(hub: Hub, tmp_path: Path) -> None:
    """Kind: a file that is not what the hub announced."""
    hub.faults.wrong = True
    assert "is not what the hub announced" in refusal(tmp_path)
    assert cached_files(tmp_path) == []
    hub.faults.wrong = False
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}


def test_a_file_that_the_disk_damaged_is_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    """Kind: a wrong file in the cache, found there again at every attempt."""
    fetched(tmp_path)
    (path,) = cached_files(tmp_path)
    path.resolve().write_bytes(b"no parquet")
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}


def test_a_hub_that_hangs_ends_with_a_sentence(hub: Hub, tmp_path: Path) -> None:
    """Kind: a download without an end."""
    hub.faults.hang = True
    sentence = refusal(tmp_path)
    assert "5 times in a row" in sentence
    assert "import its ZIP file" in sentence


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (404, "RepoNotFound", f"has no public repository {REPOSITORY}"),
        (401, "GatedRepo", "accepted its terms"),
        (403, "", "refuses access"),
        (500, "", "has a fault of its own (status 500)"),
    ],
)
def test_a_hub_that_refuses_is_told_in_a_sentence_that_says_what_to_do(
    hub: Hub, tmp_path: Path, status: int, code: str, says: str
) -> None:
    """Kind: every way in which the hub says no, at the list of files; and the way without the hub is named."""
    hub.faults.error = (status, code)
    sentence = refusal(tmp_path)
    assert says in sentence
    assert "import its ZIP file" in sentence
    hub.faults.error = (0, "")
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}


def test_a_set_without_parquet_files_is_refused(hub: Hub, tmp_path: Path) -> None:
    """Kind: a repository that has changed."""
    hub.add(REPOSITORY, {"README.md": b"moved"}, "dataset")
    assert "holds no parquet files" in refusal(tmp_path)


def test_a_cancelled_import_stops_the_download(hub: Hub, files: dict[str, bytes | Path], tmp_path: Path) -> None:
    """Kind: work that nobody wants any more; what came of it is kept for the next time."""
    hub.faults.bytes_per_second = size(files[TEST]) / 4
    with pytest.raises(JobCancelled):
        fetched(tmp_path, heard=Heard(stop_at=size(files[TEST]) // 10))
    deadline = time.monotonic() + 300
    while any(thread.name == "hub-download" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hub.faults.bytes_per_second = 0
    assert fetched(tmp_path) == {"real": 5, "synthetic": 5}
    assert hub.ranges()[-1].startswith("bytes=")


def test_too_little_space_is_told(hub: Hub, tmp_path: Path) -> None:
    """Kind: a full disk. The set has its own folder, so that HF_HOME would not help."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        hub.add(REPOSITORY, {TEST: bytes(500_000)}, "dataset")
        sentence = refusal(small)
        assert "not enough space" in sentence
        assert "HF_HOME" not in sentence
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_two_at_once_fetch_the_file_once(hub: Hub, files: dict[str, bytes | Path], tmp_path: Path) -> None:
    """Kind: several imports that want the same file."""
    hub.faults.bytes_per_second = size(files[TEST]) / 2
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: fetched(tmp_path), range(2))) == [{"real": 5, "synthetic": 5}] * 2
    assert hub.sent == size(files[TEST])


@pytest.mark.long
@pytest.mark.slow
def test_the_command_goes_on_after_a_kill_and_works_offline_afterwards(
    hub: Hub, files: dict[str, bytes | Path], tmp_path: Path
) -> None:
    """Kind: a process that dies in the middle of a download."""
    arguments = ("cifake", "--per-label", "10", *OFFLINE, "--json")
    hub.faults.bytes_per_second = size(files[TEST]) / 10
    fixed = {"DETECTOR_PRECISION": "float32"}
    killed = start(tmp_path, *arguments, hub=hub.address, **fixed)
    while not hub.sent:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.02)
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (part,) = (tmp_path / "cifake").rglob("*.part")
    kept = part.stat().st_size
    assert kept > 0
    hub.faults.bytes_per_second = size(files[TEST]) / 3
    done = run(tmp_path, *arguments, hub=hub.address, **fixed)
    assert done.code == 0, done.err
    assert hub.ranges()[-1] == f"bytes={kept}-"
    assert "Downloading CIFAKE: " in done.err
    again = run(tmp_path, *arguments, **fixed)
    assert again.code == 0, again.err
