"""What a caller sends is taken or refused by PostgreSQL as by SQLite: the same tests against a server that uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api.server import SETTINGS, Caller, Server
from tests.api.test_contract import (
    test_a_page_begins_at_no_number_that_a_database_cannot_compare as test_a_page_begins_at_no_number,
)
from tests.api.test_contract import (
    test_text_that_not_every_database_holds_is_a_400_everywhere as test_text_that_cannot_be_held,
)
from tests.postgres import postgres

pytestmark = pytest.mark.slow

__all__ = ["test_a_page_begins_at_no_number", "test_text_that_cannot_be_held"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("on-postgres")
    with postgres(folder) as url:
        started = Server(folder, {**SETTINGS, "DETECTOR_DATABASE_URL": url})
        yield started
        started.stop()


@pytest.fixture(scope="module")
def caller(server: Server) -> Caller:
    return server.caller()
