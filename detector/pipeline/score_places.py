"""Where pictures to score lie: a folder, a pattern, a list, an object store; named one after the other, then read.

Millions of names are never held at once: a folder is walked, a list is read line by line. They come in the same order
each time, so that a scoring that was stopped can be resumed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from detector.errors import AddressRefused, DetectorError, EntryUnreadable, ImageError, PlaceUnusable
from detector.importing.clutter import is_clutter
from detector.importing.entries import printable, read_file
from detector.pipeline.score_lists import LIST_ENDINGS as LIST_ENDINGS
from detector.pipeline.score_lists import listed
from detector.pipeline.score_stores import LONGEST, open_store, read_from_store, scheme_of, why_of
from detector.pipeline.score_stores import shown as shown

_MAGIC = re.compile(r"[*?\[]")
#: Folders in folders, links followed.
_DEEPEST = 64

#: Address -> bytes; raises AddressRefused. None where addresses are not fetched.
Fetch = Callable[[str], bytes] | None

ADDRESSES_ARE_OFF = "pictures are not fetched by their address here. Set DETECTOR_ALLOW_URL_IMPORT=true to allow it"


def places_of(given: str, without: Path | None = None) -> Iterator[str]:
    """The pictures that a place stands for: paths of this machine, or addresses.

    Parameters
    ----------
    given : str
        A folder, with all below it; a pattern such as ``/photos/**/*.jpg``; a list of paths or addresses (text with one
        a line, CSV or parquet with a column ``path``), those that are relative counted from the list's own folder; a
        picture; or any of these in an object store, such as ``s3://bucket/prefix/*.jpg``.
    without : Path, optional
        A folder that is none of the place's, such as that of the results: it need not be there yet.

    Yields
    ------
    Always in the same order. What systems and programs leave behind in folders is passed over.

    Raises
    ------
    PlaceUnusable
        There is nothing of that kind, or it cannot be read.
    """
    scheme = scheme_of(given)
    if scheme in ("http", "https"):
        return iter([given])
    if scheme == "file":
        given, scheme = given.partition("://")[2], ""
    if scheme:
        return _in_store(given, scheme)
    path = Path(given).expanduser()
    left_out = without.resolve() if without is not None else None
    if path.is_dir():
        return _walk(path.absolute(), left_out)
    if path.name.lower().endswith(LIST_ENDINGS) and path.is_file():
        return listed(lambda: path.open("rb"), path.name, str(path.absolute().parent))
    if not os.path.lexists(path) and _MAGIC.search(given):
        return _matching(str(path.absolute()), left_out)
    if not os.path.lexists(path):
        raise PlaceUnusable(printable(given), "there is no such file or folder")
    return iter([str(path.absolute())])


def read_place(place: str, max_bytes: int, fetch: Fetch = None) -> bytes:
    """The bytes of one picture.

    Parameters
    ----------
    place : str
        As of `places_of`.
    max_bytes : int
        A larger file is refused.
    fetch : callable, optional
        How an address of the web is fetched; without it none is.

    Raises
    ------
    ImageError
        With what stands in the way of this picture.
    PicturesUnreachable
        No picture of its store can be read.
    """
    if len(place) > LONGEST:
        raise EntryUnreadable(shown(place)[:100] + "...", f"no name of a file has more than {LONGEST:,} characters")
    name, scheme = shown(place), scheme_of(place)
    if scheme in ("http", "https"):
        if fetch is None:
            raise EntryUnreadable(name, ADDRESSES_ARE_OFF)
        try:
            return fetch(place)
        except AddressRefused as error:
            raise ImageError(name, str(error)) from error
    if scheme in ("", "file"):
        try:
            return read_file(Path(place.partition("://")[2] if scheme else place), name, max_bytes)
        except ValueError as error:
            raise EntryUnreadable(name, "that is no name of a file") from error
    return read_from_store(place, scheme, max_bytes)


def _walk(
    folder: Path, without: Path | None = None, deepest: int = _DEEPEST, ancestors: tuple[Path, ...] = ()
) -> Iterator[str]:
    """All files below a folder, links followed, as ``invoke`` takes them."""
    real = folder.resolve()
    if real == without or real in ancestors or len(ancestors) >= deepest:
        return
    try:
        # Names only: of a folder with a million files, what else the system says of each takes a gigabyte.
        names = sorted(os.listdir(folder))  # noqa: PTH208 - as text, of which millions fit
    except OSError as error:
        if not ancestors:
            raise PlaceUnusable(printable(str(folder)), error.strerror or "it cannot be read") from error
        # Said in its row, as a file is that cannot be read.
        yield str(folder)
        return
    for name in names:
        if is_clutter(printable(name)):
            continue
        path = folder / name
        if path.is_dir():
            yield from _walk(path, without, deepest, (*ancestors, real))
        else:
            yield str(path)


def _matching(pattern: str, without: Path | None) -> Iterator[str]:
    """The files of this machine that a pattern names."""
    fixed = Path(pattern[: _MAGIC.search(pattern).start()] + "x").parent  # type: ignore[union-attr]
    if not fixed.is_dir():
        raise PlaceUnusable(printable(pattern), f"there is no folder {printable(str(fixed))}")
    matches = _pattern(pattern)
    return (path for path in _walk(fixed, without, _depth(pattern, str(fixed))) if matches(path))


def _depth(pattern: str, fixed: str) -> int:
    """How deep below a folder what a pattern names may lie: what is below that is not listed in vain."""
    return _DEEPEST if "**" in pattern else pattern.count("/") - fixed.rstrip("/").count("/")


def _pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a path is one that a pattern names: ``**`` stands for any folders, ``*`` for a part of a name."""
    from fsspec.utils import glob_translate

    try:
        compiled = re.compile(glob_translate(pattern))
    except (re.error, ValueError) as error:
        raise PlaceUnusable(printable(pattern), f"the pattern cannot be understood ({error})") from error
    return lambda path: compiled.match(path) is not None


