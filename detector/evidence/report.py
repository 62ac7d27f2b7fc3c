"""A kept verdict as a text for a mail, and as one HTML file for a folder, which asks no server for anything."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from detector.charts.palette import PAPER
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.shown import (
    NOTHING_SAID,
    PROVES,
    TIERS,
    confidence_words,
    confidences,
    copy_words,
    disputed_words,
    entries,
    ink_of,
    inks,
    model_words,
    named_value,
    part,
    provenance,
    said,
    sentence_list,
    sentences,
    steadiness,
    text,
    time_words,
)
from detector.formatting import decimal, limit, percent

#: Nothing is fetched, run, framed or sent: pictures lie in the file itself.
CONTENT_SECURITY_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"

_KINDS = {b"RIFF": "image/webp", b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}


def plain_text(record: Mapping[str, Any]) -> str:
    """The verdict in six to ten lines that read well in a mail.

    Parameters
    ----------
    record : mapping
        JSON of a record or of evidence.
    """
    model = part(record, "model")
    stated = [named_value(item, 120) for tier in ("signed", "stated") for item in provenance(record)[tier]]
    known = sentences(entries(record, "known"))
    at = time_words(record.get("at"))
    lines = [
        _first_line(record),
        text(record.get("reason"), 300),
        text(model.get("promise"), 300),
        text(part(record, "unlike").get("reason"), 300),
        steadiness(record),
        f"The file itself says: {'; '.join(stated[:3])}. This did not count for the verdict." if stated else "",
        " ".join(known[:2]),
        disputed_words(record),
        f"{FIND_THE_FIRST} {NOT_ALONE}",
        f"{model_words(record)}{f', {at}' if at else ''}. SHA-256 {text(record.get('sha256'), 64)}"
        + (f", record {text(record['record'], 40)}." if record.get("record") else "."),
    ]
    return "\n".join(line for line in lines if line)


def _first_line(record: Mapping[str, Any]) -> str:
    scores = confidence_words(record)
    return f"{text(record.get('file'), 120)}: {said(record)}{f' {scores}.' if scores else ''}"


def html_report(
    record: Mapping[str, Any], thumbnail: bytes | None = None, pictures: Mapping[str, bytes] | None = None
) -> str:
    """The verdict with all that stood around it, as one HTML file to print or to put into a folder.

    Parameters
    ----------
    record : mapping
        JSON of a record or of evidence.
    thumbnail : bytes, optional
        The picture small, as WebP, PNG or JPEG.
    pictures : mapping of str to bytes, optional
        Further ones: by the ``name`` of a copy, by the ``sample`` of a near one, or by a caption.
    """
    pictures = dict(pictures or {})
    name = text(record.get("file"), 200)
    ink = ink_of(record)
    sections = [
        _verdict(record, name, thumbnail),
        _section("At this quality", _list(sentence_list(part(record, "quality").get("says")))),
        _section("Does it stay?", _stability(record, pictures)),
        _section("Like what the function knows", _likeness(record, pictures)),
        _section("Where", "".join(_figure(data, _bdi(caption)) for caption, data in pictures.items())),
        _section("What the file says", _provenance(record)),
        _section("What no verdict covers", _list(sentence_list(record.get("blindSpots")))),
        _section("Record", _facts(record)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(name)}: {escape(said(record))}</title>"
        f"<style>{_style(ink.text)}</style></head>\n<body><main>\n"
        + "\n".join(filter(None, sections))
        + "\n</main></body></html>\n"
    )


def _verdict(record: Mapping[str, Any], name: str, thumbnail: bytes | None) -> str:
    grade = text(record.get("grade"), 40)
    verdict = text(record.get("verdict"), 120)
    badge = f'<span class="badge">{escape(grade)}</span>' if grade != verdict else ""
    fills = inks(record)
    bars = "".join(
        f'<div class="bar"><span>{_bdi(label)} {percent(value)}</span>'
        f'<i><b style="width:{100 * value:.1f}%;background:{fills[label].fill}"></b></i></div>'
        for label, value in confidences(record)[:10]
    )
    model = part(record, "model")
    warnings = [*sentence_list(model.get("warnings")), disputed_words(record)]
    return (
        '<section class="verdict">'
        + (_figure(thumbnail, _bdi(name)) if thumbnail else f"<p>{_bdi(name)}</p>")
        + '<div><p class="small">The function says</p>'
        + f'<h1><span class="word">{_bdi(verdict)}</span> {badge}</h1>'
        + _paragraphs([text(record.get("reason"))])
        + bars
        + _paragraphs([text(model.get("promise"))], "small")
        + "".join(f'<p class="notice">{escape(line)}</p>' for line in warnings if line)
        + f'<p class="notice"><strong>Before you use this.</strong> {FIND_THE_FIRST} {NOT_ALONE}</p></div></section>'
    )


def _stability(record: Mapping[str, Any], pictures: dict[str, bytes]) -> str:
    rows = []
    for item in entries(record, "stability"):
        shown = pictures.pop(str(item.get("name")), None)
        rows.append(
            (
                _picture(shown) + escape(copy_words(item)),
                _bdi(text(item.get("verdict"), 120)) + _grade(item),
            )
        )
    return _paragraphs([steadiness(record)]) + _table(rows) if rows else ""


def _grade(item: Mapping[str, Any]) -> str:
    # Where the function can't tell, verdict and grade are the same words.
    return "" if item.get("grade") == item.get("verdict") else f" <em>{escape(text(item.get('grade'), 40))}</em>"


def _likeness(record: Mapping[str, Any], pictures: dict[str, bytes]) -> str:
    rows = []
    for item in entries(record, "nearest")[:10]:
        shown = pictures.pop(str(item.get("sample")), None)
        distance = item.get("distance")
        far = f" <em>distance {decimal(distance)}</em>" if isinstance(distance, int | float) else ""
        rows.append((_picture(shown) + _bdi(text(item.get("file"), 120)), _bdi(text(item.get("label"), 120)) + far))
    return (
        _paragraphs([text(part(record, "unlike").get("reason")), *sentences(entries(record, "known"))])
        + (_paragraphs(["The nearest of the labelled samples:"], "small") if rows else "")
        + _table(rows)
    )


def _provenance(record: Mapping[str, Any]) -> str:
    found = provenance(record)
    if not any(found.values()):
        return _paragraphs([NOTHING_SAID])
    parts = [_paragraphs(["None of this counted for the verdict."], "small")]
    for tier, title in TIERS.items():
        if not found[tier]:
            continue
        rows = []
        for item in found[tier]:
            proves = text(item.get("proves"))
            value = _bdi(text(item.get("value"))) + (f"<br><em>{_bdi(proves)}</em>" if proves else "")
            kind, name = text(item.get("kind"), 80), text(item.get("name"), 120)
            rows.append((_bdi(name or kind) + (f"<br><em>{_bdi(kind)}</em>" if name else ""), value))
        parts.append(f"<h3>{title}</h3>{_paragraphs([PROVES[tier]], 'small')}{_table(rows)}")
    return "".join(parts)


def _facts(record: Mapping[str, Any]) -> str:
    model = part(record, "model")
    share = model.get("falseAccusationLimit")
    sources = ", ".join(sentence_list(model.get("sources")))
    facts = {
        "Record": text(record.get("record"), 40),
        "File": text(record.get("file"), 200),
        "SHA-256 of the file": text(record.get("sha256"), 64),
        "Model": model_words(record),
        "Network and weights": text(model.get("weights"), 200),
        "Limit on false accusations": limit(share) if isinstance(share, int | float) else "",
        "Its samples came from": text(sources),
        "Looked at": time_words(record.get("at")),
        "Kept": time_words(record.get("keptAt")),
    }
    return _table([(escape(name), f"<code>{_bdi(value)}</code>") for name, value in facts.items() if value])


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def _paragraphs(lines: Iterable[str], kind: str = "") -> str:
    opening = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{opening}{_bdi(line)}</p>" for line in lines if line)


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{_bdi(line)}</li>' for line in lines)}</ul>" if lines else ""


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in rows)
    return f"<table>{cells}</table>" if rows else ""


def _bdi(line: str) -> str:
    """Text that may be of any script and from any file: it keeps its own direction, and is nothing but text."""
    return f"<bdi>{escape(line)}</bdi>"


def _picture(data: bytes | None) -> str:
    kind = next((kind for begin, kind in _KINDS.items() if data and data.startswith(begin)), None)
    if data is None or kind is None:
        return ""
    return f'<img alt="" src="data:{kind};base64,{base64.b64encode(data).decode("ascii")}">'


def _figure(data: bytes, caption: str) -> str:
    shown = _picture(data)
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>" if shown else f"<p>{caption}</p>"


def _style(ink: str) -> str:
    paper = PAPER["light"]
    return f"""
