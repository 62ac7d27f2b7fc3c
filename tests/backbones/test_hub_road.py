"""Weights from the hub: a hub on loopback with the real routes, the real client, a small and a full-size CLIP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_model

from detector.backbones.availability import fetch_weights, get_backbone, resolve
from detector.backbones.download import WAITS, HubFile, fetch
from detector.backbones.hub import cached_weights
from detector.backbones.registry import DEFAULT_CLIP, OFFLINE, SPECS, BackboneSpec, register
from detector.errors import BackboneUnavailable, DownloadFailed, JobCancelled
from detector.importing.batch import folder_payload
from detector.importing.labelling import LabelPlan
from detector.jobs import request_build, request_import
from detector.progress import says_amounts
from detector.settings import Settings
from detector.storage import functions, jobs
from detector.worker.running import run_pending
from detector.workspace import Workspace
from tests.backbones.small_clip import make_small_clip
from tests.command_line import CHECKOUT, environment, run
from tests.factories import forget_whether_the_hub_answers
from tests.hub_server import Hub, hub_server, sha256
from tests.made_folders import make_folder

pytestmark = pytest.mark.slow

REPO = "someone/small-clip-hub-road"
NAME = "open_clip_model.safetensors"
CLIENT = "huggingface_hub.constants"
NO_HUB = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_clip(
        tmp_path_factory.mktemp("clip"), name="small-clip-hub-road", suffix=".safetensors"
    ).checkpoint


@pytest.fixture
def spec(weights: Path) -> BackboneSpec:
    small, size = SPECS["small-clip-hub-road"], weights.stat().st_size
    spec = replace(small, id="small-clip-on-the-hub", hub_repo=REPO, download_bytes=size)
    register(spec)
    return spec


@pytest.fixture
def hub(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the weights in it, and this process's client pointed at it, with an empty cache and short timeouts."""
    with hub_server() as served:
        served.add(REPO, {NAME: weights})
        point_client_at(served, tmp_path, monkeypatch)
        yield served
    forget_whether_the_hub_answers()


