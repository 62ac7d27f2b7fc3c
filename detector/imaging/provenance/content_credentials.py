"""Content credentials (C2PA): what a file states under a signature, and whether that holds.

Three questions that are often taken for one are answered apart: whether the file is as it was signed (integrity),
whether the signer is on a list that somebody trusts (trust), and whether the certificate was withdrawn (revocation,
which is never checked, since that would tell others which picture somebody looks at). For the same reason nothing is
fetched: neither manifests that lie elsewhere nor identities. See the `specification <https://c2pa.org/specifications/>`_.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from detector.imaging.jpeg_segments import header_segments
from detector.imaging.png_chunks import chunks_of as png_chunks_of
from detector.imaging.provenance.source_types import says_ai, source_words
from detector.imaging.provenance.statement import Statement, shown
from detector.imaging.tiff_pages import tag_contents
from detector.imaging.webp_chunks import chunks_of as webp_chunks_of

#: Formats whose content credentials the library reads, and what it calls them.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
}
# Where manifests lie: a box of AVIF and HEIC with this id, a TIFF's tag, an extension of GIF.
_BOX, _TIFF_TAG, _GIF_EXTENSION = bytes.fromhex("d8fec3d61b0e483c92975828877ec481"), 0xCD41, b"C2PA_GIF"
_JPEG_MARKER, _MOST_SEGMENTS = 0xEB, 5_000

#: Actions and ingredients that are listed.
_MOST_LISTED = 10
#: Manifests of ingredients, and of theirs, that are looked at.
_MOST_MANIFESTS = 50
#: Characters of the library's answer that are understood; a manifest with a hundred ingredients has some hundred kB.
_LONGEST_ANSWER = 8 << 20

#: Nothing leaves the machine: no manifest, no certificate status, no identity is looked up, from no host.
SETTINGS: dict[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "decode_identity_assertions": False,
        "allowed_network_hosts": [],
        # Manifests may be compressed; real ones, with thumbnails, have a few megabytes.
        "max_decompressed_manifest_size_in_mb": 16,
    },
}

_FAILURES = {
    "assertion.dataHash.mismatch": "the picture or the file was changed after it was signed",
    "assertion.bmffHash.mismatch": "the picture or the file was changed after it was signed",
    "assertion.boxesHash.mismatch": "the picture or the file was changed after it was signed",
    "assertion.collectionHash.mismatch": "the file was changed after it was signed",
    "assertion.hashedURI.mismatch": "a signed statement was changed after it was signed",
    "assertion.missing": "a signed statement is missing",
    "assertion.undeclared": "a statement was added that is not signed",
    "assertion.inaccessible": "a signed statement cannot be read",
    "assertion.action.malformed": "the list of what was done with the picture breaks the rules",
    "assertion.action.ingredientMismatch": "the list of what was done with the picture breaks the rules",
    "claim.missing": "what was signed is missing",
    "claim.malformed": "what was signed is damaged",
    "claim.multiple": "there is more than one claim where only one may be",
    "claim.hardBindings.missing": "the signature is not tied to this picture",
    "claimSignature.mismatch": "the signature does not fit what it is said to sign",
    "claimSignature.missing": "the signature is missing",
    "claimSignature.outsideValidity": "it was signed outside the time for which the certificate is valid",
    "signingCredential.invalid": "the certificate of the signer is not one that may sign",
    "signingCredential.expired": "the certificate of the signer has expired",
    "signingCredential.revoked": "the certificate of the signer was withdrawn",
    "manifest.inaccessible": "the manifest cannot be read",
    "manifest.multipleParents": "it names more than one picture as the one it was made from",
    "algorithm.unsupported": "it uses a method of signing that is not supported",
    "timeStamp.mismatch": "the time stamp belongs to something else",
}
#: What the library lists as a failure though the file is as it was signed.
_NO_FAILURES = {"signingCredential.untrusted"}

_ACTIONS = {
    "c2pa.created": "created",
    "c2pa.opened": "opened",
    "c2pa.edited": "edited",
    "c2pa.edited.metadata": "its metadata were edited",
    "c2pa.converted": "converted to another format",
    "c2pa.cropped": "cropped",
    "c2pa.resized": "resized",
    "c2pa.color_adjustments": "colours adjusted",
    "c2pa.filtered": "filtered",
    "c2pa.drawing": "drawn on",
    "c2pa.placed": "another picture was placed in it",
    "c2pa.published": "published",
    "c2pa.redacted": "a statement was removed",
    "c2pa.repackaged": "repackaged",
    "c2pa.transcoded": "compressed again",
    "c2pa.orientation": "turned",
    "c2pa.watermarked": "watermarked",
    "c2pa.removed": "something was removed",
    "c2pa.unknown": "something that is not known",
}
_RELATIONS = {"parentOf": "made from", "componentOf": "contains", "inputTo": "given to the software"}

_SIGNER_SAYS = "The signer says so; nobody changed it since. Whether it is true rests on the signer alone."


def has_manifest(data: bytes, file_format: str | None) -> bool:
    """Whether something lies where a file of its format has its manifest; where not, the library need not be loaded."""
    if file_format == "JPEG":
        segments = islice(header_segments(data), _MOST_SEGMENTS)
        return any(marker == _JPEG_MARKER and body.startswith(b"JP") for marker, body in segments)
    if file_format == "PNG":
        return any(png_chunks_of(data, frozenset({b"caBX"})))
    if file_format == "WEBP":
        return any(webp_chunks_of(data, frozenset({b"C2PA"})))
    if file_format == "TIFF":
        return bool(tag_contents(data, {_TIFF_TAG}, 1))
    return (_GIF_EXTENSION if file_format == "GIF" else _BOX) in data if file_format in MEDIA_TYPES else False


def statements_of_credentials(data: bytes, file_format: str | None, trust: Path | None) -> Iterator[Statement]:
    """What a file states under a signature; nothing where it has none.

    Parameters
    ----------
    data : bytes
    file_format : str or None
        As `sniff_format` tells it.
    trust : Path or None
        A file of trusted certificates (PEM). None: signers are not checked against any list.
    """
    if file_format is None or not has_manifest(data, file_format):
        return
    anchors, problem = _anchors(trust)
    try:
        answer = _read(data, MEDIA_TYPES[file_format], anchors)
    except _Damaged as error:
        yield from _of_invalid({}, [error.why])
        return
    except _Unreadable as error:
        yield _unreadable(error.why)
        return
    yield from _of_answer(answer, anchors is not None, problem)


class _Unreadable(Exception):
    """They could not be looked at."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class _Damaged(_Unreadable):
    """They were looked at, and are broken."""


