"""The blocks of an embedding are the layers of the network that made it."""

from __future__ import annotations

import pytest

from detector.backbones.column_blocks import OFFLINE_CHANNELS, column_blocks
from detector.backbones.registry import DEFAULT_CLIP, OFFLINE, get_spec


@pytest.mark.slow
def test_the_blocks_of_the_offline_backbone_are_the_layers_of_its_network() -> None:
    import torch

    from detector.backbones.offline import STATISTICS_BLOCKS, StatisticsNetwork, load_classifier

    network = StatisticsNetwork(load_classifier(get_spec(OFFLINE)))
    with torch.inference_mode():
        maps = network.stem(torch.zeros(1, 3, 64, 64))
        channels = [maps.shape[1]]
        for index, block in enumerate([*network.exact, *network.rounded["blocks"]]):
            maps = block(maps)
            if index in STATISTICS_BLOCKS:
                channels.append(maps.shape[1])
    assert tuple(channels) == OFFLINE_CHANNELS
    blocks = column_blocks(OFFLINE, network.dimension)
    assert [stop - start for start, stop in blocks] == [width for width in channels for _ in range(2)]
    assert [start for start, _ in blocks[1:]] == [stop for _, stop in blocks[:-1]]
    assert blocks[-1][1] < network.dimension


def test_any_other_backbone_is_one_block() -> None:
    assert column_blocks(DEFAULT_CLIP, 512) == ((0, 512),)
