"""The server of the API's tests: these addresses are served beside it."""

from __future__ import annotations

from tests.api.conftest import caller, server, trained

__all__ = ["caller", "server", "trained"]
