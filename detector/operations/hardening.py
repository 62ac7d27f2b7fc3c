"""How many degraded copies a function is trained on."""

from __future__ import annotations

from detector.errors import InvalidInput
from detector.jobs import request_build
from detector.settings import MOST_COPIES
from detector.storage import functions
from detector.storage.acting import MANAGE, needs
from detector.workspace import Workspace


@needs(MANAGE, "changing how a function is trained")
def change_copies(ws: Workspace, function_id: str, copies: int | None) -> str:
    """Train on another number of degraded copies of each labelled image; a build follows. Returns its job's id.

    Copies that are missing are made in the background after it, and then there is another build.

    Parameters
    ----------
    copies : int or None
        0: none. None: as the settings say.

    Raises
    ------
    InvalidInput
        The number is out of range.
    NotFound
        There is no such function.
    """
    if copies is not None and not 0 <= copies <= MOST_COPIES:
        raise InvalidInput(f"{copies} copies of each image are asked for; expected 0 to {MOST_COPIES}.")
    functions.set_copies(ws.db, function_id, copies)
    return request_build(ws, function_id)
