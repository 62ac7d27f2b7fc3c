"""Words that a lay reader stumbles over stay out of what people read: pages, sentences of the code, README, imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: What is not said any more, as it was said, and its kin.
GONE = (
    # Words that recur and stumble.
    r"\banew\b",
    r"\bwhoever\b",
    r"\bat hand\b",
    r"\bbeside\b",
    r"\b(?:images?|files?|lines?|objects?|rows?|training|look) a (?:label|file|line|group|source|row)\b",
    r"\bnear(?:er|est) to\b",
    r"\bfalsely\b",
    r"\bflatter(?:s|ed|ing)?\b",
    r"\bcan(?:not)? be had\b",
    r"\bwaits? for (?:its|their) turn\b",
    r"\btravelled\b",
    r"\bflip(?:s|ped)?\b",
    r"\bturned over\b",
    # Sentences that nobody understood at first sight.
    r"\btolerated (?:share|by)\b|\bless is tolerated\b|\btolerate more\b",
    r"\bThe function says it\b",
    r"\blean(?:s|ing)? to\b",
    r"\bsurely enough\b",
    r"\bcan be believed\b",
    r"\bcommits? itself\b",
    r"\bat which price\b",
    r"\bwhen it says it\b|\bis it so\b",
    r"\btaken for what\b",
    r"\bsaying it seldom\b",
    r"\bexamination of the model\b",
    r"\bcannot do without it\b",
    r"\bdealt (?:out|into)\b",
    r"\bcannot be (?:said|told)\b",
    r"\bon what it is weak\b",
    r"\bgives? (?:the label|the answer|it) away\b",
    r"\bnever says\b",
    r"\bvouch(?:es)?\b",
    r"\blook \{",
    r"\bchance (?:hardly )?explains\b",
    r"\bluck for skill\b",
    r"\btake the label of\b",
    r"\bknows the way in\b",
    r"\bgoes on where\b|\bgo on where\b",
    r"\bputting one back\b|^put back$",
    r"\blike (?:sources|motifs)\b",
    r"\bin force\b",
    r"\bgood for a day\b",
    r"\bthe address is not complete\b",
)
_GONE = re.compile("|".join(GONE), re.IGNORECASE)


def _sentences(source: str) -> Iterator[tuple[int, str]]:
    """The strings of a module with their lines, those that people cannot read left out: docstrings, names, addresses.

    A string with values in it comes whole, with braces for the values. Docstrings of routes are read, in the API's
    documentation.
    """
    tree = ast.parse(source)
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            documented = not isinstance(node, ast.Module) and any(
                "router." in ast.unparse(d) for d in node.decorator_list
            )
            for statement in node.body:
                bare = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
                if bare and not documented:
                    skipped.add(id(statement.value))  # type: ignore[attr-defined]
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values if isinstance(part, ast.Constant)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            continue
        # A single word in small letters is a key and no sentence.
        if " " in text.strip() or text[:1].isupper():
            yield node.lineno, text


def _of_python(source: str) -> list[tuple[int, str]]:
    # A style sheet's comments are for its authors.
    return [(line, re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)) for line, text in _sentences(source)]


def _of_script(source: str) -> list[tuple[int, str]]:
    """The quoted strings of a script; comments and bare names are for its authors."""
    found = []
    for number, line in enumerate(source.splitlines(), 1):
        code = re.sub(r"(?:^|\s)//.*$", "", line)
        found += [(number, text) for text in re.findall(r"\"[^\"]* [^\"]*\"|`[^`]* [^`]*`", code)]
    return found


def _of_page(source: str) -> list[tuple[int, str]]:
    without_styles = re.sub(r"class=\"[^\"]*\"", "", source)
    return list(enumerate(without_styles.splitlines(), 1))


def _of_text(source: str) -> list[tuple[int, str]]:
    """The lines of a Markdown file, without code within a line: names of tests and options are names."""
    return [(number, re.sub(r"`[^`]*`", "", line)) for number, line in enumerate(source.splitlines(), 1)]


_READ = {".py": _of_python, ".js": _of_script, ".html": _of_page, ".md": _of_text}


def _stumbling(file: Path, name: str) -> list[str]:
    lines = _READ[file.suffix](file.read_text(encoding="utf-8"))
    return [
        f"{name}:{number}: {found[0]!r} in {text.strip()!r}" for number, text in lines for found in _GONE.finditer(text)
    ]


def _files() -> list[Path]:
    pages = [file for file in (ROOT / "pages").iterdir() if file.suffix in _READ]
    return sorted(
        [
            *pages,
            *(ROOT / "detector").rglob("*.py"),
            ROOT / "streamlit_app.py",
            ROOT / "README.md",
            ROOT / "docs" / "imports.md",
        ]
    )


def test_no_sentence_that_people_read_uses_a_word_they_stumble_over() -> None:
    found = [line for file in _files() for line in _stumbling(file, file.relative_to(ROOT).as_posix())]
    assert not found, "\n".join(["Say it in plain words:", *found])


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("page.py", 'import os\n\nos.say("Whoever runs it knows.")\n', 3),
        ("page.py", 'def say(n):\n    return f"At most {n} images a label"\n', 2),
        ("page.py", '@router.get("/")\ndef show():\n    """Shown anew."""\n', 3),
        ("page.js", 'say(state, "show anew");\n', 1),
        ("page.html", "<p>\nNo images at hand\n</p>\n", 2),
        ("page.md", "One line.\nThe table lies beside the pictures.\n", 2),
    ],
)
def test_a_stumbling_word_is_told_with_its_file_and_line(tmp_path: Path, name: str, text: str, line: int) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    found = _stumbling(file, name)
    assert len(found) == 1
    assert found[0].startswith(f"{name}:{line}: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "page.py",
            'def show():\n    """Whoever asks."""\n    # Shown anew.\n    beside = {"flips": 1}\n    return beside\n',
        ),
        ("page.js", 'const anew = find(".sheet"); // whoever asks\n'),
        ("page.md", "Tests: `test_beside_the_picture.py`.\n"),
    ],
)
def test_names_comments_and_docstrings_are_not_read(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    assert not _stumbling(file, name)
