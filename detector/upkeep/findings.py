"""What a check has found: problems in words, each named once, and how they become its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from detector.formatting import ago, count, day, duration
from detector.progress import Report, silent
from detector.workspace import Workspace

#: Of one kind so many problems are named; of the others it is only said how many they are.
MOST_NAMED = 100

#: Of a file's name, in a sentence.
_LONGEST_NAME = 120

#: What can be wrong, by the words of the answer.
DATABASE, REFERENCES, COUNTS = "database", "references", "counts"
PICTURES, LOST, ORPHANS, PLACES, THUMBNAILS = "picture damaged", "picture lost", "orphans", "in place", "thumbnails"
EMBEDDINGS, MODELS = "embeddings", "models"
IMPORTS, JOBS, TASKS, FILES = "imports", "jobs", "tasks", "temporary files"


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : one of the words above
    what : what is wrong, and what was or can be done about it
    repaired : whether it is well again; where a job does the rest, whether that was asked for
    """

    kind: str
    what: str
    repaired: bool

    def to_json(self) -> dict[str, Any]:
        """As the answer of the command has it."""
        return {"kind": self.kind, "what": self.what, "repaired": self.repaired}


@dataclass
class Check:
    """A check on its way.

    Attributes
    ----------
    repair : whether what is safe is mended too
    quick : whether the bytes of pictures, thumbnails and embeddings are left unread
    since : when all was well last, in seconds since the epoch; None where nobody knows
    looked_at : how many of what were looked at
    """

    ws: Workspace
    repair: bool = False
    quick: bool = False
    report: Report = silent
    since: float | None = None
    looked_at: Counter[str] = field(default_factory=Counter)
    _problems: list[Problem] = field(default_factory=list)
    _found: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def found(self, kind: str, what: str, repaired: bool = False) -> None:
        """Note a problem."""
        self._found[kind, repaired] += 1
        if self._found[kind, True] + self._found[kind, False] <= MOST_NAMED:
            self._problems.append(Problem(kind, what, repaired))

    def names_no_more(self, kind: str) -> bool:
        """Whether so many of a kind are named that further ones are only counted."""
        return self._found[kind, True] + self._found[kind, False] >= MOST_NAMED

    @property
    def problems(self) -> list[Problem]:
        """Those that are named, and a line for all others of a kind."""
        found = list(self._problems)
        for kind in dict.fromkeys(problem.kind for problem in self._problems):
            for repaired in (False, True):
                named = sum(problem.kind == kind and problem.repaired == repaired for problem in self._problems)
                if more := self._found[kind, repaired] - named:
                    state = "repaired" if repaired else "not repaired"
                    found.append(Problem(kind, f"And {count(more, 'more problem')} of this kind, {state}.", repaired))
        return found

    def from_backup(self, verb: str = "Restore") -> str:
        """What to do about what cannot be made again."""
        if self.since is None:
            return f"{verb} it from a backup, if there is one from before."
        well = day(datetime.fromtimestamp(self.since, UTC))
        return f"{verb} it from a backup of {well}, when all was well, or earlier."


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes
    ----------
    ok : nothing is left to be repaired
    problems : what was found, repaired or not
    since : when a check that looked at as much found all well before, in seconds since the epoch; None: never
    at : when this one ended
    quick, repair : as of `Check`
    looked_at : how many of what were looked at
    seconds : how long it took
    """

    ok: bool
    problems: tuple[Problem, ...]
    since: float | None
    at: float
    quick: bool
    repair: bool
    looked_at: dict[str, int]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The answer of the command."""
        return {
            "ok": self.ok,
            "problems": [problem.to_json() for problem in self.problems],
            "since": _written(self.since),
            "at": _written(self.at),
            "quick": self.quick,
            "repair": self.repair,
            "looked_at": self.looked_at,
            "seconds": round(self.seconds, 3),
        }

    def sentence(self) -> str:
        """All of it in a few words."""
        looked = ", ".join(f"{number:,} {noun}" for noun, number in self.looked_at.items()) or "nothing stored yet"
        told = f"Looked at {looked} in {duration(self.seconds)}."
        if self.quick:
            told += " This was a quick look: the bytes of pictures and embeddings were not read."
        left = sum(not problem.repaired for problem in self.problems)
        mended = len(self.problems) - left
        if not self.problems:
            return f"Everything is well. {told}"
        done = f"{count(mended, 'problem')} found and repaired. " if mended else ""
        if not left:
            return f"{done}Everything is well now. {told}"
        return f"{done}{count(left, 'problem')} left. {well_before(self.since)} {told}"


def well_before(since: float | None) -> str:
    """When all was well last: what came in or went wrong after that is not in an older backup, or not in it yet."""
    if since is None:
        return "No check has found everything well before."
    moment = datetime.fromtimestamp(since, UTC)
    return f"Everything was well on {day(moment)} ({ago(moment)}), so it happened after that."


def shown(name: str) -> str:
    """A name from a stranger's file as a part of a sentence: printable, and not longer than is read."""
    name = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
    return name if len(name) <= _LONGEST_NAME else f"{name[:80]}...{name[83 - _LONGEST_NAME :]}"


def run_repair() -> str:
    """What to do about what is safe to mend."""
    return "Run: python -m detector check --repair"


def some(names: Iterable[str], number: int) -> str:
    """The first names of many, as a part of a sentence."""
    few = [shown(name) for name in names][:3]
    rest = number - len(few)
    return f"{', '.join(few)}{f' and {rest:,} more' if rest > 0 else ''}"


def _written(moment: float | None) -> str | None:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds") if moment is not None else None
