"""Names are the field's words: a module, class or function of ours has none of the names that only we understood."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: What something was called, and what it is called now. A name with one of these words in it is found too.
COINED = {
    "annotated": "request_retraining",
    "anew": "rejudge, rerun_if_changed, reset_widgets",
    "answer_at_once": "disable_nagle",
    "give_way": "lower_thread_priority",
    "in_words": "expected_time",
    "locked_test": "holdout",
    "one_core": "single_threaded",
    "plan_words": "plan_sentences",
    "remembered_samples": "GramCache",
    "source_tags": "operations/sources",
    "stored_rows": "write_embedding_files, EmbeddingFile",
    "test_looks": "holdout_uses",
    "tolerance": "false_accusation_limit",
    "tolerated": "false_accusation_limit",
    "without_python": "as_torchscript",
}
#: The same, for words that are fine as a part of another name.
COINED_WHOLE = {
    "attempts": "LoginThrottle, throttling",
    "bin": "trash",
    "bodies": "request_bodies",
    "but": "accuracy_caveat",
    "drawn": "_rerun_guard",
    "exposure": "bind_guard",
    "freed_memory": "system/memory",
    "load_material": "load_audit_data",
    "look": "TilePresenter, TiffContent, cached",
    "look_at": "inspect_tiff",
    "looks": "visible_form",
    "material": "AuditData",
    "posted": "request_embedding, posted_samples",
    "recording": "call_log",
    "remembered": "gram_cache",
    "resources": "dependencies",
    "samplesets": "datasets",
    "view": "ReviewState",
    "wire": "ApiModel, schemas",
    "words": "formatting",
}
#: Of one part of the product only: elsewhere the word is right.
COINED_IN = {
    ("detector/training/", "prepared"): "precomputed",
    ("detector/training/", "settings"): "Hyperparameters",
}
_SNAKE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def _snake(name: str) -> str:
    return _SNAKE.sub("_", name).lower().strip("_")


def _instead(place: str, name: str) -> str | None:
    """What a coined name is called now; None for a name that is not coined."""
    plain = _snake(name)
    for (folder, coined), better in COINED_IN.items():
        if place.startswith(folder) and plain == coined:
            return better
    if plain in COINED_WHOLE:
        return COINED_WHOLE[plain]
    return next((better for coined, better in COINED.items() if f"_{coined}_" in f"_{plain}_"), None)


def _found(place: str, source: str) -> Iterator[str]:
    """Coined names of a module, its public classes and functions and their public methods, with file and line."""
    name = Path(place).stem
    if (better := _instead(place, name)) is not None:
        yield f"{place}:1: module {name}, now {better}"
    tree = ast.parse(source)
    inside = [node for each in tree.body if isinstance(each, ast.ClassDef) for node in each.body]
    for node in [*tree.body, *inside]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            better = _instead(place, node.name)
            if better is not None:
                yield f"{place}:{node.lineno}: {node.name}, now {better}"


def _literals(place: str, source: str) -> Iterator[str]:
    """The names of views, and of splits where one is compared or set, written out instead of their constants."""
    tree = ast.parse(source)
    texts = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in ("whole", "detail") and id(node) not in texts:
            yield f"{place}:{node.lineno}: {node.value!r}, a name of a view"
        sides: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.AnnAssign):
            sides = [node.target, node.value]
        named = {getattr(side, "id", getattr(side, "attr", "")) for side in sides}
        written = {side.value for side in sides if isinstance(side, ast.Constant)} & {"train", "test"}
        if "split" in named and written:
            yield f"{place}:{node.lineno}: {written.pop()!r}, a name of a split"  # type: ignore[attr-defined]


def _modules() -> dict[str, str]:
    files = [*(ROOT / "detector").rglob("*.py"), *(ROOT / "pages").glob("*.py")]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sorted(files)}


def test_no_module_class_or_function_has_a_coined_name() -> None:
    modules = _modules()
    assert len(modules) > 150
    assert [line for place, source in modules.items() for line in _found(place, source)] == []


@pytest.mark.parametrize(
    ("place", "source", "line"),
    [
        ("pages/_drawn.py", "", "pages/_drawn.py:1: module _drawn"),
        ("detector/words.py", "", "detector/words.py:1: module words"),
        ("detector/a.py", "import os\n\ndef set_tolerated(): ...", "detector/a.py:3: set_tolerated"),
        ("detector/a.py", "class LockedTestScore: ...", "detector/a.py:1: LockedTestScore"),
        ("detector/a.py", "class Rows:\n    def look(self): ...", "detector/a.py:2: look"),
        ("detector/a.py", "async def judge_anew(): ...", "detector/a.py:1: judge_anew"),
        ("detector/training/a.py", "class Settings: ...", "detector/training/a.py:1: Settings"),
    ],
)
def test_a_coined_name_would_be_found(place: str, source: str, line: str) -> None:
    [found] = _found(place, source)
    assert found.startswith(f"{line}, now ")


def test_a_name_that_only_begins_like_a_coined_one_is_none() -> None:
    source = "class Settings: ...\ndef words_of(): ...\ndef prepare_views(): ...\nclass PreparedSamples: ..."
    assert list(_found("detector/settings.py", source)) == []


def test_names_of_views_and_splits_are_written_once() -> None:
    modules = _modules()
    del modules["detector/storage/stored_names.py"]
    assert [line for place, source in modules.items() for line in _literals(place, source)] == []


def test_a_view_or_a_split_that_is_written_out_would_be_found() -> None:
    source = '"whole"\nviews["whole"]\nif row.split != "test": ...\nsplit: str = "train"\nreport("train", 0)'
    assert sorted(line.split(":")[1] for line in _literals("a.py", source)) == ["2", "3", "4"]


def test_kinds_of_arrays_have_one_name() -> None:
    once = re.compile(r"^\w+ = NDArray\[np\.(?:float64|int64)\]", re.M)
    assert [place for place, source in _modules().items() if once.search(source)] == ["detector/arrays.py"]
