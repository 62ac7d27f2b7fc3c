"""Where the app is, for those who ask: below a path or not, and told by the server or by the browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from detector.web.addresses import BelowBasePath, base_path, below, first_page_routes, from_page, of_browser, of_request

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PAGES = ("functions", "import", "review", "metrics", "invoke", "api", "health")


@pytest.mark.parametrize(
    ("configured", "expected"),
    [(None, ""), ("", ""), ("/", ""), ("detector", "/detector"), ("/detector/", "/detector"), ("//a/b/", "/a/b")],
)
def test_the_base_path_has_a_slash_before_and_none_behind(configured: str | None, expected: str) -> None:
    assert base_path(configured) == expected


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("https://h.example/api", "", "https://h.example"),
        ("https://h.example:8443/", "", "https://h.example:8443"),
        ("https://h.example/detector/api", "/detector", "https://h.example/detector"),
        ("http://[::1]:8501/a/b/review", "/a/b", "http://[::1]:8501/a/b"),
        # Taken off by a proxy; the name of a page may end a longer word.
        ("https://h.example/detector/api", "", "https://h.example/detector"),
        ("https://h.example/preview/", "", "https://h.example/preview"),
        ("https://h.example/metrics/api", "", "https://h.example/metrics"),
        ("https://h.example/a/b/metrics", "", "https://h.example/a/b"),
        # What the server was told counts.
        ("https://h.example/nowhere", "/detector", "https://h.example/detector"),
        # Goes into a program to copy: nothing that a shell or Python would take for an end.
        ("https://h.example/x';date;'/api", "", "https://h.example/x%27%3Bdate%3B%27"),
        ("https://h.example//evil.example/api", "", "https://h.example/evil.example"),
        ("https://h.example/my%20app/api", "/my app", "https://h.example/my%20app"),
        (None, "/detector", "http://localhost:8501/detector"),
        (None, "", "http://localhost:8501"),
    ],
)
def test_the_address_in_the_browser_is_that_of_the_page_without_the_page(
    url: str | None, base: str, expected: str
) -> None:
    """Kind: whole addresses shown on pages; they left out the path."""
    assert of_browser(url, PAGES, base) == expected


def _app(base: str) -> TestClient:
    async def picture(request: Request) -> PlainTextResponse:
        return PlainTextResponse(of_request(request) + "/pictures/1")

    routes = [*first_page_routes(base), *below(base, [Route("/pictures/{name}", picture, methods=["GET"])])]
    app = Starlette(routes=routes, middleware=[Middleware(BelowBasePath, base=base)])
    return TestClient(app, base_url="https://h.example:8443", follow_redirects=False)


@pytest.mark.parametrize("base", ["", "/detector", "/a/b", "/my app"])
def test_routes_answer_below_the_base_path_and_without_it(base: str) -> None:
    client = _app(base)
    for path in (f"{base}/pictures/1", "/pictures/1"):
        assert client.get(path).text.startswith("https://h.example:8443")
        assert client.head(path).status_code == 200
        assert client.put(path).status_code == 405
    assert client.get(f"{base}/functions?function=1").headers["location"] == "./?function=1"
    assert client.get("//pictures/1").status_code == 404


@pytest.mark.parametrize(
    ("base", "target"), [("/detector", "./detector/"), ("/a/b", "./b/"), ("/my app", "./my%20app/")]
)
def test_the_bare_base_path_leads_on_without_naming_scheme_or_host(base: str, target: str) -> None:
    client = _app(base)
    assert client.get(base).headers["location"] == target
    assert client.get(f"{base}?function=1").headers["location"] == f"{target}?function=1"


def test_an_address_for_a_page_stays_beside_the_page() -> None:
    assert from_page("/pictures/1?expires=2") == "./pictures/1?expires=2"


def test_no_address_is_built_anywhere_else() -> None:
    """Kind: addresses of ours written out from the root of the host, in whichever language."""
    ours = r"(?:\{\w+\})?/(?:pictures|uploads|exports|_stcore|v1/docs)\b"
    # In Python backquotes mark code in a docstring, in JavaScript they hold text.
    in_python, elsewhere = re.compile(f"[\"'(=]{ours}"), re.compile(f"[\"'(=`]{ours}")
    paths = [
        path
        for folder in ("detector", "pages")
        for path in (CHECKOUT / folder).rglob("*")
        if path.suffix in (".py", ".js", ".html", ".css") and path.name != "addresses.py"
    ]
    found = [
        f"{path.relative_to(CHECKOUT)}: {line.strip()}"
        for path in [*paths, CHECKOUT / "streamlit_app.py"]
        for line in path.read_text(encoding="utf-8").splitlines()
        if (in_python if path.suffix == ".py" else elsewhere).search(line)
    ]
    assert len(paths) > 100
    assert found == []
