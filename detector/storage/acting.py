"""In whose name something is done, and what each role may do: asked by the writes themselves, so that no door forgets.

Every door says who acts for as long as it works on what was asked: the API for each request, the pages by the session
that a script runs for, the command line once. Where nobody is named (a worker, a program of one's own, a dashboard
without users) everything is allowed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

from detector.errors import InvalidInput, NotAllowed

#: See everything and ask for verdicts; also import, label, correct and keep records; also everything else.
LOOK, LABEL, MANAGE = "look", "label", "manage"
ROLES = (LOOK, LABEL, MANAGE)
#: Doors, as they stand in the audit log.
PAGE, API, COMMAND_LINE, SERVER = "page", "api", "command line", "server"

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True)
class Actor:
    """Who does something.

    Attributes
    ----------
    name : str or None
        Of a user or of a key; None where nobody signs in.
    role : str
        One of `ROLES`.
    door : str
        `PAGE`, `API`, `COMMAND_LINE` or `SERVER`.
    id : str or None
        What tells one from another of the same name, such as "user:..." or "key:...".
    """

    name: str | None
    role: str
    door: str
    id: str | None = None

    @property
    def shown(self) -> str | None:
        """The name as it stands in histories: a key cannot pass for a user of the same name."""
        is_key = (self.id or "").startswith("key:")
        return f"{self.name} (key)" if is_key and self.name is not None else self.name

    @property
    def sees_all(self) -> bool:
        """Whether also what others have kept for themselves may be read."""
        return self.id is None or self.role == MANAGE


#: Said by `acting`; the word instead of an actor: the pages are asked.
_actor: ContextVar[Actor | Literal["ask"] | None] = ContextVar("actor", default="ask")
_askers: list[Callable[[], Actor | None]] = []


@contextmanager
def acting(actor: Actor | None) -> Iterator[None]:
    """Within this, it is done in that name; None: by the program itself, as its settings say."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def act_as(actor: Actor) -> None:
    """From now on, in this task or thread, it is done in that name: for a door that learns it in the middle."""
    _actor.set(actor)


def ask_for_actors(asker: Callable[[], Actor | None]) -> None:
    """Have somebody asked who acts wherever no `acting` says so; a later one takes the place of an earlier one.

    The pages are asked so: their clocks, dialogs and buttons run in threads and orders that only they know.
    """
    _askers[:] = [asker]


def actor_now() -> Actor | None:
    """Who acts in this thread; None: the program itself, or somebody at the machine. Raises NotAllowed."""
    found = _actor.get()
    if found == "ask":
        return _askers[0]() if _askers else None
    return found


def require(role: str, what: str) -> None:
    """Raise NotAllowed where whoever acts may not do what takes ``role``; ``what`` names it: "labelling"."""
    actor = actor_now()
    if actor is not None and ROLES.index(actor.role) < ROLES.index(role):
        raise NotAllowed(actor.shown or "This session", actor.role, role, what)


def may(role: str) -> bool:
    """Whether whoever acts may do what takes ``role``: for pages, which do not offer what would be refused."""
    try:
        actor = actor_now()
    except NotAllowed:
        return False
    return actor is None or ROLES.index(actor.role) >= ROLES.index(role)


def known_role(role: str) -> str:
    """``role`` where it is one of `ROLES`. Raises InvalidInput."""
    if role not in ROLES:
        raise InvalidInput(f"There is no role {role[:40]!r}. Choose one of: {', '.join(ROLES)}.")
    return role


def needs(
    role: str, what: str, unless: Callable[..., bool] | None = None
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Let a function be called only by those who have a role; before it does anything.

    Parameters
    ----------
    role : str
        The least one.
    what : str
        What the function does, for the sentence of a refusal: "labelling".
    unless : callable, optional
        Takes the same arguments; True: everybody may.
    """

    def guard(function: Callable[_P, _T]) -> Callable[_P, _T]:
        @functools.wraps(function)
        def guarded(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            if unless is None or not unless(*args, **kwargs):
                require(role, what)
            return function(*args, **kwargs)

        guarded.least_role = role  # type: ignore[attr-defined]
        return guarded

    return guard


def reads(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Say of a function among writes that it writes nothing, so that everybody may call it."""
    function.least_role = LOOK  # type: ignore[attr-defined]
    return function


def least_role(function: Callable[..., Any]) -> str | None:
    """The least role that a function was declared to take; None where nobody said."""
    found: str | None = getattr(function, "least_role", None)
    return found
