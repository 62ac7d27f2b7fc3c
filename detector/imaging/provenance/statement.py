"""What a file says of its origin, as one form for pages, reports and JSON; and how hostile text becomes harmless."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from detector.imaging.provenance.source_types import names_ai_system

Tier = Literal["signed", "stated", "hint"]
TIERS: tuple[Tier, ...] = ("signed", "stated", "hint")

#: Characters of a value and of a name, statements of a file, and characters of all its values together.
LONGEST_VALUE, LONGEST_NAME, MOST_STATEMENTS, MOST_CHARACTERS = 2_000, 80, 60, 40_000

#: Kinds of unsigned statements by which a file says that an AI system made it.
AI_KINDS = frozenset({"ai-source-type", "ai-system", "ai-prompt", "ai-workflow", "ai-parameters"})

# A graph or settings tell more than a name: few would write them by hand.
_TELLING = {"ai-workflow": 0, "ai-parameters": 1}

NOTHING_STATED = "The file carries no statement about its origin. That says nothing: most files have none."
ANYBODY = "Anybody can write or remove that."

# Said of a line break or a tab, which would tear a table; other characters without ink are left out.
_SPACES = {"\n", "\r", "\t", "\v", "\f", "\u2028", "\u2029", "\x85"}
_LEFT_OUT = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def shown(text: str, longest: int = LONGEST_VALUE) -> str:
    """Text of a file as it may be shown: on one line, without characters that have no ink, and not too long.

    Among what is left out are those that turn the direction of reading round: what follows would read backwards.
    """
    whole = len(text)
    # Long before it is looked at character by character, so that a text of megabytes costs no more than others.
    text = text[: 8 * longest]
    kept = "".join(
        " " if character in _SPACES else character
        for character in text
        if character in _SPACES or unicodedata.category(character) not in _LEFT_OUT
    )
    kept = " ".join(kept.split())
    if len(kept) <= longest and whole <= 8 * longest:
        return kept
    mark = f" [cut: {whole:,} characters or more]"
    return kept[: longest - len(mark)] + mark


@dataclass(frozen=True)
class Statement:
    """One thing that a file says.

    Attributes
    ----------
    tier : "signed", "stated" or "hint"
        By whom: under a signature; by anybody who could write the file; or only by how the file is made.
    kind : str
        What it is about, for programs: "integrity", "ai-parameters", "camera".
    name : str
        The same for people, as the file or its standard calls it.
    value : str
        Harmless text, at most `LONGEST_VALUE` characters; where it was cut it says so.
    proves : str
        One sentence: what follows from it, and what does not.
    """

    tier: Tier
    kind: str
    name: str
    value: str
    proves: str

    @classmethod
    def of(cls, tier: Tier, kind: str, name: str, value: str, proves: str) -> Statement:
        """One of name and value as they stand in a file."""
        return cls(tier, kind, shown(name, LONGEST_NAME), shown(value), proves)


@dataclass(frozen=True)
class Provenance:
    """All that a file says of its origin; signed statements first, hints last."""

    statements: tuple[Statement, ...] = ()

    @classmethod
    def of(cls, found: Iterable[Statement]) -> Provenance:
        """Sorted by tier, each thing once, and bounded: at most `MOST_STATEMENTS`, and `MOST_CHARACTERS`."""
        once = list(dict.fromkeys(found))
        ordered = sorted((item for item in once if item.value), key=_order)
        # No tier may crowd out another one: a file with a thousand texts still tells its camera.
        kept = [item for tier in TIERS for item in [each for each in ordered if each.tier == tier][: _MOST_OF[tier]]]
        left, bounded = MOST_CHARACTERS, []
        for item in kept:
            left -= len(item.value) + len(item.name)
            if left < 0:
                break
            bounded.append(item)
        if len(bounded) < len(ordered):
            more = len(ordered) - len(bounded)
            bounded.append(
                Statement(
                    "hint",
                    "more",
                    "Not listed",
                    f"{more:,} more statement{'s' if more != 1 else ''}",
                    "The file says more than is listed here.",
                )
            )
        return cls(tuple(bounded))

    def in_tier(self, tier: Tier) -> tuple[Statement, ...]:
        """The statements of one tier."""
        return tuple(item for item in self.statements if item.tier == tier)

    @property
    def tells_of_ai(self) -> bool:
        """Whether the file says, signed or not, that an AI system made it or a part of it."""
        return any(item.kind in AI_KINDS for item in self.statements if item.tier != "hint")

    @property
    def headline(self) -> str:
        """The most telling thing in one or two sentences, which say what it is worth."""
        by_kind = {item.kind: item for item in reversed(self.statements)}
        signed = {item.kind: item for item in reversed(self.in_tier("signed"))}
        of_ai = [item for item in self.in_tier("stated") if item.kind in AI_KINDS]
        ai = min(of_ai, key=lambda item: _TELLING.get(item.kind, len(_TELLING)), default=None)
        if "integrity" in signed:
            return _signed_headline(signed)
        if ai is not None:
            return f"The file states that it was made by an AI system ({_brief(ai)}). {ANYBODY}"
        if "unreadable" in signed:
            return "The file seems to carry content credentials that could not be read. Nothing follows from them."
        mentions = [item for item in self.statements if item.kind == "ai-mention"]
        mention = min(mentions, key=lambda item: not names_ai_system(item.value), default=None)
        if mention is not None:
            # A prompt may name none: it is listed since AI systems call their texts so.
            named = names_ai_system(mention.value)
            what = "names an AI system" if named else "bears a name that AI systems use, as others do"
            return f"A text in the file {what} ({_brief(mention)}). {ANYBODY}"
        stated = [item for item in self.in_tier("stated") if item.kind != "unreadable"]
        if stated:
            return f"The file states something about its origin ({_brief(stated[0])}). {ANYBODY}"
        if "camera" in by_kind:
            return (
                f"The file carries the fields of a camera ({_cut(by_kind['camera'].value)}). "
                "Anybody can write, copy or remove them."
            )
        return NOTHING_STATED

    def to_json(self) -> list[dict[str, str]]:
        """``tier``, ``kind``, ``name``, ``value`` and what it ``proves``, of each statement."""
        return [asdict(item) for item in self.statements]


def _order(item: Statement) -> tuple[int, int]:
    """By tier; among what is stated, what tells of an AI system first, lest a hundred other texts crowd it out."""
    telling = 0 if item.kind in AI_KINDS else 1 if item.kind == "ai-mention" else 2
    return TIERS.index(item.tier), telling if item.tier == "stated" else 0


_MOST_OF: dict[Tier, int] = {"signed": 29, "stated": 20, "hint": 10}


def _signed_headline(signed: dict[str, Statement]) -> str:
    if not signed["integrity"].value.startswith("valid"):
        return "The file's content credentials do not hold: what they say may be forged."
    who = _cut(signed["issuer"].value) if "issuer" in signed else "somebody"
    trusted = "trust" in signed and signed["trust"].value.startswith("trusted")
    check = "" if trusted else " Whether the signer really is who the signature names was not established."
    if "ai-source-type" in signed:
        return f"The file carries a signature of {who} which says that an AI system made it or a part of it.{check}"
    if "source-type" in signed:
        return f"The file carries a signature of {who}, which says: {_cut(signed['source-type'].value)}.{check}"
    return f"The file carries a signature of {who}.{check}"


def _brief(item: Statement) -> str:
    if item.kind in ("ai-parameters", "ai-workflow", "ai-prompt"):
        return item.name
    return f"{item.name}: {_cut(item.value)}"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77].rstrip() + "..."
