"""From files to answers: a picture unlike the samples gets can't tell and the reason, or moderate where so chosen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.evaluation.measure import measure
from detector.imaging import ImageLimits, decode_image
from detector.imaging.degraded_copies import degraded_copy
from detector.imaging.file_look import FileLook, file_look
from detector.operations.labels import delete_label
from detector.operations.normalisation import normalise_and_retrain
from detector.operations.unlike_pictures import set_judge_unlike
from detector.pipeline.build import build
from detector.serving.coverage import coverage_of, find_coverage, look_of_copy
from detector.serving.invoke import COMPARED_ALL_THE_SAME, NOT_COMPARED, Verdict, invoke, rejudge
from detector.serving.likeness import LIKENESS
from detector.serving.model import load_serving_model
from detector.storage import functions, models
from detector.storage.functions import Function
from detector.storage.models import ModelRow
from detector.training.coverage import QUALITY, RESCALING, SIZE
from detector.training.thresholds import CANT_TELL, MODERATE, STRONG
from detector.workspace import Workspace
from tests.command_line import run_here
from tests.factories import (
    LABELS,
    add_images,
    add_images_of_sources,
    empty_function,
    make_image,
    png,
    try_unseen,
    workspace,
)

pytestmark = pytest.mark.slow

LIMIT = 0.2
EACH = 22
#: Sizes that samples have in the functions below, 80 px, with the tolerance: up to 100.
LARGE = 240


@dataclass(frozen=True)
class Made:
    ws: Workspace
    function: Function

    @property
    def live(self) -> ModelRow:
        live = functions.get_function(self.ws.db, self.function.id).live_model_id
        assert live is not None
        return models.get_model(self.ws.db, live)

    def ask(self, *files: bytes) -> list[Verdict]:
        found = invoke(self.ws, self.function.id, [(f"{n}.png", data) for n, data in enumerate(files)])
        assert all(isinstance(item, Verdict) for item in found)
        return [item for item in found if isinstance(item, Verdict)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """A trained function, strong where it may be; all samples are PNG files of 80 px."""
    ws = workspace(tmp_path_factory.mktemp("coverage"))
    function = empty_function(ws, "Covered")
    add_images_of_sources(ws, function, EACH, [f"{{label}} {number}" for number in range(3)])
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    assert build(ws, function.id).trained
    try_unseen(ws, function)
    yield Made(ws, function)
    ws.close()


def similar(n: int = 12) -> list[bytes]:
    return [make_image(900 + number, LABELS[number % 2]) for number in range(n)]


def large(n: int = 12) -> list[bytes]:
    """The same pictures, three times as large pixel by pixel, so that the scores are nearly the same."""
    found = []
    for data in similar(n):
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).resize((LARGE, LARGE), Image.Resampling.NEAREST).save(file, "PNG")
        found.append(file.getvalue())
    return found


def facts_of_file(item: Verdict) -> list[str]:
    """What of its file is unlike the samples'; whether the picture is, is asked in ``test_likeness``."""
    return [miss.fact for miss in item.unlike if miss.fact != LIKENESS]


def test_a_picture_like_the_samples_is_judged_as_before(made: Made) -> None:
    found = made.ask(*similar())
    assert STRONG in {item.grade for item in found}
    assert all(item.unlike == () for item in found)
    assert all("Your samples" not in item.reason for item in found)


@pytest.mark.parametrize("n", [1, 12])
def test_one_of_another_size_gets_cant_tell_and_the_reason_comes_first(made: Made, n: int) -> None:
    """One image and several take different roads through the decoder."""
    for item in made.ask(*large(n)):
        assert (item.verdict, item.grade) == (CANT_TELL, CANT_TELL)
        assert item.reason.startswith(f"Your samples are all 80 px (shorter side); this is {LARGE} px. ")
        assert item.reason.endswith(NOT_COMPARED)
        assert facts_of_file(item) == [SIZE]


def test_the_switch_lifts_it_to_moderate_and_no_further(made: Made) -> None:
    set_judge_unlike(made.ws, made.function.id, True)
    try:
        files = large()
        found = made.ask(*files)
        [thresholds] = [load_serving_model(made.ws, made.function.id).thresholds]
        assert thresholds is not None
        assert thresholds.unseen is not None
        # At least one would be strong by its score alone.
        assert any(item.confidence > thresholds.unseen.above[item.label] for item in found)
        assert {item.grade for item in found} <= {MODERATE, CANT_TELL}
        sure = [item for item in found if item.sure]
        assert sure
        for item in sure:
            assert item.verdict == item.label
            assert item.reason.startswith(f"Your samples are all 80 px (shorter side); this is {LARGE} px. ")
            assert item.reason.endswith(COMPARED_ALL_THE_SAME)
    finally:
        set_judge_unlike(made.ws, made.function.id, False)


