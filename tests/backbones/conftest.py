"""Tests of what a network calculates: all of it is calculated."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _calculated(nothing_remembered: None) -> None:
    """For the fixtures of a file, too."""
