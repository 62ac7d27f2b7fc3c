"""Tests of what a network calculates: all of it is calculated, for the fixtures of a file as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.remembered import embeddings_calculated


@pytest.fixture(autouse=True, scope="module")
def _calculated() -> Iterator[None]:
    with embeddings_calculated():
        yield
