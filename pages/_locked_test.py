"""The Metrics page's card of the locked test set: its figure beside the cross-validated one, and how to fill it."""

from __future__ import annotations

import streamlit as st

from detector.locked_test import (
    LockedTestScore,
    accuracy_difference,
    give_back,
    locked_test,
    put_aside_samples,
    put_aside_share,
    put_aside_source,
)
from detector.storage import samples
from detector.storage.models import ModelRow
from detector.words import count, interval, percent, share
from pages._state import escape, workspace
from pages._style import card


def locked_test_card(function_id: str, live: ModelRow) -> None:
    """Score, warning and the three ways of putting samples aside."""
    state = locked_test(workspace(), function_id)
    with card("locked-test"):
        st.markdown(
            "**Locked test set**",
            help="Images put aside before training. Nothing is chosen by them, so their figure flatters least. Each "
            "model version is scored on them once; whoever keeps choosing by that figure uses them up.",
        )
        if live.locked_test is not None:
            _score(LockedTestScore.from_json(live.locked_test), live)
        elif state.n:
            st.caption(f"{count(state.n, 'image')} put aside; the next model version will be scored on them.")
        else:
            st.caption(
                "Nothing is put aside. A share of the labelled images, kept out of all training, is the fairest test."
            )
        if state.warning:
            st.warning(state.warning)
        with st.expander("Put images aside"):
            _ways(function_id, state.n)


def _score(score: LockedTestScore, live: ModelRow) -> None:
    st.html(f'<div class="figure">{percent(score.accuracy)}</div>')
    st.caption(
        f"{share(score.correct, score.n)} right · {interval(score.interval)} · model {live.version} · look {score.look}"
    )
    validation = live.cross_validation
    if validation:
        right = round(validation["accuracy"] * validation["n"])
        difference, low, high = accuracy_difference(score.correct, score.n, right, validation["n"])
        verdict = "which chance explains" if low <= 0 <= high else "which chance hardly explains"
        st.caption(
            f"Cross-validated: {percent(validation['accuracy'])} of {count(validation['n'], 'image')}. The "
            f"difference is {100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), {verdict}."
        )
    if score.left_out:
        st.caption(f"{count(score.left_out, 'image')} left out: the model has seen them or near-duplicates of them.")


def _ways(function_id: str, n: int) -> None:
    ws = workspace()
    wanted = st.slider("Share of the labelled images, at random", 5, 50, 20, format="%d %%", key="aside-share")
    moved = None
    if st.button("Put this share aside and retrain"):
        moved = put_aside_share(ws, function_id, wanted / 100)
    rows = samples.training_rows(ws.db, function_id)
    sources = sorted({row.source for row in rows if row.source and row.split == "train"})
    if sources:
        source = st.selectbox("A whole source", sources, key="aside-source")
        if st.button("Put this source aside and retrain"):
            moved = put_aside_source(ws, function_id, source)
    files = {sample.file_name: sample.id for sample in samples.find_samples(ws.db, function_id, limit=500)}
    chosen = st.multiselect("Single images", list(files), key="aside-files", placeholder="of the latest 500")
    if chosen and st.button("Put these aside and retrain"):
        moved = put_aside_samples(ws, function_id, [files[name] for name in chosen])
    if n and st.button("Give all back to the training"):
        moved = -give_back(ws, function_id)
    if moved is not None:
        went = "given back" if moved < 0 else "put aside, near-duplicates included"
        st.toast(escape(f"{count(abs(moved), 'image')} {went}. A new model follows by itself."))
        st.rerun()
