"""``measure``: a function on a test set of somebody's own; counts by hand, nothing stored, bad folders in sentences."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from detector.evaluation.measure import FEWEST_FOR_ONE_PERCENT, measure
from detector.pipeline.build import build
from detector.serving.invoke import Verdict, invoke
from detector.storage import functions
from detector.storage.functions import Function
from detector.training.thresholds import CANT_TELL, MODERATE
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.factories import labelled_function, make_image, workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Function]]:
    ws = workspace(tmp_path_factory.mktemp("measure"))
    function = labelled_function(ws, 12, "Measured")
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    assert build(ws, function.id).trained
    yield ws, function
    ws.close()


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def test_figures_are_those_of_a_count_by_hand(trained: tuple[Workspace, Function], tmp_path: Path) -> None:
    ws, function = trained
    # One folder is called in another spelling; one holds images of the other label, which are wrong by their folder.
    files = {f"REAL/camera/{n}.png": make_image(700 + n) for n in range(5)}
    files |= {f"synthetic/generator a/{n}.png": make_image(800 + n, "synthetic") for n in range(4)}
    files |= {f"synthetic/mixed up/{n}.png": make_image(900 + n) for n in range(3)}
    files |= {f"synthetic/{n}.png": make_image(950 + n, "synthetic") for n in range(2)}
    found = measure(ws, function.id, folder_of(tmp_path, files))
    answers = dict(zip(files, invoke(ws, function.id, [(name, data) for name, data in files.items()]), strict=True))
    assert [(row.label, row.source, row.n) for row in found.sources] == [
        ("real", "camera", 5),
        ("synthetic", "", 2),
        ("synthetic", "generator a", 4),
        ("synthetic", "mixed up", 3),
    ]
    for row in found.sources:
        start = f"{'REAL' if row.label == 'real' else row.label}/{row.source}{'/' if row.source else ''}"
        mine = [
            answer
            for name, answer in answers.items()
            if name.startswith(start) and name.count("/") == start.count("/") and isinstance(answer, Verdict)
        ]
        assert len(mine) == row.n
        assert row.right == sum(answer.label == row.label for answer in mine)
        for (verdict, grade), n in row.verdicts.items():
            assert n == sum((answer.verdict, answer.grade) == (verdict, grade) for answer in mine)
        assert sum(row.verdicts.values()) == row.n
    assert [(row.label, row.source, row.n) for row in found.labels] == [("real", None, 5), ("synthetic", None, 9)]
    assert found.labels[1].right == sum(row.right for row in found.sources if row.label == "synthetic")
    confidence = {
        name: next(score.confidence for score in answer.scores if score.label == "synthetic")
        for name, answer in answers.items()
        if isinstance(answer, Verdict)
    }
    pairs = [
        confidence[ai] > confidence[photo] for ai in files if ai.startswith("syn") for photo in files if photo[0] == "R"
    ]
    assert found.auc["synthetic"] == pytest.approx(sum(pairs) / len(pairs))
    assert found.auc["real"] == pytest.approx(found.auc["synthetic"])
    assert found.caught == {}
    wrong = next(row for row in found.sources if row.source == "mixed up")
    assert wrong.said_wrongly(MODERATE) == wrong.verdicts.get(("real", MODERATE), 0)
    assert found.false_accusation_limit == 0.3


def test_what_one_percent_catches_is_said_only_with_enough_images() -> None:
    from detector.evaluation.measure import _ranked
    from detector.serving.invoke import Score

    def answer(synthetic: float) -> Verdict:
        scores = (Score("synthetic", "s", synthetic), Score("real", "r", 1 - synthetic))
        return Verdict("x", scores, "m", 1, 0.0, CANT_TELL)

    real = [answer(n / 1000) for n in range(FEWEST_FOR_ONE_PERCENT)]
    _, caught = _ranked({"real": real, "synthetic": [answer(0.2955), answer(0.2965), answer(0.9)]})
    # Three of the 300 lie beyond 0.296.
    assert caught == {"synthetic": pytest.approx(2 / 3)}
    _, caught = _ranked({"real": real[1:], "synthetic": [answer(0.9)]})
    assert caught == {}


def test_nothing_is_stored_and_what_cannot_be_read_is_said(trained: tuple[Workspace, Function], tmp_path: Path) -> None:
    ws, _ = trained
    folder = folder_of(
        tmp_path / "set",
        {
            "real/a/1.png": make_image(701),
            "real/a/broken.png": b"no image",
            "synthetic/b/1.png": make_image(1, "synthetic"),
        },
    )

    def everything() -> list[tuple[str, int]]:
        with ws.db.read() as connection:
            names = connection.scalars(text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")).all()
            return [(name, connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0) for name in names]

    before, blobs = everything(), sorted((ws.settings.data_dir / "blobs").rglob("*"))
    ran = run_here(ws.settings.data_dir, "measure", "Measured", folder, "--json")
    assert ran.code == 1
    assert [row["n"] for row in ran.json["sources"]] == [1, 1]
    assert ran.json["falseAccusationLimit"] == 0.3
    assert [item["file"] for item in ran.json["notRead"]] == ["real/a/broken.png"]
    assert "broken.png" in ran.err
    assert everything() == before
    assert sorted((ws.settings.data_dir / "blobs").rglob("*")) == blobs
    shutil.rmtree(folder / "real" / "a")
    folder_of(folder, {"real/a/1.png": make_image(701)})
    told = run_here(ws.settings.data_dir, "measure", "Measured", folder)
    assert told.code == 0
    assert "real/a: 1 of 1 right" in told.out
    assert "all synthetic: 1 of 1" in told.out


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "found none"),
        ({"loose.png": b"x"}, "found loose.png"),
        ({"photos/1.png": b"x", "real/1.png": b"x"}, "found photos"),
    ],
)
def test_a_folder_that_is_laid_out_otherwise_is_a_sentence(
    trained: tuple[Workspace, Function], tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    ws, _ = trained
    folder = folder_of(tmp_path / "set", files)
    folder.mkdir(exist_ok=True)
    ran = run_here(ws.settings.data_dir, "measure", "Measured", folder)
    assert ran.code == 1
    assert "Expected folders called like the labels (real, synthetic)" in ran.err
    assert said in ran.err
    missing = run_here(ws.settings.data_dir, "measure", "Measured", tmp_path / "nowhere")
    assert missing.code == 1
    assert "is no folder" in missing.err
