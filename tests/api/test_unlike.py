"""Over the API, a picture unlike the samples gets can't tell and the reason, in the fields that there are."""

from __future__ import annotations

import pytest

from detector.pipeline.build import build
from detector.training.coverage import FEWEST
from tests.api.server import Caller, Server
from tests.factories import labelled_function, make_image

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_grade_and_reason_say_that_a_picture_is_unlike_the_samples(server: Server, caller: Caller) -> None:
    function = labelled_function(server.workspace, FEWEST, "Covered")
    assert build(server.workspace, function.id).trained
    path = f"/v1/functions/{function.id}"
    said = "Your samples are all 80 px (shorter side); this is 240 px. "
    alone = caller.post(f"{path}/invoke", files={"data": ("large.png", make_image(77, size=240))}).json()
    assert (alone["verdict"], alone["grade"]) == ("can't tell", "can't tell")
    assert alone["reason"].startswith(said)
    assert alone["verdictReason"] == alone["reason"]
    files = [("data", (f"{size}.png", make_image(78, size=size))) for size in (240, 80)]
    large, similar = caller.post(f"{path}/invoke/batch", files=files).json()
    assert large["reason"].startswith(said)
    assert "Your samples" not in similar["reason"]
