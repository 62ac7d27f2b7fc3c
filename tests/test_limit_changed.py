"""Another limit of false accusations: verdicts are judged anew from scores that are there, and nothing else happens."""

from __future__ import annotations

import json
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
    LABELS,
    add_images,
    empty_function,
    images,
    label_ids,
    labelled_function,
    make_image,
)
from tests.page_app import opened_by_pages, page
from tests.stored import query

pytestmark = pytest.mark.slow

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


def shown(app: AppTest) -> list[dict[str, str]]:
    # As text: no number is not equal to itself.
    return [{name: str(value) for name, value in row.items()} for row in app.dataframe[0].value.to_dict("records")]


def test_files_on_the_invoke_page_are_judged_anew_and_not_looked_at_again(ws: Workspace) -> None:
    """Kind: work done again. Every change of a widget sent all files through the network, most of all the limit.

    Brothers: a file that cannot be read, a file that comes later, a label that gets another name, another model.
    """
    function = labelled_function(ws, 14)
    build(ws, function.id)
    files = [(f"{label}{n}.png", make_image(500 + n, label), "image/png") for label in LABELS for n in (0, 1)]
    files.append(("broken.png", b"not an image", "image/png"))
    with passes_counted() as passed:
        app = uploader_with(ws, function.id, files)
        assert passed, "the network was never asked, so this counts nothing"
        first = shown(app)
        assert [row["Says"] for row in first[:4]] == [CANT_TELL] * 4
        passed.clear()
        app.number_input[0].set_value(100 * GENEROUS).run()
        assert not app.exception, app.exception
        second = shown(app)
        assert [row["Says"] for row in second[:4]] == ["real", "real", "synthetic", "synthetic"]
        for column in ("File", "Confidence", "real", "synthetic", "Problem"):
            assert [row[column] for row in first] == [row[column] for row in second]
        functions.rename_label(ws.db, label_ids(ws, function)["real"], "photo")
        app.run()
        assert [row["Says"] for row in shown(app)[:2]] == ["photo", "photo"]
        assert passed == []

        app.file_uploader[0].set_value([*files, ("late.png", make_image(600), "image/png")])
        app.run()
        assert [row["Says"] for row in shown(app)][-1] == "photo"


def test_labels_that_are_called_like_columns_have_columns_of_their_own(ws: Workspace) -> None:
    """Kind: a name that is put among words of ours. The scores of such labels stood in place of the files' names."""
    named = ("Confidence", "not read", "File", "Problem (2)", "Problem")
    function = empty_function(ws, "Odd", named)
    add_images(ws, function, images(6, named))
    build(ws, function.id)
    files = [(f"{n}.png", make_image(500 + n, named[n]), "image/png") for n in range(2)]
    app = uploader_with(ws, function.id, [*files, ("broken.png", b"not an image", "image/png")])
    rows = shown(app)
    assert [row["File"] for row in rows] == ["0.png", "1.png", "broken.png"]
    scores = ("Confidence (2)", "not read", "File (2)", "Problem (2)", "Problem (3)")
    for row in rows[:2]:
        assert row["Says"] == CANT_TELL
        assert row["Leaning towards"] in named
        assert float(row["Confidence"]) == max(float(row[name]) for name in scores)
    assert "damaged" in rows[2]["Problem"] or "not an image" in rows[2]["Problem"]
    assert any("**0** not read" in item.value and "**1** not read" in item.value for item in app.markdown)


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
    for words in ("1 image added to the samples, without a label.", "1 image is already among the samples."):
        next(button for button in app.button if button.label == "Add to samples").click().run()
        assert [toast.value for toast in app.toast] == [words]
    assert samples.count_samples(ws.db, function.id) == 9
