"""What a person reads where a test reads Markdown: the inverse of the pages' `escape`."""

from __future__ import annotations

import re


def as_shown(markdown: str) -> str:
    """``markdown`` with every name in it as it was before `escape`; what else is in it stays."""
    return re.sub(
        r":color\[\\(.)\]|\\(.)|&#(\d+);",
        lambda found: found[1] or found[2] or chr(int(found[3])),
        markdown,
    )
