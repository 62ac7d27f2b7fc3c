"""The Invoke page's part on a detector that is adapted to the place where it is used: before, after, and undo."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from detector.errors import AdaptingMakesWorse, DetectorError, NotTwoLabels, TooFewPictures
from detector.formatting import ago, count, percent
from detector.operations.recentring import Trial, adapt, try_on, undo
from detector.storage import models
from detector.storage.acting import MANAGE, may
from detector.storage.models import ModelRow
from detector.training.recentring import FEWEST_PICTURES, Recentring
from detector.training.unseen_promise import worse_share
from pages._state import IMAGE_TYPES, escape, function_labels, largest_upload_mb, workspace

_SHOWN_REFUSALS = 10


def adapted_note(function_id: str, live: ModelRow) -> None:
    """The standing note that verdicts are those of an adapted detector, with the way back."""
    if live.recentring is None:
        return
    found = Recentring.from_json(live.recentring)
    when = ago(datetime.fromtimestamp(found.at, UTC))
    with st.container(horizontal=True, vertical_alignment="center", key=f"adapted-{function_id}"):
        st.markdown(
            f"Model {live.version} is adapted to {count(found.n, 'picture')} of yours ({when}): moderate at most. Its "
            "figures on Metrics and its predictions in Review are those of the model as it was trained."
        )
        if st.button(
            "Undo",
            disabled=not may(MANAGE),
            key=f"undo-adapt-{function_id}",
            help="From now on it answers as it was trained.",
        ):
            undo(workspace(), function_id)
            st.rerun()


def metrics_note(live: ModelRow) -> None:
    """That the figures are not those of what Invoke and the API say now."""
    if live.recentring is not None:
        n = Recentring.from_json(live.recentring).n
        st.info(
            f"Invoke and the API answer adapted to {count(n, 'picture')} of yours, moderate at most. All figures here "
            "are those of the model as it was trained."
        )


def adapt_fold(function_id: str, live: ModelRow) -> None:
    """The fold with a field for each label, what would change, and the button that makes it so."""
    with st.expander("Adapt to my pictures", key=f"adapt-open-{function_id}"):
        if len(live.label_ids) != 2:
            st.caption(escape(str(NotTwoLabels(len(live.label_ids)))))
            return
        few = percent(worse_share(FEWEST_PICTURES), 0)
        st.markdown(
            "If this detector is often wrong on the pictures of one place, such as your archive or your site, give it "
            f"at least {FEWEST_PICTURES} pictures of each label from there that you are sure of. They move the border "
            "between the two labels; nothing is trained, and one click undoes it. Nothing of them is kept but their "
            "count, a checksum and a score of each. "
            f"So few pictures cannot promise much: even with no false accusation among {FEWEST_PICTURES} of them, up "
            f"to {few} of all such pictures may be accused."
        )
        _of_another_version(function_id, live)
        names = {label.id: label.name for label in function_labels(function_id)}
        if not names.keys() >= set(live.label_ids):
            # One was deleted since: the page says already that a new model is needed.
            return
        given = _fields(function_id, [(label_id, names[label_id]) for label_id in live.label_ids])
        trial_key = f"adapt-trial-{function_id}"
        ids = [live.id, *(upload.file_id for uploads in given.values() for upload in uploads)]
        if not all(given.values()):
            st.session_state.pop(trial_key, None)
            return
        if st.button("Compare before and after", disabled=not may(MANAGE), key=f"adapt-try-{function_id}"):
            with st.spinner("Looking at the pictures"):
                st.session_state[trial_key] = (ids, _tried(function_id, given))
        known, found = st.session_state.get(trial_key, (None, None))
        # Other pictures, or another model: what was found is not theirs.
        if known == ids and found is not None:
            _show(function_id, found)


def _fields(function_id: str, labels: list[tuple[str, str]]) -> dict[str, list[UploadedFile]]:
    # Other keys once these pictures are used: the fields are empty again.
    turn = st.session_state.get(_turn_key(function_id), 0)
    given = {}
    for column, (label_id, name) in zip(st.columns(2), labels, strict=True):
        with column:
            given[name] = st.file_uploader(
                f"Pictures that are {escape(name)}",
                accept_multiple_files=True,
                type=IMAGE_TYPES,
                max_upload_size=largest_upload_mb(),
                key=f"adapt-{label_id}-{turn}",
            )
    return given


def _tried(function_id: str, given: dict[str, list[UploadedFile]]) -> Trial | DetectorError:
    pictures = {
        label: [(upload.name, partial(_bytes, upload)) for upload in uploads] for label, uploads in given.items()
    }
    try:
        return try_on(workspace(), function_id, pictures)
    except DetectorError as error:
        return error


def _bytes(upload: UploadedFile) -> bytes:
    return bytes(upload.getvalue())


def _show(function_id: str, found: Trial | DetectorError) -> None:
    refused = found.refused if isinstance(found, Trial | TooFewPictures) else ()
    if isinstance(found, Trial):
        if found.helps:
            for item in found.checked:
                st.markdown(escape(item.sentence))
            st.caption(escape(" ".join(item.support for item in found.checked)))
            st.caption("Each was judged by a border found from the others.")
            if st.button("Use this", type="primary", disabled=not may(MANAGE), key=f"adapt-use-{function_id}"):
                _use(function_id, found)
        else:
            st.warning(escape(str(AdaptingMakesWorse(found.sentence))))
    else:
        st.warning(escape(str(found)))
    if refused:
        st.caption(f"{count(len(refused), 'picture')} left out:")
        for error in refused[:_SHOWN_REFUSALS]:
            st.caption(escape(str(error)))
        if len(refused) > _SHOWN_REFUSALS:
            st.caption(f"and {len(refused) - _SHOWN_REFUSALS:,} more.")


def _use(function_id: str, trial: Trial) -> None:
    try:
        adapt(workspace(), trial)
    except DetectorError as error:
        st.warning(escape(str(error)))
        return
    st.session_state.pop(f"adapt-trial-{function_id}", None)
    st.session_state[_turn_key(function_id)] = st.session_state.get(_turn_key(function_id), 0) + 1
    st.toast(f"Adapted to {count(trial.recentring.n, 'picture')} of yours. One click undoes it.")
    st.rerun()


def _of_another_version(function_id: str, live: ModelRow) -> None:
    """Where a version before was adapted and this one is not: that it takes the pictures again."""
    if live.recentring is not None:
        return
    for row in models.list_models(workspace().db, function_id):
        if row.id != live.id and row.recentring is not None:
            n = Recentring.from_json(row.recentring).n
            st.info(
                f"Model {row.version} was adapted to {count(n, 'picture')} of yours; model {live.version} is not. The "
                "pictures were not kept: give them again to adapt this one too."
            )
            return


def _turn_key(function_id: str) -> str:
    return f"adapt-turn-{function_id}"
