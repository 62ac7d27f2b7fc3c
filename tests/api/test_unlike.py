"""Over the API, a picture unlike the samples gets can't tell and the reason, in the fields that there are."""

from __future__ import annotations

import pytest

from detector.training.coverage import FEWEST
from tests.api.server import Caller
from tests.factories import LABELS, make_image

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_grade_and_reason_say_that_a_picture_is_unlike_the_samples(caller: Caller) -> None:
    path = caller.create_function("Covered")
    for label in LABELS:
        for seed in range(FEWEST):
            assert caller.post_image(path, make_image(seed, label), label).status_code == 200
    caller.wait_until_trained(path)
    said = "Your samples are all 80 px (shorter side); this is 240 px. "
    alone = caller.post(f"{path}/invoke", files={"data": ("large.png", make_image(77, size=240))}).json()
    assert (alone["verdict"], alone["grade"]) == ("can't tell", "can't tell")
    assert alone["reason"].startswith(said)
    assert alone["verdictReason"] == alone["reason"]
    files = [("data", (f"{size}.png", make_image(78, size=size))) for size in (240, 80)]
    large, similar = caller.post(f"{path}/invoke/batch", files=files).json()
    assert large["reason"].startswith(said)
    assert "Your samples" not in similar["reason"]
