"""Pictures that were invoked and are worth a label: put among the samples, by themselves or by one click.

They wait without a label in the inbox of Review. Which ones, and how many a month, is a setting of each function;
unless somebody sets it, none.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict, dataclass
from typing import Any

from detector.errors import CaptureBoundReached, Conflict, InvalidInput, NotFound
from detector.imaging import sha256_hex
from detector.importing.posting import Post, SamplePoster
from detector.operations.outcome import Outcome
from detector.serving.invoke import Verdict
from detector.storage import captured, functions
from detector.storage.acting import LABEL, LOOK, MANAGE, acting, needs, reads
from detector.storage.captured import ASKED, LOW_GRADE, RANDOM, UNLIKE
from detector.storage.database import now
from detector.storage.functions import Function
from detector.storage.trouble import storage_trouble
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: How many a month where nobody says otherwise, and the most that can be said: somebody has to label them.
A_MONTH = 200
MOST_A_MONTH = 10_000

#: Longest file name that is kept; longer ones are cut.
_NAME_CHARACTERS = 200
#: Digits of a picture's hash that decide whether it is drawn.
_DIGITS = 12

# A picture of 100 megapixels takes hundreds of megabytes while it is decoded, and nobody waits for this.
_one_at_a_time = threading.BoundedSemaphore(1)
#: So many may wait for that with their bytes, each in a thread of the server; further ones are not captured.
MOST_WAITING = 8
_waiting = threading.BoundedSemaphore(MOST_WAITING)


@dataclass(frozen=True)
class CaptureSettings:
    """Which pictures a function keeps by itself.

    Attributes
    ----------
    low_grade : bool
        Those that got can't tell.
    unlike : bool
        Those unlike the samples, by their file or by what they show.
    random_share : float, 0..1
        This share of all, drawn by the picture's bytes: the same picture is always drawn, or never.
    a_month : int
        No more than this in a calendar month (UTC), whatever the reason.
    """

    low_grade: bool = False
    unlike: bool = False
    random_share: float = 0.0
    a_month: int = A_MONTH

    def __post_init__(self) -> None:
        if not 0 <= self.random_share <= 1:
            raise InvalidInput(f"{100 * self.random_share:g} % of the pictures cannot be drawn. Give 0 to 100 percent.")
        if not 1 <= self.a_month <= MOST_A_MONTH:
            raise InvalidInput(f"{self.a_month:,} pictures a month cannot be kept. Give 1 to {MOST_A_MONTH:,}.")

    @property
    def on(self) -> bool:
        """Whether any picture can be captured by itself."""
        return self.low_grade or self.unlike or self.random_share > 0

    def to_json(self) -> dict[str, Any] | None:
        """As it is stored; None for what every function begins with."""
        return None if self == CaptureSettings() else asdict(self)

    @classmethod
    def of(cls, function: Function) -> CaptureSettings:
        """What a function is set to."""
        stored = function.capture or {}
        return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored})


@needs(MANAGE, "changing what is captured")
def change_capture(ws: Workspace, function_id: str, settings: CaptureSettings) -> None:
    """Set which pictures a function keeps by itself. Nothing follows: what is there stays. Raises NotFound."""
    functions.set_capture(ws.db, function_id, settings.to_json())


@reads
def capture_reason(settings: CaptureSettings, verdict: Verdict, sha256: str) -> str | None:
    """Why a picture is to be kept, one of `detector.storage.captured.BY_THEMSELVES`; None where it is not.

    Parameters
    ----------
    sha256 : str
        Of the picture's bytes, in hexadecimal digits.
    """
    if settings.unlike and verdict.unlike:
        return UNLIKE
    if settings.low_grade and not verdict.sure:
        return LOW_GRADE
    if int(sha256[:_DIGITS], 16) < settings.random_share * 16**_DIGITS:
        return RANDOM
    return None


@needs(LOOK, "invoking")
def maybe_capture(ws: Workspace, function_id: str, name: str, data: bytes, verdict: Verdict) -> str | None:
    """Put a picture among the samples where the function's settings want it; returns the reason, None where it was not.

    Bytes that are a sample already, or lie in the bin, are left as they are. Whoever invoked has their answer by now:
    nothing is raised, a failure is a line in the log.
    """
    try:
        settings = CaptureSettings.of(functions.get_function(ws.db, function_id))
        if not settings.on:
            return None
        sha256 = sha256_hex(data)
        reason = capture_reason(settings, verdict, sha256)
        # Before the picture is decoded; whether there is room is asked again when it is written.
        if (
            reason is None
            or captured.is_or_was_sample(ws.db, function_id, sha256)
            or captured.captured_this_month(ws.db, function_id, now()) >= settings.a_month
        ):
            return None
        if not _waiting.acquire(blocking=False):
            log.info("More pictures to capture than can be kept at once: one was left out.")
            return None
        try:
            # As the function's settings say, whoever invoked.
            with _one_at_a_time, acting(None):
                SamplePoster(ws).post(_post(function_id, name, data, reason, settings.a_month))
        finally:
            _waiting.release()
    except (Conflict, CaptureBoundReached, NotFound):
        # Another one was quicker, or the function was deleted in this moment.
        return None
    except Exception as error:
        trouble = storage_trouble(error)
        log.error("A picture could not be captured: %s", trouble or error, exc_info=trouble is None)
        return None
    return reason


@needs(LABEL, "putting pictures among the samples")
def capture_now(ws: Workspace, function_id: str, name: str, data: bytes) -> Outcome:
    """Put one picture among the samples because somebody asked for it, whatever the month's bound.

    Raises
    ------
    ImageError
        The bytes cannot be used as an image.
    NotFound
        There is no such function.
    """
    try:
        with _one_at_a_time:
            SamplePoster(ws).post(_post(function_id, name, data, ASKED, None))
    except Conflict as known:
        return Outcome(0, str(known))
    return Outcome(1, "Added to the samples, without a label: it waits in the inbox of Review.")


def _post(function_id: str, name: str, data: bytes, reason: str, a_month: int | None) -> Post:
    shown = "".join(character for character in name if character.isprintable())[:_NAME_CHARACTERS]
    return Post(function_id, data, shown, captured=reason, a_month=a_month, origin=captured.ORIGIN)
