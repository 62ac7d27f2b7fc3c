from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from detector.evaluation.results import StressScore
from detector.evidence.quality import BLURRED_BELOW, Quality, audit_says, quality_of, sharpness
from detector.imaging import decode_image
from detector.imaging.decode import ImageLimits
from detector.imaging.file_look import file_look
from tests.benchmarks.photographs import photographs
from tests.shared_data import require

LIMITS = ImageLimits(10_000_000, 10_000_000)
LABELS = {"a": "real", "b": "synthetic"}


def test_quality_is_that_of_the_file_and_of_its_pixels() -> None:
    [data] = photographs(1, side=300)
    found = quality_of(decode_image(data, "photo.jpg", LIMITS))
    assert (found.format, found.width, found.height, found.side) == ("JPEG", 300, 300, 300)
    assert (found.jpeg_quality, found.lossless) == (90, False)
    assert found.sentence.startswith("JPEG, quality about 90, 300 x 300 pixels.")
    told = found.to_json()
    assert (told["jpegQuality"], told["side"], told["blurred"]) == (90, 300, found.blurred)
    flat = quality_of(decode_image(_png(Image.new("RGB", (90, 60))), "flat.png", LIMITS))
    assert (flat.jpeg_quality, flat.lossless, flat.rescaling, flat.sharpness) == (None, True, None, None)
    assert flat.sentence == "PNG, saved without loss, 90 x 60 pixels."
    assert flat.to_json()["sharpness"] is None


def test_what_was_looked_at_already_is_not_looked_at_again() -> None:
    decoded = decode_image(photographs(1)[0], "photo.jpg", LIMITS)
    assert quality_of(decoded, file_look(decoded.facts.to_json(), 7.0)).rescaling == 7.0
    assert quality_of(decoded, file_look(decoded.facts.to_json())) == quality_of(decoded)


def test_sharpness_is_the_published_blur_effect() -> None:
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    picture = blobs.resize((120, 80), Image.Resampling.BICUBIC)
    grey = np.asarray(picture.convert("L"), dtype=float)
    by_hand = []
    for rows in (grey, grey.T):
        before, lost = 0.0, 0.0
        for line in rows:
            blurred = np.convolve(line, np.ones(9) / 9, "valid")
            inner = line[4 : 4 + len(blurred)]
            d, b = np.abs(np.diff(inner)), np.abs(np.diff(blurred))
            before, lost = before + d.sum(), lost + np.maximum(d - b, 0).sum()
        by_hand.append(lost / before)
    assert sharpness(picture) == pytest.approx(min(by_hand), abs=0.01)


def test_a_picture_blurred_in_one_direction_is_not_sharp() -> None:
    [data] = photographs(1)
    sharp = Image.open(io.BytesIO(data)).convert("RGB")
    moved = np.mean([np.roll(np.asarray(sharp), step, axis=1) for step in range(12)], axis=0)
    found = [sharpness(picture) for picture in (sharp, Image.fromarray(moved.astype(np.uint8)))]
    assert found[0] is not None
    assert found[1] is not None
    assert found[1] < found[0] - 0.2


@pytest.mark.slow
def test_the_cut_finds_a_blur_of_two_pixels_and_leaves_pictures_as_they_are() -> None:
    files = sorted(require("mixed2000").rglob("*.jpg"))[::20]
    pictures = [Image.open(path).convert("RGB") for path in files]
    as_they_are = [sharpness(picture) for picture in pictures]
    blurred = [sharpness(picture.filter(ImageFilter.GaussianBlur(2))) for picture in pictures]
    assert np.mean([each is not None and each < BLURRED_BELOW for each in as_they_are]) <= 0.05
    assert np.mean([each is not None and each < BLURRED_BELOW for each in blurred]) >= 0.95


def test_the_audits_figure_for_such_files_is_said_with_counts_of_each_label() -> None:
    stress = [
        _score("jpeg-95", {"a": (200, 196), "b": (200, 190)}),
        _score("jpeg-40", {"a": (200, 190), "b": (100, 69)}),
        _score("blur-2", {"a": (200, 150), "b": (200, 100)}),
        _score("messenger", {"a": (200, 180), "b": (200, 170)}),
    ]
    assert audit_says(stress, _quality(jpeg_quality=45), LABELS) == [
        "On copies saved as JPEG 40 this model called 10 of 200 real images synthetic and 31 of 100 synthetic images "
        "real."
    ]
    [middle] = audit_says(stress, _quality(jpeg_quality=75), LABELS)
    assert middle.startswith("On copies sent by messenger (JPEG 70, 1,280 pixels at most)")
    assert "JPEG 95" in audit_says(stress, _quality(jpeg_quality=92), LABELS)[0]
    both = audit_says(stress, _quality(jpeg_quality=92, sharpness=0.3), LABELS)
    assert both[1].startswith("On copies blurred by 2 pixels this model called 50 of 200 real images synthetic")
    assert audit_says(stress, _quality(format="PNG", lossless=True), LABELS) == []
    assert audit_says([], _quality(jpeg_quality=40), LABELS) == []


def test_of_a_score_stored_without_counts_the_figure_over_all_labels_is_said() -> None:
    assert audit_says([_score("jpeg-50", {})], _quality(jpeg_quality=45), LABELS) == [
        "On copies saved as JPEG 50 this model was wrong about 40 of 400 images."
    ]


def test_with_three_labels_the_wrong_ones_are_called_something_else() -> None:
    score = _score("webp-60", {"a": (10, 9), "b": (10, 8), "c": (10, 10), "gone": (10, 1)})
    assert audit_says([score], _quality(format="WEBP"), LABELS | {"c": "drawing"}) == [
        "On copies saved as WebP 60 this model called 1 of 10 real images something else, 2 of 10 synthetic images "
        "something else and 0 of 10 drawing images something else."
    ]


def _score(name: str, by_label: dict[str, tuple[int, int]]) -> StressScore:
    return StressScore(name, 400, 2000, 0.9, (0.87, 0.93), 0.95, 0.1, by_label)


def _quality(**facts: object) -> Quality:
    usual = {"format": "JPEG", "width": 800, "height": 600, "jpeg_quality": None, "lossless": False}
    return Quality(**(usual | {"rescaling": 1.0, "sharpness": 0.8} | facts))  # type: ignore[arg-type]


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
