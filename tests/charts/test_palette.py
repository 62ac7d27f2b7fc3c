from __future__ import annotations

import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from detector.charts.palette import DISTINCT_LABELS, PAPER, Theme, label_ink, label_inks

CONFIG = Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml"
THEMES: tuple[Theme, ...] = ("light", "dark")
MANY = ["real", "synthetic", *"abcde"]

# Machado, Oliveira, Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009.
SIGHT = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}


def linear(colour: str) -> NDArray[np.float64]:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def seen(colour: str, sight: str) -> NDArray[np.float64]:
    value = np.clip(SIGHT[sight] @ linear(colour), 0, 1)
    display = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.asarray(rgb2lab(display[None, None])[0, 0])


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def configured() -> dict[str, Any]:
    with CONFIG.open("rb") as file:
        return tomllib.load(file)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("sight", list(SIGHT))
def test_no_two_label_colours_look_the_same_to_anyone(theme: Theme, sight: str) -> None:
    fills = [ink.fill for ink in label_inks(MANY, theme).values()] + [PAPER[theme].neutral.fill]
    assert len(set(fills)) == DISTINCT_LABELS + 1
    nearest = min(float(deltaE_ciede2000(seen(a, sight), seen(b, sight))) for a, b in combinations(fills, 2))
    assert nearest > 9


@pytest.mark.parametrize("theme", THEMES)
def test_words_in_a_labels_colour_can_be_read(theme: Theme) -> None:
    paper = PAPER[theme]
    words = [ink.text for ink in label_inks(MANY, theme).values()] + [paper.neutral.text, paper.muted, paper.text]
    assert min(contrast(word, ground) for word in words for ground in (paper.ground, paper.card)) >= 4.5


def test_real_and_synthetic_keep_their_inks_wherever_they_stand() -> None:
    inks = label_inks(["midjourney", "synthetic", "real"])
    assert (inks["real"].fill, inks["synthetic"].fill) == ("#1f6f8b", "#d1603d")
    assert inks["midjourney"] == label_inks(["midjourney"])["midjourney"]


def test_real_and_synthetic_are_known_in_any_case_and_two_spellings_of_one_are_told_apart() -> None:
    """The kind: label names were compared letter by letter, so that "Real" was no real."""
    assert list(label_inks(["Real", "SYNTHETIC"]).values()) == list(label_inks(["real", "synthetic"]).values())
    twins = label_inks(["Real", "real"])
    assert twins["real"] == label_inks(["real"])["real"] != twins["Real"]


def test_a_label_keeps_its_colour_when_another_is_added_after_it() -> None:
    before = label_inks(["photo", "drawing"])
    after = label_inks(["photo", "drawing", "scan"])
    assert [after[label] for label in before] == list(before.values())


def test_more_labels_than_colours_begin_again() -> None:
    inks = label_inks([f"label {number}" for number in range(12)])
    assert len(inks) == 12
    assert inks["label 0"] == inks["label 5"]


@pytest.mark.parametrize("theme", THEMES)
def test_what_has_no_label_is_grey(theme: Theme) -> None:
    assert label_ink(None, MANY, theme) == PAPER[theme].neutral
    assert label_ink("a label long gone", MANY, theme) == PAPER[theme].neutral
    assert label_ink("real", MANY, theme) == label_inks(MANY, theme)["real"]


@pytest.mark.parametrize("theme", THEMES)
def test_the_streamlit_theme_has_the_same_colours(theme: Theme) -> None:
    shared = configured()["theme"]
    own = shared[theme]
    paper = PAPER[theme]
    assert (own["backgroundColor"], own["textColor"], own["borderColor"]) == (paper.ground, paper.text, paper.hairline)
    chart_colours = own.get("chartCategoricalColors", shared["chartCategoricalColors"])
    assert chart_colours == [ink.fill for ink in label_inks(MANY, theme).values()]


def test_the_app_listens_on_this_machine_only_and_tells_no_one_of_its_use() -> None:
    config = configured()
    assert config["server"]["address"] == "localhost"
    assert config["server"]["fileWatcherType"] == "none"
    assert config["client"]["showErrorDetails"] == "none"
    assert config["browser"]["gatherUsageStats"] is False
