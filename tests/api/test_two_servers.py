"""Two servers with their workers on one PostgreSQL database, and twenty clients that write to both."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.databases import postgresql_url
from tests.many_clients import assert_all_there_once, assert_no_two_at_once, two_servers, write_together

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]

#: The benchmark of the same does it for five minutes.
SECONDS = 12


def test_twenty_clients_that_write_to_two_servers_lose_nothing_and_get_nothing_twice(tmp_path: Path) -> None:
    with two_servers(tmp_path, postgresql_url(tmp_path)) as servers:
        paths, said = write_together(servers, SECONDS)
        ws = servers[0].workspace
        assert_all_there_once(ws, paths, said)
        assert_no_two_at_once(ws)
        print(sum((one.answers for one in said), Counter[tuple[str, int]]()))
