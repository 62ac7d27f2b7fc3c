"""Who may come in by name: passwords tried slowly, identities of an organisation, and sessions that end in time."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import TypeVar

from detector.errors import InvalidInput, SignedOut, TooManyAttempts, WrongPassword
from detector.settings import Settings
from detector.storage import keys, users
from detector.storage.acting import LOOK, MANAGE, PAGE, Actor, acting, needs
from detector.storage.audit_log import note_refusal, note_sign_in
from detector.storage.database import Database
from detector.storage.users import User
from detector.web.password import PasswordHash
from detector.web.throttling import LoginThrottle, one_person

_T = TypeVar("_T")

WRONG = "There is no user of that name with that password. Check both, or ask somebody with the role 'manage'."
OVER = (
    "This server has users now: the shared password lets nobody in any more. Sign in with your own name, and ask "
    "somebody with the role 'manage' for one."
)

#: Letters and digits of a password that is given out: none that is taken for another.
_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"


def people_there(settings: Settings) -> bool:
    """Whether the data of these settings has users: asked before a server starts that nothing else would protect.

    Nothing is made, and no older database is brought up to date for it. Raises DataFolderUnusable.
    """
    return users.are_in(settings.url)


class UserGate:
    """Where names and passwords are tried: slowly for each address, and for each name from addresses not known for it.

    Where somebody has come in before, their name at that address is counted for itself: neither do strangers who guess
    from elsewhere or at other names keep them out, nor does anybody else's right password there forgive a guess at it.

    Parameters
    ----------
    db : Database
    by_address, by_name, by_pair : LoginThrottle, optional
    """

    def __init__(
        self,
        db: Database,
        by_address: LoginThrottle | None = None,
        by_name: LoginThrottle | None = None,
        by_pair: LoginThrottle | None = None,
    ) -> None:
        self._db = db
        self._by_address, self._by_name = by_address or LoginThrottle(), by_name or LoginThrottle()
        self._by_pair = by_pair or LoginThrottle()
        # Asked and counted together: an attempt that one of them forbids must not count for the other.
        self._counting = threading.Lock()
        # One guess at a time: many at once would take 32 MB each.
        self._lock = threading.Lock()
        self._known: set[tuple[str, str]] = set()
        # Compared where there is no user of that name: the answer must not come sooner.
        self._nobodys = PasswordHash.make(secrets.token_urlsafe(16))

    def enter(self, name: str, password: str, address: str) -> User:
        """The user, where name and password are theirs.

        Raises
        ------
        WrongPassword
            Of whatever reason: nobody is told which names there are.
        TooManyAttempts
            Nothing was checked.
        """
        named = _short(name)
        self._begin(named, address)
        with self._lock:
            user = users.find_user(self._db, name)
            stored = users.password_hash(self._db, user.id) if user is not None else None
            right = (PasswordHash.parse(stored) if stored else self._nobodys).matches(password)
        if user is None or stored is None or not right or user.disabled_at is not None:
            note_refusal(self._db, name, address, PAGE)
            raise WrongPassword(WRONG)
        self._succeeded(named, address)
        note_sign_in(self._db, user.name, address, actor_of(user))
        return user

    def require(self, user: User, password: str, address: str) -> None:
        """Return where the password is the user's, who is signed in. Raises WrongPassword, TooManyAttempts."""
        named = _short(user.name)
        self._begin(named, address)
        with self._lock:
            stored = users.password_hash(self._db, user.id)
            right = (PasswordHash.parse(stored) if stored else self._nobodys).matches(password)
        if not right or stored is None:
            note_refusal(self._db, user.name, address, PAGE)
            raise WrongPassword("That is not your password of today. Nothing was changed.")
        self._succeeded(named, address)

    def _begin(self, named: str, address: str) -> None:
        pair = (named, one_person(address))
        with self._counting:
            if pair in self._known:
                wait = self._by_pair.begin(_key(pair))
            else:
                wait = max(self._by_address.wait(address), self._by_name.wait(named))
                if wait <= 0:
                    self._by_address.begin(address, named)
                    self._by_name.begin(named)
        if wait > 0:
            raise TooManyAttempts(wait)

    def _succeeded(self, named: str, address: str) -> None:
        pair = (named, one_person(address))
        with self._counting:
            if pair not in self._known:
                self._by_address.succeeded(address, named)
                self._by_name.succeeded(named)
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known.add(pair)
            self._by_pair.succeeded(_key(pair))


