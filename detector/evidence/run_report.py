"""What is taken away of a run of invokes: a table for spreadsheets, and one page that stands for itself."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from datetime import UTC, datetime
from html import escape

from detector.charts.palette import PAPER, Ink, label_inks
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE
from detector.evidence.runs import FLAG_WORDS, Judged, JudgedRun, Order, read_run
from detector.formatting import count, limit, moment, percent, safe_cell
from detector.imaging.thumbnail import thumbnail_type
from detector.storage import functions, invoke_runs, models
from detector.storage.functions import number_names
from detector.workspace import Workspace

#: Beside the grades of many pictures: of each, no copies were judged.
AS_THEY_ARE = "Grades here are those of each picture as it is: open one to see whether it stays on copies."
#: Pictures of a report that have their small picture in it; a browser would choke on more, some 10 kB each.
MOST_SHOWN = 2000

_COLUMNS = ("File", "Says", "Grade", "Leaning towards", "Confidence")
_LAST_COLUMNS = ("Flags", "Reason", "Problem", "SHA-256")


def run_csv(ws: Workspace, run_id: str) -> bytes:
    """One row a file, in their order, with the mark by which spreadsheets know UTF-8. Raises as `read_run`."""
    run = read_run(ws, run_id)
    # A label may be called like a column; then its own column has a number.
    heads = [*_COLUMNS, *_LAST_COLUMNS]
    numbered = number_names([(head, head) for head in heads] + [(f"label {name}", name) for name in run.labels])
    columns = [*_COLUMNS, *(numbered[f"label {name}"] for name in run.labels), *_LAST_COLUMNS]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    for picture in run.pictures:
        row: dict[str, object] = {
            "File": picture.file_name,
            "Says": picture.verdict,
            "Grade": picture.grade,
            "Leaning towards": picture.label,
            "Confidence": picture.confidence if picture.scores else "",
            "Flags": ", ".join(FLAG_WORDS[flag] for flag in run.flags(picture)),
            "Reason": picture.reason,
            "Problem": picture.problem,
            "SHA-256": picture.sha256 or "",
        }
        row |= {numbered[f"label {name}"]: score for name, score in picture.scores}
        writer.writerow({key: safe_cell(value) for key, value in row.items()})
    return text.getvalue().encode("utf-8-sig")


def run_html(ws: Workspace, run_id: str) -> str:
    """One file that asks nothing of any network: counts, every picture with its verdict, and what it is worth.

    Raises as `read_run`.
    """
    run = read_run(ws, run_id)
    function = functions.get_function(ws.db, run.run.function_id)
    model = models.get_model(ws.db, run.run.model_id)
    pictures = run.select(Order.VERDICT)
    small = invoke_runs.thumbnails(ws.db, run_id, [picture.position for picture in pictures[:MOST_SHOWN]])
    inks = label_inks([label.name for label in functions.list_labels(ws.db, function.id)])
    facts = [
        ("Function", function.name),
        ("Model", f"version {model.version}, on {model.backbone_id}"),
        ("Network's numbers", model.backbone_key),
        ("Limit", f"at most {limit(run.limit)} wrongly labelled" if run.limit else "none: the model is not validated"),
        ("Judged", moment(datetime.fromtimestamp(run.run.finished_at or run.run.created_at, UTC))),
        ("Run", run.run.id),
    ]
    ended = {"running": "It was still being judged when this was written.", "failed": run.run.note}
    note = ended.get(run.run.state, "")
    if len(pictures) > MOST_SHOWN:
        note = f"{note} Of {len(pictures):,} files the first {MOST_SHOWN:,} are shown with their picture.".strip()
    body = [
        f"<h1>{_text(run.run.title)}</h1>",
        f'<p class="muted">{_text(count(len(run.pictures), "picture"))} and what the function says of each.</p>',
        f'<p class="counts">{" · ".join(f"<b>{n:,}</b> {_text(words)}" for words, n in run.counts())}</p>',
        f'<p class="note">{_text(note)}</p>' if note else "",
        f'<p class="before"><b>Before you use this.</b> {_text(FIND_THE_FIRST)} {_text(NOT_ALONE)}</p>',
        f'<p class="muted">{_text(AS_THEY_ARE)}</p>',
        f'<ul class="tiles">{"".join(_tile(run, picture, small, inks) for picture in pictures)}</ul>',
        "<h2>Why</h2>",
        f"<ul>{''.join(f'<li>{n:,} of them: {_text(why)}</li>' for why, n in run.reasons())}</ul>",
        "<h2>How it was judged</h2>",
        "<dl>" + "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts) + "</dl>",
    ]
    return _PAGE.format(title=_text(run.run.title), style=_style(), body="\n".join(filter(None, body)))


def _tile(run: JudgedRun, picture: Judged, small: dict[int, bytes], inks: dict[str, Ink]) -> str:
    data = small.get(picture.position)
    shown = f'<img alt="" src="data:{thumbnail_type(data)};base64,{b64encode(data).decode()}">' if data else ""
    ink = inks[picture.verdict].text if picture.verdict in inks else PAPER["light"].neutral.text
    if picture.scores:
        leaning = "" if picture.verdict == picture.label else f", leaning towards {picture.label}"
        grade = "" if picture.grade == picture.verdict else f" · {picture.grade}"
        says = (
            f'<b style="color:{ink}">{_text(picture.verdict)}</b>{_text(grade)}'
            f"<br>{_text(percent(picture.confidence))}{_text(leaning)}"
        )
    else:
        says = f"<b>not read</b><br>{_text(picture.problem)}"
    flags = "".join(f"<i>{_text(FLAG_WORDS[flag])}</i>" for flag in run.flags(picture))
    reason = f'<span class="muted">{_text(picture.unlike)}</span>' if picture.unlike else ""
    return (
        f'<li><div class="picture">{shown}</div><p class="name">{_text(picture.file_name)}</p>'
        f"<p>{says}</p><p>{flags}</p>{reason}</li>"
    )


def _text(words: str) -> str:
    """Words of a stranger as text: nothing in them is markup, and what cannot be seen is made visible."""
    return escape("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words[:2000]))


def _style() -> str:
    paper = PAPER["light"]
    return _STYLE.format(
        ground=paper.ground, text=paper.text, muted=paper.muted, card=paper.card, line=paper.hairline,
        track=paper.track, warning=paper.warning, warning_line=paper.warning_line,
    )  # fmt: skip


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main></body></html>
"""

