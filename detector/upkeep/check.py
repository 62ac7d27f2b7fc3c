"""The check of all that is stored: what it looks at, in which order, and what is remembered of it."""

from __future__ import annotations

import logging
import time

from detector.errors import StorageDamaged, StorageTrouble
from detector.progress import Report, silent
from detector.storage.database import now
from detector.storage.upkeep_runs import note_run
from detector.upkeep.check_database import check_counts, check_database
from detector.upkeep.check_embeddings import check_embeddings
from detector.upkeep.check_models import check_models
from detector.upkeep.check_pictures import check_pictures
from detector.upkeep.check_work import check_work
from detector.upkeep.findings import DATABASE, Check, CheckResult
from detector.upkeep.last_checks import CHECK, well_since
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: First what all others stand on; last what those before may have asked for.
_PARTS = (check_database, check_pictures, check_embeddings, check_models, check_counts, check_work)

#: Problems that are kept with the run, for the page.
_KEPT = 200


def check_all(ws: Workspace, repair: bool = False, quick: bool = False, report: Report = silent) -> CheckResult:
    """Look at all that is stored, while a server may be at work with it, and note what came of it.

    Parameters
    ----------
    repair : bool
        Mend what can be mended without guessing. No sample, label or model is ever deleted; what is in the way is moved
        aside, not removed.
    quick : bool
        Leave the bytes of pictures, thumbnails and embeddings unread.

    Returns
    -------
    CheckResult

    Raises
    ------
    StorageTrouble
        The database or the store cannot be read at all.
    """
    begun = time.monotonic()
    since = well_since(ws.db, quick)
    check = Check(ws, repair, quick, report, since)
    for part in _PARTS:
        try:
            part(check)
        except StorageDamaged as error:
            # What can still be read is looked at all the same.
            check.found(DATABASE, str(error))
    problems = tuple(check.problems)
    result = CheckResult(
        ok=all(problem.repaired for problem in problems),
        problems=problems,
        since=since,
        at=now(),
        quick=quick,
        repair=repair,
        looked_at=dict(check.looked_at),
        seconds=time.monotonic() - begun,
    )
    kept = {**result.to_json(), "problems": [problem.to_json() for problem in problems[:_KEPT]], "since_at": since}
    try:
        note_run(ws.db, CHECK, result.ok, kept)
    except StorageTrouble as error:
        # A full disk is no reason not to say what was found.
        log.warning("what the check found could not be noted: %s", error)
    return result
