"""A Dask cluster as a place for `map_batches`: a scheduler somewhere, or some processes of this machine.

Nothing that counts lies in it. It is given work that can be begun again, a bounded number of pieces at a time, without
actors and without data that is sent ahead; where it is lost, the caller hears of it at once and asks again later.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from detector.errors import ClusterUnavailable, InvalidInput, SharedWorkFailed
from detector.system.batches import Given, Result

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

log = logging.getLogger(__name__)

#: How long a scheduler may take to answer, and a cluster may be without any worker.
CONNECT_SECONDS = 5.0
WITHOUT_WORKERS_SECONDS = 30.0
#: However large the cluster: pieces that are sent and not yet done.
MOST_AHEAD = 512
_LOOK_SECONDS = 5.0
_POLL_SECONDS = 1.0

_LOCAL = re.compile(r"local:(\d{1,3})")
_local_clusters: dict[tuple[int, frozenset[tuple[str, str]]], LocalCluster] = {}
_local_lock = threading.Lock()


class DaskCluster:
    """A connection to a cluster, in a ``with`` statement; at its end, what has not begun there never does.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` of a scheduler, or ``local:N``: N processes, which stay until this one ends.
    resources : str
        What a worker must have, as ``GPU=1``; empty: every worker will do.
    environment : mapping of str to str
        Variables for the processes of ``local:N``.

    Raises
    ------
    ClusterUnavailable
        No scheduler answers there, or it has no worker.
    InvalidInput
        The address or the resources cannot be read, or Dask is not installed.
    """

    def __init__(self, address: str, resources: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._address = address
        self._resources = _parsed_resources(resources)
        distributed = _distributed()
        local = _LOCAL.fullmatch(address)
        if local is None and "://" not in address:
            raise InvalidInput(
                f"DETECTOR_DASK is {address!r}; expected tcp://HOST:PORT of a scheduler, or local:N for N processes on "
                "this machine. Correct or unset it."
            )
        try:
            where = _local_cluster(int(local[1]), environment or {}) if local else address
            self._client: Client = distributed.Client(where, timeout=CONNECT_SECONDS, set_as_default=False)
        except ValueError as error:
            raise InvalidInput(f"DETECTOR_DASK is {address!r}, which Dask does not understand: {error}.") from error
        except (OSError, ImportError) as error:
            raise ClusterUnavailable(address, "no scheduler answers there") from error
        self._closed = threading.Event()
        self._looked = self._seen = time.monotonic()
        self._threads: ThreadPoolExecutor | None = None
        try:
            self.places = self._count_places()
            if not self.places:
                self._client.wait_for_workers(1, timeout=CONNECT_SECONDS)
                self.places = self._count_places()
        except (OSError, TimeoutError):
            self.places = 0
        if not self.places:
            self.close()
            needed = f" that has {resources}" if resources else ""
            raise ClusterUnavailable(address, f"it has no worker{needed}")
        # Each waits for one piece: nothing is calculated here.
        self._threads = ThreadPoolExecutor(self.ahead, thread_name_prefix="dask")

    @property
    def ahead(self) -> int:
        """Pieces to be sent at most before the first of them is done."""
        return min(2 * self.places, MOST_AHEAD)

    def submit(self, work: Callable[[Given], Result], given: Given, /) -> Future[Result]:
        """As `Executor`: ``work`` is found by its name over there, and both ways go plain values only."""
        assert self._threads is not None
        return self._threads.submit(self._ask, work, given)

    def require_workers(self) -> None:
        """Raise ClusterUnavailable where no worker has been there for a while; asks every few seconds only."""
        moment = time.monotonic()
        if moment - self._looked < _LOOK_SECONDS:
            return
        self._looked = moment
        if self._count_places():
            self._seen = moment
        elif moment - self._seen > WITHOUT_WORKERS_SECONDS:
            raise ClusterUnavailable(self._address, "it has no worker any more")

    def close(self) -> None:
        """Let go of the cluster; its processes on this machine stay for the next work."""
        self._closed.set()
        with contextlib.suppress(Exception):
            self._client.close(timeout=CONNECT_SECONDS)
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _count_places(self) -> int:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(
            worker["nthreads"]
            for worker in workers
            if all(worker.get("resources", {}).get(name, 0) >= amount for name, amount in self._resources.items())
        )

    def _ask(self, work: Callable[[Given], Result], given: Given) -> Result:
        from distributed.scheduler import KilledWorker

        try:
            future = self._client.submit(work, given, pure=False, resources=self._resources or None)
            while True:
                try:
                    return future.result(timeout=_POLL_SECONDS)
                except TimeoutError:
                    # Of this wait: the work itself says in its result what went wrong.
                    if self._closed.is_set():
                        future.cancel()
                        raise ClusterUnavailable(self._address, "it was let go of") from None
        except ClusterUnavailable:
            raise
        except (CancelledError, OSError, RuntimeError) as error:
            raise ClusterUnavailable(self._address, "the connection to its scheduler was lost") from error
        except KilledWorker as error:
            raise SharedWorkFailed(
                "One piece of the work ended several Dask workers one after the other, so it is not tried again by "
                "itself. Their logs say more; often memory is short."
            ) from error
        except Exception as error:
            log.exception("a Dask worker could not begin its work")
            raise SharedWorkFailed(
                f"A Dask worker could not begin its work ({type(error).__name__}). Install the same version of this "
                "program on every worker; the log says more."
            ) from error


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise InvalidInput(
            'DETECTOR_DASK needs a package that is not installed. Run pip install "ai-image-detector[dask]", or unset '
            "the variable."
        ) from error
    return distributed


def _parsed_resources(text: str) -> dict[str, float]:
    found = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, amount = part.partition("=")
        try:
            found[name.strip()] = float(amount) if equals else 1.0
        except ValueError as error:
            raise InvalidInput(
                f"DETECTOR_DASK_RESOURCES is {text!r}; expected NAME=NUMBER, several separated by commas. Correct or "
                "unset it."
            ) from error
    return found


def _private_security() -> Any:
    from distributed import Security

    try:
        return Security.temporary()
    except ImportError as error:
        raise InvalidInput(
            'DETECTOR_DASK=local:N needs a package that is not installed. Run pip install "ai-image-detector[dask]", '
            "or unset the variable."
        ) from error


def _local_cluster(processes: int, environment: Mapping[str, str]) -> LocalCluster:
    """The processes of this machine, started at first use: each takes seconds to import the network's libraries."""
    from distributed import LocalCluster
    from distributed.core import Status

    # Processes keep the settings that they were started with.
    which = (processes, frozenset(environment.items()))
    with _local_lock:
        found = _local_clusters.get(which)
        if found is None or found.status != Status.running:
            if not 1 <= processes <= 8 * (os.cpu_count() or 1):
                raise InvalidInput(
                    f"DETECTOR_DASK is local:{processes}; expected from 1 to 8 processes for each core of this "
                    "machine. Correct or unset it."
                )
            found = _local_clusters[which] = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                # Whoever reaches a scheduler may run code in its processes, and other people of this machine reach
                # its ports: all that is said between them needs a certificate that lies in their memory only.
                security=_private_security(),
                protocol="tls://",
                # With None it would open a port all the same.
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
                # On the disk of the system's temporary files, not in whatever folder this was started from.
                local_directory=None,
                memory_limit=0,
                env=dict(environment),
            )
        return found
