"""One picture on the Invoke page: the verdict, and below it all that one should know before using it."""

from __future__ import annotations

import io
from html import escape as escape_html
from typing import Any

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from detector.charts.palette import PAPER, Ink, label_inks
from detector.errors import DetectorError, ImageError
from detector.evidence.desk import Case, Desk, InBackground
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE, Evidence
from detector.evidence.explain import Opened, evidence_of, judged_today, look_through, open_picture
from detector.evidence.quality import LIKELIER_LABEL
from detector.evidence.regions import examine_regions
from detector.evidence.stability import Stability, examine_stability
from detector.formatting import duration, interval, limit, percent, rate_of_images
from detector.imaging import decode_image, make_thumbnail
from detector.imaging.fingerprint import sha256_hex
from detector.operations.capture import capture_now, maybe_capture
from detector.progress import Report
from detector.serving.invoke import Verdict
from detector.serving.invoke_counts import PAGE, record_invoke
from detector.serving.model import ServingModel, load_serving_model, serving_backbone
from detector.storage.acting import LABEL, may
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from pages._known import known_card
from pages._provenance import provenance_card
from pages._records import record_buttons
from pages._regions import regions_view
from pages._stability import stability_strip
from pages._state import escape, function_labels, import_link, workspace
from pages._style import card, current_theme

_PREVIEW = (1200, 1200)
_GRADES = {STRONG: "strong: also for sources never seen", MODERATE: "moderate: for pictures like your samples"}
_STABILITY, _REGIONS = "stability", "regions"
_PICTURE, _WHERE = "Picture", "Where"
#: In the session: that it was no person who had the page drawn again, but what it waited for.
_WAITED = "single-waited"
#: In the session: the pictures that were counted among the invokes.
_COUNTED = "single-counted"


@st.cache_resource(show_spinner=False)
def desk() -> Desk:
    """What this server knows of the pictures that are looked at now."""
    return Desk()


def single(function: Function, model: ModelRow, name: str, data: bytes, *, counted: bool = True) -> None:
    """Show what a version of the function says of a picture, and what that is worth; ``counted`` as of `examined`."""
    serving = load_serving_model(workspace(), function.id, model.id)
    left, right = st.columns(2)
    with left:
        ways = st.container(key="picture-ways")
        with st.container(key="picture"):
            picture = st.empty()
        caption = st.empty()
    with right, card("verdict"):
        slot = st.empty()
    try:
        case = examined(serving, name, data, picture, slot, counted=counted)
    except ImageError as error:
        slot.error(escape(str(error)))
        return
    # Only when a person draws the page: two that fail would have each other tried again without an end.
    again = not st.session_state.pop(_WAITED, False)
    copies = _find_out(case, _STABILITY, name, data, serving, again)
    # Read once: it may come while the page is drawn, and the grade above it is then that of before.
    stability = copies.result
    evidence = evidence_of(workspace(), serving, case.seen, name, stability)
    inks = label_inks([label.name for label in function_labels(function.id)], current_theme())
    with ways:
        way = st.segmented_control(
            "Show", [_PICTURE, _WHERE], default=_PICTURE, required=True, key="way", label_visibility="collapsed"
        )
    if way == _WHERE:
        _where(_find_out(case, _REGIONS, name, data, serving, again), case, name, picture, inks)
    else:
        picture.image(case.preview, alt=name)
    caption.caption(escape(f"{name} · {case.seen.quality.sentence} {duration(case.seen.verdict.seconds)}."))
    with slot.container():
        _verdict(function, model, evidence, inks)
        kept = record_buttons(
            function.id,
            evidence,
            data,
            name,
            thumbnail_of(case.preview),
            _pictures(stability),
            complete=stability is not None,
        )
        _keep_as_sample(function, evidence, data)
    if stability is not None:
        stability_strip(stability, inks)
    else:
        with card("stability"):
            st.markdown("**Does it stay?**")
            if copies.problem is not None:
                st.markdown(_failed("The copies could not be looked at", copies.problem))
            else:
                _wait(copies, "Making copies of the picture")
    known, says = st.columns(2)
    with known:
        known_card(function.id, evidence, inks, kept.id if kept else None)
    with says:
        provenance_card(case.seen.provenance)
    _blind_spots(evidence)


