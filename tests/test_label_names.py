"""When two label names are one, and how a list of names spells one of them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.label_names import label_key, spelling_among


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@given(name=st.text(max_size=12))
def test_the_form_in_which_a_name_was_stored_is_no_part_of_it(form: str, name: str) -> None:
    # The literal types of unicodedata are narrower than a parameter.
    assert label_key(unicodedata.normalize(form, name)) == label_key(name)  # type: ignore[arg-type]


@given(name=st.text(max_size=12))
def test_a_key_is_its_own_key(name: str) -> None:
    assert label_key(label_key(name)) == label_key(name)


def test_the_exact_spelling_goes_before_the_first_of_the_same_name() -> None:
    known = ["Real", "ku\u0308nstlich", "real", "k\u00fcnstlich"]
    assert spelling_among("real", known) == "real"
    assert spelling_among("REAL", known) == "Real"
    assert spelling_among("K\u00dcNSTLICH", known) == "ku\u0308nstlich"
    assert spelling_among("k\u00fcnstlich", known) == "k\u00fcnstlich"
    assert spelling_among("other", known) is None
