"""Where: the map of a verdict laid over its picture."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st
from PIL import Image

from detector.charts.palette import PAPER, Ink
from detector.evidence.regions import NEARLY_BLIND, Regions
from detector.formatting import duration
from pages._state import escape
from pages._style import current_theme

_EXPLAIN = (
    "One part of the picture after another is blurred. Where the score then falls by more than it does for other "
    "parts, this part spoke for the label. The same is done on copies of the picture; parts that are not the same "
    f"there are grey. {NEARLY_BLIND}"
)


def regions_view(regions: Regions, picture: Image.Image, inks: Mapping[str, Ink]) -> None:
    """Show the map over the picture, its sentence and a key of its colours.

    Parameters
    ----------
    regions : Regions
    picture : PIL.Image.Image
        The upright picture, at the size in which it is shown.
    inks : mapping of str to Ink
        By label, from `detector.charts.palette.label_inks`.
    """
    neutral = PAPER[current_theme()].neutral
    towards, against = inks.get(regions.label, neutral), inks.get(regions.other, neutral)
    st.image(regions.overlay(picture, towards.fill, against.fill, neutral.fill), width="stretch", alt="The map")
    if regions.peak is not None:
        st.caption(
            f"Towards {escape(regions.label)} and towards {escape(regions.other)}, each in its colour; grey lines "
            "where copies of the picture differ or where it hardly matters.",
            help=_EXPLAIN,
        )
    st.caption(f"{escape(regions.sentence)} Found in {duration(regions.seconds)}.")
