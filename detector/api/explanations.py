"""Invokes that ask for all that stands beside the verdict: one after the other, next to those that want it alone."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass

from detector.errors import ExplainBusy
from detector.evidence.evidence import Evidence
from detector.evidence.explain import explain
from detector.imaging import inspect_image
from detector.operations.records import keep_record
from detector.serving.queue import Places
from detector.storage.records import API
from detector.workspace import Workspace

#: Of the places for invokes so many may ask for an explanation: each asks the network several times.
_PART = 4


@dataclass(frozen=True)
class Explained:
    """Evidence, and the record that it was kept as where that was asked for."""

    evidence: Evidence
    record_id: str | None = None


class Explanations:
    """Explains pictures of one workspace. Safe to call from many threads.

    One is worked on at a time, so that invokes without it always have the network to themselves for half of the time,
    and they never lack a place for them.

    Parameters
    ----------
    ws : Workspace
    places : int
        Of the queue of invokes.
    """

    def __init__(self, ws: Workspace, places: int) -> None:
        self._ws = ws
        self._places = Places(max(1, places // _PART), ExplainBusy)
        self._pool = ThreadPoolExecutor(1, "explain")

    def place(self) -> AbstractContextManager[None]:
        """One of the places, beside that in the queue of invokes. Raises ExplainBusy where all are taken."""
        return self._places.place()

    def ask(self, function_id: str, name: str, data: bytes, model_id: str | None, keep: bool) -> Future[Explained]:
        """Explain a picture inside a `place`; errors as of `detector.evidence.explain.explain`."""
        # In the name of whoever asked: it says which records may be read, and whose a new one is.
        return self._pool.submit(copy_context().run, self._explain, function_id, name, data, model_id, keep)

    def stop(self) -> None:
        """End what is being explained, and give up what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _explain(self, function_id: str, name: str, data: bytes, model_id: str | None, keep: bool) -> Explained:
        evidence = explain(self._ws, function_id, name, data, model_id)
        if not keep:
            return Explained(evidence)
        thumbnail = inspect_image(data, name, self._ws.limits).thumbnail
        return Explained(evidence, keep_record(self._ws, function_id, evidence, thumbnail, API).id)
