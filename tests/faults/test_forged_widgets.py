"""The real server and a browser that lies: values that no page offers change nothing and show nothing of the inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import requests
from sqlalchemy import select

from detector.pipeline.build import build
from detector.storage.functions import Function, find_function, get_function
from detector.storage.samples import find_samples
from detector.storage.schema import metadata
from detector.workspace import Workspace
from tests.api.server import SETTINGS, Server
from tests.factories import LABELS, add_images, empty_function, images, label_ids, make_image
from tests.faults.forger import FITTING, Forger, forgeries

pytestmark = [pytest.mark.slow, pytest.mark.faults]

PAGES = ("", "review", "metrics", "import", "invoke", "api")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # No worker: whatever changes in the tables comes from the page.
    running = Server(tmp_path_factory.mktemp("forged"), {**SETTINGS, "DETECTOR_WORKER": "none"})
    yield running
    running.stop()


@pytest.fixture(scope="module")
def function(server: Server) -> Function:
    ws = server.workspace
    made = empty_function(ws)
    add_images(ws, made, images(8))
    add_images(ws, made, [(f"unlabelled-{seed}.png", make_image(500 + seed, LABELS[0]), None) for seed in range(3)])
    build(ws, made.id)
    other = empty_function(ws, "Another")
    add_images(ws, other, images(2))
    return made


def stored(ws: Workspace) -> dict[str, str]:
    """A checksum of the rows of each table."""
    with ws.db.read() as connection:
        return {
            table.name: hashlib.sha256(
                repr(sorted(map(repr, connection.execute(select(table)).all()))).encode()
            ).hexdigest()
            for table in metadata.sorted_tables
        }


def files(ws: Workspace) -> list[tuple[str, int]]:
    """Whatever lies in the data folder, but for the database's own files and those of the running process."""
    folder = ws.settings.data_dir
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("detector.sqlite") and "blobs" in path.parts
    )


def assert_nothing_of_the_inside(visitor: Forger, server: Server, what: str) -> None:
    said = "\n".join(str(element) for element in visitor.elements)
    for secret in (
        "Traceback",
        "stack_trace",
        "site-packages",
        ".py",
        str(server.workspace.settings.data_dir),
        server.key.secret,
    ):
        assert secret not in said, what


@pytest.mark.parametrize("page", PAGES)
def test_values_that_no_page_offers_change_nothing_and_show_nothing_of_the_inside(
    server: Server, function: Function, page: str
) -> None:
    """All widgets of a page at once, then each alone: where one is refused those behind it are not reached.

    Streamlit refuses values of another type than a widget's with a sentence that names nothing: the liar may get it.
    """
    ws = server.workspace
    visitor = Forger(server.address, page, query=f"function={function.id}")
    before, lying = stored(ws), files(ws)
    assert visitor.widgets
    for name, change in forgeries():
        visitor.forge(change, [])
        every = list(visitor.widgets)
        visitor.forge(change, every)
        assert_nothing_of_the_inside(visitor, server, name)
        assert stored(ws) == before, name
    visitor.run()
    for widget_id, kind in visitor.widgets.items():
        for name, change in forgeries():
            if name.split()[0] in FITTING.get(kind, ()):
                visitor.forge(change, [widget_id])
                assert_nothing_of_the_inside(visitor, server, f"{name} for {kind} {widget_id}")
                assert stored(ws) == before, f"{name} for {kind} {widget_id}"
    assert files(ws) == lying
    visitor.close()
    _unharmed(server, function)


def _unharmed(server: Server, function: Function) -> None:
    """The server answers, and the next visitor gets the page."""
    assert requests.get(f"{server.address}/_stcore/health", timeout=120).status_code == 200
    fresh = Forger(server.address, "review", query=f"function={function.id}")
    assert fresh.titles
    assert not fresh.exceptions
    fresh.close()