def _anchors(trust: Path | None) -> tuple[str | None, str | None]:
    """The certificates of the list, and what is wrong with it."""
    if trust is None:
        return None, None
    try:
        anchors = trust.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None, "the list of trusted signers cannot be read (DETECTOR_C2PA_TRUST)"
    if "-----BEGIN CERTIFICATE-----" not in anchors:
        return None, "the list of trusted signers holds no certificate (DETECTOR_C2PA_TRUST)"
    return anchors, None


def _read(data: bytes, kind: str, anchors: str | None) -> dict[str, Any]:
    """The library's answer."""
    try:
        # Imported at the first file that needs it: a native library of 30 MB.
        import c2pa
    except (ImportError, OSError, RuntimeError) as error:
        raise _Unreadable("the library c2pa-python is not installed") from error
    try:
        reader = c2pa.Reader(kind, io.BytesIO(data), context=_context(anchors))
        with reader:
            text = reader.json()
    except c2pa.C2paError.ManifestNotFound as error:
        if kind == MEDIA_TYPES["JPEG"] and b"c2pa" not in data:
            # Such segments are used for other things too.
            raise _Unreadable("the place where they would be stored holds none that is known") from error
        raise _Damaged("they are damaged or not complete (nothing is left of them)") from error
    except c2pa.C2paError.NotSupported as error:
        raise _Unreadable("they are of a kind that the library does not know") from error
    # Its own errors, and whatever its bindings raise on hostile bytes.
    except Exception as error:
        if "exceeds maximum size" in str(error):
            raise _Unreadable("they are too large") from error
        raise _Damaged(f"they are damaged or not complete ({shown(str(error), 200)})") from error
    if len(text) > _LONGEST_ANSWER:
        raise _Unreadable("they are too large")
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Damaged("they are damaged") from error
    return _table(answer)


@lru_cache(maxsize=2)
def _context(anchors: str | None) -> Any:
    """The library's settings; made once, since reading a trust list takes longer than reading a picture."""
    import c2pa

    return c2pa.Context.from_dict({**SETTINGS, **({"trust": {"trust_anchors": anchors}} if anchors else {})})


