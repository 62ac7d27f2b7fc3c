"""Pictures to score that lie in an object store: one after the other, and what a failure means.

That a picture is missing, or may not be read, is said in its row. That the store does not answer is no matter of one
picture: then nothing is noted, because what stands in the results is never asked for again.
"""

from __future__ import annotations

import re
import time
from typing import Any

from detector.errors import EntryUnreadable, ImageTooManyBytes, PicturesUnreachable, PlaceUnusable
from detector.formatting import listed
from detector.importing.entries import printable
from detector.storage.s3_objects import refusal

#: Stores that an address may name. Everything else that fsspec knows (archives in archives, web sites, other machines)
#: stays closed: a list may come from anybody.
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
#: A longer name is none: the systems' own limits lie far below.
LONGEST = 4096
#: Seconds between the tries to read one picture; after the last one the store counts as gone.
PAUSES = [1.0, 4.0, 15.0]
#: What Amazon's library waits for, in seconds, and how often it tries by itself.
_CONNECT_SECONDS, _ANSWER_SECONDS, _ATTEMPTS, _CONNECTIONS = 5, 20, 3, 32
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(?:::[^:]+)*://")
#: The store's answers that are about one picture. Those that are about the keys, such as a token that has expired, come
#: for all.
_OF_ONE = {
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "404"), "there is no such file"),
    "NoSuchBucket": "there is no such bucket",
    **dict.fromkeys(("AccessDenied", "403", "InvalidObjectState"), "it may not be read"),
    **dict.fromkeys(("InvalidBucketName", "KeyTooLongError", "InvalidURI"), "that is no address of a file"),
}
#: By the name of the class: what is found wrong with an address before anybody is asked.
_NO_ADDRESS = {"ParamValidationError", "ValueError", "IsADirectoryError"}


def scheme_of(place: str) -> str:
    """``s3`` of an address of an object store; empty for a path of this machine."""
    found = _SCHEME.match(place)
    return found[1].lower() if found else ""


def shown(place: str) -> str:
    """A place as text to show and to store: bytes that are no text, and control characters, become a sign for it."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in printable(place))
    return text[:LONGEST]


def open_store(place: str, scheme: str) -> tuple[Any, str]:
    """The store that an address names, and the key in it. Raises PlaceUnusable."""
    if "::" in place.partition("://")[0] or scheme not in STORES:
        raise PlaceUnusable(
            shown(place), f"addresses of this kind are not read; those of {listed([*STORES[:-1], 'https'])} are"
        )
    import fsspec

    # Without a memory of what it has listed: that would grow with every folder.
    options: dict[str, Any] = {} if scheme == "memory" else {"use_listings_cache": False}
    if _is_s3(scheme):
        options["config_kwargs"] = {
            "connect_timeout": _CONNECT_SECONDS,
            "read_timeout": _ANSWER_SECONDS,
            "max_pool_connections": _CONNECTIONS,
            "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
        }
    try:
        store = fsspec.filesystem(scheme, **options)
    except ImportError as error:
        extra = 'pip install "ai-image-detector[s3]"' if _is_s3(scheme) else str(error)
        raise PlaceUnusable(shown(place), f"a package for it is not installed. Install it: {extra}") from error
    if _is_s3(scheme):
        # Around the attempts of Amazon's library there are those of s3fs; together they would take many minutes.
        store.retries = 1
    return store, str(store._strip_protocol(place))


def read_from_store(place: str, scheme: str, max_bytes: int) -> bytes:
    """The bytes of one picture.

    Raises
    ------
    ImageError
        This picture cannot be had.
    PicturesUnreachable
        The store does not answer, or refuses everything, several times over.
    """
    name = shown(place)
    for pause in (*PAUSES, None):
        try:
            return _read_once(place, scheme, name, max_bytes)
        except PlaceUnusable as error:
            raise EntryUnreadable(name, error.why) from error
        except (EntryUnreadable, ImageTooManyBytes):
            raise
        except Exception as error:  # each store has errors of its own
            why = _of_one_picture(error, scheme)
            if why:
                raise EntryUnreadable(name, why) from None
            if pause is None:
                raise PicturesUnreachable(name, why_of(error, scheme)) from None
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def why_of(error: BaseException, scheme: str) -> str:
    """What a store's error says, as a part of a sentence.

    Never its own text, which names addresses, accounts and keys.
    """
    why = _of_one_picture(error, scheme)
    if why:
        return why
    if _is_s3(scheme):
        try:
            return refusal(error, "the bucket").why
        except Exception as unknown:  # no error of a store: handed back
            return f"it fails with {type(unknown).__name__}"
    return f"the store reports {type(error).__name__}"


def _read_once(place: str, scheme: str, name: str, max_bytes: int) -> bytes:
    store, inside = open_store(place, scheme)
    try:
        with store.open(inside, "rb", block_size=2**20, cache_type="readahead") as file:
            size = getattr(file, "size", None) or 0
            data = b"" if size > max_bytes else file.read(max_bytes + 1)
    except Exception as error:
        if _is_s3(scheme) and _code(error) in ("400", "403"):
            # To the first question, for the size, a store answers with a number only; to the second it says whether
            # it refuses the picture or the keys.
            store.cat_file(inside, start=0, end=1)
        raise
    if max(size, len(data)) > max_bytes:
        raise ImageTooManyBytes(name, max(size, len(data)), max_bytes)
    return bytes(data)


def _of_one_picture(error: BaseException, scheme: str) -> str:
    """What is wrong with one picture; empty where the error is a matter of the store."""
    code = _code(error) if _is_s3(scheme) else ""
    if code:
        return _OF_ONE.get(code, "")
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "it may not be read"
    if type(error).__name__ in _NO_ADDRESS and "endpoint" not in str(error):
        return "that is no address of a file"
    return ""


def _code(error: BaseException) -> str:
    """What an S3 server has answered; empty where it has not."""
    try:
        return refusal(error).code
    except Exception:  # handed back: no error of a store
        return ""


def _is_s3(scheme: str) -> bool:
    return scheme in ("s3", "s3a")
