"""The OpenAPI document against the server: what it does not promise must not happen."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.api.server import Caller, Server
from tests.factories import make_image

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None, reason="schemathesis of requirements-dev.txt is not installed"
)

_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


#: Each of these ends what the other calls are about, or answers slowly on purpose: a run of their own.
_APART = "^(delete_function|delete_label|delete_record|delete_sample|token)_"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("which", ["--exclude-operation-id-regex", "--include-operation-id-regex"])
def test_no_call_ends_in_a_5xx_or_an_undocumented_answer(
    server: Server, caller: Caller, trained: str, tmp_path: Path, which: str
) -> None:
    """Made-up calls, many of them wrong on purpose, about a function, label and sample that exist."""
    samples, labels = caller.get(f"{trained}/samples").json(), caller.get(f"{trained}/labels").json()
    picture = {"data": ("kept.png", make_image(900))}
    kept = caller.post(f"{trained}/invoke?explain=true&keep=true", files=picture).json()
    names = {
        "functionId": trained.rsplit("/", 1)[1],
        "labelId": labels[0]["id"],
        "sampleId": samples[0]["id"],
        "recordId": kept["recordId"],
    }
    configuration = [f"{name} = {json.dumps(value)}" for name, value in names.items()]
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *configuration]), encoding="utf-8")
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", f"{server.address}/v1/openapi.json", "--header", f"Authorization: Bearer {caller.token}"),
            *("--checks", _CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "4", "--seed", "1"),
            *("--mode", "all", "--request-timeout", "30", "--continue-on-failure", "--no-color", which, _APART),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