def examined(
    serving: ServingModel,
    name: str,
    data: bytes,
    picture: DeltaGenerator | None = None,
    slot: DeltaGenerator | None = None,
    *,
    counted: bool = True,
) -> Case:
    """What is known of a picture: from memory where it was looked at before, else found out in view of the person.

    Parameters
    ----------
    picture, slot : empty elements, optional
        Where the picture is shown as soon as it is read, and where it is said what is being done.
    counted : bool
        Whether this is an invoke among the function's invokes, and may be captured.

    Raises
    ------
    ImageError
    """
    picture, slot = picture or st.empty(), slot or st.empty()
    data_dir = str(workspace().settings.data_dir)
    key = (data_dir, serving.row.function_id, serving.row.id, str(serving.offset), sha256_hex(data))
    known = desk().find(key)
    if known is not None:
        seen = judged_today(workspace(), serving, known.seen)
        if seen is not None:
            known.seen = seen
            if counted:
                _count(serving, name, data, known)
            return known
    with slot.container(), st.spinner("Reading the picture"):
        opened = open_picture(workspace(), name, data)
        preview = _preview(opened)
    picture.image(preview, alt=name)
    ws = workspace()
    with slot.container(), st.spinner(f"Asking model {serving.row.version}"):
        seen = look_through(ws, serving, serving_backbone(ws, serving), opened)
    case = desk().put(key, Case(seen, preview), instead_of=known)
    if counted:
        _count(serving, name, data, case)
    return case


def _count(serving: ServingModel, name: str, data: bytes, case: Case) -> None:
    """Count an invoke, once a session and picture: neither every run of the page, nor whether others looked at it."""
    ws, row = workspace(), serving.row
    picture = (str(ws.settings.data_dir), row.function_id, row.id, case.seen.sha256)
    counted: set[tuple[str, ...]] = st.session_state.setdefault(_COUNTED, set())
    if picture in counted:
        return
    counted.add(picture)
    record_invoke(ws, row.function_id, PAGE, case.seen.verdict)
    if reason := maybe_capture(ws, row.function_id, name, data, case.seen.verdict):
        st.toast(f"Kept as a sample without a label ({reason}), by the settings of this function.")


def _find_out(case: Case, what: str, name: str, data: bytes, serving: ServingModel, again: bool) -> InBackground[Any]:
    """Have the copies, or the map, looked at behind the page; ``again`` as of `Desk.find_out`."""
    ws = workspace()

    def work(report: Report) -> Any:
        # Not `open_picture`: what the file says is known by now.
        decoded = decode_image(data, name, ws.limits)
        backbone = serving_backbone(ws, serving)
        if what == _REGIONS:
            return examine_regions(ws, serving, backbone, decoded, report)
        return examine_stability(ws, serving, backbone, decoded, case.seen.verdict, report)

    return desk().find_out(case, what, work, again=again)


def _failed(what: str, problem: BaseException) -> str:
    """Why something is missing, in words of ours only: those of others are for the log."""
    why = str(problem) if isinstance(problem, DetectorError) else "something unexpected went wrong, and is in the log."
    return escape(f"{what}: {why} Reload to try again.")


def _wait(found: InBackground[Any], beginning: str) -> None:
    """Say how far something is, and draw the page again as soon as it is there."""

    @st.fragment(run_every=0.4)
    def wait() -> None:
        if found.cancelled:
            # Not drawn again by itself: as many pages as that would take each other's places without an end.
            st.markdown("Too many other pictures are being looked at, so this one was put aside. Reload to try again.")
            return
        if not found.running:
            st.session_state[_WAITED] = True
            st.rerun()
        st.progress(min(found.share, 1.0), text=escape(found.words or beginning))

    wait()


def _where(found: InBackground[Any], case: Case, name: str, picture: DeltaGenerator, inks: dict[str, Ink]) -> None:
    regions = found.result
    with picture.container():
        if regions is not None:
            with Image.open(io.BytesIO(case.preview)) as preview:
                regions_view(regions, preview.convert("RGB"), inks)
            return
        st.image(case.preview, alt=name)
        if found.problem is not None:
            st.caption(_failed("The map could not be made", found.problem))
        else:
            _wait(found, "Waiting for its turn")


def _pictures(stability: Stability | None) -> dict[str, bytes]:
    """Small pictures for a report, by the names of the copies."""
    return {} if stability is None else {copy.name: copy.preview for copy in stability.copies}


@st.cache_data(show_spinner=False, max_entries=32)
def thumbnail_of(preview: bytes) -> bytes:
    """The picture small."""
    with Image.open(io.BytesIO(preview)) as picture:
        return make_thumbnail(picture.convert("RGB"))


