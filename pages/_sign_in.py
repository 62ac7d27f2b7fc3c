"""The door: where people have to sign in, nothing of the dashboard is drawn before they have.

Where there are named users, it is here too that the writes learn in whose name a session acts.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from detector.errors import SignedOut, TooManyAttempts, WrongPassword
from detector.storage.acting import MANAGE, PAGE, Actor, ask_for_actors
from detector.storage.audit_log import note_refusal, note_sign_in
from detector.storage.users import User, any_users, note_seen
from detector.web.password import PasswordGate
from detector.web.people import (
    OVER,
    UserGate,
    actor_of,
    is_verified,
    still_in,
    ticket,
    user_by_identity,
    user_of_ticket,
)
from detector.web.strangers import CONNECTION_HEADER, Pass, signed_in
from pages._rerun_guard import end_page
from pages._state import PAGES, PEOPLE, escape, workspace
from pages._style import card

_SIGNED_IN = "signed-in"
_BY_LOGIN = "login"


def require_sign_in() -> None:
    """Return when the person may come in; otherwise draw the door and end the run. Call it before anything else."""
    if any_users(workspace().db):
        _require_user()
        return
    stored, login = workspace().settings.password_hash, has_login()
    if not stored and not login:
        return
    # Kept on the server, with the hash it was given for: closing the tab or changing the password ends it.
    kept: Pass | None = st.session_state.get(_SIGNED_IN)
    if kept is not None and stored and kept.given_for == stored:
        return
    if login and st.user.is_logged_in:
        if kept is None:
            _let_in(_BY_LOGIN)
        return
    st.session_state.pop(_SIGNED_IN, None)
    # The pass must end with the state: no variable may keep it while the form is drawn.
    del kept
    _, middle, _ = st.columns([1, 2, 1])
    with middle, card("sign-in"):
        st.title("AI Image Detector", anchor=False)
        st.caption("Sign in to continue. Ask the server's owner for access.")
        if stored:
            _password_form(stored)
        if login and st.button("Sign in with your account", type="secondary" if stored else "primary"):
            st.login()
    end_page()


def has_login() -> bool:
    """Whether Streamlit's own login (OIDC) is configured: a section [auth] in .streamlit/secrets.toml."""
    return bool(st.secrets.load_if_toml_exists()) and "auth" in st.secrets


def has_door() -> bool:
    """Whether there are named users: then everybody has to sign in."""
    return any_users(workspace().db)


def pass_still_good(given_for: str) -> bool:
    """Whether what a session was let in for still lets it in: no ticket that has ended, nor the shared password once
    there are users."""
    return still_in(workspace().db, given_for)


def user_here() -> User | None:
    """Who is signed in on this page; None where nobody is, or is not any more."""
    return user_of_ticket(workspace().db, ticket_here())


def ticket_here() -> str:
    """What this session was let in for, for addresses that are to end with it; empty where nobody signs in."""
    kept: Pass | None = st.session_state.get(_SIGNED_IN)
    return kept.given_for if kept is not None and kept.given_for.startswith("user.") else ""


def pages_here() -> tuple[tuple[str, str, str], ...]:
    """The pages that the sidebar lists: script, title and address, for whoever is signed in."""
    if not any_users(workspace().db):
        return PAGES
    user = user_here()
    # Before somebody has signed in too: where its address was opened, it is shown after that.
    return (*PAGES, PEOPLE) if user is None or user.role == MANAGE else PAGES


def is_shut_out() -> bool:
    """Whether this page is to be taken away, as its user was signed out, changed or shut out elsewhere."""
    return any_users(workspace().db) and user_here() is None


def let_in_again(user: User) -> None:
    """After a change that ended the session by which it was made: one's own password."""
    _let_in(ticket(user))


def sign_out() -> None:
    """End this session; the next run draws the door."""
    by_login = has_login() and st.user.is_logged_in
    st.session_state.clear()
    if by_login:
        st.logout()


@st.cache_resource(show_spinner=False)
def user_gate() -> UserGate:
    """Where this server's users are asked for their passwords."""
    return UserGate(workspace().db)


def address_here() -> str:
    """The network address that this page is looked at from."""
    return st.context.ip_address or "this machine"


def _require_user() -> None:
    db = workspace().db
    user, refused = user_here(), ""
    if user is None:
        st.session_state.pop(_SIGNED_IN, None)
    if user is None and has_login() and st.user.is_logged_in:
        try:
            verified = is_verified(st.user.get("email_verified"))
            user = user_by_identity(db, str(st.user.get("email") or ""), verified)
        except WrongPassword as error:
            refused = str(error)
        else:
            _let_in(ticket(user))
            note_sign_in(db, user.name, address_here(), actor_of(user))
    if user is not None:
        note_seen(db, user)
        return
    _, middle, _ = st.columns([1, 2, 1])
    with middle, card("sign-in"):
        st.title("AI Image Detector", anchor=False)
        st.caption("Sign in with your own name. Somebody with the role 'manage' gives out access.")
        if workspace().settings.password_hash:
            st.caption(OVER)
        if refused:
            st.error(escape(refused))
        _user_form()
        if has_login():
            if refused:
                if st.button("Sign out of your account"):
                    st.logout()
            elif st.button("Sign in with your account", type="secondary"):
                st.login()
    end_page()


def _user_form() -> None:
    with st.form("sign-in-user", border=False):
        name = st.text_input("Name", autocomplete="username", max_chars=200)
        password = st.text_input("Password", type="password", autocomplete="current-password", max_chars=2000)
        asked = st.form_submit_button("Sign in", type="primary")
    if not asked:
        return
    try:
        user = user_gate().enter(name, password, address_here())
    except (WrongPassword, TooManyAttempts) as error:
        st.error(escape(str(error)))
        return
    _let_in(ticket(user))
    st.rerun()


@st.cache_resource(show_spinner=False)
def _gate(stored: str) -> PasswordGate:
    return PasswordGate(stored)


def _password_form(stored: str) -> None:
    with st.form("sign-in", border=False, clear_on_submit=True):
        password = st.text_input("Password", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Sign in", type="primary")
    if not asked:
        return
    try:
        _gate(stored).enter(password, address_here())
    except (WrongPassword, TooManyAttempts) as error:
        if isinstance(error, WrongPassword):
            note_refusal(workspace().db, "", address_here(), PAGE)
        st.error(str(error))
        return
    note_sign_in(workspace().db, "by the shared password", address_here())
    _let_in(stored)
    st.rerun()


def _let_in(given_for: str) -> None:
    context = get_script_run_ctx()
    assert context is not None
    st.session_state[_SIGNED_IN] = signed_in.let_in(
        context.session_id, given_for, st.context.headers.get(CONNECTION_HEADER)
    )


def _who() -> Actor | None:
    """In whose name a script, a clock, a dialog or a button of a page acts. Raises SignedOut."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return None
    if not any_users(workspace().db):
        return Actor(None, MANAGE, PAGE)
    user = user_here()
    if user is None:
        raise SignedOut
    return actor_of(user)


ask_for_actors(_who)
