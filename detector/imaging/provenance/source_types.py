"""The words of the IPTC's "digital source type", with which C2PA, XMP and news agencies say how a picture was made.

See the `vocabulary <https://cv.iptc.org/newscodes/digitalsourcetype/>`_ and C2PA's additions to it.
"""

from __future__ import annotations

import re

_WORDS = {
    "trainedAlgorithmicMedia": "made by an AI system",
    "compositeWithTrainedAlgorithmicMedia": "a photograph or other picture with parts made by an AI system",
    "compositeSynthetic": "put together of several pictures, at least one of them made by software",
    "algorithmicMedia": "made by software that was not trained on pictures",
    "algorithmicallyEnhanced": "changed by software, for example sharpened or denoised",
    "dataDrivenMedia": "drawn by software from data",
    "digitalCapture": "taken with a digital camera",
    "computationalCapture": "taken with a digital camera that puts several shots together",
    "compositeCapture": "put together of several photographs",
    "composite": "put together of several pictures",
    "negativeFilm": "scanned from a negative",
    "positiveFilm": "scanned from a slide",
    "print": "scanned from a print",
    "minorHumanEdits": "a photograph with small changes by a person",
    "humanEdits": "a picture changed by a person with software",
    "digitalCreation": "made by a person with software",
    "digitalArt": "made by a person with software",
    "screenCapture": "a picture of a screen",
    "softwareImage": "made by software",
    "virtualRecording": "recorded in a virtual world",
    "empty": "an empty picture",
    "trainedAlgorithmicData": "made by an AI system",
}
_AI = {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicData"}
# Names that are no words or names of anything else, so that they tell something in the middle of a sentence.
_PLAIN_NAMES = (
    r"novelai|stable[ -]?diffusion|midjourney|dall[-\u00b7. ]e|dall[-\u00b7. ]?e[- ]?[23]|comfyui|invokeai|openai"
    r"|chatgpt|gpt-(?:image-)?\d[\w.]*|adobe firefly|google ai|bing image creator|fooocus|leonardo\.ai"
    r"|ideogram(?:\.ai| ai)|stability ai|black forest labs"
)
# Names that are words of some language, too: they tell something only where nothing else is said.
_NAMES = rf"(?:{_PLAIN_NAMES}|ideogram|dalle|draw things)"
_VERSION = r"(?:v(?:ersion)?\.? ?)?\d[\w.+]*|version|xl|turbo|ultra|alpha|beta|api|ai|diffusion|web ?ui"
_MENTIONED = re.compile(rf"(?<![^\W_])(?:{_PLAIN_NAMES})(?![^\W\d_])", re.IGNORECASE)
_ALONE = re.compile(rf"{_NAMES}(?:[ /,-]{{1,3}}\(?(?:{_NAMES}|{_VERSION})\)?){{0,6}}", re.IGNORECASE)
_CODES = {code.lower(): code for code in _WORDS}


def source_code(value: str) -> str | None:
    """The code at the end of an address or standing alone, in the vocabulary's spelling; None for another word."""
    last = re.split(r"[/#:]", value[:300].strip().rstrip("/"))[-1]
    return _CODES.get(last.lower())


def says_ai(value: str) -> bool:
    """Whether a source type says that an AI system made the picture, or a part of it."""
    return source_code(value) in _AI


def source_words(value: str) -> str:
    """``"made by an AI system (trainedAlgorithmicMedia)"``; a value that is not in the vocabulary as it stands."""
    code = source_code(value)
    return f"{_WORDS[code]} ({code})" if code else value


def names_ai_system(text: str) -> bool:
    """Whether the name of an AI system that makes pictures stands in the beginning of a text."""
    return _MENTIONED.search(text[:2_000]) is not None or is_ai_system(text)


def is_ai_system(text: str) -> bool:
    """Whether a text is such a name and nothing else, but for a version: "Ideogram 2.0", no "Ideogram viewer"."""
    return len(text) <= 200 and _ALONE.fullmatch(text.strip()) is not None