def test_a_value_that_the_page_does_offer_is_stored(server: Server, function: Function) -> None:
    """What the other tests of this file rest on: the server takes states that are sent this way."""
    visitor = Forger(server.address, "invoke", query=f"function={function.id}")
    [widget_id] = [widget_id for widget_id in visitor.widgets if f"limit-{function.id}" in widget_id]
    visitor.forge(lambda state: setattr(state, "double_value", 7.5), [widget_id])
    assert get_function(server.workspace.db, function.id).false_accusation_limit == pytest.approx(0.075)
    visitor.close()


def test_ids_of_other_pages_sessions_and_functions_are_no_widgets_here(server: Server, function: Function) -> None:
    """Ids that a page of another function has, that Streamlit makes itself, or that nobody has."""
    ws = server.workspace
    other = Forger(server.address, "metrics", query=f"function={function.id}")
    foreign = list(other.widgets)
    visitor = Forger(server.address, "review", query=f"function={function.id}")
    before = stored(ws)
    for name, change in forgeries()[::4]:
        visitor.forge(change, [*foreign, "$$ID-0-None", "$$ID-forged-signed-in", "signed-in", "", "x" * 10_000])
        assert_nothing_of_the_inside(visitor, server, name)
    assert stored(ws) == before
    visitor.close()
    other.close()
    _unharmed(server, function)


@pytest.mark.parametrize(
    "message",
    [b"", b"\0", b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", bytes(range(256)) * 40, b"{}"],
    ids=["empty", "zero", "ones", "a length that lies", "all bytes", "JSON"],
)
def test_messages_that_are_none_end_nothing_but_themselves(server: Server, function: Function, message: bytes) -> None:
    ws = server.workspace
    before = stored(ws)
    visitor = Forger(server.address, "review", query=f"function={function.id}")
    watching = Forger(server.address, "review", query=f"function={function.id}")
    visitor.send(message)
    visitor.close()
    watching.run()
    assert watching.titles
    watching.close()
    assert stored(ws) == before
    assert requests.get(f"{server.address}/_stcore/health", timeout=120).status_code == 200


def test_gestures_about_samples_and_labels_of_another_function_change_nothing(
    server: Server, function: Function
) -> None:
    """A page knows its own session: what it reports is taken, and each sample and label in it is looked at."""
    ws = server.workspace
    other = find_function(ws.db, "Another")
    visitor = Forger(server.address, "review", query=f"function={function.id}")
    gallery = visitor.gallery_id
    own, foreign = (find_samples(ws.db, found.id, limit=3) for found in (function, other))
    own_labels, foreign_labels = (list(label_ids(ws, found).values()) for found in (function, other))
    wanted = next(label for label in own_labels if label != own[0].label_id)
    before, number = stored(ws), 0
    for ids, label in (
        ([sample.id for sample in foreign], own_labels[0]),
        ([sample.id for sample in foreign], None),
        ([own[0].id], foreign_labels[0]),
        ([own[0].id], "0" * 16),
        ([own[0].id, foreign[0].id], foreign_labels[1]),
        (["../../x", "", "\0", "x" * 10_000, "'; DROP TABLE samples; --"], own_labels[0]),
        ([f"{place:016x}" for place in range(5000)], own_labels[0]),
        ([own[0].id], ""),
    ):
        number += 1
        visitor.report(gallery, number, kind="label", ids=ids, label=label)
        assert_nothing_of_the_inside(visitor, server, f"gesture {number}")
        assert stored(ws) == before, f"gesture {number}"
    # The same road is open to what the page offers, and for that sample alone.
    visitor.report(gallery, number + 1, kind="label", ids=[own[0].id, foreign[0].id], label=wanted)
    changed = {sample.id: sample.label_id for sample in find_samples(ws.db, function.id, limit=100)}
    assert changed[own[0].id] == wanted
    assert [sample.label_id for sample in find_samples(ws.db, other.id, limit=3)] == [
        sample.label_id for sample in foreign
    ]
    visitor.close()
    _unharmed(server, function)
