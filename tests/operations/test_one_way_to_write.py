"""No door writes past `detector.operations`, neither with the plain writes of storage nor by asking for jobs itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOORS = ("pages/*.py", "detector/api/**/*.py", "detector/cli/**/*.py")
#: Of these, every function that opens a transaction for writing is one of the plain writes.
STORAGE = ("annotating", "functions", "label_twins", "records", "samples", "trash")
#: Requests for what follows from a write. An import is asked for with `request_import`, which writes its batch itself.
REQUESTS = {
    f"detector.jobs.{name}" for name in ("request_audit", "request_build", "request_embedding", "request_retraining")
}


def _plain_writes(module: str) -> set[str]:
    """The public functions of a module of storage that write, themselves or through another one of it."""
    tree = ast.parse((ROOT / "detector" / "storage" / f"{module}.py").read_text(encoding="utf-8"))
    bodies = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    # It takes the time inside a transaction, for the order of changes, and writes nothing.
    bodies.pop("moment_between", None)
    found: set[str] = set()
    while True:
        more = {
            name
            for name, body in bodies.items()
            if name not in found
            and any(isinstance(node, ast.Call) and _writes(node.func, found) for node in ast.walk(body))
        }
        if not more:
            return {f"detector.storage.{module}.{name}" for name in found if not name.startswith("_")}
        found |= more


def _writes(called: ast.expr, known: set[str]) -> bool:
    if isinstance(called, ast.Attribute):
        return called.attr == "write"
    return isinstance(called, ast.Name) and called.id in known


def _named(text: str) -> Iterator[str]:
    """The dotted names of what a text imports and of the attributes that it takes of what it has imported."""
    tree = ast.parse(text)
    meaning: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.name if alias.asname else alias.name.split(".")[0]
                meaning[alias.asname or bound] = bound
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                meaning[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            inner = node.value
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in meaning:
                yield ".".join([meaning[inner.id], *reversed(parts)])


def _forbidden() -> set[str]:
    return REQUESTS.union(*(_plain_writes(module) for module in STORAGE))


@pytest.mark.slow
def test_the_plain_writes_are_found() -> None:
    """Else the next test would hold nothing: a list of them by hand would not know the one that comes tomorrow."""
    found = {name.removeprefix("detector.storage.") for name in _forbidden()}
    assert found >= {
        *("annotating.annotate", "annotating.undo_last", "label_twins.merge_labels"),
        *("trash.delete_samples", "trash.restore_samples", "trash.empty_bin"),
        *("samples.set_split", "samples.set_source", "samples.confirm_sources"),
        *("functions.create_function", "functions.rename_function", "functions.delete_function"),
        *("functions.set_backbone", "functions.set_sweep_settings", "functions.set_normalise"),
        *("records.add_record", "records.delete_records", "records.delete_older", "records.mark_disputed"),
        *("functions.create_label", "functions.rename_label", "functions.delete_label", "functions.ensure_labels"),
    }
    assert not found & {"annotating.can_undo", "annotating.history", "functions.list_labels", "samples.find_samples"}


def test_no_door_writes_labels_or_asks_for_what_follows_from_a_write() -> None:
    """Eight had to remember a second call: one that forgot it would have left a model without the new label."""
    forbidden = _forbidden()
    files = [path for pattern in DOORS for path in sorted(ROOT.glob(pattern))]
    assert len(files) > 40
    found = [
        f"{path.relative_to(ROOT)} uses {name}"
        for path in files
        for name in sorted(set(_named(path.read_text(encoding="utf-8"))) & forbidden)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "from detector.storage.annotating import annotate",
        "def late():\n    from detector.storage.annotating import annotate as give",
        "from detector.storage import annotating\nannotating.annotate(db, [], None)",
        "from detector.storage import annotating as rows\nrows.annotate(db, [], None)",
        "from detector import storage\nstorage.annotating.annotate(db, [], None)",
        "import detector.storage.annotating\ndetector.storage.annotating.annotate(db, [], None)",
        "import detector.storage.annotating as rows\nput = rows.annotate",
        "from detector import jobs\njobs.request_retraining(ws, 'id')",
        "from detector.jobs import EVALUATE, request_audit",
    ],
)
def test_a_write_past_the_operations_would_be_found(text: str) -> None:
    assert set(_named(text)) & _forbidden()


def test_reading_is_no_write() -> None:
    text = "from detector.storage import annotating, functions\nannotating.history(db, 'id')\nfunctions.list_labels(db)"
    assert not set(_named(text)) & _forbidden()
