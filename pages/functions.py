"""Functions: the first steps, the list, and making, renaming and deleting one."""

from __future__ import annotations

from contextlib import suppress

import streamlit as st

from detector.backbones import SPECS, resolve
from detector.datasets.builtin import BUILTIN_NOTE
from detector.errors import DetectorError, NotFound
from detector.formatting import count, file_size, interval_of, rate_of
from detector.operations.deletion import delete_function
from detector.operations.functions import change_backbone, create_function, rename_function
from detector.operations.sample_function import import_sample, sample_limit_note
from detector.pipeline import speed
from detector.storage import functions
from detector.storage.acting import MANAGE, may
from detector.storage.database import new_id
from detector.storage.functions import FunctionSummary
from detector.storage.label_names import typed_labels
from detector.training.thresholds import how_many_images
from pages._first_field import focus_first_field
from pages._sidebar import accuracy_caveat
from pages._state import NOT_THERE, current_function, escape, go, heading, menu_key, names_another, shut, workspace
from pages._style import card

_STEPS = (
    (
        "1 Import",
        f"Drop a ZIP with one folder of real and one of AI-generated images. {how_many_images()}",
    ),
    ("2 Read and review", "See how often it is right on images it had not seen. Correct labels where it is unsure."),
    ("3 Invoke", "Give it a new image; it says real or synthetic, and how sure it is."),
)


#: What an estimate is about before there are any images.
_TYPICAL_IMAGES = 2000
#: Where the id waits that the function of the open dialog will have.
_NEXT_ID = "id-of-new-function"


@st.cache_data(ttl=60, show_spinner="Checking which backbones are available")
def _automatic_choice() -> tuple[str, str]:
    """The backbone's id, and why."""
    chosen = resolve("auto", workspace().settings)
    return chosen.spec.id, chosen.sentence


def _describe_choice(choice: str, images: int) -> None:
    """What stands behind a choice, and how long it takes to look at so many images where that was ever measured."""
    backbone_id, sentence = _automatic_choice() if choice == "auto" else (choice, SPECS[choice].description)
    st.caption(escape(sentence))
    if words := speed.expected_time(workspace(), backbone_id, images):
        st.caption(f"Looking at images: {words}.")


def _describe(choice: str) -> str:
    if choice == "auto":
        return "Automatic: CLIP where its weights are available, else the offline backbone"
    spec = SPECS[choice]
    size = f"{file_size(spec.download_bytes)} once" if spec.download_bytes else "comes with the installation"
    only = f" · {spec.only_for} only" if spec.only_for else ""
    return f"{spec.title} · {spec.licence} · {size}{only}"


@st.dialog("New function", width="medium", on_dismiss="rerun")
def _create() -> None:
    # A form: Enter in a field does what its button does.
    with st.form("new-function", border=False):
        name = st.text_input("Name", placeholder="Press photos 2026", max_chars=functions.MAX_NAME)
        labels = st.text_input(
            "Labels, separated by commas",
            "real, synthetic",
            help="Any two or more; each image gets one. Leave it empty and the folders of the first import name them.",
        )
        asked = st.form_submit_button("Create function", type="primary", width="stretch")
    problem = st.container()
    with st.expander("Backbone", expanded=False):
        st.caption("The frozen network that turns each image into numbers. It can be changed later.")
        choice = st.selectbox("Backbone", ["auto", *SPECS], format_func=_describe, label_visibility="collapsed")
        _describe_choice(choice, _TYPICAL_IMAGES)
    focus_first_field()
    if asked:
        with problem:
            _make(name, labels, choice)


def _make(name: str, labels: str, choice: str) -> None:
    # Asked for twice, by a double click, it is the same one: its id was chosen when the dialog opened.
    function_id = st.session_state[_NEXT_ID]
    try:
        names = typed_labels(labels)
        with st.spinner("Looking for the backbone"):
            function = create_function(workspace(), name, names, choice, function_id=function_id)
    except DetectorError as error:
        st.error(escape(str(error)))
    else:
        go("import_images.py", function.id)


def _open_create() -> None:
    st.session_state[_NEXT_ID] = new_id()
    _create()


def _try_sample() -> None:
    with st.spinner("Preparing the built-in sample"):
        function = import_sample(workspace(), "auto")
    go("import_images.py", function.id)


@st.dialog("Rename function", on_dismiss="rerun")
def _rename(item: FunctionSummary) -> None:
    with st.form(f"rename-form-{item.function.id}", border=False):
        name = st.text_input(
            "Name", item.function.name, max_chars=functions.MAX_NAME, key=f"rename-name-{item.function.id}"
        )
        asked = st.form_submit_button("Rename", type="primary")
    focus_first_field()
    if asked:
        try:
            rename_function(workspace(), item.function.id, name)
        except DetectorError as error:
            st.error(escape(str(error)))
        else:
            st.rerun()


