"""``docs/benchmarks.md`` from the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.figure import Figure

_HEAD = """# Benchmarks

Written by `python -m tests.benchmarks --json docs/benchmarks.json --report docs/benchmarks.md`. Our code and its peer
are measured in turns, in the same process, on the same data; each figure is the median over repeats. Figures in "x" are
ratios, which hold on other machines about as well; seconds, milliseconds and megabytes are of this machine alone.

The peer is what a good engineer would write in an afternoon from the libraries' own documentation: open_clip's
`create_model_and_transforms` and its preprocessing image by image in float32 batches of 32, timm in float32,
`GridSearchCV` over the same grid and folds with `n_jobs=-1`, one forward pass per HTTP request.

`story_pct` repeats the story that this app began with, on 20,000 images of CIFAKE in `../shared/data/cifake_20k.zip`
(beside the checkout; folders `train` and `test`, in each `REAL` and `FAKE`):
`python -m tests.benchmarks --only story_pct`. Five choices of 1,000 + 1,000 images of its train part are
cross-validated, each by a function of its own; then all of the train part is trained and judged once on its test part.
Every image is embedded once.

`hardening_points` holds models that learned from degraded copies against models that did not, on the changes of the
audit. All of them are stronger than those of the copies, or of another kind.

`worker_modes_ratio` has no peer: it holds the two values of `DETECTOR_WORKER`, `process` and `inside`, against each
other, in turns on the same data. Behind the ratio stand, for each of them, the pages with and without embedding, a
retraining after ten labels, invokes beside embedding, and the memory of server and worker.
"""


def write_report(path: Path, known: dict[str, Any]) -> None:
    """Write the table of all figures, with the machine they were measured on."""
    machine = known["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    instructions = ", ".join(machine["instructions"]) or "none of AVX2, AVX512, AMX"
    lines = [
        _HEAD,
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB; {instructions}. "
        f"Python {machine['python']}, {packages}.",
        "",
        "| figure | what | measured | to reach | |",
        "|---|---|---|---|---|",
    ]
    notes = []
    for data in known["figures"].values():
        figure = Figure.from_json(data)
        sign = ">=" if figure.at_least else "<="
        met = "met" if figure.met else "**missed**"
        measured = f"{_number(figure.value)} {figure.unit}"
        lines.append(f"| `{figure.name}` | {figure.what} | {measured} | {sign} {figure.reach:g} | {met} |")
        sides = "; ".join(
            f"{side} {', '.join(_number(value) for value in values)}" for side, values in figure.measurements.items()
        )
        if sides or figure.note:
            notes.append(f"- `{figure.name}`: {figure.note}{' ' if figure.note and sides else ''}{sides}")
    growth = known.get("growth")
    lines += ["", "## The measurements behind them", "", *notes]
    if growth:
        lines += ["", "## Growth", "", "![Growth](benchmarks.png)"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