def _unreadable(why: str) -> Statement:
    return Statement.of(
        "signed",
        "unreadable",
        "Content credentials",
        f"could not be read: {why}",
        "The file seems to carry content credentials. Nothing follows from them, neither for nor against the picture.",
    )


def _of_answer(answer: dict[str, Any], checked: bool, problem: str | None) -> Iterator[Statement]:
    failures = list(_failures(answer))
    manifests = _table(answer.get("manifests"))
    manifest = _table(manifests.get(str(answer.get("active_manifest"))))
    state = answer.get("validation_state")
    valid = state in ("Valid", "Trusted") and not failures and bool(manifest)
    if not valid:
        yield from _of_invalid(manifest, failures)
        return
    trusted = checked and state == "Trusted"
    yield Statement(
        "signed",
        "integrity",
        "Integrity",
        "valid: the file is as it was signed",
        "Nothing was changed since the signature. It does not say that what was signed is true.",
    )
    yield _trust(trusted, checked, problem)
    yield Statement(
        "signed",
        "revocation",
        "Revocation",
        "not checked",
        "Whether the certificate was withdrawn would have to be asked of others; nothing leaves this machine.",
    )
    signature = _table(manifest.get("signature_info"))
    if issuer := _word(signature.get("issuer")) or _word(signature.get("common_name")):
        warning = "" if trusted else " Anybody can make a certificate with any name."
        yield Statement.of("signed", "issuer", "Signed by", issuer, f"The name in the signer's certificate.{warning}")
    time = _word(signature.get("time"))
    yield Statement.of(
        "signed",
        "date",
        "Signed on",
        time or "no time stamp",
        "When a time stamp service saw the signature." if time else "When it was signed is not known.",
    )
    if generator := _generator(manifest):
        yield Statement.of("signed", "generator", "Program", generator, f"The program that signed. {_SIGNER_SAYS}")
    yield from _source_types(manifest)
    yield from _actions(manifest)
    yield from _ingredients(answer, manifest)


def _of_invalid(manifest: dict[str, Any], failures: list[str]) -> Iterator[Statement]:
    why = "; ".join(dict.fromkeys(failures)) or "they do not hold"
    yield Statement.of(
        "signed",
        "integrity",
        "Integrity",
        f"invalid: {why}",
        "The content credentials do not hold. What they say may be forged, and is not shown as signed. Saving a "
        "picture again does this too: it is no proof of bad intent.",
    )
    yield Statement(
        "signed", "trust", "Trust", "not checked", "Of credentials that do not hold, the signer does not matter."
    )
    yield Statement(
        "signed", "revocation", "Revocation", "not checked", "Of credentials that do not hold, it does not matter."
    )
    for value in _source_values(manifest):
        yield Statement.of(
            "stated",
            "ai-source-type" if says_ai(value) else "source-type",
            "Digital source type, in credentials that do not hold",
            source_words(value),
            "This was signed once, or was made to look so. It may be forged.",
        )


def _failures(answer: dict[str, Any]) -> Iterator[str]:
    """What does not hold of the manifest itself, in words; trust left out."""
    results = _table(_table(answer.get("validation_results")).get("activeManifest"))
    for failure in _list(results.get("failure")):
        code = _word(_table(failure).get("code"))
        if code in _NO_FAILURES:
            continue
        explanation = shown(_word(_table(failure).get("explanation")), 120)
        yield _FAILURES.get(code, f"{shown(code, 80)} ({explanation})")


def _trust(trusted: bool, checked: bool, problem: str | None) -> Statement:
    if trusted:
        value, proves = (
            "trusted: the signer is on your list",
            "The list in DETECTOR_C2PA_TRUST names the signer's issuer.",
        )
    elif checked:
        value = "untrusted: the signer is not on your list"
        proves = "Anybody can make a certificate with any name: the signature is worth what the signer is worth."
    else:
        value = f"not checked: {problem}" if problem else "not checked against a trust list"
        proves = (
            "Anybody can make a certificate with any name. DETECTOR_C2PA_TRUST can name a list of signers to trust."
        )
    return Statement("signed", "trust", "Trust", value, proves)


def _generator(manifest: dict[str, Any]) -> str:
    named = []
    for info in _list(manifest.get("claim_generator_info"))[:3]:
        item = _table(info)
        named.append(f"{_word(item.get('name'))} {_word(item.get('version'))}".strip())
    return ", ".join(filter(None, named)) or _word(manifest.get("claim_generator"))


