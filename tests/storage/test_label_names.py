"""When two label names are one, and how a list of names spells one of them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import InvalidInput
from detector.storage.label_names import is_blank, label_key, spelling_among, typed_labels, visible_form


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


def test_a_name_is_what_an_eye_sees_of_it() -> None:
    assert visible_form(" Press\u00a0 pho\u00adtos\u200b ") == "Press photos"
    assert label_key("\u202ereal") == label_key("Re\u2060al")
    # These join: without it a family is three people.
    assert visible_form("\U0001f468\u200d\U0001f469") != visible_form("\U0001f468\U0001f469")


@pytest.mark.parametrize("name", ["", " \t", "\u200b", "\u3164", "\u2800", "\ufeff\u00a0", "\ufe0f"])
def test_a_name_without_ink_is_blank(name: str) -> None:
    assert is_blank(name)
    assert not is_blank(f"{name}a")


def test_typed_labels_are_none_or_at_least_two() -> None:
    """The kind: a function with one label has nothing to tell."""
    assert typed_labels(" real,synthetic , ,\u200b,") == ["real", "synthetic"]
    assert typed_labels(" , ") == []
    # Commas of other keyboards are commas; a semicolon may be part of a name.
    for comma in ",\u060c\uff0c\u3001\uff64":
        assert typed_labels(f"real{comma} synthetic{comma}") == ["real", "synthetic"]
    for one in ("real", "real,", ", real ,,", "all of them"):
        with pytest.raises(InvalidInput, match="only label"):
            typed_labels(one)