def test_answers_that_are_shown_follow_the_switch_without_another_look(made: Made) -> None:
    before = made.ask(*large())
    set_judge_unlike(made.ws, made.function.id, True)
    try:
        after = rejudge(made.ws, made.function.id, before)
    finally:
        set_judge_unlike(made.ws, made.function.id, False)
    assert after is not None
    assert {item.grade for item in after if isinstance(item, Verdict)} >= {MODERATE}
    assert rejudge(made.ws, made.function.id, after) == before


def test_another_kind_of_file_is_named(made: Made) -> None:
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(900))).save(file, "JPEG", quality=90)
    [found] = made.ask(file.getvalue())
    assert found.grade == CANT_TELL
    assert facts_of_file(found) == [QUALITY]
    assert found.reason.startswith("Your samples were all saved without loss, such as PNG; this is a JPEG.")


def test_a_model_from_before_finds_out_at_its_first_answer_and_keeps_it(made: Made) -> None:
    known = made.live.coverage
    assert known is not None
    models.set_coverage(made.ws.db, made.live.id, None)
    assert made.live.coverage is None
    [found] = made.ask(*large(1))
    assert found.grade == CANT_TELL
    assert made.live.coverage == known


def test_a_model_whose_scores_cannot_be_read_holds_nothing_back(made: Made) -> None:
    path = f"models/{made.live.id}.out-of-fold.safetensors"
    data = made.ws.blobs.get(path)
    known = made.live.coverage
    models.set_coverage(made.ws.db, made.live.id, None)
    made.ws.blobs.put(path, data[:50])
    try:
        assert coverage_of(made.ws, made.live) is None
        assert made.live.coverage is None
    finally:
        made.ws.blobs.put(path, data)
        models.set_coverage(made.ws.db, made.live.id, known)


def test_degraded_copies_widen_it_and_what_clients_send_is_covered_with_them(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, "Photographs")
    wide = []
    for label in LABELS:
        for n in range(EACH):
            file = io.BytesIO()
            Image.open(io.BytesIO(make_image(n, label))).resize((3200, 160), Image.Resampling.NEAREST).save(file, "PNG")
            wide.append((f"{label}{n}.png", file.getvalue(), label))
    add_images(ws, function, wide)
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    build(ws, function.id)
    names = {label.id: label.name for label in functions.list_labels(ws.db, function.id)}
    photographs = Made(ws, function)
    # Such a panorama comes from a client as 1,024 x 51 pixels.
    client = FileLook(51, 95)
    alone = find_coverage(ws, photographs.live)
    assert alone is not None
    assert [miss.fact for miss in alone.misses(client, names)] == [SIZE, QUALITY]
    live = photographs.live
    hardened = find_coverage(ws, replace(live, hyperparameters={**live.hyperparameters, "copies": 2}))
    assert hardened is not None
    assert hardened.misses(client, names) == []
    # Only what clients send, not whatever is small.
    assert [miss.fact for miss in hardened.misses(replace(client, side=30), names)] == [SIZE]
    ws.close()


def test_a_copy_looks_as_it_is_said_to_without_being_opened() -> None:
    limits = ImageLimits(10_000_000, 10_000_000)
    file = io.BytesIO()
    Image.open(io.BytesIO(make_image(1))).convert("RGB").resize((131, 96)).save(file, "JPEG", quality=92)
    original = decode_image(file.getvalue(), "original.jpg", limits)
    for n in range(60):
        image_hash = f"{n:064x}"
        said = look_of_copy(asdict(original.facts), image_hash, n % 4)
        copy = decode_image(degraded_copy(original.pixels, image_hash, n % 4), "copy", limits)
        found = file_look(asdict(copy.facts))
        assert said.side == found.side
        if copy.facts.format == "JPEG":
            assert said.quality == found.quality
        elif copy.facts.format == "WEBP":
            assert said.quality is None
        else:
            # Its own file keeps every pixel, but the traces of the last compression with them.
            assert not said.lossless


def test_a_function_with_too_few_samples_says_nothing_of_files(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, "Few")
    add_images_of_sources(ws, function, 15, ["one"])
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    build(ws, function.id)
    assert all(item.unlike == () for item in Made(ws, function).ask(*large()))
    ran = run_here(ws.settings.data_dir, "coverage", "Few")
    assert ran.out.strip() == "Too few samples to say which pictures compare with them, so none is held back."
    ws.close()


