"""People: who may come in and what they may do, and what was done that cannot be undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from detector.errors import DetectorError
from detector.formatting import ago, count
from detector.storage import audit_log, users
from detector.storage.acting import MANAGE, ROLES, may
from detector.storage.audit_log import ACTIONS, KEPT_DAYS, Entry
from detector.storage.users import MOST_NAME_CHARACTERS, User
from detector.web.people import create_user, give_password, one_time_password
from pages._account import ROLE_WORDS
from pages._first_field import focus_first_field
from pages._rerun_guard import end_page
from pages._sign_in import has_login, user_here
from pages._state import escape, heading, workspace
from pages._style import card

_SHOWN = 100
_EVERY = "all"
#: A password just made, until it was seen.
_GIVEN = "password-just-made"


def _roles(key: str, index: int = 0) -> str:
    return st.radio(
        "Role", ROLES, index, key=key, captions=[ROLE_WORDS[role] for role in ROLES], format_func=str.capitalize
    )


@st.dialog("New user", on_dismiss="rerun")
def _create() -> None:
    with st.form("new-user", border=False):
        name = st.text_input("Name", max_chars=MOST_NAME_CHARACTERS, help="What they sign in with.")
        role = _roles("new-user-role")
        identity = ""
        if has_login():
            identity = st.text_input(
                "E-mail address",
                max_chars=254,
                help="Where they sign in with the account of your organisation. Leave it empty for a password.",
            )
        asked = st.form_submit_button("Create user", type="primary")
    focus_first_field()
    if not asked:
        return
    password = None if identity.strip() else one_time_password()
    try:
        user = create_user(workspace().db, name, role, password, identity or None)
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    if password is not None:
        st.session_state[_GIVEN] = (user.name, password)
    st.rerun()


def _forget() -> None:
    st.session_state.pop(_GIVEN, None)


@st.dialog("Give them this password now", on_dismiss=_forget)
def _show_password(name: str, password: str) -> None:
    st.markdown(f"**{escape(name)}** signs in with this, and can change it in the sidebar.")
    st.code(password, language=None, wrap_lines=True)
    st.markdown("It is shown only this once and stored only as a hash.")
    if st.button("Done", type="primary", on_click=_forget):
        st.rerun()


@st.dialog("Change user", on_dismiss="rerun")
def _change(user: User) -> None:
    st.markdown(f"**{escape(user.name)}**")
    role = _roles(f"role-{user.id}", ROLES.index(user.role))
    st.caption("With another role or password they have to sign in again, wherever they are.")
    with st.container(horizontal=True):
        if st.button("Save the role", type="primary", disabled=role == user.role, key=f"save-{user.id}"):
            _do(lambda: users.set_role(workspace().db, user.id, role))
        if st.button("New password", key=f"new-password-{user.id}", help="Makes one, shown once."):
            _do(lambda: _renew(user))
        words = "Let in again" if user.disabled_at is not None else "Shut out"
        if st.button(words, key=f"disable-{user.id}"):
            _do(lambda: users.set_disabled(workspace().db, user.id, user.disabled_at is None))


def _renew(user: User) -> None:
    password = one_time_password()
    give_password(workspace().db, user.id, password)
    st.session_state[_GIVEN] = (user.name, password)


def _do(change: Callable[[], None]) -> None:
    try:
        change()
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    st.rerun()


def _users(found: list[User]) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Users", anchor=False, width="stretch")
        if st.button("Create a user", type="primary"):
            _create()
    for user in found:
        with st.container(horizontal=True, vertical_alignment="center", key=f"user-{user.id}"):
            with st.container(gap=None, width="stretch"):
                out = " · :gray[shut out]" if user.disabled_at is not None else ""
                st.markdown(f"**{escape(user.name)}** · {escape(user.role)}{out}")
                seen = f"here {_ago(user.last_seen_at)}" if user.last_seen_at is not None else "never here"
                way = escape(user.identity) if user.identity else "password"
                st.caption(f"{way} · {seen}")
            if st.button("Change", key=f"change-{user.id}"):
                _change(user)


def _log() -> None:
    st.subheader("What was done", anchor=False)
    left, right = st.columns(2)
    search = left.text_input("Search", placeholder="A name", key="audit-search", max_chars=100)
    action = right.selectbox("Action", [_EVERY, *ACTIONS], key="audit-action")
    limit = st.session_state.setdefault("audit-limit", _SHOWN)
    found = audit_log.list_entries(workspace().db, search, action if action != _EVERY else None, limit + 1)
    if not found:
        st.caption("Nothing is written down of that.")
        return
    st.dataframe(
        {
            "Time": [datetime.fromtimestamp(entry.at, UTC) for entry in found[:limit]],
            "Who": [entry.who or "" for entry in found[:limit]],
            "Action": [entry.action for entry in found[:limit]],
            "What": [entry.what for entry in found[:limit]],
            "More": [_facts(entry) for entry in found[:limit]],
            "Where": [entry.door for entry in found[:limit]],
        },
        column_config={
            "Time": st.column_config.DatetimeColumn(format="D MMM, HH:mm:ss", timezone=st.context.timezone or "UTC"),
        },
        hide_index=True,
    )
    if len(found) > limit and st.button("Show more"):
        st.session_state["audit-limit"] = limit + _SHOWN
        st.rerun()
    st.caption(f"Deletions, keys, users and sign-ins of the last {KEPT_DAYS:,} days.")


def _facts(entry: Entry) -> str:
    return ", ".join(f"{name}: {value}" for name, value in (entry.facts or {}).items())


def _ago(moment: float) -> str:
    return ago(datetime.fromtimestamp(moment, UTC))


if user_here() is None or not may(MANAGE):
    heading("People", "Only a user with the role 'manage' sees who may come in, and what was done.")
    end_page()
everyone = users.list_users(workspace().db)
inside = [user for user in everyone if user.disabled_at is None]
heading("People", f"{count(len(inside), 'user')} may come in; what they do that cannot be undone is written down.")
if _GIVEN in st.session_state:
    _show_password(*st.session_state[_GIVEN])
left, right = st.columns([4, 7], gap="medium")
with left, card("users"):
    _users(everyone)
with right, card("audit-log"):
    _log()