def _action_list(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for assertion in _list(manifest.get("assertions")):
        label = _word(_table(assertion).get("label"))
        if label.startswith("c2pa.actions"):
            found += [_table(action) for action in _list(_table(_table(assertion).get("data")).get("actions"))]
    return found


def _source_values(manifest: dict[str, Any]) -> list[str]:
    """Source types of the actions, and of assertions that have one of their own (as `stds.iptc` does)."""
    values = [_word(action.get("digitalSourceType")) for action in _action_list(manifest)]
    for assertion in _list(manifest.get("assertions")):
        data = _table(_table(assertion).get("data"))
        for key, value in list(data.items())[:200]:
            if key.split(":")[-1].lower() == "digitalsourcetype":
                values.append(_word(value))
    return list(dict.fromkeys(value for value in values if value))[:_MOST_LISTED]


def _source_types(manifest: dict[str, Any]) -> Iterator[Statement]:
    for value in _source_values(manifest):
        kind = "ai-source-type" if says_ai(value) else "source-type"
        yield Statement.of("signed", kind, "Digital source type", source_words(value), _SIGNER_SAYS)


def _actions(manifest: dict[str, Any]) -> Iterator[Statement]:
    actions = _action_list(manifest)
    for action in actions[:_MOST_LISTED]:
        done = _word(action.get("action"))
        words = _ACTIONS.get(done, done)
        agent = action.get("softwareAgent")
        by = _word(_table(agent).get("name")) if isinstance(agent, dict) else _word(agent)
        when = _word(action.get("when"))
        value = f"{words}{f', with {by}' if by else ''}{f', {when}' if when else ''}"
        yield Statement.of("signed", "action", "Action", value, _SIGNER_SAYS)
    yield from _more(len(actions), "action", "actions")


def _ingredients(answer: dict[str, Any], manifest: dict[str, Any]) -> Iterator[Statement]:
    ingredients = _list(manifest.get("ingredients"))
    for item in map(_table, ingredients[:_MOST_LISTED]):
        title = _word(item.get("title")) or "a picture without a title"
        relation = _RELATIONS.get(_word(item.get("relationship")), "uses")
        yield Statement.of("signed", "ingredient", "Ingredient", f"{relation}: {title}", _SIGNER_SAYS)
    yield from _more(len(ingredients), "ingredient", "ingredients")
    yield from _of_earlier(answer, manifest)


def _of_earlier(answer: dict[str, Any], manifest: dict[str, Any]) -> Iterator[Statement]:
    """How the ingredients were made, by their own credentials; an edited picture of an AI system says it there."""
    manifests = _table(answer.get("manifests"))
    deltas = _list(_table(answer.get("validation_results")).get("ingredientDeltas"))
    broken = any(_codes(_table(_table(delta).get("validationDeltas"))) for delta in deltas)
    waiting, seen, values = [manifest], 0, dict[str, None]()
    while waiting and seen < _MOST_MANIFESTS:
        seen += 1
        for item in map(_table, _list(waiting.pop(0).get("ingredients"))[:_MOST_MANIFESTS]):
            earlier = _table(manifests.get(_word(item.get("active_manifest"))))
            if not earlier:
                continue
            broken |= bool(_codes(_table(_table(item.get("validation_results")).get("activeManifest"))))
            waiting.append(earlier)
            values.update(dict.fromkeys(_source_values(earlier)))
    if broken:
        yield Statement(
            "signed",
            "ingredient",
            "Ingredients' own credentials",
            "at least one of them does not hold",
            "What an ingredient says of itself may be forged, and is not shown. The last signature holds.",
        )
        return
    for value in list(values)[:_MOST_LISTED]:
        kind = "ai-source-type" if says_ai(value) else "source-type"
        proves = "The credentials of a picture that went into this one say so. Its truth rests on their signer."
        yield Statement.of("signed", kind, "Digital source type of an ingredient", source_words(value), proves)


def _codes(results: dict[str, Any]) -> list[str]:
    """The failures in a list of results, trust left out."""
    codes = [_word(_table(failure).get("code")) for failure in _list(results.get("failure"))]
    return [code for code in codes if code not in _NO_FAILURES]


def _more(number: int, kind: str, many: str) -> Iterator[Statement]:
    if number > _MOST_LISTED:
        yield Statement("signed", kind, "Not listed", f"{number - _MOST_LISTED:,} more {many}", _SIGNER_SAYS)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
