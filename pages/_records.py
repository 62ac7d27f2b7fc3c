"""Records on the Invoke page: what can be done with a verdict, the verdicts that were kept, and one of them alone."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape as escape_html
from typing import Any

import streamlit as st

from detector.charts.palette import PAPER, label_ink
from detector.errors import DetectorError, NotFound
from detector.evidence.card import card_png
from detector.evidence.evidence import FIND_THE_FIRST, NOT_ALONE, Evidence
from detector.evidence.record_files import write_records_zip
from detector.evidence.report import html_report, plain_text
from detector.evidence.shown import confidence_words, disputed_words, model_words, part, steadiness, text
from detector.formatting import count, day, moment
from detector.imaging import sha256_hex
from detector.operations.records import (
    MOST_DAYS,
    delete_records,
    delete_records_older,
    dispute_record,
    keep_record,
    older_words,
    set_keeping,
)
from detector.storage import functions, records
from detector.storage.acting import LABEL, MANAGE, may
from detector.storage.records import PAGE, Record
from detector.training.thresholds import CANT_TELL
from detector.web.people import in_name_of, names_of_actors
from pages._copy_text import copy_text
from pages._sign_in import has_door, ticket_here
from pages._state import escape, function_labels, menu_key, shut, workspace
from pages._style import card, current_theme

#: Kept verdicts that are listed at first, and with each further step.
_STEP = 10
_ONLY_WHOLE = "It can be kept and taken along once its copies were looked at: until then the grade may still fall."
#: What stands in the address for one record.
QUERY = "record"
_AGES = {"Until they are deleted": None, "30 days": 30, "90 days": 90, "1 year": 365}


def record_buttons(
    function_id: str,
    evidence: Evidence,
    data: bytes,
    name: str,
    thumbnail: bytes | None,
    pictures: Mapping[str, bytes] | None = None,
    *,
    complete: bool = True,
) -> Record | None:
    """What can be done with a verdict: keep it, copy it, take it along, say that it is wrong. Returns its record.

    Parameters
    ----------
    data, name : bytes, str
        The picture's file.
    thumbnail : bytes, optional
        The picture small.
    pictures : mapping of str to bytes, optional
        Further ones for the report, as of `html_report`.
    complete : bool
        Whether the copies of the picture were looked at, and are in the evidence: only that is kept or taken along,
        since the grade is never above what survives on them.
    """
    # As `add_record` tells verdicts apart: under another name, limit or offset this page has kept none yet.
    named = sha256_hex(evidence.file.encode("utf-8", "surrogatepass"))[:16]
    judged = f"{evidence.model.false_accusation_limit}-{evidence.verdict.offset}-{named}"
    key = f"{function_id}-{evidence.sha256}-{evidence.model.id}-{evidence.said}-{evidence.grade}-{judged}"
    kept = _kept(function_id, f"kept-{key}")
    chosen = functions.get_function(workspace().db, function_id)
    if kept is None and complete and chosen.keep_records and f"once-{key}" not in st.session_state:
        # Once: what was deleted on this page does not come back by itself.
        kept = _keep(function_id, evidence, thumbnail, key)
    shown = kept.to_json() if kept is not None else evidence.to_json()
    with st.container(horizontal=True, key=f"record-buttons-{function_id}"):
        if st.button(
            "Kept" if kept is not None else "Keep a record",
            type="primary",
            disabled=kept is not None or not complete or not may(LABEL),
            help=None if complete else _ONLY_WHOLE,
            key=f"keep-{key}",
        ):
            _keep(function_id, evidence, thumbnail, key)
            st.rerun()
        if complete or kept is not None:
            _take_along(shown, thumbnail, key, pictures)
        _wrong(function_id, kept, data, name, key)
    if not complete and kept is None:
        st.caption(_ONLY_WHOLE)
    if kept is not None:
        address = f"?function={function_id}&{QUERY}={kept.id}"
        st.caption(f"Kept as [record {kept.id}]({address}), without the picture itself but for a small copy.")
    return kept


def records_list(function_id: str) -> None:
    """A fold with the kept verdicts: found, opened, downloaded and deleted, and whether they are kept by themselves."""
    total = records.count_records(workspace().db, function_id)
    with st.expander(f"Kept records ({total:,})" if total else "Kept records", key=f"records-open-{function_id}"):
        if total:
            _listed(function_id)
            with st.container(horizontal=True):
                st.download_button(
                    "Download all",
                    in_name_of(workspace().db, ticket_here(), lambda: _zipped(function_id)),
                    "records.zip",
                    "application/zip",
                    on_click="ignore",
                    key=f"records-zip-{function_id}",
                    help="A report and a JSON file of each record.",
                )
                _delete_many(function_id, total)
        else:
            st.caption("Nothing is kept unless you press “Keep a record”, or choose below that it is kept by itself.")
        _keeping(function_id)


def show_record(function_id: str, record_id: str) -> None:
    """One kept verdict, as it was kept: the address names it (``?record=``)."""
    try:
        record = records.get_record(workspace().db, function_id, record_id)
    except NotFound:
        st.warning("There is no such record in this function: it was deleted, or the address is incomplete.")
        if st.button("Back to Invoke", key="record-back"):
            _close()
        return
    found = record.to_json()
    left, right = st.columns([5, 7])
    with left:
        if record.thumbnail:
            st.image(io.BytesIO(record.thumbnail), caption=escape(record.file_name), alt=record.file_name)
        else:
            st.caption(escape(record.file_name))
    with right, card("record"):
        kept_at = moment(datetime.fromtimestamp(record.created_at, UTC))
        st.caption(f"Verdict, kept on {kept_at}")
        _word(function_id, record)
        if record.grade != CANT_TELL:
            st.markdown(f"Grade: {escape(record.grade)}")
        for line in (
            text(found.get("reason")),
            confidence_words(found),
            text(part(found, "model").get("promise")),
            steadiness(found),
            disputed_words(found),
        ):
            if line:
                st.markdown(escape(line))
        st.warning(f"**Before you use this.** {FIND_THE_FIRST} {NOT_ALONE}")
        st.caption(escape(f"{model_words(found)} · SHA-256 {record.sha256} · record {record.id}"))
        with st.container(horizontal=True, key="record-take-along"):
            _take_along(found, record.thumbnail, f"record-{record.id}")
            with st.popover("Delete", key=menu_key(f"record-{record.id}")):
                st.markdown("The record is deleted for good. The report and the card that you took along stay yours.")
                if st.button(
                    "Delete this record", type="primary", disabled=not may(MANAGE), key=f"record-delete-{record.id}"
                ):
                    st.toast(delete_records(workspace(), function_id, [record.id]).said)
                    _close()
    if st.button("Back to Invoke", key="record-back"):
        _close()


def _close() -> None:
    st.query_params.pop(QUERY, None)
    st.rerun()


def _keep(function_id: str, evidence: Evidence, thumbnail: bytes | None, key: str) -> Record | None:
    st.session_state[f"once-{key}"] = True
    try:
        record = keep_record(workspace(), function_id, evidence, thumbnail, PAGE)
    except DetectorError as error:
        st.error(escape(str(error)))
        return None
    st.session_state[f"kept-{key}"] = record.id
    return record


def _kept(function_id: str, key: str) -> Record | None:
    """The record that this page has kept; None where it was deleted since."""
    if key not in st.session_state:
        return None
    try:
        return records.get_record(workspace().db, function_id, st.session_state[key])
    except NotFound:
        del st.session_state[key]
        return None


def _take_along(
    found: dict[str, Any], thumbnail: bytes | None, key: str, pictures: Mapping[str, bytes] | None = None
) -> None:
    copy_text("Copy text", plain_text(found), f"copy-{key}")
    # Made when they are asked for: a card takes longer than all else on the page.
    for label, name, mime, make in (
        ("Report", "report.html", "text/html", lambda: html_report(found, thumbnail, pictures).encode()),
        ("Card", "card.png", "image/png", lambda: card_png(found, thumbnail)),
        ("JSON", "verdict.json", "application/json", lambda: _json(found)),
    ):
        st.download_button(label, make, name, mime, on_click="ignore", key=f"take-{label.lower()}-{key}")


def _json(found: dict[str, Any]) -> bytes:
    return json.dumps(found, ensure_ascii=False, indent=2).encode() + b"\n"


def _wrong(function_id: str, kept: Record | None, data: bytes, name: str, key: str) -> None:
    menu = f"wrong-{key}"
    with st.popover("This is wrong", key=menu_key(menu)):
        marked = " The record is marked as disputed." if kept is not None else ""
        st.markdown(f"The picture is kept among the samples with the label that you say is right.{marked}")
        labels = function_labels(function_id)
        label = st.radio(
            "It is", labels, format_func=lambda item: escape(item.name), index=None, key=f"label-{menu_key(menu)}"
        )
        if (
            st.button("Put it among the samples", disabled=label is None or not may(LABEL), key=f"do-{menu_key(menu)}")
            and label
        ):
            try:
                done = dispute_record(workspace(), function_id, kept.id if kept else None, label.id, data, name)
            except DetectorError as error:
                st.error(escape(str(error)))
                return
            st.toast(escape(done.said))
            shut(menu)
            st.rerun()


def _listed(function_id: str) -> None:
    wanted = st.text_input("Search", placeholder="File name or verdict", key=f"records-search-{function_id}")
    found = records.count_records(workspace().db, function_id, wanted)
    if not found:
        st.caption("No record has that in its file name or verdict.")
        return
    limit = st.session_state.setdefault(f"records-limit-{function_id}", _STEP)
    page, _ = records.list_records(workspace().db, function_id, limit, search=wanted)
    keepers = names_of_actors(workspace().db) if has_door() else {}
    for record in page:
        _line(record, keepers.get(record.kept_by or ""))
    if found > limit and st.button(f"Show more of {found:,}", key=f"records-more-{function_id}"):
        st.session_state[f"records-limit-{function_id}"] = limit + _STEP
        st.rerun()


def _line(record: Record, keeper: str | None) -> None:
    # One is deleted where all of it can be seen.
    with st.container(horizontal=True, vertical_alignment="center", key=f"record-line-{record.id}"):
        if record.thumbnail:
            st.image(io.BytesIO(record.thumbnail), width=64, alt=record.file_name)
        grade = "" if record.grade == CANT_TELL else f" ({escape(record.grade)})"
        disputed = f" · disputed: {escape(record.disputed_label)}" if record.disputed_label else ""
        kept_on = day(datetime.fromtimestamp(record.created_at, UTC))
        kept_by = f" · kept by {escape(keeper)}" if keeper else ""
        small = f":gray[{escape(record.file_name)} · {kept_on}{kept_by}]"
        st.markdown(f"**{escape(record.verdict)}**{grade}{disputed}  \n{small}")
        if st.button("Open", key=f"record-open-{record.id}"):
            st.query_params[QUERY] = record.id
            st.rerun()


def _delete_many(function_id: str, total: int) -> None:
    menu = f"records-delete-{function_id}"
    with st.popover("Delete", key=menu_key(menu)):
        st.markdown("Deleted records are gone for good: download them first where somebody may ask for them.")
        days = st.number_input("Older than, in days", 0, MOST_DAYS, 90, key=f"{menu}-days")
        if st.button("Delete the older ones", disabled=not may(MANAGE), key=f"{menu}-older"):
            st.toast(delete_records_older(workspace(), function_id, days).said)
            shut(menu)
            st.rerun()
        if st.button(f"Delete {count(total, 'record')}", type="primary", disabled=not may(MANAGE), key=f"{menu}-all"):
            st.toast(delete_records(workspace(), function_id, None).said)
            shut(menu)
            st.rerun()


def _keeping(function_id: str) -> None:
    chosen = functions.get_function(workspace().db, function_id)
    ages = dict(_AGES)
    if chosen.keep_days not in ages.values():
        ages[count(chosen.keep_days or 0, "day")] = chosen.keep_days
    wanted = st.toggle(
        "Keep each verdict by itself",
        chosen.keep_records,
        # Other ones when it is changed elsewhere: else this page would change it back.
        disabled=not may(MANAGE),
        key=f"keep-each-{function_id}-{chosen.keep_records}",
        help="Each picture that is looked at on this page leaves a record, without the picture itself but for a small "
        "copy.",
    )
    age = st.selectbox(
        "Records are kept",
        list(ages),
        list(ages.values()).index(chosen.keep_days),
        disabled=not may(MANAGE),
        key=f"keep-days-{function_id}-{chosen.keep_days}",
    )
    if wanted != chosen.keep_records:
        set_keeping(workspace(), function_id, wanted, chosen.keep_days)
        st.rerun()
    days = ages[age]
    if days == chosen.keep_days:
        return
    # Asked first: what is older goes for good, and a list is changed by a slip.
    if days is not None:
        st.warning(older_words(workspace(), function_id, days))
    if st.button("Apply", type="primary", key=f"keep-days-apply-{function_id}"):
        set_keeping(workspace(), function_id, wanted, days)
        st.rerun()


def _zipped(function_id: str) -> bytes:
    file = io.BytesIO()
    write_records_zip(file, records.all_records(workspace().db, function_id))
    return file.getvalue()


def _word(function_id: str, record: Record) -> None:
    theme = current_theme()
    names = [label.name for label in function_labels(function_id)]
    ink = PAPER[theme].neutral if record.grade == CANT_TELL else label_ink(record.verdict, names, theme)
    st.html(f'<div class="verdict" style="color:{ink.text}">{escape_html(record.verdict)}</div>')
