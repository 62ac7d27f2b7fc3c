"""One picture's evidence is the same through every door, and what a file says changes no verdict."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from html import escape

import pytest
from PIL import Image

from detector.evidence.explain import explain
from detector.evidence.report import html_report, plain_text
from detector.imaging.provenance import read_provenance
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.storage import functions
from detector.training.thresholds import CANT_TELL, GRADES
from detector.workspace import Workspace
from pages._provenance import provenance_table
from tests.factories import labelled_function, make_image, workspace
from tests.imaging.provenance.files import (
    AI_XMP,
    COMFY_TEXT,
    MIDJOURNEY,
    PARAMETERS,
    jpeg_with,
    phone,
    png,
    user_comment,
)
from tests.imaging.provenance.signing import AI, signed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, str]]:
    ws = workspace(tmp_path_factory.mktemp("explain"))
    function = labelled_function(ws, 40)
    functions.set_false_accusation_limit(ws.db, function.id, 0.25)
    assert build(ws, function.id).trained
    yield ws, function.id
    ws.close()


def _jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(700))).convert("RGB").save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def _tampered() -> bytes:
    data = bytearray(signed(_jpeg()))
    # Within the picture's own data, at the end.
    data[-40] ^= 0x55
    return bytes(data)


def _stripped() -> bytes:
    with Image.open(io.BytesIO(signed(_jpeg()))) as picture:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=92)
    return file.getvalue()


#: What a file carries -> how the file is made, and a word that must be said of it, with the tier.
FILES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "signed": (lambda: signed(_jpeg()), "signed", "valid: the file is as it was signed"),
    "made by an AI service, signed": (
        lambda: signed(_jpeg(), program="OpenAI", source_type=AI), "signed", "made by an AI system",
    ),
    "tampered": (_tampered, "signed", "invalid"),
    "forged XMP": (lambda: jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + AI_XMP)), "stated", "AI system"),
    "ComfyUI": (lambda: png(("prompt", COMFY_TEXT)), "stated", "sd_xl_base_1.0.safetensors"),
    "AUTOMATIC1111": (lambda: png(("parameters", PARAMETERS)), "stated", "dreamshaper_8"),
    "AUTOMATIC1111 in a JPEG": (lambda: _jpeg(exif=user_comment(PARAMETERS)), "stated", "dreamshaper_8"),
    "Midjourney": (lambda: png(("Description", MIDJOURNEY)), "stated", "Job ID"),
    "a phone": (lambda: _jpeg(exif=phone()), "hint", "Fairphone"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_what_a_file_says_stands_on_the_page_in_the_json_and_in_the_report(
    ready: tuple[Workspace, str], kind: str
) -> None:
    make, tier, words = FILES[kind]
    data = make()
    ws, function_id = ready
    evidence = explain(ws, function_id, "picture", data)
    found = evidence.to_json()
    assert found["provenance"] == read_provenance(data).to_json()
    mine = [item for item in found["provenance"] if item["tier"] == tier and words in f"{item['name']} {item['value']}"]
    assert mine, found["provenance"]
    page, report = provenance_table(evidence.provenance), html_report(found)
    for item in mine:
        for text in (item["value"], item["proves"]):
            assert escape(text[:60]) in page
            assert escape(text[:60]) in report


def test_credentials_that_were_taken_away_are_not_there(ready: tuple[Workspace, str]) -> None:
    ws, function_id = ready
    found = explain(ws, function_id, "picture", _stripped()).to_json()["provenance"]
    assert not [item for item in found if item["tier"] == "signed"]


def test_a_statement_changes_nothing_of_the_verdict(ready: tuple[Workspace, str]) -> None:
    ws, function_id = ready
    plain, stating = (explain(ws, function_id, "a", data) for data in (png(), png(("parameters", PARAMETERS))))
    assert plain.verdict.scores == stating.verdict.scores
    assert (plain.grade, plain.reason) == (stating.grade, stating.reason)


@pytest.mark.usefixtures("nothing_remembered")
def test_the_verdict_is_that_of_a_plain_invoke_and_its_grade_never_above_it(ready: tuple[Workspace, str]) -> None:
    ws, function_id = ready
    for seed in range(6):
        for label in ("real", "synthetic"):
            data = make_image(900 + seed, label)
            [plain] = invoke(ws, function_id, [("a", data)])
            assert isinstance(plain, Verdict)
            found = explain(ws, function_id, "a", data)
            assert found.verdict.scores == plain.scores
            assert GRADES.index(found.grade) >= GRADES.index(plain.grade)
            assert found.stability is not None
            lowest = max((copy.grade for copy in found.stability.copies[1:]), key=GRADES.index)
            assert GRADES.index(found.grade) >= GRADES.index(lowest) or found.grade == CANT_TELL


def test_what_is_promised_follows_from_the_grade(ready: tuple[Workspace, str]) -> None:
    """Kind: "at most 25 % are wrongly given another label" also stood beside can't tell."""
    ws, function_id = ready
    for data in (make_image(900), make_image(901, "synthetic"), _jpeg()):
        found = explain(ws, function_id, "a", data).to_json()
        promise = found["model"]["promise"]
        ends = {CANT_TELL: "", "moderate": "for pictures like your samples.", "strong": "had not seen."}
        assert promise.endswith(ends[found["grade"]])
        assert bool(promise) == (found["grade"] != CANT_TELL)
        assert promise in plain_text(found)
        assert ("wrongly given" in plain_text(found)) == bool(promise)


def test_the_json_has_the_shape_that_scripts_are_promised(ready: tuple[Workspace, str]) -> None:
    ws, function_id = ready
    found = explain(ws, function_id, "a.png", make_image(3)).to_json()
    assert {"file", "sha256", "verdict", "grade", "reason", "labelConfidences", "model", "quality", "stability",
            "unlike", "nearest", "provenance", "known"} <= found.keys()  # fmt: skip
    assert {"version", "backbone"} <= found["model"].keys()
    assert {"name", "verdict"} <= found["stability"][0].keys()
    assert {"flagged", "reason"} <= found["unlike"].keys()
    assert {"sample", "label", "distance"} <= found["nearest"][0].keys()
    assert {"tier", "kind", "name", "value"} <= found["provenance"][0].keys()
    assert [item["kind"] for item in found["known"]] == ["sample"]
    assert len(found["nearest"]) == 5
