"""Invoke: drop one or many images and read what the function says."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape as escape_html

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from detector.charts.palette import PAPER, label_inks
from detector.errors import ImageError, NoModel
from detector.formatting import (
    duration,
    interval,
    limit,
    percent,
    percent_number,
    rate_of_images,
    safe_cell,
    share,
)
from detector.imaging import decode_image
from detector.operations.false_accusations import set_false_accusation_limit
from detector.operations.sample_function import sample_limit_note
from detector.operations.samples import add_samples
from detector.serving.invoke import Verdict, invoke, rejudge
from detector.serving.model import what_is_missing
from detector.serving.thresholds import why_never_sure, with_thresholds
from detector.storage import models
from detector.storage.functions import number_names
from detector.storage.models import ModelRow
from detector.training.thresholds import (
    CANT_TELL,
    HIGHEST_FALSE_ACCUSATION_LIMIT,
    LOWEST_FALSE_ACCUSATION_LIMIT,
    STRONG,
    Thresholds,
)
from pages._adapt import adapt_fold, adapted_note
from pages._coverage import unlike_switch
from pages._state import (
    IMAGE_TYPES,
    escape,
    function_labels,
    go,
    heading,
    import_link,
    largest_upload_mb,
    require_function,
    workspace,
)
from pages._style import card, current_theme

_PREVIEW = (1200, 1200)
#: Of the table of many files; those of the labels stand before the last one.
_COLUMNS = ("File", "Says", "Grade", "Leaning towards", "Confidence", "Reason", "Problem")


def _at_this_confidence(model: ModelRow, confidence: float) -> str:
    """How often the model was right at about this confidence, on images that it had not seen."""
    if model.cross_validation is None:
        return "This model has not been validated, so its confidence has not been checked."
    for item in model.cross_validation["reliability"]:
        if item["n"] and item["low"] <= confidence <= item["high"]:
            return (
                f"At confidence {interval((item['low'], item['high']), 0)} model {model.version} was "
                f"right on {rate_of_images(item['accuracy'], item['n'], 'image')} that it had not seen."
            )
    return f"Model {model.version} was never this confident in cross-validation, so that could not be checked."


def _bars(verdict: Verdict, inks: dict[str, str]) -> str:
    rows = []
    for score in sorted(verdict.scores, key=lambda score: list(inks).index(score.label)):
        rows.append(
            f'<div class="score"><span>{escape_html(score.label)}</span><span>{percent(score.confidence)}</span></div>'
            f'<div class="track"><div style="width:{100 * score.confidence:.1f}%;background:{inks[score.label]}">'
            "</div></div>"
        )
    return "".join(rows)


def _one(name: str, data: bytes, verdict: Verdict, model: ModelRow) -> None:
    names = [label.name for label in function_labels(function_id)]
    inks = label_inks(names, current_theme())
    left, right = st.columns([5, 7])
    with left:
        # Decoded by us: a browser shows neither HEIC nor TIFF, and ignores what is wrong with a file.
        picture = decode_image(data, name, workspace().limits).pixels
        picture.thumbnail(_PREVIEW)
        st.image(picture, width="stretch")
        st.caption(f"{escape(name)} · {duration(verdict.seconds)}")
    with right, card("verdict"):
        st.caption("Verdict")
        ink = inks[verdict.label].text if verdict.sure else PAPER[current_theme()].neutral.text
        st.html(f'<div class="verdict" style="color:{ink}">{escape_html(verdict.verdict)}</div>')
        if verdict.unlike and not verdict.sure:
            # First: whatever the score is, it says nothing of such a picture.
            st.markdown(escape(verdict.reason))
        # Where something else stands in the way, 99.9 % are not too little: the reason says what it is.
        enough = "" if verdict.reason else ", but not confident enough to say so"
        leaning = "" if verdict.sure else f"Leaning towards {escape(verdict.label)}{enough}. "
        checked = f"calibrated. {_at_this_confidence(model, verdict.confidence)}"
        if verdict.offset is not None:
            # What was right at which confidence in cross-validation says nothing of shifted scores.
            checked = "adapted to pictures of yours."
        st.markdown(f"{leaning}Confidence {percent(verdict.confidence)}, {checked}")
        if verdict.sure:
            st.markdown(escape(_promise(verdict)))
        st.html(_bars(verdict, {label: ink.fill for label, ink in inks.items()}))
        if verdict.reason and not verdict.sure:
            _too_few("" if verdict.unlike else verdict.reason)
        if st.button(
            "Add to samples",
            help="Keeps a copy as an unlabelled sample, to be labelled in Review.",
            key=f"add-{function_id}",
        ):
            st.toast(add_samples(workspace(), function_id, [(name, data)], "Added from Invoke").said)


def _promise(verdict: Verdict) -> str:
    """What stands behind a verdict, in words: on which pictures the limit was kept, and how that was measured."""
    if verdict.offset is not None:
        return f"Grade: moderate. {verdict.reason}"
    at_most = f"at most {limit(chosen.function.false_accusation_limit)} wrongly labelled"
    if verdict.grade == STRONG:
        kept = f"The limit, {at_most}, was also kept on sources that the model had not seen."
        return f"Grade: strong. {kept} {verdict.reason}"
    return f"Grade: moderate. The limit, {at_most}, is kept for pictures like your samples. {verdict.reason}"


def _too_few(reason: str) -> None:
    if reason:
        st.markdown(escape(reason))
    import_link(function_id, "import-more-for-verdicts")


def _many(files: list[tuple[str, bytes]], answers: list[Verdict | ImageError]) -> None:
    known = function_labels(function_id)
    labels = [label.name for label in known]
    # A label may be called like a column; then its own column has a number.
    numbered = number_names([(head, head) for head in _COLUMNS] + [(label.id, label.name) for label in known])
    heads = {label.name: numbered[label.id] for label in known}
    rows = []
    for (name, _), answer in zip(files, answers, strict=True):
        row: dict[str, object] = {"File": name}
        if isinstance(answer, ImageError):
            row |= {"Says": "", "Grade": "", "Leaning towards": "", "Confidence": None, "Reason": ""}
            row["Problem"] = str(answer)
        else:
            scores = {score.label: score.confidence for score in answer.scores}
            row |= {"Says": answer.verdict, "Grade": answer.grade}
            row |= {"Leaning towards": answer.label, "Confidence": answer.confidence, "Reason": answer.reason}
            row |= {heads[label]: scores.get(label) for label in labels} | {"Problem": ""}
        rows.append(row)
    said = [(verdict, sum(row["Says"] == verdict for row in rows)) for verdict in (*labels, CANT_TELL)]
    if refused := sum(isinstance(answer, ImageError) for answer in answers):
        said.append(("not read", refused))
    st.markdown(" · ".join(f"**{n:,}** {escape(words)}" for words, n in said))
    unsure = [answer for answer in answers if isinstance(answer, Verdict) and not answer.sure]
    unlike = [answer for answer in unsure if answer.unlike]
    reasons = dict.fromkeys(answer.reason for answer in unsure if answer.reason and not answer.unlike)
    if unlike:
        # Each has a reason of its own, in the table.
        reasons[
            f"{share(len(unlike), len(files))} are unlike your samples, such as {unlike[0].name}: {unlike[0].reason}"
        ] = None
    if reasons:
        _too_few(" ".join(reasons))
    inks = label_inks(labels, current_theme())
    columns = [*_COLUMNS[:-2], *(heads[label] for label in labels)]
    if unlike:
        columns.append("Reason")
    if any(row["Problem"] for row in rows):
        columns.append(_COLUMNS[-1])
    # Shown in percent, kept as fractions: the widget's own percent format has no space before the sign. What is not
    # certain is not rounded to certainty here either.
    shown = [
        {name: percent_number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    ]
    bars = {
        heads[name]: st.column_config.ProgressColumn(
            format="%.1f %%", min_value=0, max_value=100, color=inks[name].fill
        )
        for name in labels
    }
    st.dataframe(
        shown,
        hide_index=True,
        width="stretch",
        column_order=columns,
        column_config={"Confidence": st.column_config.NumberColumn(format="%.1f %%"), **bars},
    )
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS[:-2], *(heads[label] for label in labels), *_COLUMNS[-2:]])
    writer.writeheader()
    writer.writerows({key: safe_cell(value) for key, value in row.items()} for row in rows)
    # With the mark that the exports have, too: without it Excel garbles names that are not ASCII.
    st.download_button("Download as CSV", text.getvalue().encode("utf-8-sig"), "verdicts.csv", "text/csv")


def _false_accusation_limit(model: ModelRow, false_accusation_limit: float) -> None:
    """How often it may accuse falsely, and how often it will then say nothing."""
    with st.expander(
        f"False-accusation limit: at most {limit(false_accusation_limit)} wrongly labelled",
        # Or the fold, told apart by its words, would shut with every change of the limit.
        key=f"limit-open-{function_id}",
    ):
        wanted = st.number_input(
            "False-accusation limit, in percent",
            100 * LOWEST_FALSE_ACCUSATION_LIMIT,
            100 * HIGHEST_FALSE_ACCUSATION_LIMIT,
            100 * false_accusation_limit,
            step=0.5,
            format="%.1f",
            key=f"limit-{function_id}",
            help="A label may wrongly be given to at most this share of the images of any other label. A lower limit "
            'means more "can\'t tell" answers. No training is needed.',
            width=220,
        )
        if abs(wanted / 100 - false_accusation_limit) > 1e-9:
            set_false_accusation_limit(workspace(), function_id, round(wanted / 100, 6))
            st.rerun()
        if chosen.function.is_simulation:
            st.caption(sample_limit_note())
        if model.thresholds is None:
            st.caption(escape(why_never_sure(workspace(), model)))
            import_link(function_id)
            return
        found = Thresholds.from_json(model.thresholds)
        for name, counts in found.counts.items():
            n = sum(counts.values())
            parts = [f"{share(counts[verdict], n)} {verdict}" for verdict in (*found.label_names, CANT_TELL)]
            st.caption(f"Of the images labelled {escape(name)} it said: {escape(', '.join(parts))}. Out-of-fold.")
        notes = [found.too_few()] if not found.above else found.notes
        for note in notes:
            st.caption(escape(note))
        if notes:
            import_link(function_id)


def _answers(uploads: Sequence[UploadedFile]) -> list[Verdict | ImageError]:
    """What the function says of each file. Every file is looked at once: another limit judges the same scores anew."""
    key = f"invoked-{function_id}"
    kept: dict[str, Verdict | ImageError] = st.session_state.get(key, {})
    known = [kept[upload.file_id] for upload in uploads if upload.file_id in kept]
    judged = rejudge(workspace(), function_id, known)
    if judged is None:
        # Another model is live by now.
        kept = {}
    else:
        ids = [upload.file_id for upload in uploads if upload.file_id in kept]
        kept = dict(zip(ids, judged, strict=True))
    new = [upload for upload in uploads if upload.file_id not in kept]
    if new:
        with st.spinner("Looking at the images" if len(new) > 1 else "Looking at the image"):
            found = invoke(workspace(), function_id, [(upload.name, upload.getvalue()) for upload in new])
        kept |= {upload.file_id: answer for upload, answer in zip(new, found, strict=True)}
    st.session_state[key] = kept
    return [kept[upload.file_id] for upload in uploads]


chosen = require_function()
function_id = chosen.function.id
if chosen.function.live_model_id is None:
    heading("Invoke", "Here you give the function new images, and it says what they are.")
    st.info(escape(what_is_missing(workspace(), function_id)))
    if st.button("Import images", type="primary"):
        go("import_images.py", function_id)
    st.stop()
model = with_thresholds(workspace(), models.get_model(workspace().db, chosen.function.live_model_id))
heading("Invoke", f"Drop images or choose files; model {model.version} of {chosen.shown} says what they are.")
adapted_note(function_id, model)
uploads = st.file_uploader(
    "Images",
    accept_multiple_files=True,
    type=IMAGE_TYPES,
    max_upload_size=largest_upload_mb(),
    label_visibility="collapsed",
    key=f"images-{function_id}",
)
if uploads:
    files = [(upload.name, upload.getvalue()) for upload in uploads]
    try:
        answers = _answers(uploads)
    except NoModel as error:
        st.error(escape(str(error)))
        st.stop()
    if len(files) > 1:
        _many(files, answers)
    elif isinstance(answers[0], ImageError):
        st.error(escape(str(answers[0])))
    else:
        _one(files[0][0], files[0][1], answers[0], model)
else:
    st.caption("The picture stays on this machine and is not kept unless you add it to the samples.")
_false_accusation_limit(model, chosen.function.false_accusation_limit)
unlike_switch(model, chosen.function.judge_unlike)
adapt_fold(function_id, model)
