"""Short-lived signed addresses: pictures for ``<img>`` tags, one-time tokens for uploads, and orders of exports."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, Literal

from detector.storage.database import Database, now
from detector.web.addresses import PICTURES, UPLOADS

Kind = Literal["thumbnail", "image", "view", "run"]

#: Expiry times are multiples of this, so that a page shown twice has the same addresses and the browser's cache holds.
_STEP = 3600
_UPLOAD_SECONDS = 12 * 3600
#: Random bytes in the name of an upload; behind them stands the function that it is for.
_NAME_BYTES = 12


def picture_path(db: Database, kind: Kind, image_hash: str) -> str:
    """A path of the app such as ``/pictures/thumbnail/<hash>?expires=...&signature=...``, good for one to two hours."""
    expires = _soon()
    return f"{PICTURES}/{kind}/{image_hash}?expires={expires}&signature={_sign(db, kind, image_hash, expires)}"


def picture_allowed(db: Database, kind: str, image_hash: str, expires: str, signature: str) -> bool:
    """Whether a signature is ours, for this picture, and not expired."""
    if not _is_ahead(expires):
        return False
    return hmac.compare_digest(_sign(db, kind, image_hash, int(expires)).encode(), signature.encode())


def upload_path(token: str) -> str:
    """The path of the app to which the archive of a token is sent."""
    return f"{UPLOADS}/{token}"


def upload_token(db: Database, function_id: str = "", given_for: str = "") -> str:
    """A token that allows one upload for one function; it is also the upload's name in the spool.

    Parameters
    ----------
    given_for : str
        The `detector.web.people.ticket` of who will upload; empty where nobody signs in.
    """
    name, expires = f"{secrets.token_hex(_NAME_BYTES)}{function_id}", int(now()) + _UPLOAD_SECONDS
    return f"{name}-{expires}-{_sign(db, f'upload{given_for}', name, expires)}{f'-{given_for}' if given_for else ''}"


def upload_name(db: Database, token: str) -> str | None:
    """The spool name that a token stands for; None when it is not ours or has expired."""
    name, _, rest = token.partition("-")
    expires, _, rest = rest.partition("-")
    signature, _, given_for = rest.partition("-")
    if not (name.isalnum() and _is_ahead(expires)):
        return None
    right = _sign(db, f"upload{given_for}", name, int(expires)).encode("utf-8", "replace")
    return name if hmac.compare_digest(right, signature.encode("utf-8", "replace")) else None


def upload_given_for(token: str) -> str:
    """For whom a token was made, as of `upload_token`; only of one that `upload_name` knows."""
    return token.rpartition("-")[2] if token.count("-") == 3 else ""


def function_of_upload(name: str) -> str:
    """The function that an upload of this spool name is for; empty where its token named none."""
    return name[2 * _NAME_BYTES :]


def export_token(db: Database, order: Mapping[str, Any]) -> str:
    """A token that carries what is to be exported, good for one to two hours; the same order gives the same token."""
    # Compressed: a selection names hundreds of samples, and proxies accept about 8 kB of address.
    body = urlsafe_b64encode(zlib.compress(json.dumps(order, sort_keys=True).encode(), 9)).decode().rstrip("=")
    expires = _soon()
    return f"{body}.{expires}.{_sign(db, 'export', body, expires)}"


def export_order(db: Database, token: str) -> dict[str, Any] | None:
    """The order that a token carries; None when it is not ours or has expired."""
    body, _, rest = token.partition(".")
    expires, _, signature = rest.partition(".")
    if not _is_ahead(expires):
        return None
    if not hmac.compare_digest(_sign(db, "export", body, int(expires)).encode(), signature.encode()):
        return None
    order: dict[str, Any] = json.loads(zlib.decompress(urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    return order


def _soon() -> int:
    return (int(now()) // _STEP + 2) * _STEP


def _is_ahead(expires: str) -> bool:
    return expires.isascii() and expires.isdigit() and len(expires) <= 12 and int(expires) >= now()


def _sign(db: Database, kind: str, name: str, expires: int) -> str:
    key = db.secret("signing_key").encode()
    return hmac.new(key, f"{kind}:{name}:{expires}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:40]
