"""In the sidebar: who is signed in, with which role, one's own password, and the way out."""

from __future__ import annotations

import streamlit as st

from detector.errors import DetectorError
from detector.web.password import MIN_LENGTH
from detector.web.people import change_password
from pages._first_field import focus_first_field
from pages._sign_in import address_here, let_in_again, sign_out, ticket_here, user_gate, user_here
from pages._state import escape, workspace

#: What each role may do, in one line.
ROLE_WORDS = {
    "look": "sees everything and asks for verdicts",
    "label": "also imports, labels and keeps records",
    "manage": "does everything",
}


def account() -> None:
    """Draw it; nothing where nobody signs in by name."""
    user = user_here()
    if user is None:
        return
    with st.container(key="account", gap="small"):
        st.markdown(f"**{escape(user.name)}**  \n:gray[{escape(user.role)}: {ROLE_WORDS.get(user.role, '')}]")
        with st.container(horizontal=True):
            if user.has_password and st.button("Password", key="own-password", help="Change your own password."):
                _change()
            if st.button("Sign out", key="sign-out"):
                sign_out()
                st.rerun()


@st.dialog("Change your password", on_dismiss="rerun")
def _change() -> None:
    with st.form("own-password-form", border=False):
        old = st.text_input("Password of today", type="password", autocomplete="current-password", max_chars=2000)
        new = st.text_input(
            "New password",
            type="password",
            autocomplete="new-password",
            max_chars=2000,
            help=f"At least {MIN_LENGTH} characters. You are signed out on all other pages.",
        )
        again = st.text_input("New password once more", type="password", autocomplete="new-password", max_chars=2000)
        asked = st.form_submit_button("Change password", type="primary")
    focus_first_field()
    if not asked:
        return
    if new != again:
        st.error("The two new passwords differ. Nothing was changed.")
        return
    try:
        user = change_password(workspace().db, user_gate(), ticket_here(), old, new, address_here())
    except DetectorError as error:
        st.error(escape(str(error)))
        return
    let_in_again(user)
    st.toast("Your password was changed.")
    st.rerun()
