"""Health: whether all that is stored is whole and since when, the last backup, the disk, and who works."""

from __future__ import annotations

import streamlit as st

from detector.formatting import count
from detector.upkeep.background import RunningCheck, running_check, start_check
from detector.upkeep.findings import Problem
from detector.upkeep.health import BACKUP_COMMAND, CheckShown, Health, health
from pages._state import escape, heading, workspace
from pages._style import card

#: Problems shown at once; the others are behind a fold.
_SHOWN = 8


def _problem(problem: Problem) -> None:
    mark = ":material/check:" if problem.repaired else ":material/error:"
    state = "repaired" if problem.repaired else "not repaired"
    st.markdown(f"{mark} **{escape(problem.kind.capitalize())}** · {state}  \n{escape(problem.what)}")


def _problems(problems: tuple[Problem, ...]) -> None:
    for problem in problems[:_SHOWN]:
        _problem(problem)
    if len(problems) > _SHOWN:
        with st.expander(count(len(problems) - _SHOWN, "more problem")):
            for problem in problems[_SHOWN:]:
                _problem(problem)


def _progress(running: RunningCheck) -> None:
    st.progress(min(running.done / running.total, 1.0) if running.total else 0.0)
    far = f" · {running.done:,} of {running.total:,}" if running.total else ""
    st.caption(escape(f"{running.message}{far}. You may leave this page; the check goes on."))


def _start(repair: bool = False, quick: bool = False) -> None:
    start_check(workspace(), repair, quick)


def _buttons(shown: CheckShown) -> None:
    # By what they call, not by what they return: the card is drawn after it, with the check on its way.
    with st.container(horizontal=True):
        st.button(
            "Check now",
            type="primary",
            help="Reads all that is stored; everybody can go on working.",
            on_click=_start,
        )
        st.button(
            "Quick look",
            help="Leaves the bytes of pictures and embeddings unread.",
            on_click=_start,
            kwargs={"quick": True},
        )
        if shown.ok is False:
            st.button(
                "Repair what is safe",
                help="No sample, label or model is deleted. Damaged files are moved aside, and kept.",
                on_click=_start,
                kwargs={"repair": True},
            )


@st.fragment(run_every=2.0)
def _check() -> None:
    """Drawn again by itself: a check begins and ends while the page is open."""
    shown = health(workspace()).check
    running = running_check(workspace())
    with card("check"):
        icon = {True: ":material/check_circle:", False: ":material/error:", None: ":material/help:"}[shown.ok]
        st.subheader(f"{icon} {escape(shown.title)}", anchor=False)
        st.markdown(escape(shown.told))
        if running is not None and running.failed:
            st.error(escape(f"The last check could not come to its end. {running.failed}"))
        if running is not None and not running.failed:
            _progress(running)
        else:
            _buttons(shown)
        _problems(shown.problems)
        if shown.advice:
            st.caption(escape(shown.advice))


def _backup(found: Health) -> None:
    st.subheader("Backup", anchor=False)
    st.markdown(escape(found.backup))
    if not found.backup_ok:
        st.caption("Make one while everybody goes on working:")
        st.code(BACKUP_COMMAND, language=None, wrap_lines=True)
    if found.restore:
        st.caption(escape(found.restore))


def _room(found: Health) -> None:
    st.subheader("Disk", anchor=False)
    st.html(f'<div class="figure">{found.room.free}</div>')
    st.caption(escape(f"free {found.room.told}"))
    st.progress(found.room.used)


def _workers(found: Health) -> None:
    st.subheader("Workers", anchor=False)
    st.markdown(escape(found.worker_note))
    for worker in found.workers:
        state = "" if worker.lives else " · seems to have ended"
        st.markdown(f"**{escape(worker.name)}**{state}")
        st.caption(escape(f"Last sign {worker.sign} · {worker.kinds}"))
    if found.upgrade:
        st.caption(escape(found.upgrade))


heading("Health", "Whether all that is stored is whole, and whether it could be brought back.")
_check()
found = health(workspace())
left, right = st.columns(2, gap="medium")
with left, card("backup"):
    _backup(found)
with right, card("room"):
    _room(found)
with card("workers"):
    _workers(found)
