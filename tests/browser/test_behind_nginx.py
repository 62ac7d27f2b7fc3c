"""The dashboard behind nginx and Caddy, with the README's configurations: below a path, and with TLS."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, BrowserContext, expect

from detector.pipeline.build import build
from detector.storage import functions, keys, samples
from tests.browser.archives import write_archive
from tests.browser.conftest import Server
from tests.browser.dashboard import Dashboard
from tests.factories import labelled_function, make_image
from tests.ports import free_port
from tests.proxies import caddy_of_the_readme, certificate, nginx_of_the_readme, start_caddy, start_nginx

pytestmark = [pytest.mark.browser, pytest.mark.long]

PER_LABEL = 6
#: As in the README, and a path that the proxy takes off and nobody told the server.
PLACES = ["nginx", "caddy", "another path"]
#: What is in these servers' place of the upload address, and what the person is told to do.
IN_THE_WAY = {
    "client_max_body_size 1k; proxy_pass http://localhost:{server};": "client_max_body_size",
    "proxy_pass http://127.0.0.1:9;": "check that the server runs",
    "return 504;": "proxy_read_timeout",
    "return 200 '<html>Sign in</html>';": "no longer signed in",
    "return 444;": "The connection was cut off",
}


@dataclass(frozen=True)
class Place:
    """Where the dashboard is reached, and the certificate to trust."""

    address: str
    trusted: Path | None = None

    def get(self, path: str, **options: object) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.trusted) if self.trusted else True
            return session.request("GET", self.address + path, timeout=60, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def behind(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server below ``/detector``, asked for after the browser; its function has a model."""
    settings = {
        "STREAMLIT_SERVER_BASE_URL_PATH": "detector",
        "DETECTOR_ALLOWED_HOSTS": "detector.example.org",
        "DETECTOR_TRUSTED_PROXIES": "127.0.0.1,::1",
        "DETECTOR_PRECISION": "float32",
        "DETECTOR_RETRAIN_DELAY": "600",
    }
    running = Server(tmp_path_factory.mktemp("behind"), settings)
    function = labelled_function(running.workspace, PER_LABEL, "Press photos")
    assert build(running.workspace, function.id).trained
    yield running
    running.stop()
    for trouble in ("Uncaught app execution", "job failed", "Traceback"):
        assert trouble not in running.log, running.log


@pytest.fixture(scope="module")
def places(behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Place]]:
    """nginx as in the README, one that takes the path off or has another, and those with something in the way."""
    folder = tmp_path_factory.mktemp("proxies")
    server = behind.address.rsplit(":", 1)[1]
    cert, key = certificate(folder)
    ports = {name: free_port() for name in ("nginx", "taken off", *IN_THE_WAY)}
    blocks = [nginx_of_the_readme(ports["nginx"], int(server), cert, key)]
    passing = (
        "proxy_http_version 1.1; proxy_set_header Host $http_host; proxy_set_header Upgrade $http_upgrade; "
        "proxy_set_header Connection $detector_connection;"
    )
    for path in ("detector", "other"):
        taken_off = f"location /{path}/ {{ proxy_pass http://localhost:{server}/; {passing} client_max_body_size 9m; }}"
        blocks.append(taken_off)
    blocks[1:] = [f"server {{ listen 127.0.0.1:{ports['taken off']}; {' '.join(blocks[1:])} }}"]
    for what in IN_THE_WAY:
        blocks.append(
            f"server {{ listen 127.0.0.1:{ports[what]}; {passing} "
            f"location /detector/uploads/ {{ {what.format(server=server)} }} "
            f"location /detector/ {{ proxy_pass http://localhost:{server}; }} }}"
        )
    nginx = start_nginx(folder / "nginx", "\n".join(blocks), ports.values())
    found = {name: Place(f"http://localhost:{port}/detector") for name, port in ports.items()}
    found["nginx"] = Place(f"https://localhost:{ports['nginx']}/detector", cert)
    found["another path"] = Place(f"http://localhost:{ports['taken off']}/other")
    yield found
    nginx.stop()


