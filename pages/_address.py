"""A field for the address of a picture on the Invoke page, where the settings allow it."""

from __future__ import annotations

import streamlit as st

from detector.errors import AddressRefused
from detector.web.remote_pictures import fetch_picture
from pages._examples import show_instead
from pages._state import escape, workspace


def from_address(function_id: str) -> None:
    """Show the field, fetch what it names, and have the page show that; nothing where it is not allowed."""
    settings = workspace().settings
    if not settings.allow_url_import:
        return
    with st.form(f"address-{function_id}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        url = st.text_input(
            "Address of a picture", placeholder="https://...", help="Only https, from the open internet."
        )
        asked = st.form_submit_button("Fetch")
    if not asked or not url.strip():
        return
    try:
        with st.spinner("Fetching the picture"):
            found = fetch_picture(url.strip(), settings.max_image_bytes)
    except AddressRefused as error:
        st.error(escape(str(error)))
        return
    show_instead(function_id, found.name, found.data)
