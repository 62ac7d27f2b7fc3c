"""Which file a cell of a table means: names come from other machines, with other folders, cases and spellings."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote

from detector.importing.tables import ends_like_image

_AMBIGUOUS = -1
# Of paths deeper than this, the last parts are compared.
_MOST_PARTS = 12
_VOTERS = 1_000
_UPWARDS = re.compile(r"(^|[/\\])\.\.[/\\]")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

_Parts = tuple[str, ...]
_Spelled = tuple[str, tuple[_Parts, ...]]


@dataclass(frozen=True)
class Found:
    """What :meth:`FileIndex.find` found.

    Attributes
    ----------
    files : dict of str to int
        A cell's text -> the number of the path that it means. Several texts may mean one path.
    ambiguous : set of str
        Texts that fit several paths equally well, and therefore mean none.
    """

    files: dict[str, int]
    ambiguous: set[str]


class FileIndex:
    """The paths of an import, to be found by what a table calls them.

    A cell means a file, best first:

    1. by its path from the table's own folder (as Hugging Face has it) or from the root of the import;
    2. by that path in another spelling: case, backslashes, composed or decomposed accents, percent signs of addresses,
       or without the ending on one side;
    3. by its path with leading folders too many or too few, the same for all cells, such as those of another machine;
    4. by the longest end that the two paths share, where one path is the end of the other;
    5. by the file's name alone where the folders differ, if no two cells share a name: else the names say too little.

    What a worse rule says of a file counts only where no better one names it.

    Parameters
    ----------
    paths : sequence of str
        Relative, with "/", as :class:`~detector.importing.entries.Entry` has them.
    table_path : str
        Of the table, likewise; empty where it does not lie beside the files.
    """

    def __init__(self, paths: Sequence[str], table_path: str = "") -> None:
        self._paths = paths
        folder = posixpath.dirname(table_path)
        self._folder = f"{folder}/" if folder else ""
        self._exact = {path: number for number, path in enumerate(paths)}
        self._tails: dict[bool, _Names] = {}

    @property
    def count(self) -> int:
        """How many paths there are."""
        return len(self._paths)

    def count_exact(self, values: Iterable[str]) -> int:
        """How many of the texts are paths as they stand: told quickly, where :meth:`find` looks at spellings."""
        return sum(f"{self._folder}{value}" in self._exact or value in self._exact for value in values)

    def find(self, values: Iterable[str]) -> Found:
        """Find the file of each of the texts, which are taken together as one column."""
        claims = _Claims()
        ambiguous: set[str] = set()
        left: list[str] = []
        beside = False
        for value in dict.fromkeys(values):
            number = self._exact.get(f"{self._folder}{value}")
            beside = beside or (number is not None and self._folder != "")
            if number is None:
                number = self._exact.get(value)
            if number is not None:
                claims.add(value, number, (5, 0))
            elif value:
                left.append(value)
        if left and self._paths:
            spelled = self._spelled_otherwise(left, claims)
            spelled = self._with_other_folders(spelled, claims, beside)
            self._by_ends(spelled, claims, ambiguous, beside)
        return Found(claims.files(), ambiguous)

    def _spelled_otherwise(self, values: Iterable[str], claims: _Claims) -> list[_Spelled]:
        """Claims what is named by a whole path; returns the rest."""
        folder = _parts(self._folder)
        left = []
        for value in values:
            spellings = _spellings(value, self._folder)
            candidates = (*(folder + parts for parts in spellings), *spellings) if folder else spellings
            number = self._whole.first(candidates)
            if number is not None:
                claims.add(value, number, (4, 0))
            elif spellings:
                left.append((value, spellings))
        return left

    def _with_other_folders(self, values: list[_Spelled], claims: _Claims, beside: bool) -> list[_Spelled]:
        """Claims what is named by a whole path once leading folders are cut and put before; returns the rest."""
        tails = self._names(beside)
        sample = values[:: max(1, len(values) // _VOTERS)]
        voters = [hit.parts for hit in (tails.longest(spellings) for _, spellings in sample) if hit]
        # What a cell that needs no change begins with is part of the name, for the others too: fake/ is not real/.
        unchanged = claims.sample(_VOTERS)
        too_much = _common(parts[:-1] for parts in (*voters, *map(_parts, unchanged)))[:_MOST_PARTS]
        too_little = self._common_folders[:_MOST_PARTS]
        best, cut, before = 0, 0, 0
        for less in range(len(too_much) + 1):
            for more in range(len(too_little) + 1):
                numbers = (self._whole.first([too_little[:more] + parts[less:]]) for parts in voters)
                votes = sum(number is not None for number in numbers)
                if votes > best:
                    best, cut, before = votes, less, more
        if not best:
            return values
        left = []
        for value, spellings in values:
            candidates = [too_little[:before] + s[cut:] for s in spellings if s[:cut] == too_much[:cut]]
            number = self._whole.first(candidates)
            if number is None or (beside and not self._paths[number].startswith(self._folder)):
                left.append((value, spellings))
            else:
                claims.add(value, number, (3, 0))
        return left

    def _by_ends(self, values: Iterable[_Spelled], claims: _Claims, ambiguous: set[str], beside: bool) -> None:
        """Claims what shares its end with a path."""
        tails = self._names(beside)
        hits = [(value, hit) for value, spellings in values if (hit := tails.longest(spellings)) is not None]
        moved: list[tuple[str, _Hit]] = []
        for value, hit in hits:
            if hit.number == _AMBIGUOUS:
                ambiguous.add(value)
            elif hit.shared in (len(hit.parts), self._paths[hit.number].count("/") + 1, _MOST_PARTS):
                claims.add(value, hit.number, (2, hit.shared))
            else:
                moved.append((value, hit))
        if moved and _names_tell(hits, claims):
            for value, hit in moved:
                claims.add(value, hit.number, (1, hit.shared))

    @cached_property
    def _keys(self) -> list[tuple[_Parts, ...]]:
        """The parts of each path as compared; two where it holds percent signs of an address."""
        return [_spellings(path) for path in self._paths]

    @cached_property
    def _whole(self) -> _Names:
        return _Names((parts, number) for number, keys in enumerate(self._keys) for parts in keys)

    @cached_property
    def _common_folders(self) -> _Parts:
        return _common(keys[0][:-1] for keys in self._keys if keys)

    def _names(self, beside: bool) -> _Names:
        """All ends of the paths; with ``beside``, of those in the table's folder only.

        A table that lies among its files speaks of these: metadata.csv of real/ knows nothing of fake/.
        """
        if beside not in self._tails:
            self._tails[beside] = _Names(
                (parts[-length:], number)
                for number, keys in enumerate(self._keys)
                if not beside or self._paths[number].startswith(self._folder)
                for parts in keys
                for length in range(1, min(len(parts), _MOST_PARTS) + 1)
            )
        return self._tails[beside]


class _Hit(NamedTuple):
    """Parts of which the last ``shared`` are those of the path ``number``, which may be ambiguous."""

    parts: _Parts
    shared: int
    number: int


class _Names:
    """Paths or their ends -> the path's number, or that it is ambiguous."""

    def __init__(self, named: Iterable[tuple[_Parts, int]]) -> None:
        self._named = _unambiguous((parts, number) for parts, number in named if parts)

    @cached_property
    def _without_ending(self) -> dict[_Parts, int]:
        return _unambiguous(((*parts[:-1], _stem(parts[-1])), number) for parts, number in self._named.items())

    @cached_property
    def _any_bare(self) -> bool:
        return not all(ends_like_image(parts[-1]) for parts in self._named)

    def first(self, candidates: Sequence[_Parts]) -> int | None:
        """The path that a candidate names: as it is first, then with an ending on one side only."""
        for parts in candidates:
            number = self._named.get(parts)
            if number is not None and number != _AMBIGUOUS:
                return number
        for parts in candidates:
            number = self._loosely(parts)
            if number is not None and number != _AMBIGUOUS:
                return number
        return None

    def longest(self, spellings: Sequence[_Parts]) -> _Hit | None:
        """The longest end of the first of the spellings that shares one with a path."""
        for get in (self._named.get, self._loosely):
            for parts in spellings:
                shared, number = 0, None
                # Where a path has an end it has all the shorter ones.
                while shared < len(parts) and (longer := get(parts[-shared - 1 :])) is not None:
                    shared, number = shared + 1, longer
                if number is not None:
                    return _Hit(parts, shared, number)
        return None

    def _loosely(self, parts: _Parts) -> int | None:
        if not parts:
            return None
        if not ends_like_image(parts[-1]):
            return self._without_ending.get(parts)
        if not self._any_bare:
            return None
        # 001.jpg may be a file called 001, but 001.jpg.png is not one called 001.jpg.
        stem = _stem(parts[-1])
        return None if ends_like_image(stem) else self._named.get((*parts[:-1], stem))


