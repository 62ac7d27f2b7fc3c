"""A kept verdict as words: what report, copied text and card have in common.

All of them are made of the JSON of a record (`detector.storage.records.Record.to_json`) or of evidence
(`Evidence.to_json`) and of nothing else, so that a record reads the same for ever. What is missing there, because it
was kept before there was such a thing, is left out. Every text may come from a stranger's file: it is bounded, and
without characters that break a line or turn the text around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from detector.charts.palette import PAPER, Ink, label_inks
from detector.evidence.stability import AS_IT_IS
from detector.formatting import count, moment, percent
from detector.storage.known_labels import without_controls
from detector.training.thresholds import CANT_TELL

#: Characters of any one text.
MOST = 600
#: Entries of any one list: a file may state thousands of things.
MOST_ENTRIES = 40

TIERS = {
    "signed": "Signed",
    "stated": "Stated, without a signature",
    "hint": "Hints",
}
#: What each tier proves and what not, where an entry does not say it for itself.
PROVES = {
    "signed": "A valid signature shows who signed the file and that it was not changed since. It does not show that "
    "what was signed is true.",
    "stated": "Anybody can write or remove such a statement: it counts most where it speaks against the sender.",
    "hint": "Traces of programs and cameras. Each is weak alone, and none of them decides anything.",
}
NOTHING_SAID = "The file says nothing of where it comes from. That says nothing about the picture: most files do not."


def text(value: object, most: int = MOST) -> str:
    """A value as one line of text that can be shown anywhere."""
    line = " ".join(without_controls(str(value)[: 4 * most]).split()) if value is not None else ""
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def entries(record: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects in a record; empty where there is none."""
    found = record.get(name)
    return [item for item in found if isinstance(item, dict)][:MOST_ENTRIES] if isinstance(found, list) else []


def sentence_list(found: object) -> list[str]:
    """A list of sentences; empty where there is none."""
    return [text(item) for item in found[:MOST_ENTRIES]] if isinstance(found, list) else []


def part(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object in a record; empty where there is none."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def said(record: Mapping[str, Any]) -> str:
    """The verdict as a sentence: ``"The function says synthetic (strong)."``"""
    verdict, grade = text(record.get("verdict"), 120), text(record.get("grade"), 40)
    if grade == CANT_TELL or not verdict:
        return f"The function {CANT_TELL}."
    return f"The function says {verdict} ({grade})."


def confidences(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Labels with their confidence, the highest first."""
    return [
        (text(item.get("labelName"), 120), min(max(float(item["confidence"]), 0.0), 1.0))
        for item in entries(record, "labelConfidences")
        if isinstance(item.get("confidence"), int | float)
    ]


def confidence_words(record: Mapping[str, Any], most: int = 4) -> str:
    """``"synthetic 98.7 %, real 1.3 %"``."""
    return ", ".join(f"{label} {percent(value)}" for label, value in confidences(record)[:most])


def ink_of(record: Mapping[str, Any]) -> Ink:
    """The colour of the verdict on paper: its label's, or grey where the function can't tell."""
    if record.get("grade") == CANT_TELL:
        return PAPER["light"].neutral
    return inks(record).get(text(record.get("verdict"), 120), PAPER["light"].neutral)


def inks(record: Mapping[str, Any]) -> dict[str, Ink]:
    """The colour of each label."""
    return label_inks(sorted({label for label, _ in confidences(record)}))


def steadiness(record: Mapping[str, Any]) -> str:
    """On how many copies of the picture the verdict was the same, and on which it was not; empty if none was made."""
    # The picture as it is stands first among them.
    copies = [item for item in entries(record, "stability") if item.get("name") != AS_IT_IS]
    if not copies:
        return ""
    others = [item for item in copies if item.get("verdict") != record.get("verdict")]
    if not others:
        which = "the one copy" if len(copies) == 1 else f"all {len(copies)} copies"
        return f"The same verdict on {which} of the picture that it was tried on."
    named = ", ".join(f"{copy_words(item)}: {text(item.get('verdict'), 120)}" for item in others[:6])
    kept = len(copies) - len(others)
    return f"The same verdict on {kept} of {count(len(copies), 'copy', 'copies')}. Another one {named}."


def copy_words(item: Mapping[str, Any]) -> str:
    """What was done to a copy."""
    return text(item.get("words") or item.get("name"), 120)


def model_words(record: Mapping[str, Any]) -> str:
    """``"Model 7 (efficientnet-lite0)"``."""
    model = part(record, "model")
    return f"Model {text(model.get('version'), 20)} ({text(model.get('backbone'), 80)})"


def time_words(value: object) -> str:
    """A moment as of the record; empty where it cannot be read."""
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return ""
    return moment(at if at.tzinfo else at.replace(tzinfo=UTC))


def disputed_words(record: Mapping[str, Any]) -> str:
    """Who says otherwise; empty where nobody does."""
    disputed = part(record, "disputed")
    if not disputed:
        return ""
    return f"Disputed on {time_words(disputed.get('at'))}: somebody says {text(disputed.get('labelName'), 120)}."


def provenance(record: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the file says, by tier; a tier without an entry is there too."""
    found: dict[str, list[dict[str, Any]]] = {tier: [] for tier in TIERS}
    for item in entries(record, "provenance"):
        found.setdefault(item["tier"] if item.get("tier") in TIERS else "hint", []).append(item)
    return found


def named_value(item: Mapping[str, Any], most: int = MOST) -> str:
    """``"Software: GIMP 2.10"``; without the value where there is none."""
    name, value = text(item.get("name") or item.get("kind"), 120), text(item.get("value"), most)
    return f"{name}: {value}" if value else name


def sentences(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is known of a picture, one sentence each."""
    return [text(item.get("sentence")) for item in items if item.get("sentence")]
