"""The switch for pictures whose files do not compare with a function's samples."""

from __future__ import annotations

from detector.storage import functions
from detector.storage.acting import MANAGE, needs
from detector.workspace import Workspace


@needs(MANAGE, "changing what is judged")
def set_judge_unlike(ws: Workspace, function_id: str, judge_unlike: bool) -> None:
    """Have such pictures judged all the same, moderately at most, or not. Nothing follows: it counts at once.

    Raises
    ------
    NotFound
    """
    functions.set_judge_unlike(ws.db, function_id, judge_unlike)
