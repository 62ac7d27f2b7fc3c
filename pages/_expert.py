"""Expert settings: any of the swept parameters can be fixed; nobody has to."""

from __future__ import annotations

from typing import Any

import streamlit as st

from detector.storage.acting import MANAGE, may
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.storage.stored_names import DETAIL, WHOLE

_VIEWS = {WHOLE: "whole picture", DETAIL: "details at full size", "both": "both"}


def expert_settings(function: Function, live: ModelRow) -> dict[str, Any] | None:
    """The settings as JSON when "Retrain" was pressed, else None. An empty choice means: let the sweep decide."""
    now = function.sweep_settings
    features = sorted({row["features"] for row in live.sweep})
    with st.form(f"expert-{function.id}", border=False):
        st.caption(
            "The sweep tries everything and takes what is best on images it had not seen. Fix only what you must."
        )
        left, right = st.columns(2)
        views = left.multiselect(
            "Views", list(_VIEWS), now.get("views"), format_func=_VIEWS.__getitem__, placeholder="all are tried"
        )
        chosen_features = right.multiselect(
            "Features",
            features,
            [name for name in now.get("features") or [] if name in features],
            placeholder="all are tried",
        )
        scaling = left.multiselect(
            "Scaling", ["standardise", "unit-length"], now.get("scaling"), placeholder="all are tried"
        )
        weight = right.multiselect(
            "Class weight", ["none", "balanced"], now.get("class_weight"), placeholder="all are tried"
        )
        c = left.text_input(
            "C, relative; several separated by commas",
            ", ".join(f"{value:g}" for value in now.get("c") or []),
            placeholder="a grid is tried",
            help="Inverse strength of regularisation, relative to the mean squared norm of the features.",
        )
        folds = right.number_input("Folds", 2, 20, int(now.get("folds", 5)))
        seed = left.number_input(
            "Seed: another one deals the samples into other folds", 0, 10_000, int(now.get("seed", 0))
        )
        if not st.form_submit_button("Retrain", disabled=not may(MANAGE)):
            return None
    try:
        numbers = [float(part) for part in c.split(",") if part.strip()]
    except ValueError:
        numbers = [-1.0]
    if any(not 0 < number < 1e9 for number in numbers):
        st.error(f"C is {c!r}; expected positive numbers separated by commas, such as 0.1, 1, 10.")
        return None
    wanted: dict[str, Any] = {"folds": int(folds), "seed": int(seed)}
    for name, values in (
        ("views", views),
        ("features", chosen_features),
        ("scaling", scaling),
        ("class_weight", weight),
        ("c", numbers),
    ):
        if values:
            wanted[name] = values
    return wanted
