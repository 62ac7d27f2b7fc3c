"""What the gallery remembers between two runs of a page, so that of its gestures none is lost and none counts twice.

The browser numbers its gestures and sends all that have not been acknowledged, again and again, as the state of the
component: Streamlit keeps only the last state of a burst, and stops a run as soon as the next one is asked for. What is
remembered here is up to which number the page has been handed them.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_KINDS = frozenset({"label", "label-all", "leave-all", "undo", "page", "stack"})
#: Galleries that one session has opened: of the oldest no browser window still sends anything.
_LOADS_KEPT = 32


@dataclass(frozen=True)
class Gesture:
    """One thing a person did that changes more than what is selected or looked at.

    Attributes
    ----------
    kind : {"label", "label-all", "leave-all", "undo", "page", "stack"}
        Give a label, ask for a label for all that match, select only some again after all that match, undo the last
        change of labels, turn the page, open a stack of near-duplicates.
    ids : tuple of str
        The samples that get the label, or the one that stands for the stack. They come from the browser and may have
        left the page: whoever acts on them checks that they belong to the function.
    label : str or None
        Id of the label given, ``None`` to remove it.
    step : int
        -1 or 1 for "page", else 0.
    """

    kind: str
    ids: tuple[str, ...] = ()
    label: str | None = None
    step: int = 0


@dataclass
class GalleryMemory:
    """Of one gallery in one browser session.

    Every method is free of Streamlit: a run may be stopped inside any call of it, and what is noted between two such
    calls must be whole.
    """

    session: str = field(default_factory=lambda: secrets.token_hex(8))
    revision: int = 0
    returned: list[str] | None = None
    offered: list[str] | None = None
    commanded: list[str] | None = None
    taken: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    gone_of: tuple[str, int] | None = None
    #: Held while gestures are acted on: two runs of a session overlap, and gestures count in their order.
    acting: threading.RLock = field(default_factory=threading.RLock)

    def own(self, report: Any) -> Mapping[str, Any] | None:
        """The report, if it is one and meant for this session: after a restart the browser sends an old one first."""
        if not isinstance(report, Mapping) or report.get("session") != self.session:
            return None
        return report if isinstance(report.get("load"), str) else None

    def take(self, report: Mapping[str, Any] | None) -> list[Gesture]:
        """Gestures not handed out before, oldest first; from now on they count as handed out."""
        if report is None:
            return []
        load, log = report["load"], report.get("log")
        before = self.taken.get(load, 0)
        new: dict[int, Gesture] = {}
        for entry in log if isinstance(log, list) else []:
            if not isinstance(entry, Mapping) or not isinstance(entry.get("n"), int) or entry["n"] <= before:
                continue
            gesture = _gesture(entry)
            if gesture is not None:
                new[entry["n"]] = gesture
        if new:
            self.taken.pop(load, None)
            self.taken[load] = max(new)
            for old in list(self.taken)[:-_LOADS_KEPT]:
                del self.taken[old]
        return [new[number] for number in sorted(new)]

    def acknowledged(self, report: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Up to which gesture the data of this run tell of them; the browser drops those from its log."""
        if report is None:
            return None
        return {"load": report["load"], "number": self.taken.get(report["load"], 0)}

    def offer(self, report: Mapping[str, Any] | None) -> list[str]:
        """The selection as the browser reported it last."""
        self.offered = list(self.commanded) if self.commanded is not None else self._reported(report)
        return list(self.offered)

    def choose(
        self, report: Mapping[str, Any] | None, given: Sequence[str], shown: Sequence[str]
    ) -> tuple[list[str], int]:
        """Which tiles are selected, and the revision of that.

        Selecting belongs to the browser between two commands of the page; a command is a selection passed in that is
        not what the page was told last, and gets a new revision.
        """
        reference = self.offered if self.offered is not None else self.returned
        commanded = self.commanded is not None or (reference is not None and list(given) != reference)
        if commanded:
            chosen = set(self.commanded if self.commanded is not None else given)
        elif report is not None and report.get("revision") == self.revision:
            chosen = set(self._reported(report))
        else:
            chosen = set(given)
        return [id for id in shown if id in chosen], self.revision + commanded

    def note(self, report: Mapping[str, Any] | None, returned: list[str], revision: int) -> None:
        """Remember what the browser has been sent."""
        if report is not None:
            # What left the page must not come back selected with it, as long as the report still names it.
            self.gone |= set(self._reported(report)) - set(returned)
        self.returned, self.revision = list(returned), revision
        self.offered = self.commanded = None

    def _reported(self, report: Mapping[str, Any] | None) -> list[str]:
        if report is None or report.get("revision") != self.revision:
            return list(self.returned or [])
        number = report.get("number")
        which = (report["load"], number if isinstance(number, int) else 0)
        if which != self.gone_of:
            self.gone, self.gone_of = set(), which
        return [id for id in _texts(report.get("selected")) if id not in self.gone]


def opened_of(report: Mapping[str, Any] | None) -> str | None:
    """The sample in the large view."""
    opened = report.get("opened") if report is not None else None
    return opened if isinstance(opened, str) else None


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _gesture(entry: Mapping[str, Any]) -> Gesture | None:
    kind, label, step = entry.get("kind"), entry.get("label"), entry.get("step")
    if not isinstance(kind, str) or kind not in _KINDS or not (label is None or isinstance(label, str)):
        return None
    return Gesture(kind, tuple(_texts(entry.get("ids"))), label, step if step in (-1, 1) else 0)