_MOST_KNOWN = 10_000


def actor_of(user: User) -> Actor:
    """A user who does something on a page."""
    return Actor(user.name, user.role, PAGE, f"user:{user.id}")


def names_of_actors(db: Database) -> dict[str, str]:
    """What users and keys are called, by the id that stands beside what they keep (`Actor.id`)."""
    named = {f"user:{user.id}": user.name for user in users.list_users(db)}
    return named | {f"key:{key.id}": f"{key.name} (key)" for key in keys.list_keys(db)}


def ticket(user: User) -> str:
    """What a session is let in for: it ends when the password or the role changes, or the user is shut out."""
    return f"user.{user.id}.{user.sign_in_epoch}"


def user_of_ticket(db: Database, given: str) -> User | None:
    """The user of a `ticket`; None where it has ended, or is none."""
    kind, _, rest = given.partition(".")
    user_id, _, epoch = rest.partition(".")
    # No epoch has more digits than a database has room for.
    if kind != "user" or not (epoch.isascii() and epoch.isdigit() and len(epoch) <= 9):
        return None
    return users.user_in_force(db, user_id, int(epoch))


def still_in(db: Database, given: str) -> bool:
    """Whether an address that was given for a `ticket` is still good: always, where there are no users."""
    return not users.any_users(db) or user_of_ticket(db, given) is not None


def in_name_of(db: Database, given: str, make: Callable[[], _T]) -> Callable[[], _T]:
    """What is made later, and in another thread, is made in the name of whoever asked. It may raise SignedOut."""

    def made() -> _T:
        if not users.any_users(db):
            return make()
        user = user_of_ticket(db, given)
        if user is None:
            raise SignedOut
        with acting(actor_of(user)):
            return make()

    return made


def is_verified(said: object) -> bool:
    """Whether the sign-in of an organisation leaves an address standing; ``said``: its ``email_verified``.

    Some say it as a text or a number. One that says nothing vouches for its addresses itself.
    """
    return said is None or str(said).strip().lower() not in ("false", "0", "0.0", "no", "")


def user_by_identity(db: Database, identity: str, verified: bool = True) -> User:
    """The user whom the sign-in of an organisation names; raises WrongPassword with the sentence to show.

    Parameters
    ----------
    verified : bool
        False where that sign-in says itself that nobody has checked the address.
    """
    shown = identity[:100] or "without an e-mail address"
    found = users.by_identity(db, identity) if identity and verified else None
    if found is None or found.disabled_at is not None:
        note_refusal(db, identity, "", PAGE)
        raise WrongPassword(
            f"No user of this server has the identity {shown!r}. Ask somebody with the role 'manage' to let you in."
        )
    return found


@needs(MANAGE, "making a user")
def create_user(db: Database, name: str, role: str, password: str | None = None, identity: str | None = None) -> User:
    """Make a user, with a password or for the sign-in of an organisation. Errors as of `users.add_user`."""
    return users.add_user(db, name, role, str(PasswordHash.make(password)) if password is not None else None, identity)


@needs(MANAGE, "changing a user's password")
def give_password(db: Database, user_id: str, password: str) -> None:
    """Give a user another password. Raises InvalidInput, NotFound."""
    users.set_password(db, user_id, str(PasswordHash.make(password)))


@needs(LOOK, "changing one's own password")
def change_password(db: Database, gate: UserGate, given: str, old: str, new: str, address: str) -> User:
    """Change one's own password: asks for the old one. Returns the user, to be let in anew.

    Parameters
    ----------
    given : str
        The `ticket` that the person is in for.

    Raises
    ------
    InvalidInput
        The new one is too short, too long, or the old one.
    WrongPassword, TooManyAttempts, SignedOut
    """
    user = user_of_ticket(db, given)
    if user is None:
        raise SignedOut
    gate.require(user, old, address)
    if old == new:
        raise InvalidInput("That is the password that you have. Choose another one.")
    users.set_own_password(db, user.id, str(PasswordHash.make(new)))
    return users.get_user(db, user.id)


def one_time_password() -> str:
    """A password to give out, which its owner changes: some 80 random bits in four groups."""
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(4))


def _key(pair: tuple[str, str]) -> str:
    # No name has a line break that is kept, and no address.
    name, address = pair
    return f"{name}\n{address}"


def _short(name: str) -> str:
    return name.strip().casefold()[: users.MOST_NAME_CHARACTERS]
