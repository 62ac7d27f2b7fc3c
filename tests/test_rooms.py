"""The house keeps its shape: imports point downwards, nothing runs in a circle, and docs/architecture.md is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Entries of the package beside ``__init__`` and ``__main__``. A new room is added here and to docs/architecture.md.
MOST_ENTRIES = 26


def _rows() -> list[list[str]]:
    """The rooms as docs/architecture.md has them, from above; each as the name of its module or package."""
    rows = []
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            named = re.findall(r"`([^`]+)`", line.split("|")[1])
            rows.append([name.removesuffix(".py").rstrip("/").replace("/", ".") for name in named])
    return rows


def _modules() -> dict[str, Path]:
    files = [*(ROOT / "detector").rglob("*.py"), *(ROOT / "pages").glob("*.py"), ROOT / "streamlit_app.py"]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files)
    return dict(zip(names, files, strict=True))


def _imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, anywhere in its text."""
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names} & modules.keys()
            elif isinstance(node, ast.ImportFrom):
                # Ours are written out, so that they can be found.
                assert not node.level, f"{path} has a relative import"
                for alias in node.names:
                    inside = f"{node.module}.{alias.name}"
                    found[name] |= {inside if inside in modules else str(node.module)} & modules.keys()
        # What the package's own module says of itself (its version) stands below everything.
        found[name] -= {name, "detector"}
    return found


def _row_of(module: str, rows: list[list[str]]) -> int:
    for number, row in enumerate(rows):
        if any(module == room or module.startswith(f"{room}.") for room in row):
            return number
    raise AssertionError(f"{module} lies in no room of docs/architecture.md")


def _circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        order[module] = low[module] = len(order)
        stack.append(module)
        for other in sorted(imports[module]):
            if other not in order:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], order[other])
        if low[module] == order[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(imports):
        if module not in order:
            visit(module)
    return found


def test_imports_point_downwards() -> None:
    modules, rows = _modules(), _rows()
    del modules["detector"], modules["detector.__main__"]
    upwards = [
        f"{modules[name].relative_to(ROOT)} imports {modules[other].relative_to(ROOT)}"
        for name, others in _imports(modules).items()
        for other in sorted(others)
        if _row_of(other, rows) < _row_of(name, rows)
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert _circles(_imports(_modules())) == []


def test_a_circle_and_an_arrow_upwards_would_be_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    rows = _rows()
    assert _row_of("pages.review", rows) < _row_of("detector.worker", rows) < _row_of("detector.storage.jobs", rows)


def test_the_architecture_names_every_room_and_no_other() -> None:
    named = {name for row in _rows() for name in row}
    entries = {
        path.stem
        for path in (ROOT / "detector").iterdir()
        if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").is_file())
    }
    assert {f"detector.{name}" for name in entries - {"__init__", "__main__"}} | {"pages", "streamlit_app"} == named
    assert len(entries - {"__init__", "__main__"}) <= MOST_ENTRIES
