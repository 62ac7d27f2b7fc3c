"""One file from the model hub into its local cache: resumed, checked, with progress, and never without an end.

The hub's own client finds the file, signs in and speaks HTTP. What it does not do is done here: version 2 of it throws
a half-finished file away, compares no hash, goes on for hours at a few bytes a second, and says nothing in between.
The file ends up where the client puts it (``blobs``, ``snapshots`` and ``refs`` of its documented cache), so that
everything else that reads that cache finds it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from detector.errors import DownloadFailed, NotOnTheHub
from detector.formatting import file_size, part_of_size, time_left
from detector.progress import DOWNLOADING

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

log = logging.getLogger(__name__)

#: Called with (bytes done, bytes in all or 0, message). May raise to stop the download.
Heard = Callable[[int, int, str], None]

REVISION = "main"
#: How often in a row the hub may fail, and the seconds to wait after each time but the last.
WAITS = (1.0, 2.0, 4.0, 8.0)
#: A connection is given up that brings less than this a second, over STALL_WINDOW times the client's own timeout.
LEAST_BYTES_A_SECOND = 1_000
STALL_WINDOW = 3
#: Another process that has the lock of a file and for so many seconds writes nothing is not waited for any longer.
SILENCE = 180.0
#: An attempt that brings this much, or a hundredth of the file, was none of those that fail in a row.
WORTH_AN_ATTEMPT = 1_000_000

_REPORT_SECONDS = 0.5
_SPEED_SECONDS = 15.0
_BLOCK = 1 << 20
_IS_SHA256 = re.compile(r"[0-9a-f]{64}")
# What becomes the name of a file in the cache.
_IS_NAME = re.compile(r"[0-9A-Za-z_-]{1,200}")
_AGAIN = "Try again: what is there already is kept."
_LATER = "Try again later."


@dataclass(frozen=True)
class HubFile:
    """A file of a repository on the hub.

    Attributes
    ----------
    repo : str
        ``<owner>/<name>``.
    name : str
        Path inside the repository.
    what : str
        What it is, for people, as in "Downloading {what}".
    repo_type : {"model", "dataset"}
    cache_dir : pathlib.Path, optional
        The hub's cache; by default the one its client uses.
    """

    repo: str
    name: str
    what: str
    repo_type: Literal["model", "dataset"] = "model"
    cache_dir: Path | None = None


def fetch(file: HubFile, heard: Heard) -> Path:
    """Download a file into the hub's cache, or find it there; returns its path.

    A connection that breaks off is taken up again where it was, in this call a few times and in any later one, also
    after this process was killed. Of several processes one downloads, and the others wait for it.

    Parameters
    ----------
    file : HubFile
    heard : callable
        Called twice a second from the calling thread; what it raises stops the download and is passed on.

    Raises
    ------
    NotOnTheHub
        The repository has no such file.
    DownloadFailed
        Anything else that stands in the way. A file with another hash than the hub announced is removed.
    """
    transfer = _Transfer(file)
    # A thread, because reading from a silent socket would keep a cancelled job waiting for the socket's timeout.
    thread = threading.Thread(target=transfer.run, name="hub-download", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            heard(transfer.done, transfer.total, transfer.message)
            thread.join(_REPORT_SECONDS)
        if transfer.error is None:
            heard(transfer.done, transfer.total, transfer.message)
    finally:
        transfer.stop.set()
    if transfer.error is not None:
        raise transfer.error
    assert transfer.path is not None
    return transfer.path


def drop_if_damaged(cached: Path) -> bool:
    """Remove a file from the hub's cache whose bytes are no longer those it came with; returns whether it was removed.

    Without that, a file that the disk damaged would be found there again at every attempt.
    """
    blob = cached.resolve()
    if blob == cached or not _IS_SHA256.fullmatch(blob.name) or _sha256(blob) == blob.name:
        return False
    cached.unlink()
    blob.unlink()
    return True


def hub_failure(error: Exception, what: str, repo: str, name: str = "") -> DownloadFailed:
    """What an error of the hub's client means, in words, and what to do about it."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    token = "give an access token in HF_TOKEN"
    status = _status(error)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return DownloadFailed(what, "HF_HUB_OFFLINE forbids downloads", "Unset it for the first download.")
    if isinstance(error, errors.GatedRepoError):
        why = f"{repo} is only for accounts that accepted its terms"
        return DownloadFailed(what, why, f"Accept them at {hub}/{repo} and {token}.")
    if isinstance(error, errors.RevisionNotFoundError):
        return DownloadFailed(what, f"{repo} has no revision {REVISION} at {hub}", "Check HF_ENDPOINT if it is set.")
    if isinstance(error, errors.EntryNotFoundError):
        return NotOnTheHub(what, f"{repo} holds no file {name} at {hub}", "Check HF_ENDPOINT if it is set.")
    if isinstance(error, errors.RepositoryNotFoundError):
        why = f"{hub} has no public repository {repo}"
        return DownloadFailed(what, why, f"Check HF_ENDPOINT if it is set; if the repository is private, {token}.")
    if status in (401, 403):
        return DownloadFailed(what, f"{hub} refuses access to {repo} (status {status})", f"To be let in, {token}.")
    if status == 429:
        return DownloadFailed(what, f"{hub} had too many requests from here (status 429)", _LATER)
    if status is not None and status >= 500:
        return DownloadFailed(what, f"{hub} has a fault of its own (status {status})", _LATER)
    if status is not None:
        return DownloadFailed(what, f"{hub} answers with status {status}", "Check HF_ENDPOINT if it is set.")
    why = f"the connection to {hub} failed ({type(error).__name__})"
    return DownloadFailed(what, why, "Check the network, and try again: what is there already is kept.")