class _Claims:
    """Which texts claim which path, by the best of the rules."""

    def __init__(self) -> None:
        self._best: dict[int, tuple[tuple[int, int], list[str]]] = {}

    def add(self, value: str, number: int, quality: tuple[int, int]) -> None:
        best = self._best.get(number)
        if best is None or quality > best[0]:
            self._best[number] = (quality, [value])
        elif quality == best[0]:
            best[1].append(value)

    def sample(self, most: int) -> list[str]:
        """Some of the texts that claim a path."""
        step = max(1, len(self._best) // most)
        return [values[0] for _, values in islice(self._best.values(), 0, None, step)]

    def files(self) -> dict[str, int]:
        return {value: number for number, (_, values) in self._best.items() for value in values}


def _names_tell(hits: Iterable[tuple[str, _Hit]], claims: _Claims) -> bool:
    """Whether no two cells name the same file in different folders."""
    everything = {hit.parts for _, hit in hits} | set(map(_parts, claims.files()))
    # A cell that is only dots and slashes has no name, although the path "./" is claimed by it.
    return all(count == 1 for count in Counter(parts[-1] for parts in everything if parts).values())


def _unambiguous(named: Iterable[tuple[_Parts, int]]) -> dict[_Parts, int]:
    found: dict[_Parts, int] = {}
    for parts, number in named:
        if found.setdefault(parts, number) != number:
            found[parts] = _AMBIGUOUS
    return found


def _common(folders: Iterable[_Parts]) -> _Parts:
    common: _Parts | None = None
    for parts in folders:
        if common is None:
            common = parts
        elif parts[: len(common)] != common:
            length = next((at for at, (a, b) in enumerate(zip(common, parts, strict=False)) if a != b), len(parts))
            common = common[:length]
        if not common:
            break
    return common or ()


def _spellings(value: str, folder: str = "") -> tuple[_Parts, ...]:
    """How a path may be meant, as compared: as it stands, and with the percent signs of an address read."""
    if ".." in value and _UPWARDS.search(value):
        # As seen from the table's folder: ../images/a.jpg
        upwards = posixpath.normpath(posixpath.join(folder, value.replace("\\", "/")))
        value = value if upwards.startswith("..") else upwards
    if "://" in value and _ADDRESS.match(value):
        value = re.split("[?#]", value, maxsplit=1)[0]
    parts = _parts(value)
    if not parts:
        return ()
    if "%" in value and (read := _parts(unquote(value))) not in ((), parts):
        return parts, read
    return (parts,)


def _parts(path: str) -> _Parts:
    # As in shown_path(), by which the files' own names came.
    if not path.isprintable():
        path = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in path)
    if path.isascii():
        path = path.lower()
    else:
        path = unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    parts = path.replace("\\", "/").split("/")
    if "" in parts or "." in parts or ".." in parts:
        return tuple([part for part in parts if part not in ("", ".", "..")])
    return tuple(parts)


def _stem(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name
