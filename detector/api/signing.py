"""Short-lived signed addresses: pictures for ``<img>`` tags and one-time tokens for uploads."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

from detector.storage.database import Database, now

Kind = Literal["thumbnail", "image"]

#: Expiry times are multiples of this, so that a page shown twice has the same addresses and the browser's cache holds.
_STEP = 3600
_UPLOAD_SECONDS = 12 * 3600


def picture_path(db: Database, kind: Kind, image_hash: str) -> str:
    """A path such as ``/pictures/thumbnail/<hash>?expires=...&signature=...``, good for one to two hours."""
    expires = (int(now()) // _STEP + 2) * _STEP
    return f"/pictures/{kind}/{image_hash}?expires={expires}&signature={_sign(db, kind, image_hash, expires)}"


def picture_allowed(db: Database, kind: str, image_hash: str, expires: str, signature: str) -> bool:
    """Whether a signature is ours, for this picture, and not expired."""
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or int(expires) < now():
        return False
    return hmac.compare_digest(_sign(db, kind, image_hash, int(expires)).encode(), signature.encode())


def upload_token(db: Database) -> str:
    """A token that allows one upload; it is also the upload's name in the spool."""
    name, expires = secrets.token_hex(12), int(now()) + _UPLOAD_SECONDS
    return f"{name}-{expires}-{_sign(db, 'upload', name, expires)}"


def upload_name(db: Database, token: str) -> str | None:
    """The spool name that a token stands for; None when it is not ours or has expired."""
    name, _, rest = token.partition("-")
    expires, _, signature = rest.partition("-")
    if not (name.isalnum() and expires.isascii() and expires.isdigit() and len(expires) <= 12):
        return None
    if int(expires) < now():
        return None
    return name if hmac.compare_digest(_sign(db, "upload", name, int(expires)).encode(), signature.encode()) else None


def _sign(db: Database, kind: str, name: str, expires: int) -> str:
    key = db.secret("signing_key").encode()
    return hmac.new(key, f"{kind}:{name}:{expires}".encode(), hashlib.sha256).hexdigest()[:40]
