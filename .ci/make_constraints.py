"""Prints the exact versions that this environment has of requirements.txt and of all that it needs in turn.

``CONSTRAINTS=constraints.txt .ci/run`` writes them down once everything has passed with them.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements.txt"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HEADER = f"""\
# What the tests passed with, on Python {PYTHON}. Written by .ci/make_constraints.py; use it with
#     python -m pip install -r requirements.txt -c constraints.txt
"""


def main() -> int:
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    waiting = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            print(f"{name} is not installed. Run this where requirements.txt is.", file=sys.stderr)
            return 1
        # Without the part after "+": which build it is (torch for the CPU or a graphics card) is everybody's own.
        found[name] = Version(installed.version).public
        for text in installed.requires or ():
            further = Requirement(text)
            asked = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if further.marker is None or any(further.marker.evaluate(given) for given in asked):
                waiting.append(further)
    print(HEADER + "\n".join(f"{name}=={found[name]}" for name in sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
