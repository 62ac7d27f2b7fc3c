"""The dashboard's password: stored as a scrypt hash, tried slowly."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass

from detector.errors import InvalidInput, TooManyAttempts, WrongPassword
from detector.web.throttling import LoginThrottle

MIN_LENGTH = 8
MAX_LENGTH = 1024

#: Cost of one guess: 2**15 * 8 * 128 bytes = 32 MB and about a tenth of a second.
_LOG_N, _R, _P = 15, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32
#: A hash from elsewhere may ask for more, but not for all the machine's memory.
_MAX_LOG_N = 20


@dataclass(frozen=True)
class PasswordHash:
    """A parsed hash; its text form has no character that a shell or a YAML file would take for its own."""

    log_n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def make(cls, password: str) -> PasswordHash:
        """Hash a new password. Raises InvalidInput when it is too short or too long."""
        if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
            raise InvalidInput(
                f"The password has {len(password):,} characters; expected {MIN_LENGTH} to {MAX_LENGTH:,}. "
                "Choose another."
            )
        salt = secrets.token_bytes(_SALT_BYTES)
        return cls(_LOG_N, _R, _P, salt, _scrypt(password, salt, _LOG_N, _R, _P))

    @classmethod
    def parse(cls, text: str) -> PasswordHash:
        """Read what ``str`` wrote. Raises InvalidInput."""
        try:
            name, log_n, r, p, salt, digest = text.split(":")
            found = cls(int(log_n), int(r), int(p), _decode(salt), _decode(digest))
        except ValueError as error:
            raise InvalidInput(_NOT_A_HASH) from error
        sane = 1 <= found.log_n <= _MAX_LOG_N and 1 <= found.r <= 32 and 1 <= found.p <= 16
        if name != "scrypt" or not sane or len(found.salt) < 8 or len(found.digest) != _HASH_BYTES:
            raise InvalidInput(_NOT_A_HASH)
        return found

    def __str__(self) -> str:
        return f"scrypt:{self.log_n}:{self.r}:{self.p}:{_encode(self.salt)}:{_encode(self.digest)}"

    def matches(self, password: str) -> bool:
        """Whether this is the hash of ``password``."""
        if len(password) > MAX_LENGTH:
            return False
        return hmac.compare_digest(self.digest, _scrypt(password, self.salt, self.log_n, self.r, self.p))


class PasswordGate:
    """Where a password is tried.

    Parameters
    ----------
    stored : str
        The hash, as ``python -m detector password`` prints it.
    attempts : LoginThrottle, optional
        Who has to wait, and how long.
    """

    def __init__(self, stored: str, attempts: LoginThrottle | None = None) -> None:
        self._stored = PasswordHash.parse(stored)
        self._attempts = attempts or LoginThrottle()
        # One guess at a time: many at once would take 32 MB each.
        self._lock = threading.Lock()

    def enter(self, password: str, client: str) -> None:
        """Return when the password is right.

        Parameters
        ----------
        client : str
            Who tries: the network address.

        Raises
        ------
        WrongPassword
        TooManyAttempts
            Nothing was checked, not even a right password.
        """
        wait = self._attempts.begin(client)
        if wait > 0:
            raise TooManyAttempts(wait)
        with self._lock:
            right = self._stored.matches(password)
        if not right:
            raise WrongPassword
        self._attempts.succeeded(client)


_NOT_A_HASH = (
    "DETECTOR_PASSWORD_HASH is not a password hash. Make one with python -m detector password, and copy the whole line."
)


def _scrypt(password: str, salt: bytes, log_n: int, r: int, p: int) -> bytes:
    n = 2**log_n
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=n,
        r=r,
        p=p,
        maxmem=128 * r * (n + p + 2) + 1_000_000,
        dklen=_HASH_BYTES,
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
