"""What XMP and IPTC's older records state of a picture's origin.

XMP is XML that anybody can write. It is read by expat as a stream, and given up at the first document type: so there
are no entities, inner or outer, and nothing grows. See `XMP part 1 (ISO 16684-1)
<https://developer.adobe.com/xmp/docs/XMPSpecifications/>`_ and IPTC's `photo metadata
<https://iptc.org/std/photometadata/specification/IPTC-PhotoMetadata>`_.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.parsers import expat

from detector.imaging.provenance.source_types import is_ai_system, names_ai_system, says_ai, source_words
from detector.imaging.provenance.statement import LONGEST_VALUE, Statement

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP = "http://ns.adobe.com/xap/1.0/"
_PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_DC = "http://purl.org/dc/elements/1.1/"
_DC_TERMS = "http://purl.org/dc/terms/"
_EVENT = "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"

_ANYBODY = "Anybody can write or remove it."
_PROPERTIES = {
    f"{_IPTC}DigitalSourceType": ("source-type", "Digital source type"),
    f"{_IPTC}AISystemUsed": ("ai-system", "AI system used"),
    f"{_IPTC}AISystemVersionUsed": ("ai-system", "Version of the AI system"),
    f"{_IPTC}AIPromptInformation": ("ai-prompt", "AI prompt"),
    f"{_IPTC}AIPromptWriterName": ("ai-prompt", "Writer of the AI prompt"),
    f"{_XMP}CreatorTool": ("creator-tool", "Creator tool"),
    f"{_PHOTOSHOP}Credit": ("credit", "Credit"),
    f"{_PHOTOSHOP}Source": ("credit", "Source"),
    f"{_DC}creator": ("creator", "Creator"),
    f"{_DC_TERMS}provenance": ("remote-credentials", "Content credentials elsewhere"),
    f"{_EVENT}softwareAgent": ("creator-tool", "Software of an earlier step"),
}
_PROVES = {
    "source-type": f"The standard field for how a picture was made. Not signed: {_ANYBODY.lower()}",
    "ai-source-type": f"The standard field for how a picture was made. Not signed: {_ANYBODY.lower()}",
    "ai-system": f"The standard field for the AI system that was used. Not signed: {_ANYBODY.lower()}",
    "ai-prompt": f"The standard field for what an AI system was told. Not signed: {_ANYBODY.lower()}",
    "creator-tool": f"The program that the file names. {_ANYBODY}",
    "credit": f"Whom the file credits. {_ANYBODY}",
    "creator": f"Whom the file names as its maker. {_ANYBODY}",
    "remote-credentials": "The file says that signed credentials are stored there. They were not fetched, "
    "so this proves nothing.",
}

#: What people write into a field that has nothing to say.
_NOTHING = frozenset({"none", "no", "no ai", "not used", "not applicable", "n/a", "na", "-", "--", "false", "nil", "0"})

_DEEPEST, _MOST_ELEMENTS, _MOST_FOUND, _MOST_SAME = 100, 50_000, 40, 6


class _Refused(Exception):
    """A document type, or more elements than a packet has."""


class _Reader:
    """Collects the wanted properties, whether they are written as attributes, as elements or as lists."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._open: list[str] = []
        self._wanted: str | None = None
        self._wanted_depth = 0
        self._pieces: list[str] = []
        self._size = self._elements = 0

    def read(self, packet: bytes) -> bool:
        """Whether the whole of it could be read; what comes before a break is kept."""
        parser = expat.ParserCreate(namespace_separator="")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        try:
            parser.Parse(packet.strip(b"\x00 \t\r\n"), True)
        except (expat.ExpatError, _Refused, ValueError, LookupError):
            return False
        return True

    def _refuse(self, *_: object) -> int:
        raise _Refused

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._open.append(name)
        if self._elements > _MOST_ELEMENTS or len(self._open) > _DEEPEST:
            raise _Refused
        for attribute, value in attributes.items():
            if attribute in _PROPERTIES:
                self._keep(attribute, value)
        if self._wanted is None and name in _PROPERTIES:
            self._wanted, self._wanted_depth, self._pieces, self._size = name, len(self._open), [], 0
            if f"{_RDF}resource" in attributes:
                self._pieces.append(attributes[f"{_RDF}resource"])

    def _text(self, text: str) -> None:
        if self._wanted is not None and self._size < 4 * LONGEST_VALUE:
            self._size += len(text)
            self._pieces.append(text)

    def _end(self, name: str) -> None:
        if self._wanted is not None and len(self._open) == self._wanted_depth:
            self._keep(self._wanted, "; ".join(piece.strip() for piece in self._pieces if piece.strip()))
            self._wanted = None
        self._open.pop()

    def _keep(self, name: str, value: str) -> None:
        if value and len(self.found) < _MOST_FOUND and sum(name == other for other, _ in self.found) < _MOST_SAME:
            self.found.append((name, value))


def statements_of_xmp(packets: list[bytes]) -> Iterator[Statement]:
    """What the packets state; a statement of its own where one of them cannot be read."""
    whole = True
    for packet in packets[:4]:
        reader = _Reader()
        whole &= reader.read(packet)
        for name, value in reader.found:
            yield _statement(*_PROPERTIES[name], value)
    if not whole:
        yield Statement.of(
            "stated",
            "unreadable",
            "XMP",
            "cannot be read to its end",
            "A block of the file is broken or built in a way that is refused for safety; it proves nothing.",
        )


def _statement(kind: str, name: str, value: str) -> Statement:
    if kind == "source-type":
        if says_ai(value):
            kind = "ai-source-type"
        value = source_words(value)
    elif kind in ("creator-tool", "credit") and names_ai_system(value):
        # A program that made the file made it; who is credited may have done anything, as may a program for it.
        naming = "ai-system" if kind == "creator-tool" and is_ai_system(value) else "ai-mention"
        return Statement.of("stated", naming, name, value, f"It names an AI system. {_ANYBODY}")
    elif kind in ("ai-system", "ai-prompt") and value.strip(" .").lower() in _NOTHING:
        return Statement.of("stated", "text", name, value, f"A standard field, without a system's name. {_ANYBODY}")
    return Statement.of("stated", kind, name, value, _PROVES[kind])


_RECORDS = {
    65: ("creator-tool", "Originating program"),
    80: ("creator", "By-line"),
    110: ("credit", "Credit"),
    115: ("credit", "Source"),
}


def statements_of_iptc(records: bytes) -> Iterator[Statement]:
    """What the older records (IIM) state: a mark, record and number, a length, and text each."""
    at = 0
    for _ in range(200):
        if records[at : at + 1] != b"\x1c" or at + 5 > len(records):
            return
        record, number = records[at + 1], records[at + 2]
        size = int.from_bytes(records[at + 3 : at + 5], "big")
        content = records[at + 5 : at + 5 + size]
        at += 5 + size
        if record == 2 and number in _RECORDS:
            kind, name = _RECORDS[number]
            yield Statement.of("stated", kind, f"{name} (IPTC)", content.decode("utf-8", "replace"), _PROVES[kind])