def point_client_at(served: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The client's own settings, read once from the environment: our code and the client's run as they are.
    monkeypatch.setattr(f"{CLIENT}.ENDPOINT", served.address)
    monkeypatch.setattr(
        f"{CLIENT}.HUGGINGFACE_CO_URL_TEMPLATE", served.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(f"{CLIENT}.HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(f"{CLIENT}.HF_HUB_DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr("detector.backbones.download.WAITS", (0.1,) * 4)
    monkeypatch.setattr(f"{CLIENT}.HF_HUB_ETAG_TIMEOUT", 1)
    forget_whether_the_hub_answers()


class Heard:
    """A Report that keeps what it hears; after ``stop_at`` bytes it raises, as that of a cancelled job does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[tuple[str, int, int, str]] = []
        self._stop_at = stop_at

    def __call__(self, phase: str, done: int, total: int, message: str, _rate: float | None) -> None:
        self.lines.append((phase, done, total, message))
        if self._stop_at is not None and done >= self._stop_at:
            raise JobCancelled("The job was cancelled.")

    @property
    def messages(self) -> list[str]:
        return [message for *_, message in self.lines]


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "hub").rglob("*.part"))


def blobs(folder: Path) -> list[Path]:
    return [path for path in (folder / "hub").rglob("blobs/*") if path.suffix != ".part"]


def failure(spec: BackboneSpec) -> BackboneUnavailable:
    with pytest.raises(BackboneUnavailable) as caught:
        fetch_weights(spec.id, Settings())
    return caught.value


def test_weights_come_from_the_hub_once_and_then_work_without_it(
    hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: the road most users walk, with the file where the hub's own client looks for it afterwards."""
    from huggingface_hub import hf_hub_download, scan_cache_dir

    chosen = resolve(spec.id, Settings())
    assert f"downloaded once from {REPO}" in chosen.sentence
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    assert found.read_bytes() == weights.read_bytes()
    assert found.resolve().name == sha256(weights)
    assert hf_hub_download(REPO, NAME, local_files_only=True) == str(found)
    (repository,) = scan_cache_dir(tmp_path / "hub").repos
    assert repository.repo_id == REPO
    assert [ref for revision in repository.revisions for ref in revision.refs] == ["main"]
    # The client itself, asked online, finds nothing left to do.
    sent = hub.sent
    assert hf_hub_download(REPO, NAME) == str(found)
    assert hub.sent == sent

    monkeypatch.setattr(f"{CLIENT}.HF_HUB_OFFLINE", True)
    forget_whether_the_hub_answers()
    asked = len(hub.asked)
    assert "in the local cache" in resolve(spec.id, Settings()).sentence
    fetch_weights(spec.id, Settings())
    assert get_backbone(spec.id, "float32", Settings()).spec == spec
    assert len(hub.asked) == asked


def test_progress_says_bytes_and_time_left(hub: Hub, spec: BackboneSpec, weights: Path) -> None:
    """Kind: a wait of minutes in which nobody heard anything."""
    size = weights.stat().st_size
    hub.faults.bytes_per_second = size / 3
    heard = Heard()
    fetch_weights(spec.id, Settings(), heard)
    downloading = [line for line in heard.lines if line[3].startswith("Downloading")]
    assert {phase for phase, *_ in downloading} == {"download"}
    done = [done for _, done, _, _ in downloading]
    assert done == sorted(done)
    assert len({*done}) >= 3
    assert {total for _, _, total, _ in downloading} == {size}
    assert any(
        message.startswith("Downloading the CLIP weights: ")
        and f" of {round(size / 1000)} kB, " in message
        and message.endswith(" s left")
        for message in heard.messages
    )


@pytest.mark.parametrize("no_range", [False, True])
def test_a_download_that_is_cut_off_is_taken_up_where_it_was(
    hub: Hub, spec: BackboneSpec, weights: Path, no_range: bool
) -> None:
    """Kind: a line that breaks, at a hub that continues and at one that begins anew each time."""
    size = weights.stat().st_size
    hub.faults.cut_after, hub.faults.cuts, hub.faults.no_range = size // 4, 3 if not no_range else 2, no_range
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    assert found.read_bytes() == weights.read_bytes()
    if no_range:
        assert hub.sent == size + 2 * (size // 4)
    else:
        assert hub.sent == size
        assert hub.ranges() == ["", *(f"bytes={number * (size // 4)}-" for number in (1, 2, 3))]


def test_a_line_that_breaks_too_often_ends_with_a_sentence_and_the_next_try_goes_on(
    hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path
) -> None:
    """Kind: bounded retries; what came before they ran out is not fetched again."""
    size = weights.stat().st_size
    hub.faults.cut_after, hub.faults.cuts = size // 2, 1
    hub.faults.content_error, hub.faults.failures = 503, 0
    stopper = threading.Thread(target=_fail_after_first_cut, args=(hub,))
    stopper.start()
    error = failure(spec)
    stopper.join()
    assert "status 503" in str(error)
    assert "Try again later." in str(error)
    (part,) = parts(tmp_path)
    assert part.stat().st_size == size // 2
    hub.faults.content_error = 0
    before = hub.sent
    fetch_weights(spec.id, Settings())
    assert hub.sent - before == size - size // 2
    assert cached_weights(spec) is not None
    assert parts(tmp_path) == []


def _fail_after_first_cut(hub: Hub) -> None:
    while hub.faults.cuts:
        time.sleep(0.001)
    hub.faults.failures = -1


def test_a_line_that_always_breaks_and_never_goes_on_is_not_asked_for_ever(
    hub: Hub, spec: BackboneSpec, weights: Path
) -> None:
    """Kind: bounded retries. Half of the file, begun anew each time, was progress each time."""
    hub.faults.cut_after, hub.faults.refuses_range = weights.stat().st_size // 2, True
    assert "the connection broke off" in str(failure(spec))
    assert len(hub.ranges()) <= 2 * (len(WAITS) + 1)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/outside.bin", "a/../../outside.bin", "a\\..\\outside.bin"])
def test_a_hubs_list_is_no_way_out_of_the_cache(name: str, hub: Hub, tmp_path: Path) -> None:
    """Kind: names from elsewhere are never paths."""
    hub.add("some/repo", {name: b"x"})
    with pytest.raises(DownloadFailed, match="no name inside a repository"):
        fetch(HubFile("some/repo", name, "a file", cache_dir=tmp_path / "cache"), lambda *_: None)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fault", ["wrong", "too_long"])
def test_other_bytes_than_announced_are_refused_and_removed(
    hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path, fault: str
) -> None:
    """Kind: a file that is not what the hub announced, by content or by size."""
    setattr(hub.faults, fault, True)
    error = failure(spec)
    assert "is not what the hub announced" in str(error)
    assert "It was removed; try again." in str(error)
    assert cached_weights(spec) is None
    assert parts(tmp_path) == blobs(tmp_path) == []
    setattr(hub.faults, fault, False)
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    assert found.read_bytes() == weights.read_bytes()


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("drips", [False, True])
def test_a_hub_that_hangs_or_drips_ends_with_a_sentence(
    hub: Hub, spec: BackboneSpec, tmp_path: Path, drips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a download without an end."""
    monkeypatch.setattr("detector.backbones.download.STALL_WINDOW", 1)
    if drips:
        hub.add(REPO, {NAME: bytes(20_000_000)})
        hub.faults.bytes_per_second = 100
    else:
        hub.faults.hang = True
    error = failure(spec)
    assert ("the hub sends hardly anything" if drips else "ReadTimeout") in str(error)
    assert "5 times in a row" in str(error)
    assert "what is there already is kept" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (404, "RepoNotFound", f"has no public repository {REPO}"),
        (404, "RevisionNotFound", "has no revision main"),
        (404, "EntryNotFound", f"{REPO} holds no open_clip weights"),
        (401, "RepoNotFound", "give an access token in HF_TOKEN"),
        (401, "GatedRepo", "only for accounts that accepted its terms"),
        (403, "GatedRepo", "only for accounts that accepted its terms"),
        (403, "", "refuses access"),
        (429, "", "too many requests"),
        (500, "", "has a fault of its own (status 500)"),
        (418, "", "answers with status 418"),
    ],
)
def test_a_hub_that_refuses_is_told_in_a_sentence_that_says_what_to_do(
    hub: Hub, spec: BackboneSpec, status: int, code: str, says: str
) -> None:
    """Kind: every way in which the hub says no; each has its own remedy, and the ways without the hub are named."""
    hub.faults.error = (status, code)
    sentence = str(failure(spec))
    assert says in sentence
    assert "DETECTOR_CLIP_CHECKPOINT" in sentence
    assert OFFLINE in sentence
    hub.faults.error = (0, "")
    fetch_weights(spec.id, Settings())
    assert cached_weights(spec) is not None


@pytest.mark.parametrize("where", ["error", "content_error"])
def test_a_fault_that_passes_is_waited_for(hub: Hub, spec: BackboneSpec, where: str) -> None:
    """Kind: a hub that is overloaded for a moment."""
    setattr(hub.faults, where, (503, "") if where == "error" else 503)
    hub.faults.failures = 2
    fetch_weights(spec.id, Settings())
    assert cached_weights(spec) is not None


def test_a_token_goes_to_the_hub_and_not_to_where_it_forwards(
    hub: Hub, spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: weights that are only for some accounts."""
    hub.gated.add(f"models/{REPO}")
    assert "HF_TOKEN" in str(failure(spec))
    monkeypatch.setenv("HF_TOKEN", "token of the tests")
    fetch_weights(spec.id, Settings())
    assert cached_weights(spec) is not None
    assert {asked.authorization for asked in hub.asked if asked.at_content} == {""}


def test_what_is_no_hub_is_told(hub: Hub, spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind: a sign-in page or a plain file server answers where the hub should."""
    # The content address answers a HEAD with the file, as a plain mirror does, but knows no revisions.
    url = f"{hub.content}/{{repo_id}}/{sha256(hub.repositories[f'models/{REPO}'][NAME])}?{{revision}}{{filename}}"
    monkeypatch.setattr(f"{CLIENT}.HUGGINGFACE_CO_URL_TEMPLATE", url)
    assert "is no model hub" in str(failure(spec))


def test_a_hub_that_is_gone_when_its_file_is_asked_for_is_told(
    hub: Hub, spec: BackboneSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: the hub answered a moment ago, which is remembered for a minute, and does not any more."""
    url = NO_HUB + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{CLIENT}.HUGGINGFACE_CO_URL_TEMPLATE", url)
    sentence = str(failure(spec))
    assert "the connection to" in sentence
    assert "Check the network, and try again" in sentence


def test_weights_come_from_a_hub_that_never_says_how_large_they_are(
    hub: Hub, spec: BackboneSpec, weights: Path
) -> None:
    """Kind: a mirror that leaves out facts."""
    hub.faults.no_length = True
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    assert found.read_bytes() == weights.read_bytes()


def test_a_cancelled_job_stops_the_download_and_what_came_is_kept(
    hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path
) -> None:
    """Kind: work that nobody wants any more; also in the middle of a silence."""
    size = weights.stat().st_size
    hub.faults.bytes_per_second = size / 4
    with pytest.raises(JobCancelled):
        fetch_weights(spec.id, Settings(), Heard(stop_at=size // 10))
    deadline = time.monotonic() + 300
    while any(thread.name == "hub-download" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (part,) = parts(tmp_path)
    kept = part.stat().st_size
    assert 0 < kept < size
    hub.faults.bytes_per_second = 0
    fetch_weights(spec.id, Settings())
    assert hub.ranges()[-1] == f"bytes={kept}-"


def test_two_at_once_fetch_the_file_once(hub: Hub, spec: BackboneSpec, weights: Path) -> None:
    """Kind: several jobs or processes that want the same weights; each says how far it is."""
    size = weights.stat().st_size
    hub.faults.bytes_per_second = size / 2
    heard = [Heard(), Heard()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda each: fetch_weights(spec.id, Settings(), each), heard))
    assert hub.sent == size
    assert any(message.endswith("by another process") for each in heard for message in each.messages)


def test_a_process_that_holds_the_lock_and_does_nothing_is_not_waited_for_without_end(
    hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a stopped process, or the lock that a killed one left on a file system without real locks."""
    monkeypatch.setattr("detector.backbones.download.SILENCE", 1.0)
    lock = tmp_path / "hub" / ".locks" / f"models--{REPO.replace('/', '--')}" / f"{sha256(weights)}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        sentence = str(failure(spec))
    assert "another process has had the lock" in sentence
    assert str(lock) in sentence
    fetch_weights(spec.id, Settings())
    assert cached_weights(spec) is not None


def test_too_little_space_is_told_before_and_during_a_download(
    hub: Hub, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a full disk, found beforehand, or met on the way because others write too."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    try:
        monkeypatch.setattr(f"{CLIENT}.HF_HUB_CACHE", str(small / "hub"))
        hub.add(REPO, {NAME: os.urandom(5_000_000)})
        sentence = str(failure(spec))
        assert "not enough space" in sentence
        assert "5.0 MB more are needed" in sentence
        assert "HF_HOME" in sentence
        assert hub.sent == 0
        hub.add(REPO, {NAME: os.urandom(1_000_000)})
        hub.faults.bytes_per_second = 500_000
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(failure, spec)
            while not hub.sent and not running.done():
                time.sleep(0.01)
            (small / "other").write_bytes(bytes(1_400_000))
            sentence = str(running.result())
        assert "not enough space" in sentence
        (small / "other").unlink()
        hub.faults.bytes_per_second = 0
        fetch_weights(spec.id, Settings())
        assert cached_weights(spec) is not None
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_cache_that_cannot_be_written_is_told(
    hub: Hub, spec: BackboneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kind: a folder without the right to write, or that is none."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(f"{CLIENT}.HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    assert "cannot be written" in str(failure(spec))


def test_a_file_that_the_disk_damaged_is_removed_and_fetched_anew(hub: Hub, spec: BackboneSpec, weights: Path) -> None:
    """Kind: a wrong file in the cache, found there again at every attempt."""
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    found.resolve().write_bytes(bytes(1000))
    settings = Settings(threads=1)
    with pytest.raises(BackboneUnavailable) as caught:
        get_backbone(spec.id, "float32", settings)
    assert "damaged in the hub's local cache and have been removed" in str(caught.value)
    assert cached_weights(spec) is None
    assert get_backbone(spec.id, "float32", settings).spec == spec


def test_older_weights_of_the_other_name_are_found(hub: Hub, spec: BackboneSpec, weights: Path, tmp_path: Path) -> None:
    """Kind: repositories that hold a file of torch.save and no safetensors."""
    checkpoint = tmp_path / "older.bin"
    torch.save(load_file(weights), checkpoint)
    hub.add(REPO, {"open_clip_pytorch_model.bin": checkpoint})
    fetch_weights(spec.id, Settings())
    found = cached_weights(spec)
    assert found is not None
    assert found.name == "open_clip_pytorch_model.bin"
    assert get_backbone(spec.id, "float32", Settings(threads=2)).spec == spec


def test_a_job_fails_with_the_sentence_stops_when_cancelled_and_can_be_run_again(
    hub: Hub, spec: BackboneSpec, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    """Kind: what the page shows of a download: the job's row, bytes in it while it runs and the reason at its end."""
    ws = Workspace.open(Settings(data_dir=tmp_path / "data", precision="float32"))
    try:
        chosen = resolve(spec.id, ws.settings)
        function = functions.create_function(
            ws.db, "Road", backbone_id=spec.id, backbone_reason=chosen.sentence, label_names=("real", "synthetic")
        )
        plan = LabelPlan(mode="folders", level=0, source_level=1)
        request_import(ws, function.id, folder_payload(pictures, plan), "test")
        hub.faults.error = (404, "RepoNotFound")
        with pytest.raises(BackboneUnavailable) as refused:
            run_pending(ws, function.id)
        assert "has no public repository" in str(refused.value)
        assert functions.get_function(ws.db, function.id).training_note == str(refused.value)

        hub.faults.error = (0, "")
        hub.faults.bytes_per_second = weights.stat().st_size / 5
        job_id = request_build(ws, function.id)
        rows = []

        def cancel(phase: str, done: int, *_: object) -> None:
            if phase == "download" and done:
                rows.append(jobs.get_job(ws.db, job_id))
                jobs.finish(ws.db, job_id, "cancelled")

        with pytest.raises(JobCancelled):
            run_pending(ws, function.id, cancel)
        (row,) = rows
        assert (row.phase, row.total) == ("download", weights.stat().st_size)
        assert row.message.startswith("Downloading the CLIP weights: ")
        assert says_amounts(row.message)

        hub.faults.bytes_per_second = 0
        request_build(ws, function.id)
        result = run_pending(ws, function.id)
        assert result is not None
        assert result.trained
    finally:
        ws.close()


def test_auto_says_why_it_chooses_what_it_chooses(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kind: `auto` with the hub there, gone, forbidden, and with the weights in the cache."""
    published = SPECS[DEFAULT_CLIP]
    hub.add(published.hub_repo, {NAME: b"weights"})
    found = resolve("auto", Settings())
    assert (found.spec.id, "downloaded once" in found.sentence) == (DEFAULT_CLIP, True)
    with monkeypatch.context() as patch:
        patch.setattr(f"{CLIENT}.ENDPOINT", NO_HUB)
        found = resolve("auto", Settings())
        assert (found.spec.id, "the model hub does not answer" in found.sentence) == (OFFLINE, True)
    with monkeypatch.context() as patch:
        patch.setattr(f"{CLIENT}.HF_HUB_OFFLINE", True)
        forget_whether_the_hub_answers()
        found = resolve("auto", Settings())
        assert (found.spec.id, "HF_HUB_OFFLINE forbids downloads" in found.sentence) == (OFFLINE, True)
        forget_whether_the_hub_answers()
    fetch_weights(DEFAULT_CLIP, Settings())
    monkeypatch.setattr(f"{CLIENT}.ENDPOINT", NO_HUB)
    found = resolve("auto", Settings())
    assert (found.spec.id, "in the local cache" in found.sentence) == (DEFAULT_CLIP, True)


# --- Processes of their own ---------------------------------------------------------------------------------------

_COMMAND = """
import sys
from pathlib import Path
import open_clip
from detector.backbones import registry
config, repo, *arguments = sys.argv[1:]
open_clip.add_model_config(Path(config))
registry.SPECS[registry.DEFAULT_CLIP] = registry.BackboneSpec(
    id=registry.DEFAULT_CLIP, title="Small CLIP", family="clip", architecture=Path(config).stem, pretrained="random",
    licence="none", download_bytes=1, image_size=32, description="", hub_repo=repo,
)
from detector.cli.main import main
sys.argv[1:] = arguments
sys.exit(main())
"""


def command(data_dir: Path, hub: str, config: Path, *arguments: object, **settings: str) -> subprocess.Popen[str]:
    """``python -m detector`` in which the default CLIP is the small one."""
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(config), REPO, *map(str, arguments)],
        cwd=CHECKOUT,
        env=environment(data_dir, hub, **{"DETECTOR_PRECISION": "float32", **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("pictures"), {"real": 4, "synthetic": 4})


@pytest.mark.long
@pytest.mark.slow
def test_a_command_fetches_weights_across_a_kill_and_works_offline_afterwards(
    hub: Hub, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    """Kind: a process that dies in the middle of a download. `auto` says each time where the weights come from."""
    config, data_dir = weights.with_suffix(".json"), tmp_path / "data"
    size = weights.stat().st_size
    hub.faults.bytes_per_second = size / 20
    killed = command(data_dir, hub.address, config, "train", pictures, "--json")
    while hub.sent < size / 10:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    _, err = killed.communicate()
    assert f"is the automatic choice. The weights are downloaded once from {REPO}" in err
    (part,) = (data_dir / "hub").rglob("*.part")
    kept = part.stat().st_size
    assert kept > 0
    hub.faults.bytes_per_second = size / 3

    trained = command(data_dir, hub.address, config, "train", pictures, "--json")
    out, err = trained.communicate(timeout=300)
    assert trained.returncode == 0, err
    assert hub.ranges()[-1] == f"bytes={kept}-"
    assert "Downloading the CLIP weights: " in err
    assert " s left" in err
    assert DEFAULT_CLIP in out

    for number, settings in enumerate([{"HF_HUB_OFFLINE": "1"}, {}]):
        settings["HF_HOME"] = str(data_dir / "hub")
        offline = command(tmp_path / f"offline {number}", NO_HUB, config, "train", pictures, "--json", **settings)
        out, err = offline.communicate(timeout=300)
        assert offline.returncode == 0, err
        assert "is the automatic choice. The weights are in the local cache of the model hub." in err
        assert DEFAULT_CLIP in out
        assert "Downloading" not in err


@pytest.mark.long
def test_who_waits_for_a_process_that_is_killed_goes_on_where_that_one_was(
    hub: Hub, spec: BackboneSpec, weights: Path, pictures: Path, tmp_path: Path
) -> None:
    """Kind: of two downloads at once, the one at work dies."""
    size, heard = weights.stat().st_size, Heard()
    hub.faults.bytes_per_second = size / 20
    cache = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    other = command(tmp_path / "data", hub.address, weights.with_suffix(".json"), "train", pictures, **cache)
    while not hub.sent:
        assert other.poll() is None, other.communicate()
        time.sleep(0.05)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fetch_weights, spec.id, Settings(), heard)
        while not any("by another process" in message for message in heard.messages):
            time.sleep(0.05)
        other.kill()
        other.communicate()
        (part,) = parts(tmp_path)
        kept = part.stat().st_size
        hub.faults.bytes_per_second = 0
        waiting.result()
    assert kept > 0
    assert int(hub.ranges()[-1].removeprefix("bytes=").removesuffix("-")) >= kept
    assert cached_weights(spec) is not None


@pytest.mark.long
@pytest.mark.slow
def test_two_commands_at_once_share_one_download(hub: Hub, weights: Path, pictures: Path, tmp_path: Path) -> None:
    """Kind: processes with one cache of the hub and nothing else in common."""
    size = weights.stat().st_size
    hub.faults.bytes_per_second = size / 10
    home = str(tmp_path / "home")
    both = [
        command(tmp_path / name, hub.address, weights.with_suffix(".json"), "train", pictures, "--json", HF_HOME=home)
        for name in ("one", "two")
    ]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert hub.sent == size
    assert any("by another process" in err for _, err in ended)


@pytest.mark.long
@pytest.mark.slow
def test_the_published_default_in_full_size_comes_over_a_line_that_breaks(
    hub: Hub, pictures: Path, tmp_path: Path
) -> None:
    """Kind: 605 MB, as a new user of the command line meets them, with random weights in place of the trained ones."""
    published = SPECS[DEFAULT_CLIP]
    checkpoint = tmp_path / NAME
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(open_clip.create_model(published.architecture), str(checkpoint))
    try:
        hub.add(published.hub_repo, {NAME: checkpoint})
        hub.faults.cut_after, hub.faults.cuts = 250_000_000, 2
        hub.faults.bytes_per_second = 200_000_000
        data_dir = tmp_path / "data"
        first = run(data_dir, "train", pictures, "--json", hub=hub.address, DETECTOR_PRECISION="float32")
        assert first.code == 0, first.err
        assert f"The weights are downloaded once from {published.hub_repo} (about 605 MB)" in first.err
        assert " of 605 MB" in first.err
        assert hub.ranges() == ["", "bytes=250000000-", "bytes=500000000-"]
        assert hub.sent == checkpoint.stat().st_size
    finally:
        for large in (checkpoint, *(tmp_path / "data" / "hub").rglob("blobs/*")):
            large.unlink(missing_ok=True)
