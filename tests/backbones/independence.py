"""The promise that a resumed run rests on, checked the same way for every backbone."""

from __future__ import annotations

import numpy as np

from detector.backbones.network import Backbone
from tests.backbones.pictures import picture


def assert_independent_of_companions_and_position(backbone: Backbone) -> None:
    """Equal to the last bit: alone, in any place, beside any others, and over more than one batch."""
    size, batch = backbone.input_size, backbone.batch_size
    prepared = [backbone.views_of(picture(size + 17 * i, size + 5 * i, seed=i)) for i in range(batch + 3)]
    large = backbone.views_of(picture(2 * size, 3 * size, seed=99))
    together = backbone.embed([*prepared, large])
    backwards = backbone.embed([large, *prepared[::-1]])
    for index in (0, 1, batch - 1, batch + 2):
        alone = backbone.embed([prepared[index]])[0]["whole"]
        np.testing.assert_array_equal(alone, together[index]["whole"])
        np.testing.assert_array_equal(alone, backwards[len(prepared) - index]["whole"])
    for view in ("whole", "detail"):
        np.testing.assert_array_equal(together[-1][view], backwards[0][view])
        np.testing.assert_array_equal(together[-1][view], backbone.embed([large])[0][view])
        assert together[-1][view].dtype == np.float32
        assert together[-1][view].shape == (backbone.dimension,)
    assert not np.array_equal(together[0]["whole"], together[1]["whole"])
    assert "detail" not in together[0]
