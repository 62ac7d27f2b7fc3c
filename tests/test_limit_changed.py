"""Another limit of false accusations: verdicts are judged anew from scores that are there, and nothing else happens."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from torch.nn.modules.module import register_module_forward_hook

from detector.errors import ImageError
from detector.operations.false_accusations import set_false_accusation_limit
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke, rejudge
from detector.storage import functions, jobs, samples
from detector.training.thresholds import CANT_TELL
from detector.workspace import Workspace
from tests.app_server import CHECKOUT
from tests.command_line import environment
from tests.factories import (
    label_ids,
    labelled_function,
    make_image,
)
from tests.page_app import opened_by_pages, page, wait_for_findings
from tests.page_words import as_shown
from tests.stored import query

# It counts what the network is asked.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("nothing_remembered")]

GENEROUS = 0.3

_CHANGE = """
import json, sys
from pathlib import Path
from detector.gallery.filters import GalleryFilter
from detector.gallery.selection import Gallery
from detector.settings import load_settings
from detector.operations.false_accusations import set_false_accusation_limit
from detector.workspace import Workspace
ws = Workspace.open(load_settings())
set_false_accusation_limit(ws, sys.argv[1], 0.3)
facets = Gallery(ws, sys.argv[1]).facets(GalleryFilter())
print(json.dumps({"verdicts": facets.verdict, "loaded": sorted({"torch", "timm", "open_clip"} & set(sys.modules))}))
"""


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    with opened_by_pages(tmp_path, monkeypatch) as opened:
        yield opened


@contextmanager
def passes_counted() -> Iterator[list[str]]:
    """Every layer of every network that is passed meanwhile, by torch's own count."""
    passed: list[str] = []
    hook = register_module_forward_hook(lambda module, _given, _result: passed.append(type(module).__name__))
    try:
        yield passed
    finally:
        hook.remove()


def facts(ws: Workspace) -> list[Any]:
    """What a forward pass, a training or a build would leave behind."""
    data = ws.settings.data_dir
    return [query(data, f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("embeddings", "jobs", "samples")] + [
        query(data, "SELECT id, version, seconds, created_at FROM models")
    ]


@pytest.mark.long
def test_stored_samples_get_other_verdicts_in_a_process_that_never_loads_a_network(ws: Workspace) -> None:
    """Kind: work done again that is there already. The stored out-of-fold probabilities are all it takes."""
    function = labelled_function(ws, 14)
    build(ws, function.id)
    before = facts(ws)
    ran = subprocess.run(
        [sys.executable, "-c", _CHANGE, function.id],
        cwd=CHECKOUT,
        env=environment(ws.settings.data_dir),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout)
    assert found["loaded"] == []
    assert sum(n for label, n in found["verdicts"].items() if label in label_ids(ws, function).values()) > 14
    assert facts(ws) == before
    assert functions.get_function(ws.db, function.id).false_accusation_limit == GENEROUS
    assert not jobs.list_jobs(ws.db, function.id)


def uploader_with(ws: Workspace, function_id: str, files: list[tuple[str, bytes, str]]) -> AppTest:
    app = page("invoke.py", function_id)
    app.file_uploader[0].set_value(files)
    app.run()
    assert not app.exception, app.exception
    return app


def verdict(app: AppTest) -> str:
    """The word that the page shows large."""
    [found] = [item.proto.body for item in app.get("html") if 'class="verdict"' in item.proto.body]
    return str(re.sub(r"<span.*|<[^>]+>", "", found)).replace("&#x27;", "'").strip()


def test_a_picture_on_the_invoke_page_is_judged_anew_and_not_looked_at_again(ws: Workspace) -> None:
    """Kind: work done again. Every change of a widget sent the file through the network, most of all the limit.

    Brothers: its copies, and a label that gets another name.
    """
    function = labelled_function(ws, 14)
    build(ws, function.id)
    with passes_counted() as passed:
        app = uploader_with(ws, function.id, [("new.png", make_image(500), "image/png")])
        assert passed, "the network was never asked, so this counts nothing"
        wait_for_findings()
        app.run()
        assert verdict(app) == CANT_TELL
        passed.clear()
        limit = next(item for item in app.number_input if item.label.startswith("False-accusation limit"))
        limit.set_value(100 * GENEROUS).run()
        assert not app.exception, app.exception
        assert verdict(app) == "real"
        functions.rename_label(ws.db, label_ids(ws, function)["real"], "photo")
        app.run()
        assert verdict(app) == "photo"
        assert passed == []


def test_scores_survive_a_deleted_label_and_not_another_model(ws: Workspace) -> None:
    function = labelled_function(ws, 12, labels=("real", "synthetic", "drawing"))
    functions.set_false_accusation_limit(ws.db, function.id, GENEROUS)
    build(ws, function.id)
    images = [("real.png", make_image(500)), ("broken.png", b"nothing")]
    asked = invoke(ws, function.id, images)
    functions.delete_label(ws.db, label_ids(ws, function)["drawing"])
    with passes_counted() as passed:
        judged = rejudge(ws, function.id, asked)
        assert passed == []
    assert judged is not None
    assert isinstance(judged[1], ImageError)
    anew = invoke(ws, function.id, images)
    assert isinstance(judged[0], Verdict)
    assert isinstance(anew[0], Verdict)
    assert judged[0].verdict == anew[0].verdict
    assert [score.label for score in judged[0].scores] == [score.label for score in anew[0].scores]
    assert [score.confidence for score in judged[0].scores] == pytest.approx(
        [score.confidence for score in anew[0].scores]
    )
    functions.set_sweep_settings(ws.db, function.id, {"seed": 1})
    build(ws, function.id)
    assert rejudge(ws, function.id, judged) is None
    set_false_accusation_limit(ws, function.id, 0.02)
    [few, _] = invoke(ws, function.id, images)
    assert isinstance(few, Verdict)
    assert few.reason.startswith('So far it can only answer "can\'t tell": a limit of 2 % false accusations')


def test_an_image_that_is_a_sample_already_is_not_said_to_be_added(ws: Workspace) -> None:
    """Kind: a count of what was wanted in place of what happened."""
    function = labelled_function(ws, 4)
    build(ws, function.id)
    app = uploader_with(ws, function.id, [("new.png", make_image(500), "image/png")])
    for words in (
        "Added to the samples, without a label: it waits in the inbox of Review.",
        "The same image is already a sample of this function. It was left as it is.",
    ):
        next(button for button in app.button if button.label == "Add to samples").click().run()
        assert [as_shown(toast.value) for toast in app.toast] == [words]
    assert samples.count_samples(ws.db, function.id) == 9
