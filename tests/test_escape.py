from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages._state import escape
from tests.nasty_names import NASTY, WITH_CONTROLS
from tests.page_words import as_shown

#: What Streamlit's page looks for in the text that Markdown leaves, whatever was escaped.
_READ_LATER = (
    r"https?://|www\.|[-.\w+]@[-\w]|:[\w+-]+:|:material[/_]|(^|\s)(<->|->|<-|--|>=|<=|~=)(\s|$)",
    # Streamlit changes this one before it reads anything.
    r":material/",
)


@pytest.mark.parametrize("name", [*NASTY, *WITH_CONTROLS])
def test_a_name_with_an_address_or_a_mark_in_it_has_nothing_left_to_read(name: str) -> None:
    """The kind: backslashes alone leave the text as it was for those who look at it after Markdown."""
    escaped = escape(name)
    assert as_shown(escaped) == name
    for text in re.split(r":color\[\\.\]", escaped):
        left = as_shown(text)
        assert not any(re.search(pattern, left, re.IGNORECASE) for pattern in _READ_LATER), left


def test_only_what_is_read_is_marked() -> None:
    assert escape('Press photos 2026, 94.9 %: Zoë\'s "best"; 3/4 = 0.75?') == (
        'Press photos 2026, 94.9 %\\: Zoë\'s "best"; 3/4 = 0.75?'
    )
    assert escape("") == ""


@given(st.text(st.sampled_from("ab1 w.:/@-<>=~*_`[](){}#+!|$&\\\n\té\U0001f600"), max_size=30))
def test_whatever_a_name_is_made_of_it_is_shown_as_it_is(name: str) -> None:
    escaped = escape(name)
    assert as_shown(escaped) == name
    assert "\n" not in escaped
    for text in re.split(r":color\[\\.\]", escaped):
        assert not re.search(_READ_LATER[0], as_shown(text), re.IGNORECASE), escaped


def test_a_name_does_not_turn_the_rest_of_its_sentence_round() -> None:
    """Kind: file names are kept as they came, and one character in them had all that follows read backwards."""
    for turning in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
        assert as_shown(escape(f"photo{turning}gpj.exe is damaged.")) == "photogpj.exe is damaged."
    assert as_shown(escape("\u05d0\u05de\u05d9\u05ea\u05d9")) == "\u05d0\u05de\u05d9\u05ea\u05d9"
