"""Bytes written behind one another and sealed at the end, so that one flipped bit anywhere is found; also encrypted.

The seal is the SHA-256 of all bytes before it. Encrypted with a passphrase (scrypt, then AES-256-GCM in pieces that are
counted and of which the last is marked), nothing can be read, changed, cut off or put in another order unnoticed.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import secrets
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from detector.errors import BackupDamaged, BackupLocked, InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SAID = b"sha256:"
#: How long the seal at the end is.
SEAL_BYTES = len(_SAID) + 64

_MAGIC = b"AIDBACK1"
_SALT_BYTES, _VERIFIER_BYTES, _TAG_BYTES = 16, 16, 16
_HEADER_BYTES = len(_MAGIC) + 1 + _SALT_BYTES + _VERIFIER_BYTES
_PIECE = 1 << 20
#: Cost of one guess at the passphrase: 2**16 * 8 * 128 bytes = 64 MB. What comes with an archive may not ask for more
#: than 16 times that.
_LOG_N, _MOST_LOG_N = 16, 20
LEAST_PASSPHRASE = 8

_READ = 1 << 20


class Output(Protocol):
    """Where bytes go; a second seek backwards is never asked for."""

    def write(self, data: Buffer, /) -> int: ...

    def flush(self) -> None: ...


class Sealing:
    """An output that ends with a seal in the place of as many placeholder bytes that are written last."""

    placeholder = b"-" * SEAL_BYTES

    def __init__(self, out: Output) -> None:
        self._out, self._hash, self._tail = out, hashlib.sha256(), b""

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data).cast("B")
        both = self._tail + bytes(view)
        body, self._tail = both[:-SEAL_BYTES], both[-SEAL_BYTES:]
        self._hash.update(body)
        self._out.write(body)
        return len(view)

    def flush(self) -> None:
        self._out.flush()

    def finish(self) -> None:
        """Write the seal."""
        if self._tail != self.placeholder:
            raise ValueError("the placeholder of the seal was not written last")
        self._out.write(_SAID + self._hash.hexdigest().encode())
        self._out.flush()


def is_sealed(file: IO[bytes], size: int) -> bool:
    """Whether the seal at the end of a file is that of the bytes before it: reads all of it, once."""
    if size < SEAL_BYTES:
        return False
    file.seek(0)
    found, left = hashlib.sha256(), size - SEAL_BYTES
    while left:
        data = file.read(min(_READ, left))
        if not data:
            return False
        found.update(data)
        left -= len(data)
    return hmac.compare_digest(file.read(SEAL_BYTES + 1), _SAID + found.hexdigest().encode())


def seal(text: bytes) -> bytes:
    """``text`` with its seal behind it."""
    return text + _SAID + hashlib.sha256(text).hexdigest().encode()


class Encrypting:
    """An output that is encrypted; `finish` writes the last piece."""

    def __init__(self, out: IO[bytes], passphrase: str) -> None:
        if len(passphrase) < LEAST_PASSPHRASE:
            raise InvalidInput(
                f"The passphrase has {len(passphrase)} characters; expected at least {LEAST_PASSPHRASE}. Choose a "
                "longer one."
            )
        salt = secrets.token_bytes(_SALT_BYTES)
        self._key, verifier = _keys(passphrase, salt, _LOG_N)
        self._header = _MAGIC + bytes([_LOG_N]) + salt + verifier
        self._out, self._piece, self._number = out, bytearray(), 0
        out.write(self._header)

    def write(self, data: Buffer, /) -> int:
        view = memoryview(data).cast("B")
        self._piece += view
        # The last piece is marked, so one is held back until it is known not to be that.
        while len(self._piece) > _PIECE:
            self._put(bytes(self._piece[:_PIECE]), last=False)
            del self._piece[:_PIECE]
        return len(view)

    def flush(self) -> None:
        self._out.flush()

    def finish(self) -> None:
        """Write what is left."""
        self._put(bytes(self._piece), last=True)
        self._out.flush()

    def _put(self, piece: bytes, last: bool) -> None:
        self._out.write(_cipher(self._key).encrypt(_nonce(self._number, last), piece, self._header))
        self._number += 1


class Decrypting(io.RawIOBase):
    """What `Encrypting` wrote, as a file that can be read from anywhere.

    Raises BackupLocked without the right passphrase, and BackupDamaged wherever a piece is not what was written.
    """

    def __init__(self, file: IO[bytes], size: int, passphrase: str | None, name: str) -> None:
        self._file, self._name = file, name
        file.seek(0)
        self._header = file.read(_HEADER_BYTES)
        if len(self._header) < _HEADER_BYTES or size < _HEADER_BYTES + _TAG_BYTES:
            raise BackupDamaged(name)
        if passphrase is None:
            raise BackupLocked(name, given=False)
        log_n = self._header[len(_MAGIC)]
        salt = self._header[len(_MAGIC) + 1 :][:_SALT_BYTES]
        if not 1 <= log_n <= _MOST_LOG_N:
            raise BackupDamaged(name)
        self._key, verifier = _keys(passphrase, salt, log_n)
        if not hmac.compare_digest(verifier, self._header[-_VERIFIER_BYTES:]):
            raise BackupLocked(name, given=True)
        whole = _PIECE + _TAG_BYTES
        self._pieces = -(-(size - _HEADER_BYTES) // whole)
        self.size = size - _HEADER_BYTES - self._pieces * _TAG_BYTES
        if self.size < 0:
            raise BackupDamaged(name)
        self._at, self._held, self._held_number = 0, b"", -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, into: Buffer, /) -> int:
        view = memoryview(into).cast("B")
        if self._at >= self.size:
            return 0
        number, inside = divmod(self._at, _PIECE)
        data = self._decrypted(number)[inside : inside + len(view)]
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _decrypted(self, number: int) -> bytes:
        from cryptography.exceptions import InvalidTag

        if number != self._held_number:
            self._file.seek(_HEADER_BYTES + number * (_PIECE + _TAG_BYTES))
            stored = self._file.read(_PIECE + _TAG_BYTES)
            try:
                nonce = _nonce(number, number == self._pieces - 1)
                self._held = _cipher(self._key).decrypt(nonce, stored, self._header)
            except (InvalidTag, ValueError) as error:
                raise BackupDamaged(self._name) from error
            self._held_number = number
        return self._held


def is_encrypted(path: Path) -> bool:
    """Whether a file begins like an encrypted backup."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _keys(passphrase: str, salt: bytes, log_n: int) -> tuple[bytes, bytes]:
    """The key, and what tells a wrong passphrase from a damaged file."""
    n = 2**log_n
    made = hashlib.scrypt(
        passphrase.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=n,
        r=8,
        p=1,
        maxmem=1024 * (n + 3) + 1_000_000,
        dklen=32 + _VERIFIER_BYTES,
    )
    return made[:32], made[32:]


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
