"""What came out of a run of many pictures: counts, tiles to look through and to choose from, and what is taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape as escape_html

import streamlit as st

from detector.charts.palette import PAPER, Ink, label_inks
from detector.errors import DetectorError
from detector.evidence.run_report import AS_THEY_ARE, run_csv, run_html
from detector.evidence.runs import FLAG_WORDS, Judged, JudgedRun, Order, read_run
from detector.formatting import count, day, limit, percent
from detector.importing.run_files import KEPT_DAYS
from detector.operations.runs import add_run_to_samples, delete_run
from detector.storage.acting import LABEL, MANAGE, may
from detector.storage.invoke_runs import Run
from detector.training.thresholds import CANT_TELL, GRADES
from detector.web.addresses import from_page
from detector.web.signing import picture_path
from detector.workspace import Workspace
from pages._run_tiles import Choice, RunTile, choice_of, run_tiles
from pages._state import escape, function_labels, workspace
from pages._style import current_theme

#: Tiles on one page.
_A_PAGE = 60
#: Pixels of a field: five beside each other on a desk, two on a phone.
_FIELD = 180
#: Letters of a file's name in a tile.
_LONGEST_NAME = 160

#: Where the session keeps what came of a click, until it is said.
_SAID = "run-said"

_ORDERS = {
    Order.POSITION: "As in the files",
    Order.SUREST: "Most confident first",
    Order.UNSUREST: "Least confident first",
    Order.VERDICT: "By verdict",
    Order.NAME: "By file name",
}


@st.fragment
def run_results(run_id: str) -> None:
    """What came out: a fragment, so that ticking a picture draws no more than this."""
    try:
        run = read_run(workspace(), run_id)
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    key = f"run-{run_id}"
    promise = f", at most {limit(run.limit)} wrongly labelled" if run.limit else ""
    st.html(f'<h2 class="run-title">{escape_html(run.run.title)}</h2>')
    st.caption(escape(f"Judged by model {run.model_version}{promise}. {_until(run.run)}"))
    if run.run.note:
        st.warning(escape(run.run.note))
    if not run.pictures:
        if run.run.state != "running":
            st.info("No picture was judged.")
        _last_things(run)
        return
    _counts(run)
    st.caption(AS_THEY_ARE)
    if reasons := run.reasons():
        with st.expander("Why these grades", key=f"{key}-why"):
            for why, n in reasons:
                st.markdown(f"{count(n, 'picture')}: {escape(why)}")
    if run.run.state == "running":
        # Any click draws the fragment anew.
        st.button("Show those that came since", key=f"{key}-more", type="tertiary")
    found = _filtered(run, key)
    # For whoever opens one and goes on to the next: a file that was not read cannot be opened.
    st.session_state[f"{key}-order"] = [picture.position for picture in found if picture.scores]
    choice = choice_of(f"{key}-tiles")
    page = _page(len(found), key)
    bar = st.container(horizontal=True, vertical_alignment="center", key=f"{key}-bar")
    shown = found[page * _A_PAGE : (page + 1) * _A_PAGE]
    if not found:
        st.info("No picture matches. Take a filter away.")
    opened = run_tiles(_tiles(run, shown), choice)
    if opened is not None:
        st.query_params["picture"] = str(opened)
        st.rerun()
    with bar:
        _choosing(run, found, choice, key)
    _turning(len(found), page, key)
    _last_things(run)


def _counts(run: JudgedRun) -> None:
    inks, neutral = _inks(run), PAPER[current_theme()].neutral
    said = (
        f'<span style="color:{inks.get(words, neutral).text}">{escape_html(words)}</span> <b>{n:,}</b>'
        for words, n in run.counts()
    )
    st.html(f'<div class="run-counts">{" · ".join(said)}</div>')


def _inks(run: JudgedRun) -> dict[str, Ink]:
    """The colours of the function's labels, all of them: they depend on each other."""
    return label_inks([label.name for label in function_labels(run.run.function_id)], current_theme())


def _filtered(run: JudgedRun, key: str) -> list[Judged]:
    """The pictures that the person asks for; what all or none of them have is no question."""
    grades, flagged = run.grades(), run.flagged()
    # Can't tell is a verdict and a grade; once is enough.
    known = [grade for grade in GRADES if grades.get(grade) and grade != CANT_TELL]
    flags = [flag for flag in FLAG_WORDS if flagged.get(flag)]
    said = [name for name, n in run.counts() if n]
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}-filters"):
        order = st.selectbox(
            "Sort", list(_ORDERS), format_func=_ORDERS.__getitem__, key=_again(f"{key}-sort"), width=_FIELD
        )
        verdicts = _some_of("Verdict", said, key)
        asked = _some_of("Grade", known, key)
        also = _some_of("Flag", flags, key, FLAG_WORDS)
        name = st.text_input("File name", key=_again(f"{key}-name"), placeholder="A part of it", width=_FIELD)
    st.session_state[f"{key}-sort-kept"], st.session_state[f"{key}-name-kept"] = order, name
    return run.select(order, verdicts, asked, also, name)


def _some_of(label: str, options: Sequence[str], key: str, words: Mapping[str, str] | None = None) -> list[str]:
    """Some of several, all where none is chosen; no field where there is nothing to choose."""
    if not options:
        return []
    shown = words or {}
    chosen = st.multiselect(
        label,
        options,
        format_func=lambda option: shown.get(option, option),
        key=_again(f"{key}-{label}", options),
        placeholder="All",
        width=_FIELD,
    )
    st.session_state[f"{key}-{label}-kept"] = chosen
    return chosen


