"""The Metrics page's card of the locked test set: its figure beside the cross-validated one, and how to fill it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from detector.errors import NothingLeftToTrain
from detector.formatting import FEWEST_FOR_RATE, count, interval_of, rate_of, rate_of_images, share
from detector.operations.holdout import (
    HoldoutScore,
    accuracy_difference,
    give_back,
    put_aside_samples,
    put_aside_share,
    put_aside_source,
    read_holdout,
)
from detector.storage import samples
from detector.storage.acting import MANAGE, may
from detector.storage.functions import number_names
from detector.storage.models import ModelRow
from detector.storage.sample_counts import sample_counts
from detector.storage.samples import SampleFilter
from detector.storage.stored_names import TRAIN
from pages._state import escape, function_labels, workspace
from pages._style import card


def holdout_card(function_id: str, live: ModelRow) -> None:
    """Score, warning and the three ways of putting samples aside."""
    state = read_holdout(workspace(), function_id)
    with card("locked-test"):
        st.markdown(
            "**Locked test set**",
            help="Images put aside before training. These images never influence training, so this is the most honest "
            "score. Each model version is scored on them once; choosing versions by this score wears it out.",
        )
        if live.holdout_score is not None:
            _score(HoldoutScore.from_json(live.holdout_score), live)
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


def _score(score: HoldoutScore, live: ModelRow) -> None:
    st.html(f'<div class="figure">{rate_of(score.accuracy, score.n)}</div>')
    bounds = interval_of(score.interval, score.n, "", " · ")
    st.caption(
        f"{share(score.correct, score.n)} right · {bounds}model {live.version} · evaluation {score.look} on this set"
    )
    validation = live.cross_validation
    if validation:
        right = round(validation["accuracy"] * validation["n"])
        difference, low, high = accuracy_difference(score.correct, score.n, right, validation["n"])
        chance = "small enough to be chance" if low <= 0 <= high else "probably more than chance"
        words = f"The difference is {chance}."
        if min(score.n, validation["n"]) >= FEWEST_FOR_RATE:
            points = f"{100 * difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
            words = f"The difference is {points}, {chance}."
        st.caption(f"Cross-validated: {rate_of_images(validation['accuracy'], validation['n'], 'image')}. {words}")
    if score.left_out:
        st.caption(f"{count(score.left_out, 'image')} left out: the model has seen them or near-duplicates of them.")


def _ways(function_id: str, n: int) -> None:
    ws = workspace()
    wanted = st.slider(
        "Share of the labelled images, at random", 5, 50, 20, format="%d %%", key=f"aside-share-{function_id}"
    )
    move: Callable[[], int] | None = None
    if st.button("Put this share aside and retrain", disabled=not may(MANAGE), key=f"put-share-{function_id}"):
        move = partial(put_aside_share, ws, function_id, wanted / 100)
    sources = sorted({item.source for item in sample_counts(ws.db, function_id) if item.source and item.split == TRAIN})
    if sources:
        source = st.selectbox("A whole source", sources, key=f"aside-source-{function_id}")
        if st.button("Put this source aside and retrain", disabled=not may(MANAGE), key=f"put-source-{function_id}"):
            move = partial(put_aside_source, ws, function_id, source)
    names = _to_choose(function_id)
    chosen = st.multiselect(
        "Single images",
        list(names),
        format_func=lambda sample_id: names.get(sample_id, ""),
        key=f"aside-samples-{function_id}",
        placeholder="of the latest 500 labelled ones",
    )
    if chosen and st.button("Put these aside and retrain", disabled=not may(MANAGE), key=f"put-samples-{function_id}"):
        move = partial(put_aside_samples, ws, function_id, chosen)
    went = "put aside, near-duplicates included"
    if n and st.button("Give all back to the training", disabled=not may(MANAGE), key=f"give-all-back-{function_id}"):
        move, went = partial(give_back, ws, function_id), "given back"
    if move is not None:
        _do(move, went, _nothing_moved(wanted, n))


def _do(move: Callable[[], int], went: str, nothing: str) -> None:
    try:
        moved = move()
    except NothingLeftToTrain as error:
        st.warning(escape(str(error)))
        return
    if not moved:
        st.warning(escape(nothing))
        return
    st.toast(escape(f"{count(moved, 'image')} {went}. A new model follows by itself."))
    st.rerun()


def _nothing_moved(wanted: int, n: int) -> str:
    if n:
        return f"Nothing was moved: {wanted} % of the images are aside already, or as many as there can be."
    return (
        f"Nothing was put aside: there are too few images for {wanted} %, which is less than one image of each label. "
        "Choose a larger share, or import more."
    )


def _to_choose(function_id: str) -> dict[str, str]:
    """File names by sample id, of labelled samples that are not aside, with their labels; equal ones are numbered.

    The browser tells the chosen one by its text: of two cameras' IMG_0001.jpg it would be either.
    """
    labels = {label.id: label.name for label in function_labels(function_id)}
    return number_names(
        [
            (sample.id, f"{sample.file_name} ({labels[sample.label_id]})")
            for sample in samples.find_samples(workspace().db, function_id, SampleFilter(annotated="any"), limit=500)
            if sample.split == TRAIN and sample.label_id in labels
        ]
    )