:root{{color-scheme:light}}
*{{box-sizing:border-box}}
body{{margin:0;background:{paper.ground};color:{paper.text};font:15px/1.5 "Source Sans","Source Sans Pro","Segoe UI",
Helvetica,Arial,sans-serif}}
main{{max-width:820px;margin:0 auto;padding:32px 20px}}
section{{background:{paper.card};border:1px solid {paper.hairline};border-radius:10px;padding:20px 24px;
margin:0 0 16px;break-inside:avoid}}
h1{{font-size:34px;line-height:1.2;margin:0 0 10px}} h2{{font-size:17px;margin:0 0 10px}} h3{{font-size:15px;
margin:16px 0 4px}} p{{margin:0 0 10px}} ul{{margin:0;padding-left:20px}}
.word{{color:{ink}}} .badge{{font-size:14px;color:{ink};border:1px solid {ink};border-radius:20px;padding:2px 12px;
vertical-align:middle;white-space:nowrap}}
.small,em,figcaption{{color:{paper.muted};font-size:13px;font-style:normal;font-weight:400}}
.notice{{background:{paper.warning};border:1px solid {paper.warning_line};border-radius:8px;padding:10px 14px}}
.verdict{{display:flex;gap:24px;flex-wrap:wrap}} .verdict>div{{flex:1 1 340px;min-width:0}}
figure{{margin:0 0 10px}} figure img{{max-width:256px;max-height:256px;border-radius:8px;display:block}}
figcaption{{max-width:256px;margin-top:6px}}
.bar{{margin:0 0 8px;font-size:13px}} .bar i{{display:block;height:8px;border-radius:4px;background:{paper.track}}}
.bar b{{display:block;height:8px;border-radius:4px}}
table{{width:100%;border-collapse:collapse;table-layout:fixed}}
th,td{{text-align:left;vertical-align:top;padding:8px 12px 8px 0;border-top:1px solid {paper.hairline}}}
th{{font-weight:600;width:34%}} td img,th img{{display:block;max-width:96px;max-height:72px;border-radius:4px}}
bdi,code{{overflow-wrap:anywhere}} code{{font:13px/1.5 ui-monospace,Menlo,Consolas,monospace}}
@media print{{body{{background:#fff;font-size:12px}} main{{max-width:none;padding:0}} section{{border-radius:0}}
*{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}}}
"""