def _again(key: str, options: Sequence[str] | None = None) -> str:
    """The key of a field, which holds again what it held when it was last shown.

    Streamlit forgets that as soon as the field is not drawn, as while one picture is looked at instead.
    """
    kept = st.session_state.get(f"{key}-kept")
    if key not in st.session_state and kept is not None:
        st.session_state[key] = kept if options is None else [value for value in kept if value in options]
    return key


def _page(n: int, key: str) -> int:
    """The page of tiles at hand, which is there also when fewer match than before."""
    pages = max(1, -(-n // _A_PAGE))
    page: int = min(st.session_state.get(f"{key}-page", 0), pages - 1)
    return page


def _turning(n: int, page: int, key: str) -> None:
    if n <= _A_PAGE:
        return

    def turn(step: int) -> None:
        st.session_state[f"{key}-page"] = page + step

    last = -(-n // _A_PAGE) - 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="center"):
        st.button("Previous", key=f"{key}-back", disabled=page == 0, on_click=turn, args=(-1,))
        st.caption(f"{page * _A_PAGE + 1:,} to {min(n, (page + 1) * _A_PAGE):,} of {n:,}", width="content")
        st.button("Next", key=f"{key}-next", disabled=page == last, on_click=turn, args=(1,))


def _tiles(run: JudgedRun, shown: Sequence[Judged]) -> list[RunTile]:
    ws, inks, neutral = workspace(), _inks(run), PAPER[current_theme()].neutral
    tiles = []
    for picture in shown:
        leaning = "" if picture.verdict == picture.label else f"{picture.label} "
        tiles.append(
            RunTile(
                picture.position,
                _short(picture.file_name),
                _thumbnail(ws, run.run.id, picture),
                picture.verdict or "not read",
                inks.get(picture.verdict, neutral).text,
                "" if picture.grade == CANT_TELL else picture.grade,
                f"{leaning}{percent(picture.confidence)}" if picture.scores else "",
                tuple(FLAG_WORDS[flag] for flag in run.flags(picture)),
                picture.problem,
            )
        )
    return tiles


def _short(name: str) -> str:
    """A name of any length for a tile: of a path the end says most."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _thumbnail(ws: Workspace, run_id: str, picture: Judged) -> str:
    if not picture.scores:
        return ""
    return from_page(picture_path(ws.db, "run", f"{run_id}-{picture.position}"))


def _choosing(run: JudgedRun, found: Sequence[Judged], choice: Choice, key: str) -> None:
    """What is chosen, and what becomes of it."""
    if said := st.session_state.pop(_SAID, ""):
        st.toast(escape(said))
    able = {picture.position for picture in found if picture.scores}
    st.caption(f"{count(len(found), 'picture')}, {len(choice.positions):,} chosen", width="content")
    # By callbacks: what stands above is drawn after them, and a click may come with a run of the whole page.
    if able - choice.positions:
        st.button(f"Choose all {len(able):,}", key=f"{key}-all", type="tertiary", on_click=choice.set, args=(able,))
    if choice.positions:
        st.button("Choose none", key=f"{key}-none", type="tertiary", on_click=choice.set, args=((),))
    new = choice.positions - run.samples
    st.button(
        f"Add {count(len(new))} to samples" if new else "Add to samples",
        key=f"{key}-add",
        disabled=not new or not may(LABEL),
        help="Keeps copies as samples without a label, to be labelled in Review.",
        on_click=_add,
        args=(run, choice),
    )


def _add(run: JudgedRun, choice: Choice) -> None:
    # What was ticked in the moment before the click counts, too.
    choice.hear()
    try:
        said = add_run_to_samples(workspace(), run.run.id, sorted(choice.positions - run.samples)).said
    except DetectorError as error:
        said = str(error)
    else:
        choice.set(())
    # Shown by the run that follows: a callback must draw nothing.
    st.session_state[_SAID] = said


def _last_things(run: JudgedRun) -> None:
    """Take it away, or delete it."""
    ws, run_id, name = workspace(), run.run.id, f"verdicts-{run.run.id}"
    with st.container(horizontal=True, vertical_alignment="center", key=f"run-{run_id}-last"):
        if run.pictures:
            # Written when they are asked for, not on every run; in a thread, without Streamlit.
            st.download_button(
                "Download as CSV",
                partial(run_csv, ws, run_id),
                f"{name}.csv",
                "text/csv",
                on_click="ignore",
                key=f"{name}-csv",
            )
            st.download_button(
                "Report (HTML)",
                partial(run_html, ws, run_id),
                f"{name}.html",
                "text/html",
                on_click="ignore",
                key=f"{name}-html",
            )
        with st.popover("Delete this run", icon=":material/delete:"):
            st.markdown(
                "The pictures and what was said of them are removed. Pictures that you added to the samples stay."
            )
            if st.button("Delete now", disabled=not may(MANAGE), key=f"{name}-delete", type="primary"):
                try:
                    delete_run(ws, run_id)
                except DetectorError as error:
                    st.error(escape(str(error)))
                else:
                    st.query_params.pop("run", None)
                    st.rerun()


def _until(run: Run) -> str:
    end = datetime.fromtimestamp(run.created_at, UTC) + timedelta(days=KEPT_DAYS)
    return f"Its files are kept until {day(end)}, or until you delete it."
