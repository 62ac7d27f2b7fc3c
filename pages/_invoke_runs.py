"""Many pictures on the Invoke page: given at once, judged in the background, looked through, and taken away."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape as escape_html

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from detector.charts.palette import PAPER, Ink, label_inks
from detector.errors import DetectorError, NotFound
from detector.evidence.run_report import run_csv, run_html
from detector.evidence.runs import FLAG_WORDS, Judged, JudgedRun, Order, picture_bytes, read_run
from detector.formatting import ago, count, day, file_size, limit, percent, share, time_left
from detector.importing.pending import Pending, pending_zip
from detector.importing.run_files import KEPT_DAYS
from detector.importing.spool import spool_files
from detector.jobs import INVOKE, as_known
from detector.operations.runs import add_run_to_samples, delete_run, stop_run
from detector.operations.runs import start_run as begin
from detector.storage import invoke_runs, jobs
from detector.storage.invoke_runs import Run
from detector.storage.jobs import Job
from detector.training.thresholds import CANT_TELL, GRADES
from detector.web.addresses import from_page
from detector.web.signing import picture_path
from detector.workspace import Workspace
from pages._import_ways import from_folder
from pages._run_tiles import Choice, RunTile, choice_of, run_tiles
from pages._state import escape, function_labels, workspace
from pages._style import card, current_theme
from pages._zip_upload import Upload, forget_upload, zip_upload

#: Tiles on one page.
_A_PAGE = 60
#: Pixels of a field: five beside each other on a desk, two on a phone.
_FIELD = 180
#: Letters of a file's name in a tile.
_LONGEST_NAME = 160
#: The archive that is dropped here is none of the Import page.
_PLACE = "invoke-zip"

_ORDERS = {
    Order.POSITION: "As in the files",
    Order.SUREST: "Most confident first",
    Order.UNSUREST: "Least confident first",
    Order.VERDICT: "By verdict",
    Order.NAME: "By file name",
}
_STATES = {"running": "being judged", "done": "done", "failed": "ended early"}


def start_run(function_id: str, given: Upload | Pending | Sequence[UploadedFile]) -> str:
    """Have pictures judged in the background; returns the run's id.

    Parameters
    ----------
    given : Upload, Pending or sequence of UploadedFile
        An archive in the spool, a folder of the server, or files of an upload widget.

    Raises
    ------
    ArchiveError, InvalidInput, NoModel
    """
    ws = workspace()
    if isinstance(given, Pending):
        return begin(ws, function_id, given)
    if isinstance(given, Upload):
        return begin(ws, function_id, pending_zip(ws, given.path, given.title))
    path = ws.spool / f"{secrets.token_hex(12)}.zip"
    try:
        spool_files(path, ((file.name, file.getvalue()) for file in given))
        return begin(ws, function_id, pending_zip(ws, path, count(len(given), "picture")))
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def open_run(run_id: str) -> None:
    """Show a run: its id stands in the address from now on. Ends the run of the page."""
    st.query_params["run"] = run_id
    st.query_params.pop("picture", None)
    st.rerun()


def many_ways(function_id: str) -> None:
    """The ways for more pictures than a browser can hold: an archive that is streamed, and a folder of the server."""
    ws = workspace()
    try:
        upload = zip_upload(function_id, _PLACE)
        st.caption(f"Thousands of pictures at once, with their folders. Limit: {file_size(ws.settings.max_zip_bytes)}.")
        if upload is not None:
            forget_upload(function_id, _PLACE)
            try:
                run_id = start_run(function_id, upload)
            except DetectorError:
                upload.path.unlink(missing_ok=True)
                raise
            open_run(run_id)
        if ws.settings.import_root:
            pending = from_folder(function_id)
            if pending is not None and st.button("Judge this folder", type="primary", key=f"judge-{function_id}"):
                open_run(start_run(function_id, pending))
    except DetectorError as error:
        st.error(escape(str(error)))


def run_picture(function_id: str, run_id: str, position: int) -> tuple[str, bytes]:
    """(name, bytes) of one picture of a run, to be looked at alone.

    Raises
    ------
    NotFound, ImageError, ArchiveError
    """
    run = _run_of(function_id, run_id)
    name = invoke_runs.names(workspace().db, run.id, [position]).get(position)
    if name is None:
        raise NotFound("picture", f"{run_id}-{position}")
    return name, picture_bytes(workspace(), run_id, position)


def run_view(function_id: str, run_id: str) -> None:
    """A run as its address names it: how far it is, what came out, and what can be done with it."""
    try:
        run = _run_of(function_id, run_id)
        if run.state == "running":
            _progress(run)
    except DetectorError as error:
        st.error(escape(str(error)))
    else:
        _results(run_id)
    if st.button("Judge other pictures", icon=":material/arrow_back:", key=f"leave-{run_id}"):
        st.query_params.pop("run", None)
        st.rerun()


def recent_runs(function_id: str) -> None:
    """Earlier runs of a function, to be opened again; nothing where there are none."""
    found = invoke_runs.list_runs(workspace().db, function_id, limit=8)
    if not found:
        return
    st.subheader("Many pictures, so far", anchor=False)
    st.caption(f"Kept for {KEPT_DAYS} days with their files, or until you delete them.")
    for run in found:
        with st.container(horizontal=True, vertical_alignment="center", key=f"run-line-{run.id}"):
            if st.button(escape(run.title), key=f"open-run-{run.id}", type="tertiary", icon=":material/photo_library:"):
                open_run(run.id)
            st.caption(
                f"{count(run.total, 'picture') if run.total else 'not listed yet'} · {_STATES[run.state]} · "
                f"{ago(_moment(run.created_at))}"
            )


def _run_of(function_id: str, run_id: str) -> Run:
    run = invoke_runs.get_run(workspace().db, run_id)
    if run.function_id != function_id:
        raise NotFound("run", run_id)
    return run


def _job_of(run: Run) -> Job | None:
    active = jobs.list_jobs(workspace().db, run.function_id, limit=1000)
    return next((as_known(job) for job in active if job.kind == INVOKE and job.payload.get("run") == run.id), None)


def _progress(run: Run) -> None:
    with card("run-progress"):
        st.fragment(_how_far, run_every=1.0)(run)
        if st.button("Stop here", key=f"stop-{run.id}", help="What is judged so far stays."):
            stop_run(workspace(), run.id)
            st.rerun()


def _how_far(run: Run) -> None:
    job = _job_of(run)
    if job is None:
        # It has just ended: the sidebar sees that, and the page is drawn anew.
        st.progress(1.0)
        st.caption("Judged.")
        return
    if job.state == "queued":
        st.progress(0.0)
        st.caption(escape(job.message) or "Waiting for its turn. You may leave this page.")
        return
    st.progress(min(job.done / job.total, 1.0) if job.total else 0.0)
    parts = ["Judging" if job.total else "Making ready", share(job.done, job.total) if job.total else ""]
    parts.append(time_left(job.seconds_left) if job.seconds_left is not None else "")
    st.caption(f"{', '.join(filter(None, parts))}. You may leave this page.")


@st.fragment
def _results(run_id: str) -> None:
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
    if reasons := run.reasons():
        with st.expander("Why these grades", key=f"{key}-why"):
            for why, n in reasons:
                st.markdown(f"{count(n, 'picture')}: {escape(why)}")
    if run.run.state == "running":
        # Any click draws the fragment anew.
        st.button("Show those that came since", key=f"{key}-more", type="tertiary")
    found = _filtered(run, key)
    choice = choice_of(f"{key}-tiles")
    page = _page(len(found), key)
    bar = st.container(horizontal=True, vertical_alignment="center", key=f"{key}-bar")
    shown = found[page * _A_PAGE : (page + 1) * _A_PAGE]
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
    asked: list[str] = []
    also: list[str] = []
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"{key}-filters"):
        order = st.selectbox("Sort", list(_ORDERS), format_func=_ORDERS.__getitem__, key=f"{key}-order", width=_FIELD)
        said = [name for name, n in run.counts() if n]
        verdicts = st.multiselect("Verdict", said, key=f"{key}-verdicts", placeholder="All", width=_FIELD)
        if known:
            asked = st.multiselect("Grade", known, key=f"{key}-grades", placeholder="All", width=_FIELD)
        if flags:
            also = st.multiselect(
                "Flag",
                flags,
                format_func=FLAG_WORDS.__getitem__,
                key=f"{key}-flags",
                placeholder="With or without",
                width=_FIELD,
            )
        name = st.text_input("File name", key=f"{key}-name", placeholder="A part of it", width=_FIELD)
    return run.select(order, verdicts, asked, also, name)


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
        disabled=not new,
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
        st.toast(escape(str(error)))
        return
    choice.set(())
    st.toast(said)


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
            if st.button("Delete now", key=f"{name}-delete", type="primary"):
                try:
                    delete_run(ws, run_id)
                except DetectorError as error:
                    st.error(escape(str(error)))
                else:
                    st.query_params.pop("run", None)
                    st.rerun()


def _until(run: Run) -> str:
    end = _moment(run.created_at) + timedelta(days=KEPT_DAYS)
    return f"Its files are kept until {day(end)}, or until you delete it."


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