def _in_store(given: str, scheme: str) -> Iterator[str]:
    try:
        store, inside = open_store(given, scheme)
        if _MAGIC.search(inside):
            fixed = inside[: _MAGIC.search(inside).start()].rpartition("/")[0]  # type: ignore[union-attr]
            matches = _pattern(inside)
            return (f"{scheme}://{key}" for key in _keys(store, fixed, given, _depth(inside, fixed)) if matches(key))
        if inside.lower().endswith(LIST_ENDINGS):
            return listed(partial(store.open, inside, "rb"), shown(given), f"{scheme}://{inside.rpartition('/')[0]}")
        if store.isfile(inside):
            return iter([f"{scheme}://{inside}"])
    except DetectorError:
        raise
    except Exception as error:  # each store has errors of its own
        raise PlaceUnusable(shown(given), why_of(error, scheme_of(given))) from error
    return (f"{scheme}://{key}" for key in _keys(store, inside, given))


def _keys(store: Any, folder: str, given: str, deepest: int = _DEEPEST, depth: int = 0) -> Iterator[str]:
    """All keys below one, folder by folder: what is held at a time are the names of one."""
    if depth >= deepest:
        return
    try:
        found = store.ls(folder, detail=True)
    except Exception as error:  # each store has errors of its own
        raise PlaceUnusable(shown(given), why_of(error, scheme_of(given))) from error
    # Of each only its name and whether it is a folder: the rest takes ten times as much.
    children = sorted((str(item["name"]), item["type"] == "directory") for item in found)
    del found
    prefix = folder.rstrip("/")
    for key, is_folder in children:
        # The mark that some programs leave for an empty folder is none of its files.
        if key.rstrip("/") == prefix or is_clutter(key.removeprefix(f"{prefix}/").rstrip("/")):
            continue
        if is_folder:
            yield from _keys(store, key, given, deepest, depth + 1)
        elif not key.endswith("/"):
            yield key