def _preview(opened: Opened) -> bytes:
    # Decoded by us: a browser shows neither HEIC nor TIFF, and ignores what is wrong with a file.
    picture = opened.decoded.pixels.copy()
    picture.thumbnail(_PREVIEW)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92)
    return file.getvalue()


def _verdict(function: Function, model: ModelRow, evidence: Evidence, inks: dict[str, Ink]) -> None:
    verdict, sure = evidence.verdict, evidence.grade != CANT_TELL
    st.caption("Verdict")
    ink = inks[verdict.label].text if sure else PAPER[current_theme()].neutral.text
    grade = f'<span class="grade" style="color:{ink}">{_grade_words(evidence)}</span>' if sure else ""
    st.html(f'<div class="verdict" style="color:{ink}">{escape_html(evidence.said)} {grade}</div>')
    if verdict.unlike and not sure:
        # First: whatever the score is, it says nothing of such a picture.
        st.markdown(escape(evidence.reason))
    # Where something else stands in the way, 99.9 % are not too little: the reason says what it is.
    enough = "" if evidence.reason else ", but not confident enough to say so"
    leaning = "" if sure else f"Leaning towards {escape(verdict.label)}{enough}. "
    checked = f"calibrated. {_at_this_confidence(model, verdict.confidence)}"
    if verdict.offset is not None:
        # What was right at which confidence in cross-validation says nothing of shifted scores.
        checked = "adapted to pictures of yours."
    if sure:
        st.markdown(escape(_promise(function, evidence)))
    st.markdown(f"{leaning}Confidence {percent(verdict.confidence)}, {checked}")
    st.html(_bars(verdict, inks))
    if evidence.reason and not sure:
        if not verdict.unlike:
            st.markdown(escape(evidence.reason))
        import_link(function.id, "import-more-for-verdicts")
    if evidence.quality_says:
        st.caption(escape(" ".join(evidence.quality_says)), help=LIKELIER_LABEL)
    st.caption(escape(f"Model {evidence.model.version}, {evidence.model.backbone}"))
    for warning in evidence.model.warnings:
        st.warning(escape(warning.replace(" %", "\N{NO-BREAK SPACE}%")))
    with st.container(key="before-use"):
        st.markdown(f"**Before you use this.** {FIND_THE_FIRST} {NOT_ALONE}")


def _grade_words(evidence: Evidence) -> str:
    """The grade, and in a few words for which pictures it is."""
    if evidence.verdict.unlike:
        return "moderate: never tried on such pictures"
    if evidence.verdict.offset is not None:
        return "moderate: adapted to pictures of yours"
    return _GRADES[evidence.grade]


def _promise(function: Function, evidence: Evidence) -> str:
    """What stands behind a verdict, in words: on which pictures the limit was kept, and how that was measured."""
    if evidence.verdict.offset is not None or evidence.verdict.unlike:
        # The limit was kept for pictures like the samples, judged as the model was trained: this is another case.
        return f"Grade: moderate. {evidence.reason}"
    at_most = f"at most {limit(function.false_accusation_limit)} wrongly labelled"
    if evidence.grade == STRONG:
        kept = f"The limit, {at_most}, was also kept on sources that the model had not seen."
        return f"Grade: strong. {kept} {evidence.reason}"
    return f"Grade: moderate. The limit, {at_most}, is kept for pictures like your samples. {evidence.reason}"


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


def _bars(verdict: Verdict, inks: dict[str, Ink]) -> str:
    rows = []
    for score in sorted(verdict.scores, key=lambda score: list(inks).index(score.label)):
        rows.append(
            f'<div class="score"><span>{escape_html(score.label)}</span><span>{percent(score.confidence)}</span></div>'
            f'<div class="track"><div style="width:{100 * score.confidence:.1f}%;background:{inks[score.label].fill}">'
            "</div></div>"
        )
    return "".join(rows)


def _keep_as_sample(function: Function, evidence: Evidence, data: bytes) -> None:
    if st.button(
        "Add to samples",
        help="Keeps a copy as an unlabelled sample, to be labelled in Review.",
        disabled=not may(LABEL),
        key=f"add-{function.id}",
    ):
        st.toast(escape(capture_now(workspace(), function.id, evidence.file, data).said))


def _blind_spots(evidence: Evidence) -> None:
    with card("blind-spots"):
        st.markdown("**What this cannot see**")
        st.caption(escape(" · ".join(evidence.blind_spots)))
