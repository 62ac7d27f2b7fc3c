"""API: keys and tokens, examples to copy, and who called lately."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from detector.api.authentication import make_token
from detector.api.examples import TOKEN, Examples
from detector.errors import DetectorError
from detector.formatting import ago, count, day
from detector.storage import calls, functions, keys
from detector.storage.acting import MANAGE, ROLES, may
from detector.storage.functions import MAX_NAME
from detector.storage.keys import MOST_CALLS_PER_MINUTE, MOST_DAYS, ApiKey, NewKey
from detector.web.addresses import DOCUMENTATION, base_path, of_browser
from pages._first_field import focus_first_field
from pages._state import NOT_THERE, PAGES, PEOPLE, current_function, escape, go, heading, names_another, workspace
from pages._style import card

_SHOWN_CALLS = 100
_TOKEN = "api-token"
#: A key just made, until its secret was seen: a job that ends redraws the page, and must not take the secret away.
_NEW_KEY = "key-just-made"


def _address() -> str:
    """This server as the person's browser knows it."""
    # Not `st.context.url`: it takes the name of a page off whatever ends with it, a path "preview" among them.
    context = get_script_run_ctx()
    told = context.context_info if context is not None else None
    pages = [path for _, _, path in (*PAGES, PEOPLE)]
    return of_browser(told.url if told is not None else None, pages, base_path(st.get_option("server.baseUrlPath")))


@st.dialog("New key", on_dismiss="rerun")
def _create() -> None:
    with st.form("new-key", border=False):
        name = st.text_input("Name", placeholder="Nightly import", max_chars=MAX_NAME, help="What the key is for.")
        role = st.selectbox("Role", ROLES, ROLES.index(MANAGE), help="What its calls may do, as of a user.")
        left, right = st.columns(2)
        days = left.number_input("Ends after, in days", 1, MOST_DAYS, None, placeholder="never")
        pace = right.number_input("Calls a minute, at most", 1, MOST_CALLS_PER_MINUTE, None, placeholder="any")
        asked = st.form_submit_button("Create key", type="primary")
    focus_first_field()
    if not asked:
        return
    try:
        st.session_state[_NEW_KEY] = keys.create_key(workspace().db, name, role, days, pace)
    except DetectorError as error:
        st.error(escape(str(error)))
    else:
        st.rerun()


def _forget_secret() -> None:
    st.session_state.pop(_NEW_KEY, None)


@st.dialog("Copy the secret now", on_dismiss=_forget_secret)
def _show_secret(made: NewKey) -> None:
    st.caption("Client id")
    st.code(made.id, language=None, wrap_lines=True)
    st.caption("Client secret")
    st.code(made.secret, language=None, wrap_lines=True)
    st.markdown("The secret is shown only this once and stored only as a hash.")
    if st.button("Done", type="primary", on_click=_forget_secret):
        st.rerun()


@st.dialog("Revoke key", on_dismiss="rerun")
def _revoke(key: ApiKey) -> None:
    st.markdown(
        f"Programs that use **{escape(key.name)}** are refused from now on, and its tokens end. This cannot be undone."
    )
    if st.button("Revoke for good", type="primary"):
        keys.revoke_key(workspace().db, key.id)
        st.rerun()


def _keys() -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Keys", anchor=False, width="stretch")
        if st.button("Create a key", type="secondary" if in_force else "primary"):
            _create()
    if not in_force:
        st.markdown("A program needs a key to call this server. There is no active key yet.")
    for key in in_force:
        with st.container(horizontal=True, vertical_alignment="center", key=f"key-{key.id}"):
            with st.container(gap=None, width="stretch"):
                st.markdown(f"**{escape(key.name)}**")
                st.caption(f"{key.id} · made {ago(datetime.fromtimestamp(key.created_at, UTC))}{_bounds(key)}")
            if st.button("Token", key=f"token-{key.id}", help="Makes a token in this key's name, valid for a day."):
                st.session_state[_TOKEN] = (key.id, make_token(workspace().db, key.id))
            if st.button("Revoke", key=f"revoke-{key.id}"):
                _revoke(key)
    if revoked:
        with st.expander(count(len(revoked), "revoked key")):
            for key in revoked:
                ended = "expired" if key.revoked_at is None else "revoked"
                at = datetime.fromtimestamp(key.revoked_at or key.expires_at or 0.0, UTC)
                st.caption(f"{escape(key.name)} · {key.id} · {ended} {ago(at)}")


