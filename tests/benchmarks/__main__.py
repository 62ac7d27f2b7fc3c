"""``python -m tests.benchmarks``: every figure of ``docs/benchmarks.md``, each in a process of its own.

Our code and its peer are measured in turns in the same process on the same data; the figure is the median over repeats.
The peer is what a good engineer would write in an afternoon from the libraries' own documentation.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests import databases
from tests.benchmarks.figure import Figure
from tests.benchmarks.growth import draw_growth
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.report import write_report

#: Module by figure: each has a function of the figure's name, taking an empty folder, returning a Figure.
FIGURES = {
    "embed_clip_ratio": "embedding",
    "embed_clip_roofline": "embedding",
    "embed_offline_ratio": "embedding",
    "embed_photo_ratio": "embedding",
    "sweep_ratio": "sweep",
    "sweep_100k_s": "sweep",
    "training_scale": "training_scale",
    "training_choice_points": "training_scale",
    "memory_clip_100k_mb": "memory",
    "memory_offline_100k_mb": "memory",
    "memory_offline_views_100k_mb": "memory",
    "zip_to_detector_s": "building",
    "retrain_s": "building",
    "invoke_overhead": "invoking",
    "invoke_throughput": "invoking",
    "import_files_s": "importing",
    "import_rss_mb": "importing",
    "startup_s": "pages",
    "page_busy_ms": "pages",
    "worker_modes_ratio": "worker_modes",
    "gallery_query_ms": "gallery",
    "gallery_million_ms": "million",
    "gallery_page_s": "gallery",
    "gallery_growth_mb": "gallery",
    "mislabelled_ready_s": "gallery",
    "elsewhere_accused_pct": "elsewhere",
    "story_pct": "story",
    "archive_100k_s": "archive",
    "hardening_points": "hardening",
    "audit_ratio": "auditing",
    "bfloat16_points": "precision",
    "stability_s": "stability",
    "evidence_ratio": "invoking",
    "run_growth_mb": "judging",
    "many_writers": "many_writers",
    "backup_s": "backup",
    "soak": "soak",
}


def main() -> int:
    """Measure, print, and write what was asked for; 0 even where a figure is missed: the report says so."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(FIGURES), help="a figure; may be given several times")
    parser.add_argument("--json", type=Path, help="write the figures here; what an earlier run left there is kept")
    parser.add_argument("--report", type=Path, help="write a table for people here, from the --json file")
    parser.add_argument("--growth", action="store_true", help="measure the growth from 1,000 to 100,000 samples too")
    parser.add_argument("--nothing", action="store_true", help="measure no figure, only what else is asked for")
    parser.add_argument(
        "--database",
        choices=(databases.SQLITE, databases.POSTGRESQL),
        default=databases.SQLITE,
        help="what the data folders use; with postgresql a server is started, and figures have names of their own",
    )
    parser.add_argument("--here", help=argparse.SUPPRESS)
    options = parser.parse_args()
    databases.choose(options.database)
    if options.here:
        print(json.dumps(_measure(options.here).to_json()))
        return 0
    known = json.loads(options.json.read_text()) if options.json and options.json.exists() else {"figures": {}}
    # A report of what is known already names the machine on which it was measured.
    if not options.nothing or options.growth or "machine" not in known:
        known["machine"] = describe_machine()
    for name in [] if options.nothing else options.only or FIGURES:
        ran = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks", "--here", name, "--database", options.database],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ran.returncode:
            print(f"{name:24} failed", flush=True)
            continue
        figure = Figure.from_json(json.loads(ran.stdout.strip().splitlines()[-1]))
        known["figures"][figure.name] = figure.to_json()
        sign = "at least" if figure.at_least else "at most"
        verdict = "met" if figure.met else "MISSED"
        print(f"{name:24} {figure.value:10.2f} {figure.unit:3} {sign} {figure.reach:g}: {verdict}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(known, indent=1) + "\n")
    if options.growth:
        with tempfile.TemporaryDirectory() as folder:
            known["growth"] = importlib.import_module("tests.benchmarks.memory").growth(Path(folder))
        if options.json:
            options.json.write_text(json.dumps(known, indent=1) + "\n")
    if options.report:
        write_report(options.report, known)
        if known.get("growth"):
            draw_growth(options.report.with_suffix(".png"), known["growth"])
    return 0


def _measure(name: str) -> Figure:
    module = importlib.import_module(f"tests.benchmarks.{FIGURES[name]}")
    measure: Callable[[Path], Figure] = getattr(module, name)
    try:
        with tempfile.TemporaryDirectory() as folder:
            figure = measure(Path(folder))
    finally:
        databases.stop_server()
    chosen = databases.chosen()
    return figure if chosen == databases.SQLITE else replace(figure, name=f"{figure.name}_{chosen}")


if __name__ == "__main__":
    sys.exit(main())
