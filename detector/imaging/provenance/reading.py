"""From the bytes of a file to all that it says of its origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from detector.imaging.provenance.content_credentials import statements_of_credentials
from detector.imaging.provenance.generators import statements_of_texts
from detector.imaging.provenance.hints import hints_of, statements_of_exif
from detector.imaging.provenance.metadata import read_metadata
from detector.imaging.provenance.statement import Provenance, Statement
from detector.imaging.provenance.xmp import statements_of_iptc, statements_of_xmp


def read_provenance(data: bytes, trust: Path | str | None = None) -> Provenance:
    """What a file says of its origin, in three tiers: signed, stated and hinted at.

    It never raises and fetches nothing; all that comes from the file is bounded and harmless text.

    Parameters
    ----------
    data : bytes
        The file as it came; a copy that was saved again has lost most of it.
    trust : Path or str, optional
        A file of certificates (PEM) whose signatures are trusted, `Settings.c2pa_trust`; empty or None: no list.
    """
    found = read_metadata(data)
    readers: tuple[Callable[[], Iterator[Statement]], ...] = (
        lambda: statements_of_credentials(data, found.format, Path(trust) if trust else None),
        lambda: statements_of_texts(found.texts),
        lambda: statements_of_exif(found.exif),
        lambda: statements_of_xmp(found.xmp),
        lambda: statements_of_iptc(found.iptc),
        lambda: hints_of(found),
    )
    return Provenance.of(statement for reader in readers for statement in _all_that_can_be_read(reader))


def _all_that_can_be_read(reader: Callable[[], Iterator[Statement]]) -> list[Statement]:
    """What a reader finds before it fails: hostile bytes find errors that nobody thought of, and a verdict must not
    fail for what stands beside it."""
    found: list[Statement] = []
    with suppress(Exception):
        found.extend(reader())
    return found
