"""The model hub: is it reachable, is a file in its local cache, fetch a file. Imports huggingface_hub, never torch."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from detector.backbones.registry import OFFLINE, BackboneSpec
from detector.errors import BackboneUnavailable, DownloadFailed, NotOnTheHub
from detector.progress import Report, silent

REACHABILITY_DEADLINE = 3.0
ANSWER_VALID_SECONDS = 60.0

# open_clip's own names; safetensors first.
WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_OTHERWISE = f"Without the hub: give a local file in DETECTOR_CLIP_CHECKPOINT, or choose the backbone {OFFLINE}."

_answers: dict[str, tuple[float, bool]] = {}
_answers_lock = threading.Lock()


def hub_reachable(timeout: float = REACHABILITY_DEADLINE, endpoint: str | None = None) -> bool:
    """Whether the model hub answers within `timeout` seconds. The answer is kept for a minute.

    Parameters
    ----------
    timeout : float
        In seconds.
    endpoint : str, optional
        Address of the hub; by default the one huggingface_hub uses, which also knows about mirrors and proxies.
    """
    from huggingface_hub import constants

    endpoint = endpoint or constants.ENDPOINT
    with _answers_lock:
        known = _answers.get(endpoint)
        if known is not None and time.monotonic() - known[0] < ANSWER_VALID_SECONDS:
            return known[1]
        reachable = _answers_in_time(endpoint, timeout)
        _answers[endpoint] = (time.monotonic(), reachable)
        return reachable


def offline_mode() -> bool:
    """Whether the hub's own setting, HF_HUB_OFFLINE, forbids every connection to it."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _answers_in_time(endpoint: str, timeout: float) -> bool:
    outcome: list[bool] = []

    def ask() -> None:
        from huggingface_hub import get_session

        try:
            outcome.append(get_session().head(endpoint, timeout=timeout).status_code < 400)
        except Exception:  # offline mode, name resolution, proxies, certificates: all mean "not now"
            outcome.append(False)

    # Name resolution ignores timeouts of sockets: the thread may outlive the deadline, so nobody waits for it at exit.
    thread = threading.Thread(target=ask, name="hub-reachability", daemon=True)
    thread.start()
    thread.join(timeout)
    return bool(outcome) and outcome[0]


def cached_weights(spec: BackboneSpec) -> Path | None:
    """The weights in the hub's local cache, or None where they are not; never touches the network."""
    from huggingface_hub import try_to_load_from_cache

    if not spec.hub_repo:
        return None
    for name in WEIGHT_FILES:
        found = try_to_load_from_cache(spec.hub_repo, name)
        if isinstance(found, str):
            return Path(found)
    return None


def download_weights(spec: BackboneSpec, report: Report = silent) -> Path:
    """Fetch the weights from the hub into its local cache.

    Parameters
    ----------
    report : Report
        Hears of the bytes, in the phase ``download``; what it raises stops the download.

    Raises
    ------
    BackboneUnavailable
        The hub does not give the file.
    """
    from detector.backbones.download import HubFile, fetch

    def heard(done: int, total: int, message: str) -> None:
        report("download", done, total, message, None)

    for name in WEIGHT_FILES:
        try:
            return fetch(HubFile(spec.hub_repo, name, "the CLIP weights"), heard)
        except NotOnTheHub:
            continue
        except DownloadFailed as error:
            why = f"its weights cannot be downloaded, {error.why}"
            raise BackboneUnavailable(spec.id, why, f"{error.remedy} {_OTHERWISE}") from error
    raise BackboneUnavailable(spec.id, f"{spec.hub_repo} holds no open_clip weights", _OTHERWISE)