def _status(error: Exception) -> int | None:
    """The HTTP status of an answer that the client refused."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _passing(error: Exception) -> bool:
    """Whether it is worth asking again."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return False
    status = _status(error)
    return status in (408, 429) or status is None or status >= 500


class _Stopped(Exception):
    """Nobody waits for the file any more."""


class _BrokenOff(Exception):
    """This attempt is over, the next may do better; says why, as people read it."""


class _Transfer:
    """One file on its way. `run` works in a thread of its own; the rest is read from another."""

    def __init__(self, file: HubFile) -> None:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name

        self.file = file
        self.stop = threading.Event()
        self.done = 0
        self.total = 0
        self.path: Path | None = None
        self.error: BaseException | None = None
        self._doing = f"Asking the hub for {file.what}"
        self._note = ""
        self._speed = _Speed()
        self._cache = Path(file.cache_dir or constants.HF_HUB_CACHE)
        self._repo_folder = repo_folder_name(repo_id=file.repo, repo_type=file.repo_type)

    @property
    def message(self) -> str:
        if self._doing:
            return self._doing
        parts = [f"{DOWNLOADING}{self.file.what}: {part_of_size(self.done, self.total)}"]
        parts.append(self._note or time_left(self._speed.seconds_left(self.done, self.total)))
        return ", ".join(filter(None, parts))

    def run(self) -> None:
        try:
            self.path = self._fetch()
        except OSError as error:
            self.error = self._disk_failure(error)
        except BaseException as error:
            self.error = error

    def _fetch(self) -> Path:
        path = PurePosixPath(self.file.name)
        if path.is_absolute() or ".." in path.parts or "\\" in self.file.name:
            # Names come from the hub's own lists, and the cache is no way to the rest of the disk.
            raise DownloadFailed(
                self.file.what, f"the hub lists a file {self.file.name!r}, which is no name inside a repository", _LATER
            )
        found = self._ask()
        blob = self._cache / self._repo_folder / "blobs" / str(found.etag)
        part = blob.with_name(f"{blob.name}.part")
        blob.parent.mkdir(parents=True, exist_ok=True)
        self.total = found.size or 0
        if not blob.exists():
            with self._alone(blob, part):
                # Whoever had the lock before may have brought it.
                if not blob.exists():
                    self._download(found, part)
                    self._check(found, part)
                    part.replace(blob)
        return self._point_at(blob, str(found.commit_hash))

    def _ask(self) -> HfFileMetadata:
        """What the hub says about the file: version, size, hash."""
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(self.file.repo, self.file.name, repo_type=self.file.repo_type)
        for wait in (*WAITS, None):
            try:
                found = get_hf_file_metadata(url, timeout=constants.HF_HUB_ETAG_TIMEOUT)
                break
            except _client_errors() as error:
                if wait is None or not _passing(error):
                    raise self._failure(error) from error
                self._pause(wait)
        if found.commit_hash is None or not found.etag or not _IS_NAME.fullmatch(found.etag + found.commit_hash):
            raise DownloadFailed(
                self.file.what,
                f"what answers at {constants.ENDPOINT} is no model hub",
                "Check HF_ENDPOINT, and whether a proxy or a sign-in page of the network stands in between.",
            )
        return found

    @contextmanager
    def _alone(self, blob: Path, part: Path) -> Iterator[None]:
        """Hold the lock that the hub's client also uses for this file; meanwhile show how far its holder is."""
        from filelock import Timeout
        from huggingface_hub.utils import WeakFileLock

        lock = self._cache / ".locks" / self._repo_folder / f"{blob.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        since, newest = time.monotonic(), 0.0
        while True:
            held = WeakFileLock(lock, timeout=_REPORT_SECONDS)
            try:
                held.__enter__()
                break
            except Timeout:
                self._doing, self._note = "", "by another process"
                self.done = part.stat().st_size if part.exists() else self.done
                self._stop_if_asked()
                # The hub's own client writes to another name in the same folder.
                if (latest := _newest(blob.parent)) > newest:
                    since, newest = time.monotonic(), latest
                if time.monotonic() - since > SILENCE:
                    raise DownloadFailed(
                        self.file.what,
                        f"another process has had the lock {lock} for minutes and downloads nothing",
                        "End that process; if there is none, delete the lock's file, and try again.",
                    ) from None
        try:
            yield
        finally:
            held.__exit__(None, None, None)

    def _download(self, found: HfFileMetadata, part: Path) -> None:
        self.done = part.stat().st_size if part.exists() else 0
        if self.total and self.done > self.total:
            self._empty(part)
        self._require_space(part)
        self._doing = self._note = ""
        failed, furthest = 0, self.done
        failures: tuple[type[Exception], ...] = (_BrokenOff, *_client_errors())
        while not self.total or self.done < self.total:
            try:
                self._attempt(found, part)
                if not self.total or self.done >= self.total:
                    break
                raise _BrokenOff("the connection broke off")
            except failures as error:
                if not isinstance(error, _BrokenOff) and not _passing(error):
                    raise self._failure(error) from error
                # Beyond what was reached before: one that has the file begun anew each time is not asked for ever.
                gained = self.done - furthest
                furthest = max(furthest, self.done)
                failed = 1 if gained >= min(WORTH_AN_ATTEMPT, max(1, self.total // 100)) else failed + 1
                log.info("download of %s: attempt ended after %d bytes: %s", self.file.name, gained, error)
                if failed > len(WAITS):
                    raise self._given_up(error) from error
                self._note = "the connection was lost, trying again"
                self._pause(WAITS[failed - 1])
                self._note = ""

    def _attempt(self, found: HfFileMetadata, part: Path) -> None:
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        # The version that was announced, even if the repository has moved on meanwhile. Asked for at the hub each time:
        # the signed addresses that it forwards to expire.
        url = hf_hub_url(self.file.repo, self.file.name, repo_type=self.file.repo_type, revision=str(found.commit_hash))
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        request = get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True)
        with request as response:
            if response.status_code == 416:
                # What is there is no beginning of this file.
                self._empty(part)
                raise _BrokenOff("the hub does not continue the file")
            hf_raise_for_status(response)
            if self.done and not _continues(response, self.done):
                self._empty(part)
            with part.open("ab") as out:
                self._receive(response, out, STALL_WINDOW * timeout)

    def _receive(self, response: Any, out: Any, window: float) -> None:
        start, at_start = time.monotonic(), self.done
        for block in response.iter_bytes():
            self._stop_if_asked()
            out.write(block)
            # Here, not when the file is closed: a kill then costs one block, and a full disk is noticed at once.
            out.flush()
            self.done += len(block)
            self._speed.at(self.done)
            if self.total and self.done > self.total:
                return
            elapsed = time.monotonic() - start
            if elapsed >= window:
                if self.done - at_start < LEAST_BYTES_A_SECOND * window:
                    raise _BrokenOff("the hub sends hardly anything")
                start, at_start = time.monotonic(), self.done

    def _check(self, found: HfFileMetadata, part: Path) -> None:
        """Compare with what the hub announced; its large files have their SHA-256 as ETag."""
        self._doing = f"Checking {self.file.what}"
        right = part.stat().st_size == (found.size or part.stat().st_size)
        if right and _IS_SHA256.fullmatch(str(found.etag)):
            right = _sha256(part, self._stop_if_asked) == found.etag
        if not right:
            part.unlink()
            raise DownloadFailed(
                self.file.what,
                f"what came of {self.file.name} is not what the hub announced (another size or SHA-256)",
                "It was removed; try again. If that repeats itself, something on the way, such as a proxy or a virus "
                "scanner, changes it.",
            )

    def _point_at(self, blob: Path, commit: str) -> Path:
        """The entries that make the hub's cache know a file; the ref last, because from it on the file is found."""
        folder = blob.parents[1]
        pointer = folder / "snapshots" / commit / self.file.name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        if not pointer.exists():
            depth = len(PurePosixPath(self.file.name).parts) + 1
            beside = pointer.with_name(f".{uuid4().hex}")
            try:
                beside.symlink_to(Path(*[".."] * depth, "blobs", blob.name))
            except OSError:
                # Windows without the right to make links: as the client does, the file itself.
                shutil.copyfile(blob, beside)
            beside.replace(pointer)
        ref = folder / "refs" / REVISION
        ref.parent.mkdir(exist_ok=True)
        if not ref.exists() or ref.read_text(encoding="utf-8") != commit:
            beside = ref.with_name(f"{uuid4().hex}.tmp")
            beside.write_text(commit, encoding="utf-8")
            beside.replace(ref)
        return pointer

    def _empty(self, part: Path) -> None:
        part.unlink(missing_ok=True)
        self.done = 0

    def _pause(self, seconds: float) -> None:
        self.stop.wait(seconds)
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.stop.is_set():
            raise _Stopped

    def _require_space(self, part: Path) -> None:
        if self.total - self.done > shutil.disk_usage(part.parent).free:
            raise self._no_space()

    def _no_space(self) -> DownloadFailed:
        free = 0
        with suppress(OSError):
            free = shutil.disk_usage(self._cache).free
        needed = f"{file_size(self.total - self.done)} more are needed" if self.total else "more is needed"
        return DownloadFailed(
            self.file.what,
            f"there is not enough space in {self._cache} ({needed}, {file_size(free)} are free)",
            f"Make room there{self._elsewhere()}, and try again.",
        )

    def _disk_failure(self, error: OSError) -> DownloadFailed:
        """An OSError that is none of the client's: the disk or its rights."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            failure = self._no_space()
        else:
            failure = DownloadFailed(
                self.file.what,
                f"{self._cache} cannot be written ({error.strerror or error})",
                f"Give this app the right to write there{self._elsewhere()}, and try again.",
            )
        failure.__cause__ = error
        return failure

    def _elsewhere(self) -> str:
        return "" if self.file.cache_dir else ", or name another folder in HF_HOME"

    def _failure(self, error: Exception) -> DownloadFailed:
        return hub_failure(error, self.file.what, self.file.repo, self.file.name)

    def _given_up(self, error: Exception) -> DownloadFailed:
        if _status(error) is not None:
            return self._failure(error)
        why = str(error) if isinstance(error, _BrokenOff) else f"the connection broke off ({type(error).__name__})"
        at = part_of_size(self.done, self.total)
        return DownloadFailed(self.file.what, f"{why}, {len(WAITS) + 1} times in a row, at {at}", _AGAIN)


class _Speed:
    """Bytes a second of the last seconds: what came before a pause or a resumed file says nothing about the rest."""

    def __init__(self) -> None:
        self._known: deque[tuple[float, int]] = deque()

    def at(self, done: int) -> None:
        moment = time.monotonic()
        if self._known and done < self._known[-1][1]:
            self._known.clear()
        if not self._known or moment - self._known[-1][0] > _REPORT_SECONDS / 2:
            self._known.append((moment, done))
        while moment - self._known[0][0] > _SPEED_SECONDS:
            self._known.popleft()

    def seconds_left(self, done: int, total: int) -> float | None:
        known = list(self._known)
        if len(known) < 2 or not total:
            return None
        elapsed, came = known[-1][0] - known[0][0], known[-1][1] - known[0][1]
        return (total - done) * elapsed / came if came > 0 else None


def _newest(folder: Path) -> float:
    """When a file in a folder was last written."""
    moments = [0.0]
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            moments.append(path.stat().st_mtime)
    return max(moments)


def _sha256(path: Path, between: Callable[[], None] = lambda: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            between()
            digest.update(block)
    return digest.hexdigest()


def _continues(response: Any, start: int) -> bool:
    """Whether an answer begins where it was asked to; some servers and caches send the whole file instead."""
    return response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _client_errors() -> tuple[type[Exception], ...]:
    """What the hub's client and its HTTP library raise. Not OSError: that is the disk."""
    from huggingface_hub import errors

    # HfHubHTTPError's base is the HTTP library's base of all errors, whichever library this version of the client uses.
    library: type[Exception] = errors.HfHubHTTPError.__mro__[1]
    return (library, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, errors.EntryNotFoundError)
