"""The grid of the Review page on keyboards that are laid out otherwise: what a key writes and where it lies differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.test_gallery import Demo, demo, page, visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["demo", "page"]
pytestmark = pytest.mark.browser

_ALT, _CTRL, _META, _SHIFT = 1, 2, 4, 8


class Keyboard:
    """Keys as Chromium gets them from the system, which also knows layouts that Playwright does not."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)

    def press(self, key: str, code: str, modifiers: int = 0, key_code: int = 0) -> None:
        of_key: dict[str, Any] = {"key": key, "code": code, "modifiers": modifiers, "windowsVirtualKeyCode": key_code}
        self._session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **of_key})
        self._session.send("Input.dispatchKeyEvent", {"type": "keyUp", **of_key})


#: (key, code, modifiers) and the place of the label it gives; 0 takes the label away, None does nothing.
DIGITS = (
    ("&", "Digit1", 0, 1),  # AZERTY
    ("\xe9", "Digit2", 0, 2),
    ("\xe0", "Digit0", 0, 0),
    ("1", "Digit1", _SHIFT, 1),
    ("+", "Digit1", 0, 1),  # Czech
    ("\u011b", "Digit2", 0, 2),
    ("Dead", "Digit2", 0, 2),
    ("[", "Digit2", 0, 2),  # programmer's Dvorak
    ("\u0661", "Digit1", 0, 1),  # Arabic
    ("2", "Numpad2", 0, 2),
    ("1", "Digit1", 0, 1),  # QWERTY
    ("!", "Digit1", _SHIFT, None),
    ("@", "Digit2", _SHIFT, None),
    ("&", "Digit1", _CTRL, None),
    ("1", "Digit1", _META, None),
    ("1", "Digit1", _ALT, None),
    ("\xe7", "Digit9", 0, None),  # there is no ninth label
    ("-", "Minus", 0, None),
    ("Process", "Digit1", 0, None),  # an input method is at work
)


@pytest.mark.long
def test_a_digit_gives_its_label_on_every_keyboard(page: Page, demo: Demo) -> None:
    """The kind: keys were known by what they write, and AZERTY writes "&" where others write "1"."""
    tiles = visit(page, demo)
    keyboard = Keyboard(page)
    ids = tiles.evaluate_all("nodes => nodes.map(node => node.dataset.id)")
    tiles.first.focus()
    labels = {0: None, 1: "real", 2: "synthetic"}
    expected = []
    for key, code, modifiers, place in DIGITS:
        keyboard.press(key, code, modifiers, 229 if key == "Process" else 0)
        if place is not None:
            expected.append(["label", [ids[len(expected)]], labels[place], 0])
    demo.was_told(expected, page)


#: (key, code, modifiers): does it turn to the next page?
LETTERS = (
    ("n", "KeyN", 0, True),
    ("N", "KeyN", 0, True),  # caps lock
    ("n", "KeyL", 0, True),  # Dvorak
    ("b", "KeyN", 0, False),  # Dvorak: there lies another letter
    ("\u0442", "KeyN", 0, True),  # Cyrillic writes no Latin letter: the place counts
    ("N", "KeyN", _SHIFT, False),
    ("n", "KeyN", _CTRL, False),
    ("n", "KeyN", _META, False),
)


def test_a_letter_is_what_the_key_writes(page: Page, demo: Demo) -> None:
    """The kind as above: on another keyboard the letter lies elsewhere, and caps lock makes it a capital."""
    visit(page, demo).first.focus()
    keyboard = Keyboard(page)
    for key, code, modifiers, _ in LETTERS:
        keyboard.press(key, code, modifiers)
    demo.was_told([["page", [], None, 1] for *_, turns in LETTERS if turns], page)


def test_in_the_large_view_the_digits_of_azerty_label_and_w_does_not_undo(page: Page, demo: Demo) -> None:
    """The kind as above; "-" is both the key of 6 and the sign that zooms, and with two labels it zooms."""
    tiles = visit(page, demo)
    keyboard = Keyboard(page)
    first = tiles.first.get_attribute("data-id")
    tiles.first.focus()
    page.keyboard.press("Enter")
    page.locator("dialog.large[open]").wait_for()
    keyboard.press("\xe9", "Digit2")
    keyboard.press("-", "Digit6")
    keyboard.press("w", "KeyZ", _CTRL)
    keyboard.press("z", "KeyW", _CTRL)
    demo.was_told([["label", [first], "synthetic", 0], ["undo", [], None, 0]], page)