@pytest.fixture(scope="module")
def caddy(behind: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    port = free_port()
    site = caddy_of_the_readme(port, int(behind.address.rsplit(":", 1)[1]))
    running = start_caddy(tmp_path_factory.mktemp("caddy") / "caddy", site, [port])
    yield Place(f"http://localhost:{port}/detector")
    running.stop()


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "caddy":
        found: Place = request.getfixturevalue("caddy")
    else:
        found = request.getfixturevalue("places")[request.param]
    return found


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    opened = chromium.new_context(viewport={"width": 1400, "height": 900}, ignore_https_errors=True)
    yield opened
    opened.close()


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_pages_pictures_uploads_exports_and_examples_work_below_a_path(
    behind: Server, place: Place, context: BrowserContext, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Kind: addresses that begin at the root of the host; 41 of 41 pictures were broken and every upload failed."""
    page = context.new_page()
    sockets: list[str] = []
    failed: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status > 399 else None)
    dashboard = Dashboard(page, f"{place.address}/")
    dashboard.address = place.address
    db = behind.workspace.db
    [function] = [item.function for item in functions.list_functions(db)]

    # A ZIP by our own upload, its images of no other round of this test.
    dashboard.open("Import")
    name = f"{request.node.callspec.params['place']}.zip"
    first = 100 + 10 * PLACES.index(request.node.callspec.params["place"])
    files = [(f"real/{seed}.png", make_image(seed)) for seed in (first, first + 1)]
    before = samples.count_by(db, function.id).total
    dashboard.drop_archive(write_archive(tmp_path / name, files))
    dashboard.press("Start the import")
    report = dashboard.wait_for_report(name)
    assert "2 imported" in report.inner_text()
    assert samples.count_by(db, function.id).total == before + 2

    # Pictures, by a click and by the address itself; one of them large.
    for open_review in (lambda: dashboard.open("Review"), lambda: dashboard.visit("review"), dashboard.reload):
        open_review()
        pictures = page.locator(".gallery .tile img")
        expect(pictures).to_have_count(before + 2)
        page.wait_for_function(
            "() => [...document.querySelectorAll('*')].flatMap(node => [...(node.shadowRoot ?? node)"
            ".querySelectorAll('.gallery .tile img')]).every(image => image.complete && image.naturalWidth > 0)"
        )
    pictures.first.dblclick()
    expect(page.locator("dialog .part-facts")).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].map(node => (node.shadowRoot ?? node).querySelector("
        "'dialog .stage img')).filter(Boolean)"
        ".every(image => /pictures.view/.test(image.src) && image.naturalWidth > 0)"
    )
    page.keyboard.press("Escape")

    # Exports.
    for words in ("Table (CSV)", "Images in label folders (ZIP)"):
        page.get_by_role("button", name="Download", exact=True).click()
        with page.expect_download() as download:
            page.get_by_role("link", name=words).click()
        page.keyboard.press("Escape")
        data = Path(download.value.path()).read_bytes()
        if words.startswith("Table"):
            assert len(data.splitlines()) == before + 3
        else:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert sum(name.endswith(".png") for name in archive.namelist()) == before + 2

    # Streamlit's own upload field.
    dashboard.open("Invoke")
    (tmp_path / "image.jpg").write_bytes(make_image(100, "real"))
    dashboard.give_files(tmp_path / "image.jpg")
    dashboard.sees("Verdict", "Confidence")

    # Whoever comes without a slash, or with the name of the first page, is led there.
    for short in ("", "/functions"):
        page.goto(f"{place.address}{short}?function={function.id}")
        dashboard.settled()
        assert page.url.split("?")[0] == f"{place.address}/"

    if request.node.callspec.params["place"] != "another path":
        _run_the_examples(behind, place, dashboard, tmp_path)
    assert {url.split("?")[0] for url in sockets} == {
        place.address.replace("http", "ws", 1) + "/_stcore/stream",
    }
    # Streamlit tries out where it is, from the longest path on.
    assert [line for line in failed if not re.search("/_stcore/(health|host-config)$", line)] == []
    assert [line for line in dashboard.complaints if "_stcore" not in line] == []
    assert dashboard.foreign_requests == []


def _run_the_examples(behind: Server, place: Place, dashboard: Dashboard, tmp_path: Path) -> None:
    """The API page's programs as they stand there, and the documentation that it names."""
    page = dashboard.page
    key = keys.create_key(behind.workspace.db, "Nightly import")
    dashboard.open("API")
    dashboard.page.get_by_role("button", name="Token", exact=True).first.click()
    dashboard.settled()
    example = dashboard.main.get_by_role("tabpanel").first.locator("code").first
    expect(example).not_to_contain_text("<token>")
    program = example.inner_text()
    assert f"'{place.address}/v1/functions/function_" in program
    trusted = {name: str(place.trusted) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE") if place.trusted}
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 60, "env": dict(os.environ) | trusted}
    said = subprocess.run([sys.executable, "-c", program], **options)
    assert "labelName" in said.stdout, said.stderr
    page.get_by_role("tab", name="curl").click()
    curl = dashboard.main.get_by_role("tabpanel").locator("code").filter(has_text="data=@image.jpg").inner_text()
    said = subprocess.run(["bash", "-c", curl], **options)
    assert "labelName" in said.stdout, said.stderr
    page.goto(page.get_by_role("link", name="Documentation of all calls").get_attribute("href") or "")
    assert page.url == f"{place.address}/v1/docs"
    expect(page.get_by_text("/connect/token").first).to_be_visible()
    # What is tried out there goes to this server too.
    page.locator(".opblock-summary", has_text="/connect/token").click()
    page.get_by_role("button", name="Try it out").click()
    for field in ("client_id", "client_secret", "grant_type"):
        value = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}[field]
        page.locator(f'tr[data-param-name="{field}"] input, [data-property-name="{field}"] input').first.fill(value)
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table")).to_contain_text("access_token")
    keys.revoke_key(behind.workspace.db, key.id)


@pytest.mark.parametrize("place", ["nginx", "caddy", "taken off"], indirect=True)
def test_programs_are_told_addresses_that_lead_back(behind: Server, place: Place) -> None:
    """Kind: whole addresses in answers; a sample's picture lay at the root, whatever the path of the call."""
    db = behind.workspace.db
    key = keys.create_key(db, "Tests")
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(place.trusted) if place.trusted else True
        form = {"client_id": key.id, "client_secret": key.secret, "grant_type": "client_credentials"}
        token = session.post(f"{place.address}/connect/token", data=form, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        [function] = [item.function for item in functions.list_functions(db)]
        found = session.get(
            f"{place.address}/v1/functions/function_{function.id}/samples", headers=headers, timeout=60
        ).json()
        for sample in found[:3]:
            assert sample["data"].startswith(f"{place.address}/pictures/image/")
            assert session.get(sample["data"], timeout=60).content.startswith(b"\x89PNG")
            assert session.head(sample["data"], timeout=60).status_code == 200
    keys.revoke_key(db, key.id)
    schema = place.get("/v1/openapi.json").json()
    assert [server["url"] for server in schema["servers"]] == ["/detector"]


def test_the_names_of_the_readme_are_let_in_and_others_only_to_the_health_address(
    places: Mapping[str, Place],
) -> None:
    """Kind: questions by another name; a probe that asked by a container's own address was refused."""
    place = places["nginx"]
    for host in ("detector.example.org", "DETECTOR.example.org:8443"):
        assert place.get("/v1/docs", headers={"Host": host}).status_code == 200
    for host in ("10.0.3.7:8501", "[fd00::7]:8501", "attacker.example"):
        assert place.get("/_stcore/health", headers={"Host": host}).text == "ok"
        for path in ("/v1/docs", "/", "/pictures/thumbnail/0", "/_stcore/metrics", "/x/_stcore/health"):
            assert place.get(path, headers={"Host": host}).status_code == 400, path


@pytest.mark.parametrize(("what", "advice"), IN_THE_WAY.items(), ids=["too large", "down", "late", "page", "cut off"])
def test_what_a_proxy_says_to_an_upload_becomes_a_sentence(
    behind: Server, places: Mapping[str, Place], context: BrowserContext, tmp_path: Path, what: str, advice: str
) -> None:
    """Kind: answers that are not ours; the page said "The upload failed. Try again.", and took HTML for success."""
    [function] = [item.function for item in functions.list_functions(behind.workspace.db)]
    dashboard = Dashboard(context.new_page(), f"{places[what].address}/import?function={function.id}")
    archive = write_archive(tmp_path / "some.zip", [("real/1.png", make_image(1)), ("real/2.png", make_image(2))])
    dashboard.drop_archive(archive)
    problem = dashboard.page.locator(".zone .problem")
    expect(problem).to_contain_text(advice)
    sentence = problem.inner_text()
    assert sentence.endswith(".")
    assert "<" not in sentence
    expect(dashboard.page.get_by_role("button", name="Start the import")).to_have_count(0)
    assert not list(behind.workspace.spool.glob("*.zip"))
