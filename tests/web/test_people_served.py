"""Named users at the real server: what a browser that lies gets, the sign-in of an organisation, and addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from detector.gallery.filters import GalleryFilter, Order
from detector.settings import load_settings
from detector.storage import users
from detector.storage.acting import LABEL, LOOK, MANAGE
from detector.storage.samples import find_samples
from detector.web.exports import export_path
from detector.web.password import PasswordHash
from detector.web.people import ticket
from detector.web.signing import upload_token
from detector.workspace import Workspace
from tests.app_server import AppServer, end, start_app, wait_until_it_answers
from tests.factories import labelled_function
from tests.ports import free_port
from tests.visitor import Visitor, xsrf

pytestmark = [pytest.mark.slow, pytest.mark.long]

PASSWORD = "correct horse battery"
HASH = str(PasswordHash.make(PASSWORD))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    # The shared password is there too: it lets nobody in.
    running = AppServer(tmp_path_factory.mktemp("server"), {"DETECTOR_PASSWORD_HASH": HASH})
    labelled_function(running.workspace, 2, "Press photos")
    for name, role in (("Eva", MANAGE), ("Anna", LABEL), ("Ben", LOOK)):
        users.add_user(running.workspace.db, name, role, HASH)
    yield running
    running.stop()
    # Streamlit itself gives up a run that was sent a value for what is no widget: one error with its cause.
    given_up = running.log.count('has no key "signed-in"')
    assert given_up <= 1
    assert running.log.count("Traceback") == 2 * given_up, running.log
    assert PASSWORD not in running.log


def user(server: AppServer, name: str) -> users.User:
    found = users.find_user(server.workspace.db, name)
    assert found is not None
    return found


def function_id(server: AppServer) -> str:
    from detector.storage.functions import list_functions

    return list_functions(server.workspace.db)[0].function.id


def labels_of(server: AppServer) -> list[tuple[str, str | None]]:
    found = find_samples(server.workspace.db, function_id(server), limit=99)
    return sorted((sample.id, sample.label_id) for sample in found)


def sign_in(visitor: Visitor, name: str) -> None:
    fields = {found.text_input.label: found.text_input.id for found in visitor.elements if found.HasField("text_input")}
    [button] = [found.button for found in visitor.elements if found.HasField("button")]
    visitor.run(**{fields["Name"]: name, fields["Password"]: PASSWORD, button.id: True})


def buttons(visitor: Visitor) -> dict[str, Any]:
    return {found.button.label: found.button for found in visitor.elements if found.HasField("button")}


def test_a_stranger_who_names_a_user_in_forged_values_stays_outside(server: AppServer) -> None:
    """A browser may send any value for any name: none of them is read as the pass of a session."""
    stranger = Visitor(server.address)
    eva = ticket(user(server, "Eva"))
    stranger.run(**{"signed-in": eva})
    assert stranger.titles == ["AI Image Detector"]
    assert not any("Press photos" in str(element) for element in stranger.elements)
    assert stranger.put(b"\0" * 1000).status_code == 403
    stranger.close()


def test_clicks_that_were_never_offered_change_nothing(server: AppServer) -> None:
    before = labels_of(server)
    ben = Visitor(server.address, "review")
    sign_in(ben, "Ben")
    every = next(label for label in buttons(ben) if label.startswith("Select all"))
    ben.run(**{buttons(ben)[every].id: True})
    forged = buttons(ben)["synthetic"]
    assert forged.disabled
    ben.run(**{forged.id: True})
    assert labels_of(server) == before
    ben.close()


def test_who_was_shut_out_sends_nothing_any_more(server: AppServer) -> None:
    db, anna = server.workspace.db, user(server, "Anna")
    before = labels_of(server)
    visitor = Visitor(server.address, "review")
    sign_in(visitor, "Anna")
    every = next(label for label in buttons(visitor) if label.startswith("Select all"))
    visitor.run(**{buttons(visitor)[every].id: True})
    give = buttons(visitor)["synthetic"].id
    assert visitor.put(b"\0" * 1000).status_code == 204
    users.set_disabled(db, anna.id, True)
    visitor.run(**{give: True})
    assert visitor.titles == ["AI Image Detector"]
    assert visitor.put(b"\0" * 1000, "later").status_code == 403
    users.set_disabled(db, anna.id, False)
    visitor.run()
    assert visitor.titles == ["AI Image Detector"]
    assert labels_of(server) == before
    visitor.close()


def test_the_shared_password_lets_nobody_in(server: AppServer) -> None:
    visitor = Visitor(server.address)
    sign_in(visitor, "")
    assert visitor.titles == ["AI Image Detector"]
    visitor.close()


def test_addresses_end_with_the_session_that_they_were_given_to(server: AppServer) -> None:
    db, anna = server.workspace.db, user(server, "Anna")
    function = function_id(server)

    def upload(given_for: str) -> int:
        token = upload_token(db, function, given_for)
        return requests.put(f"{server.address}/uploads/{token}", b"PK", timeout=120).status_code

    def export(given_for: str) -> int:
        path = export_path(db, function, "csv", GalleryFilter(), Order.NEWEST, given_for)
        return requests.get(f"{server.address}{path}", timeout=120).status_code

    good = ticket(anna)
    assert (upload(good), export(good)) == (200, 200)
    # The name of somebody else in an address is what its signature is for.
    token = upload_token(db, function, good)
    forged = f"{token.rpartition('-')[0]}-{ticket(user(server, 'Eva'))}"
    assert requests.put(f"{server.address}/uploads/{forged}", b"PK", timeout=120).status_code == 403
    users.set_password(db, anna.id, HASH)
    for ended in (good, "", "login", f"user.{anna.id}.999"):
        assert (upload(ended), export(ended)) == (403, 403)


def test_the_sign_in_of_an_organisation_lets_in_whom_a_user_has_as_identity(tmp_path: Path) -> None:
    port, secret = free_port(), "s" * 32
    address = f"http://localhost:{port}"
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(f'[auth]\nredirect_uri = "{address}/oauth2callback"\ncookie_secret = "{secret}"\n')
    settings = {"DETECTOR_DATA_DIR": str(tmp_path / "data")}
    ws = Workspace.open(load_settings(settings))
    users.add_user(ws.db, "Eva", MANAGE, identity="eva@example.org")
    process = start_app(port, settings, "--secrets.files", str(secrets))
    try:
        wait_until_it_answers(address, process)

        def member(**claims: Any) -> Visitor:
            given = xsrf(address)
            told = {"origin": address, "is_logged_in": True, **claims}
            cookie = create_signed_value(secret, "_streamlit_user", json.dumps(told)).decode()
            headers = {"Cookie": f"{given['Cookie']}; _streamlit_user={cookie}"}
            return Visitor(address, headers=headers, origin=address, token=given["X-Xsrftoken"])

        eva = member(email="EVA@example.org", email_verified=True)
        assert eva.titles[0] != "AI Image Detector"
        assert eva.put(b"\0" * 1000).status_code == 204
        for claims in ({"email": "other@example.org"}, {"email": "eva@example.org", "email_verified": False}, {}):
            other = member(**claims)
            assert other.titles == ["AI Image Detector"]
            said = [found.alert.body for found in other.elements if found.HasField("alert")]
            assert any("No user of this server has the identity" in sentence for sentence in said), said
            assert other.put(b"\0" * 1000).status_code == 403
            other.close()
        [found] = users.list_users(ws.db)
        users.add_user(ws.db, "Carl", MANAGE, HASH)
        users.set_disabled(ws.db, found.id, True)
        eva.run()
        assert eva.titles == ["AI Image Detector"]
        eva.close()
    finally:
        end(process)
        ws.close()
