"""Processes of this machine as a Dask cluster: nobody else of the machine may send them work; and all workers count."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.system.dask_cluster import DaskCluster
from tests.cluster.dask_processes import DaskProcesses
from tests.command_line import environment

pytest.importorskip("distributed", reason="distributed is not installed; it is in requirements-dev.txt")

from distributed import Client, LocalCluster, Security

pytestmark = pytest.mark.cluster


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[DaskProcesses]:
    processes = DaskProcesses(tmp_path / "dask", environment(tmp_path / "shared"))
    yield processes
    processes.stop()


def test_whoever_reaches_the_port_without_the_certificate_cannot_send_work() -> None:
    """The kind: any user of the machine could run code as whoever had set DETECTOR_DASK=local:N."""
    with DaskCluster("local:1") as cluster:
        place = cluster._client.cluster
        assert isinstance(place, LocalCluster)
        scheduler = place.scheduler_address
        addresses = [scheduler, *(worker.worker_address for worker in place.workers.values())]
        assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
        for address, security in (
            (scheduler.replace("tls://", "tcp://"), None),
            # Somebody else's, made in the same way.
            (scheduler, Security.temporary()),
        ):
            with pytest.raises(OSError):
                Client(address, security=security, timeout=3, set_as_default=False)
        assert cluster.submit(len, [1, 2, 3]).result(timeout=60) == 3


def test_more_than_five_workers_count(tmp_path: Path, dask: DaskProcesses) -> None:
    """Some versions of Dask show the first five unless they are asked for all."""
    dask.start_scheduler()
    dask.start_workers(6)
    with DaskCluster(dask.address) as cluster:
        cluster._client.wait_for_workers(6, timeout=60)
        assert cluster._count_places() == 6
