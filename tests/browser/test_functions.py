"""Functions are told apart by what they are, not by their names; what is gone is said to be gone; making a new one."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (requirements-dev.txt)")

from playwright.sync_api import Browser, Locator, WebSocketRoute, expect

from detector.jobs import request_build
from detector.storage import functions, imports, keys, samples
from detector.storage.functions import Function
from detector.web.signing import upload_token
from tests.browser.conftest import Server
from tests.browser.dashboard import Dashboard
from tests.factories import LABELS, add_images, empty_function, images, make_image, write_zip

pytestmark = pytest.mark.browser

#: Names with something in each that Markdown, Streamlit or Plotly reads; together they are about 100 characters.
FUNCTION = "http://evil.example :smile: me@evil.example"
REAL, SYNTHETIC = "see www.evil.example -> a", "<a href='http://evil.example/%{x}'>b</a>"
SOURCE, FILE = "https://evil.example/generator", "https___www.evil.example :red[x] me@evil.example"
KEY = "key of me@evil.example www.evil.example"
PAGES = ("", "import", "review", "metrics", "invoke", "api")


@pytest.fixture(scope="module")
def server(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("functions"))
    yield running
    running.stop()
    for trouble in ("Uncaught app execution", "job failed", "Traceback"):
        assert trouble not in running.log, running.log


@pytest.fixture(scope="module")
def named(server: Server) -> Function:
    """A function of nasty names, with a model that comes while the other tests run."""
    ws = server.workspace
    function = empty_function(ws, FUNCTION, [REAL, SYNTHETIC])
    for source in (SOURCE, f"{SOURCE}/2"):
        add_images(
            ws,
            function,
            [
                (
                    f"{FILE} {source[-1]} {name}",
                    make_image(n + 50 * len(source), label),
                    REAL if label == "real" else SYNTHETIC,
                )
                for n, (name, _, label) in enumerate(images(5))
            ],
            group=source,
        )
    request_build(ws, function.id)
    return function


def _visit(dashboard: Dashboard, path: str, **query: str) -> None:
    dashboard.page.goto(f"{dashboard.address}/{path}?{'&'.join(f'{name}={value}' for name, value in query.items())}")
    dashboard.settled()


def _choice(dashboard: Dashboard) -> Locator:
    return dashboard.sidebar.get_by_role("combobox", name="Function", exact=True)


def _choose(dashboard: Dashboard, function: Function, name: str) -> None:
    _choice(dashboard).click()
    dashboard.page.get_by_role("option", name=name, exact=True).click()
    dashboard.address_says({"function": function.id})
    dashboard.settled()


@pytest.mark.long
def test_an_archive_is_offered_and_imported_only_where_it_was_dropped(
    dashboard: Dashboard, server: Server, tmp_path: Path
) -> None:
    """The kind: the choice of a function and what was dropped on its page went by names and by one place for all."""
    ws = server.workspace
    first, second = empty_function(ws, "Cats"), empty_function(ws, "Cats")
    archive = write_zip(
        tmp_path / "cats.zip", {f"{label}/{n}.png": make_image(n, label) for n in range(3) for label in LABELS}
    )
    for name, function in (("Cats", first), ("Cats (2)", second), ("Cats", first)):
        _visit(dashboard, "import", function=(second if function is first else first).id)
        _choose(dashboard, function, name)
        dashboard.sees(f"Images for {name}, which has 0 samples")
    dashboard.drop_archive(archive)
    start = dashboard.page.get_by_role("button", name="Start the import")
    expect(start).to_be_visible()
    _choose(dashboard, second, "Cats (2)")
    dashboard.sees("Images for Cats (2)")
    expect(start).to_have_count(0)
    _choose(dashboard, first, "Cats")
    dashboard.sees("Images for Cats, which")
    # Renamed meanwhile, in another window: it is still the same one.
    functions.rename_function(ws.db, first.id, "Dogs")
    dashboard.press("Start the import")
    dashboard.wait_for_report("cats.zip")
    assert imports.list_batches(ws.db, second.id) == []
    assert samples.count_samples(ws.db, first.id) == 6
    assert samples.count_samples(ws.db, second.id) == 0
    for function in (first, second):
        functions.delete_function(ws.db, function.id)


def test_a_function_deleted_while_its_page_is_open_is_not_followed_by_another(
    dashboard: Dashboard, server: Server, named: Function, tmp_path: Path
) -> None:
    """The kind: the newest function came in its place, with the same buttons in the same places."""
    ws = server.workspace
    gone = empty_function(ws, "Soon gone")
    token = upload_token(ws.db, gone.id)
    _visit(dashboard, "import", function=gone.id)
    dashboard.drop_archive(
        write_zip(tmp_path / "late.zip", {"real/1.png": make_image(1), "synthetic/1.png": make_image(2)})
    )
    start = dashboard.page.get_by_role("button", name="Start the import")
    expect(start).to_be_visible()
    before = samples.count_samples(ws.db, named.id)
    functions.delete_function(ws.db, gone.id)
    dashboard.sees("The function in this address does not exist")
    expect(start).to_have_count(0)
    assert samples.count_samples(ws.db, named.id) == before
    assert not any(batch.title == "late.zip" for batch in imports.list_batches(ws.db, named.id))
    spooled = set(ws.spool.iterdir())
    request = urllib.request.Request(f"{server.address}/uploads/{token}", b"PK", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=120)
    assert refused.value.code == 404
    assert b"was deleted" in refused.value.read()
    assert set(ws.spool.iterdir()) == spooled


@pytest.mark.long
def test_a_link_to_no_function_shows_no_other_one(dashboard: Dashboard, named: Function) -> None:
    """The kind: an address that names what is not there was answered with something else."""
    wrong = ("nothing", "..%2F..%2Fetc", "x" * 600, "%27%20or%201=1", named.id.upper(), f"{named.id}%20")
    for path, name in (*((path, "0123456789abcdef") for path in PAGES), *(("metrics", name) for name in wrong)):
        _visit(dashboard, path, function=name)
        dashboard.sees("The function in this address does not exist")
        if path:
            assert "evil.example" not in dashboard.words
        expect(_choice(dashboard)).to_have_attribute("placeholder", "Choose a function")
        expect(dashboard.sidebar).not_to_contain_text("samples")
    # The way on: another one comes only where a person chooses it.
    _visit(dashboard, "metrics", function="0123456789abcdef")
    dashboard.sidebar.get_by_role("link", name="Review", exact=True).click()
    dashboard.page.wait_for_url("**/review?function=0123456789abcdef")
    dashboard.sees("The function in this address does not exist")
    dashboard.press("Choose among all functions")
    expect(dashboard.main.get_by_role("heading", level=1, name="Functions", exact=True)).to_be_visible()
    dashboard.sees(FUNCTION)


@pytest.mark.long
def test_a_link_to_a_label_or_an_import_that_is_gone_says_so(
    dashboard: Dashboard, server: Server, named: Function
) -> None:
    """The kind as above, for the conditions of Review."""
    other = functions.list_labels(server.workspace.db, empty_function(server.workspace, "Other").id)[0]
    for name, value, noun in (
        ("label", other.id, "label"),
        ("says", "0123456789abcdef", "label"),
        ("verdict", "nonsense", "label"),
        ("batch", "0123456789abcdef", "import"),
        ("group", "0123456789abcdef", "stack"),
        ("flips", "nonsense", "change"),
    ):
        _visit(dashboard, "review", function=named.id, **{name: value})
        dashboard.sees(f"The {noun} in this address does not exist")
        assert dashboard.page.locator(".gallery .tile").count() == 0
    dashboard.press("Show without it")
    dashboard.address_says({"function": named.id})
    expect(dashboard.page.locator(".gallery .tile").first).to_be_visible()
    functions.delete_function(server.workspace.db, other.function_id)


def _names(server: Server) -> list[str]:
    return sorted(item.function.name for item in functions.list_functions(server.workspace.db))


def _only(server: Server, name: str) -> str:
    """The id of the one function of this name."""
    [found] = [item.function.id for item in functions.list_functions(server.workspace.db) if item.function.name == name]
    return found


def test_the_dialog_for_a_new_function_takes_enter_and_keeps_what_was_typed(
    dashboard: Dashboard, server: Server, named: Function
) -> None:
    """The kind: keys did nothing in the dialog, and what could not be was made."""
    page = dashboard.page
    before = _names(server)
    dashboard.press("Create a function")
    dialog = page.get_by_role("dialog")
    name, labels = (
        page.get_by_label("Name", exact=True),
        page.get_by_role("textbox", name="Labels, separated by commas"),
    )
    expect(name).to_be_focused()
    assert dialog.locator("input:disabled").count() == 0
    page.keyboard.type("Typed at once")
    for typed, refusal in (
        ("real", "is the only label"),
        ("real, Real", "one name"),
        ("real, re\u200bal", "one name"),
        ("real, " + "x" * 130, "more than 120"),
    ):
        labels.fill(typed)
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text(refusal)
        expect(name).to_have_value("Typed at once")
        expect(labels).to_have_value(typed)
        assert _names(server) == before
    name.fill("   ")
    labels.fill("real, synthetic")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("has no name")
    name.fill("Typed at once")
    page.keyboard.press("Enter")
    expect(dashboard.main.get_by_role("heading", level=1, name="Import", exact=True)).to_be_visible()
    dashboard.settled()
    assert _names(server) == sorted([*before, "Typed at once"])
    functions.delete_function(server.workspace.db, _only(server, "Typed at once"))


@pytest.mark.long
def test_two_clicks_on_create_make_one_function_and_no_labels_are_allowed(
    dashboard: Dashboard, server: Server, named: Function
) -> None:
    """The kind: a click that was not answered at once was made again, and each made one."""
    page = dashboard.page
    before = _names(server)
    dashboard.press("Create a function")
    page.get_by_label("Name", exact=True).fill("Clicked twice")
    page.get_by_role("textbox", name="Labels, separated by commas").fill("")
    page.get_by_role("button", name="Create function", exact=True).evaluate(
        "button => { button.click(); setTimeout(() => button.click(), 30); setTimeout(() => button.click(), 150); }"
    )
    expect(dashboard.main.get_by_role("heading", level=1, name="Import", exact=True)).to_be_visible()
    dashboard.settled()
    page.wait_for_timeout(1000)
    assert _names(server) == sorted([*before, "Clicked twice"])
    made = _only(server, "Clicked twice")
    assert functions.list_labels(server.workspace.db, made) == []
    functions.delete_function(server.workspace.db, made)


@pytest.mark.long
@pytest.mark.parametrize("width", [1400, 420])
def test_clicks_that_wait_while_their_page_is_switched_take_no_page_away(
    dashboard: Dashboard, server: Server, width: int
) -> None:
    """The kind: they were answered under the old page's name, and the browser took the new page away for good.

    The message of the click on Create comes several times, as those of a double click do on a slow machine.
    """
    ways: list[WebSocketRoute] = []
    tried: list[str] = []

    def several(message: str | bytes) -> None:
        ways[-1].send(message)
        if b"FormSubmitter:new-function" in bytes(message):
            # The slower the machine, the later the page is switched.
            for _ in range(8 * (1 + len(tried) % 4)):
                time.sleep(0.025)
                ways[-1].send(message)

    def noted(way: WebSocketRoute) -> None:
        ways.append(way.connect_to_server())
        way.on_message(several)

    page = dashboard.page.context.new_page()
    page.route_web_socket("**/_stcore/stream", noted)
    page.set_viewport_size({"width": width, "height": 900})
    window, before = Dashboard(page, server.address), len(server.log)
    for number in range(16):
        window.page.goto(server.address)
        window.press("Create a function")
        page.get_by_label("Name", exact=True).fill(f"Clicked often {number}")
        window.press("Create function")
        page.wait_for_url("**/import?function=*")
        # Long enough for the browser to take the page away.
        page.wait_for_timeout(700)
        expect(window.main.get_by_role("heading", level=1, name="Import", exact=True)).to_be_visible()
        window.settled()
        assert window.query == {"function": _only(server, f"Clicked often {number}")}
        functions.delete_function(server.workspace.db, window.query["function"])
        tried.append(window.query["function"])
        if "Couldn't find fragment" in server.log[before:]:
            break
    else:
        pytest.fail("Streamlit found the dialog each time, so that nothing was tried.")
    assert window.complaints == []
    page.close()


@pytest.mark.long
def test_no_name_is_a_link_on_any_page(dashboard: Dashboard, server: Server, named: Function) -> None:
    """The kind: addresses in the names of files, labels, sources, functions and keys could be clicked on five pages."""
    keys.create_key(server.workspace.db, KEY)
    page = dashboard.page
    for path in PAGES:
        _visit(dashboard, path, function=named.id)
        if path == "metrics":
            dashboard.wait_for_model(1)
            dashboard.sees_in_time("How sure it was")
            dashboard.count_charts()
        dashboard.unfold_all()
        for name in _NAMES_ON.get(path, ()):
            expect(dashboard.main).to_contain_text(name, use_inner_text=True)
        if path == "metrics":
            # In the charts, too, nothing of it is read.
            expect(page.locator(".js-plotly-plot").filter(has_text=SYNTHETIC).first).to_be_attached()
        page.wait_for_timeout(1000)
        links: list[str] = page.evaluate(_LINKS)
        assert links == [], path


#: What is surely to be read on some of the pages.
_NAMES_ON = {"": [FUNCTION], "api": [FUNCTION, KEY], "review": [REAL], "metrics": [REAL, SYNTHETIC]}

#: Whatever can be clicked and leads elsewhere, in the page and in its components.
_LINKS = """() => {
  const found = [];
  const look = (root) => {
    for (const node of root.querySelectorAll('*')) {
      if (node.shadowRoot) look(node.shadowRoot);
      const href = node.getAttribute('href') ?? node.getAttribute('xlink:href');
      if (href !== null && /evil|mailto/.test(href + node.textContent)) found.push(node.outerHTML.slice(0, 200));
    }
  };
  look(document);
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.long
def test_code_on_the_api_page_can_be_read_on_both_grounds(dashboard: Dashboard, named: Function, scheme: Any) -> None:
    """The kind: Streamlit's own colours of code have 2.7 to 3.8 : 1 on our grounds."""
    page = dashboard.page
    page.emulate_media(color_scheme=scheme)
    _visit(dashboard, "api", function=named.id)
    tokens = page.locator("code .token:visible")
    for tab in ("Python requests", "curl", "nyckel client"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(700)
        expect(tokens.first).to_be_visible()
        assert min(tokens.evaluate_all(_CONTRASTS)) >= 4.5
        assert dashboard.serious_faults() == []


#: WCAG 2.2, contrast of text: of each token against the first ground behind it that is not transparent.
_CONTRASTS = """tokens => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return (parts(colour)[3] ?? 1) > 0 ? colour : ground(node.parentElement);
  };
  return tokens.map(node => {
    const [dark, bright] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  });
}"""