_STYLE = """
body {{ margin: 0; background: {ground}; color: {text}; font: 15px/1.45 system-ui, sans-serif; }}
main {{ max-width: 72rem; margin: 0 auto; padding: 2rem 1.2rem; }}
h1 {{ font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }} h2 {{ font-size: 1.15rem; margin: 2rem 0 0.5rem; }}
.muted {{ color: {muted}; }} .counts {{ font-size: 1.1rem; }}
.before, .note {{ padding: 0.8rem 1rem; border: 1px solid {warning_line}; border-radius: 8px; background: {warning}; }}
.tiles {{ list-style: none; margin: 0; padding: 0; display: grid; gap: 0.9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(13rem, 45%), 1fr)); }}
.tiles li {{ background: {card}; border: 1px solid {line}; border-radius: 8px; padding: 0.6rem; break-inside: avoid;
  overflow-wrap: anywhere; font-size: 0.88rem; }}
.tiles p {{ margin: 0.35rem 0; }} .name {{ font-weight: 650; }}
.picture {{ background: {track}; border-radius: 5px; aspect-ratio: 1.4; display: grid; place-items: center; }}
.picture img {{ max-width: 100%; max-height: 100%; min-height: 0; }}
i {{ font-style: normal; display: inline-block; border: 1px solid {line}; border-radius: 99px; padding: 0 0.5rem;
  margin: 0 0.3rem 0.2rem 0; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.2rem; }} dt {{ color: {muted}; }}
dd {{ margin: 0; overflow-wrap: anywhere; }}
@media print {{ body {{ background: none; }} }}
"""