def _bounds(key: ApiKey) -> str:
    """What a key may not do, where that is not everything."""
    role = f" · {key.role}" if key.role != MANAGE else ""
    pace = f" · {count(key.calls_per_minute, 'call')} a minute" if key.calls_per_minute is not None else ""
    end = f" · until {day(datetime.fromtimestamp(key.expires_at, UTC))}" if key.expires_at is not None else ""
    return f"{role}{pace}{end}"


def _token() -> str:
    """The token made on this page; a word in angle brackets without one, or when its key was revoked."""
    key_id, token = st.session_state.get(_TOKEN, ("", TOKEN))
    return token if any(key.id == key_id for key in in_force) else TOKEN


def _examples(function_id: str, name: str, token: str) -> None:
    st.subheader("Examples", anchor=False)
    if not may(MANAGE):
        st.caption("Put a token of your key in the place of the words in angle brackets.")
    elif token == TOKEN:
        st.caption("Press *Token* next to a key and it is filled in here." if in_force else "Create a key first.")
    else:
        st.caption("The token in these examples is valid for a day, or until its key is revoked.")
        st.code(token, language=None, wrap_lines=True)
    ready = Examples(_address(), function_id, token, *([in_force[0].id] if in_force else []))
    requests, curl, nyckel = st.tabs(["Python requests", "curl", "nyckel client"])
    # Wrapped: a box that scrolls sideways is out of reach for those who have only keys.
    with requests:
        st.code(ready.python, language="python", wrap_lines=True)
    with curl:
        st.code(ready.curl, language="bash", wrap_lines=True)
        st.caption("A program gets tokens itself, with its key:")
        st.code(ready.token_request, language="bash", wrap_lines=True)
    with nyckel:
        st.code(ready.nyckel, language="python", wrap_lines=True)
        st.caption("It gets and renews tokens itself. Install it with: pip install nyckel")
    st.caption(f"All of them ask {escape(name)} about image.jpg in the folder they run in.")


@st.fragment(run_every=3.0)
def _calls(function_id: str | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Recent calls", anchor=False, width="stretch")
        shown = st.segmented_control(
            "Which calls",
            ["All functions", *(["This function"] if function_id is not None else [])],
            default="All functions",
            required=True,
            label_visibility="collapsed",
        )
    found = calls.recent_calls(workspace().db, function_id if shown == "This function" else None, limit=_SHOWN_CALLS)
    if not found:
        st.caption("No call yet. Run one of the examples and it appears here.")
        return
    names = functions.shown_names(workspace().db)
    st.dataframe(
        {
            "Time": [datetime.fromtimestamp(call.at, UTC) for call in found],
            "Verdict": [call.verdict or "" for call in found],
            "Status": [str(call.status) for call in found],
            "ms": [round(call.milliseconds) for call in found],
            "Function": [names.get(call.function_id, call.function_id) for call in found],
            "Call": [call.path for call in found],
            "Key": [call.key_name or call.key_id for call in found],
        },
        column_config={
            "Time": st.column_config.DatetimeColumn(format="D MMM, HH:mm:ss", timezone=st.context.timezone or "UTC"),
            "ms": st.column_config.NumberColumn(format="localized"),
        },
        hide_index=True,
    )


chosen = current_function()
everyone = keys.list_keys(workspace().db)
in_force = [key for key in everyone if key.revoked_at is None and not key.expired]
revoked = [key for key in everyone if key.revoked_at is not None or key.expired]
heading(
    "API",
    f"Use {chosen.shown} from code: the same server, the same verdicts, over HTTP."
    if chosen is not None
    else f"Use a function from code, over HTTP. {NOT_THERE if names_another(chosen) else 'There is no function yet.'}",
)
with st.container(horizontal=True):
    st.link_button("Documentation of all calls", _address() + DOCUMENTATION, icon=":material/menu_book:")
    if names_another(chosen):
        if st.button("Choose among all functions", type="primary"):
            st.query_params.pop("function")
            go("functions.py")
    elif chosen is None and st.button("Make the first function", type="primary"):
        go("functions.py")
if _NEW_KEY in st.session_state and may(MANAGE):
    _show_secret(st.session_state[_NEW_KEY])
left, right = st.columns([5, 7], gap="medium")
with left, card("keys"):
    if may(MANAGE):
        _keys()
    else:
        st.subheader("Keys", anchor=False)
        st.markdown("Keys are made by users with the role 'manage'. Ask one of them for one.")
if chosen is not None:
    # Asked for after the keys: their buttons make the token.
    with right, card("examples"):
        _examples(chosen.function.id, chosen.shown, _token())
with card("calls"):
    _calls(chosen.function.id if chosen is not None else None)
