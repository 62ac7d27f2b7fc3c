"""The door: where a password or a login is asked for, nothing of the dashboard is drawn before it is given."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from detector.errors import TooManyAttempts, WrongPassword
from detector.web.password import PasswordGate
from detector.web.strangers import CONNECTION_HEADER, Pass, signed_in
from pages._rerun_guard import end_page
from pages._state import workspace
from pages._style import card

_SIGNED_IN = "signed-in"
_BY_LOGIN = "login"


def require_sign_in() -> None:
    """Return when the person may come in; otherwise draw the door and end the run. Call it before anything else."""
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
        _gate(stored).enter(password, st.context.ip_address or "this machine")
    except (WrongPassword, TooManyAttempts) as error:
        st.error(str(error))
        return
    _let_in(stored)
    st.rerun()


def _let_in(given_for: str) -> None:
    context = get_script_run_ctx()
    assert context is not None
    st.session_state[_SIGNED_IN] = signed_in.let_in(
        context.session_id, given_for, st.context.headers.get(CONNECTION_HEADER)
    )
