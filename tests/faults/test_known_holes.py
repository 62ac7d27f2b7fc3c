"""Known holes in packages: found where the list answers, said not to be looked for where it does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CHECKOUT = Path(__file__).resolve().parents[2]
SCRIPT = CHECKOUT / ".ci" / "audit_packages.py"

needs_pip_audit = pytest.mark.skipif(
    find_spec("pip_audit") is None, reason="pip-audit of requirements-dev.txt is not installed"
)


class _List(BaseHTTPRequestHandler):
    """Answers as osv.dev does: one hole in whichever version of "holed"."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        holes = []
        if asked["package"]["name"] == "holed":
            fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]}
            affected = {"package": {"name": "holed", "ecosystem": "PyPI"}, "ranges": [fixed], "versions": ["1.0"]}
            about = {"summary": "A hole.", "details": "A hole.", "published": "2026-01-01T00:00:00Z"}
            holes = [{"id": "GHSA-made-upfor-test", **about, "aliases": [], "affected": [affected]}]
        body = json.dumps({"vulns": holes} if holes else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def _list_of_holes() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _List)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    finally:
        server.shutdown()
        server.server_close()


def _audit(folder: Path, address: str, *packages: str) -> subprocess.CompletedProcess[str]:
    requirements = folder / "constraints.txt"
    requirements.write_text("\n".join(packages) + "\n")
    given = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": address}
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    return subprocess.run(
        [sys.executable, str(SCRIPT), str(requirements)], env=kept | given, capture_output=True, text=True, timeout=120
    )


@needs_pip_audit
@pytest.mark.faults
def test_a_known_hole_ends_the_build_with_the_version_that_mends_it(tmp_path: Path) -> None:
    with _list_of_holes() as address:
        holed = _audit(tmp_path, address, "holed==1.0", "whole==2.0")
        whole = _audit(tmp_path, address, "whole==2.0")
    assert holed.returncode == 1, holed.stderr
    assert "holed 1.0: GHSA-made-upfor-test, mended in 1.5" in holed.stdout
    assert "whole" not in holed.stdout
    assert (whole.returncode, whole.stdout) == (0, "No known holes in 1 packages.\n")


@needs_pip_audit
@pytest.mark.faults
def test_a_list_that_cannot_be_reached_is_said_and_ends_no_build(tmp_path: Path) -> None:
    ran = _audit(tmp_path, "http://127.0.0.1:9/v1/query", "whole==2.0")
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.startswith("Known holes in packages were not looked for: ")
    assert len(ran.stdout.splitlines()) == 1
    assert "Traceback" not in ran.stdout


def test_a_list_that_knows_none_of_the_packages_is_no_clean_bill() -> None:
    """Kind: pip-audit says that no holes are known where an index answers that it knows none of the names."""
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        from audit_packages import verdict
    finally:
        sys.path.remove(str(SCRIPT.parent))
    skipped = {"dependencies": [{"name": "starlette", "skip_reason": "Dependency not found"}], "fixes": []}
    code, said = verdict(json.dumps(skipped), "No known vulnerabilities found")
    assert code == 0
    assert said.startswith("Known holes in packages were not looked for: the list that answered knows none of")


def test_every_package_has_a_lowest_version_and_it_is_not_above_what_was_tested() -> None:
    lines = (CHECKOUT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(
        line.split("==")
        for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    for line in lines:
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        floors = [Version(part.version) for part in requirement.specifier if part.operator in (">=", "==", "~=")]
        assert floors, line
        name = requirement.name.lower().replace("_", "-")
        assert max(floors) <= Version(tested[name]), line