@st.dialog("Delete function", on_dismiss="rerun")
def _delete(item: FunctionSummary) -> None:
    st.markdown(
        f"**{escape(item.shown)}** is deleted with its {count(item.sample_count, 'sample')}, "
        f"{count(item.annotated_count, 'label')} given by hand or import, and all its models. This cannot be undone."
    )
    if st.button("Delete for good", type="primary", key=f"delete-for-good-{item.function.id}"):
        # Gone already, by a second click or in another window, it is what was asked for.
        with suppress(NotFound):
            delete_function(workspace(), item.function.id)
        if st.query_params.get("function") == item.function.id:
            st.query_params.pop("function")
        st.rerun()


@st.dialog("Change the backbone", width="medium", on_dismiss="rerun")
def _change_backbone(item: FunctionSummary) -> None:
    if item.sample_count:
        until = " The live model answers until then." if item.model_version is not None else ""
        them = "The image is" if item.sample_count == 1 else f"All {count(item.sample_count, 'image')} are"
        st.caption(f"{them} looked at again in the background, then a new model is trained.{until}")
    else:
        st.caption("There are no images yet; those that you import are looked at with it.")
    choice = st.selectbox(
        "Backbone", ["auto", *SPECS], format_func=_describe, key=f"backbone-choice-{item.function.id}"
    )
    _describe_choice(choice, item.sample_count)
    if st.button("Change", type="primary", key=f"change-backbone-{item.function.id}"):
        try:
            with st.spinner("Looking for the backbone"):
                change_backbone(workspace(), item.function.id, choice)
        except DetectorError as error:
            st.error(escape(str(error)))
            return
        st.rerun()


def _state(item: FunctionSummary) -> str:
    if item.busy:
        return "working"
    if item.model_version is None:
        return "needs data"
    return f"model {item.model_version} is live"


def _card(item: FunctionSummary) -> None:
    function_id = item.function.id
    with card(function_id):
        left, middle, right = st.columns([5, 4, 3], vertical_alignment="center")
        with left:
            simulation = " :gray-badge[simulation]" if item.function.is_simulation else ""
            st.markdown(f"**{escape(item.shown)}**{simulation}")
            st.caption(
                f"{count(item.sample_count, 'sample')}, {item.annotated_count:,} labelled · {_state(item)} · "
                f"{escape(SPECS[item.function.backbone_id].title if item.function.backbone_id in SPECS else '')}"
            )
        with middle:
            if item.accuracy is not None:
                st.markdown(f"**{rate_of(item.accuracy, item.accuracy_n)}** right")
                bounds = interval_of(item.interval, item.accuracy_n, ", ") if item.interval else ""
                st.caption(f"cross-validated on {count(item.accuracy_n, 'image')}{bounds}{accuracy_caveat(item)}")
            elif item.function.training_note and not item.busy:
                st.caption(escape(item.function.training_note))
        with right, st.container(horizontal=True, horizontal_alignment="right"):
            if st.button("Open", key=f"open-{function_id}"):
                go("metrics.py" if item.model_version is not None else "import_images.py", function_id)
            menu = f"more-{function_id}"
            with st.popover("More", disabled=not may(MANAGE), key=menu_key(menu)):
                for words, key, dialog in (
                    ("Rename", "rename", _rename),
                    ("Change backbone", "backbone", _change_backbone),
                    ("Delete", "delete", _delete),
                ):
                    if st.button(words, key=f"{key}-{function_id}", width="stretch", on_click=shut, args=(menu,)):
                        dialog(item)


found = functions.list_functions(workspace().db)
if not found:
    heading(
        "Build a detector of AI-generated images",
        "From a folder of images to your own detector in about 15 minutes, on this machine. Nothing leaves it.",
    )
    for column, (title, text) in zip(st.columns(3), _STEPS, strict=True):
        with column, card(title[0], height="stretch"):
            st.markdown(f"**{title}**")
            st.caption(text)
    with st.container(horizontal=True):
        if st.button("Create a function", type="primary", disabled=not may(MANAGE)):
            _open_create()
        if st.button("Try the built-in sample", disabled=not may(MANAGE)):
            _try_sample()
    st.caption(f"{BUILTIN_NOTE} {sample_limit_note()}")
else:
    heading("Functions", f"{count(len(found), 'function')} · newest first")
    if names_another(current_function()):
        st.warning(f"{NOT_THERE} These are all that there are.")
    with st.container(horizontal=True):
        if st.button("Create a function", type="primary", disabled=not may(MANAGE)):
            _open_create()
        if not any(item.function.is_simulation for item in found) and st.button(
            "Try the built-in sample", disabled=not may(MANAGE)
        ):
            _try_sample()
    for item in found:
        _card(item)