def test_of_three_labels_one_that_is_deleted_is_not_asked_any_more(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    names = (*LABELS, "drawing")
    function = empty_function(ws, "Three", names)
    add_images(
        ws,
        function,
        [
            (f"{label}{n}.png", make_image(n, label, LARGE if label == "drawing" else 80), label)
            for label in names
            for n in range(EACH)
        ],
    )
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    build(ws, function.id)
    three = Made(ws, function)
    [found] = three.ask(similar(1)[0])
    assert found.reason.startswith(f"Your samples labelled drawing are all {LARGE} px (shorter side); this is 80 px.")
    [gone] = [label for label in functions.list_labels(ws.db, function.id) if label.name == "drawing"]
    delete_label(ws, gone)
    [found] = three.ask(similar(1)[0])
    assert found.unlike == ()
    ws.close()


def test_samples_of_mixed_sizes_cover_all_that_both_labels_have(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, "Mixed")
    add_images(
        ws,
        function,
        [
            (f"{label}{n}.png", make_image(n, label, (80, 160, LARGE)[n % 3]), label)
            for label in LABELS
            for n in range(30)
        ],
    )
    functions.set_false_accusation_limit(ws.db, function.id, 0.3)
    build(ws, function.id)
    assert not any(facts_of_file(item) for item in Made(ws, function).ask(*large(), *similar()))
    ws.close()


def test_a_function_that_normalises_judges_every_size_that_fills_its_square(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    function = empty_function(ws, "Normalised")
    add_images_of_sources(ws, function, EACH, ["one"])
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    normalise_and_retrain(ws, function.id)
    build(ws, function.id)
    normal = Made(ws, function)
    assert normal.live.normalise is not None
    assert all(item.unlike == () for item in normal.ask(*large(), *similar()))
    [small] = normal.ask(make_image(901, size=24))
    assert facts_of_file(small) == [SIZE]
    ws.close()


def test_the_command_line_says_it_with_each_file_and_sets_the_switch(made: Made, tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(large(1)[0])
    data = made.ws.settings.data_dir
    ran = run_here(data, "invoke", "Covered", tmp_path / "large.png")
    assert ran.json["grade"] == CANT_TELL
    assert ran.json["reason"].startswith("Your samples are all 80 px (shorter side); this is 240 px.")
    assert "1 file unlike the samples" in ran.err
    told = run_here(data, "coverage", "Covered")
    assert "real: shorter side all 80 px" in told.out
    assert "Add photographs larger than 80 px with both labels." in told.out
    assert "answered with can't tell" in told.err
    try:
        switched = run_here(data, "coverage", "Covered", "--judge-unlike", "on", "--json")
        assert switched.json["judgeUnlike"] is True
        assert switched.json["covered"]["size"] == [64.0, 100.0]
        ran = run_here(data, "invoke", "Covered", tmp_path / "large.png")
        assert ran.json["grade"] == MODERATE
    finally:
        run_here(data, "coverage", "Covered", "--judge-unlike", "off")
    assert functions.get_function(made.ws.db, made.function.id).judge_unlike is False


def test_measure_takes_the_same_road_and_counts_what_is_unlike(made: Made, tmp_path: Path) -> None:
    for number, data in enumerate(large(4)):
        path = tmp_path / LABELS[number % 2] / "elsewhere" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    found = measure(made.ws, made.function.id, tmp_path)
    for row in found.sources:
        assert row.verdicts == {(CANT_TELL, CANT_TELL): 2}
        assert row.unlike == {SIZE: 2}
        assert row.reason.startswith("Your samples are all 80 px")
    ran = run_here(made.ws.settings.data_dir, "measure", "Covered", tmp_path)
    assert "unlike the samples 2 of 2, such as: Your samples are all 80 px (shorter side); this is 240 px." in ran.out


def test_an_audit_looks_at_the_pictures_and_an_enlarged_one_is_named_then(tmp_path: Path) -> None:
    from detector.evaluation.audit_data import load_audit_data
    from detector.evaluation.coverage import measure_coverage
    from detector.evaluation.examination import Examination

    ws = workspace(tmp_path)
    function = empty_function(ws, "Sharp")
    sharp = [(f"{label}{n}.png", made_detail(n, label), label) for label in LABELS for n in range(EACH)]
    add_images(ws, function, sharp)
    functions.set_false_accusation_limit(ws.db, function.id, LIMIT)
    build(ws, function.id)
    looked = Made(ws, function)
    file = io.BytesIO()
    small = Image.open(io.BytesIO(made_detail(99, "real"))).resize((64, 64), Image.Resampling.LANCZOS)
    small.resize((160, 160), Image.Resampling.BICUBIC).save(file, "PNG")
    assert looked.ask(file.getvalue())[0].unlike == ()
    found = measure_coverage(Examination(ws, load_audit_data(ws, function.id)))
    assert found is not None
    assert looked.live.coverage == found.to_json()
    for answers in (looked.ask(file.getvalue()), looked.ask(file.getvalue(), made_detail(98, "real"))):
        assert facts_of_file(answers[0]) == [RESCALING]
        assert answers[0].reason.startswith("Your samples look not enlarged; this looks enlarged 2.0 times.")
    assert looked.ask(made_detail(98, "real"))[0].unlike == ()
    ws.close()


def made_detail(seed: int, label: str) -> bytes:
    """A PNG with detail of every fineness, 160 px; "synthetic" ones carry stripes."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    frequency = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.rfftfreq(160)[None, :])
    frequency[0, 0] = 1
    pixels = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((160, 160))) / frequency, (160, 160))
    pixels = 128 + 40 * pixels / pixels.std()
    if label == "synthetic":
        pixels = pixels + 24 * (np.arange(160) % 4 < 2)[None, :]
    return png(np.repeat(pixels[:, :, None], 3, axis=2))
