"""Looks for known holes in the packages of constraints.txt, where the list of them can be reached.

Holes that a newer version mends end it with 1; all are named, with that version. Where nobody answers it says so and
ends with 0: a network in trouble is no fault of the code. pip-audit alone ends with 0 too where a package index knows
none of the names, and says that no holes are known; that is told from having looked.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"
#: All packages together; one question takes a tenth of a second.
SECONDS = 180

NOT_LOOKED = (
    "Known holes in packages were not looked for: {why} Run `python .ci/audit_packages.py` where there is a network."
)


def main(requirements: Path = CONSTRAINTS) -> int:
    """Look and say what was found."""
    asked = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--no-deps", "--disable-pip"]
    try:
        ran = subprocess.run(
            [*asked, "--progress-spinner", "off", "--timeout", "10", "--format", "json"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print(NOT_LOOKED.format(why=f"no answer within {SECONDS} s."))
        return 0
    code, said = verdict(ran.stdout, ran.stderr)
    print(said)
    return code


def verdict(out: str, err: str) -> tuple[int, str]:
    """The exit code and what to say, from pip-audit's report."""
    try:
        packages: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = err.strip().splitlines()[-1:] or ["pip-audit said nothing."]
        return 0, NOT_LOOKED.format(why=f"{why[0].strip()[:200]}")
    looked = [package for package in packages if "vulns" in package]
    if not looked:
        return 0, NOT_LOOKED.format(why=f"the list that answered knows none of the {len(packages)} packages.")
    holes = [(package, hole) for package in looked for hole in package["vulns"]]
    mended = any(hole["fix_versions"] for _, hole in holes)
    lines = [
        f"{package['name']} {package['version']}: {hole['id']}, "
        f"mended in {', '.join(hole['fix_versions']) or 'no version yet'}"
        for package, hole in holes
    ]
    left = f" {len(packages) - len(looked)} are not on the list." if len(looked) < len(packages) else ""
    if not holes:
        return 0, f"No known holes in {len(looked)} packages.{left}"
    # What nobody has mended yet holds nobody up.
    return int(mended), "Known holes in packages. Raise their floors in requirements.txt:\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
