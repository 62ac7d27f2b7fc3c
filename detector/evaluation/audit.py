"""The whole examination of a model, part by part: each finished part is stored, so that a killed audit goes on."""

from __future__ import annotations

import time

from detector.errors import NotAuditable
from detector.evaluation.audit_data import load_audit_data
from detector.evaluation.examination import Examination
from detector.evaluation.parts import PARTS
from detector.evaluation.report import Audit, read_audit
from detector.progress import Report, silent
from detector.serving.model import load_serving_model
from detector.storage import evaluations, models
from detector.workspace import Workspace


def audit(ws: Workspace, function_id: str, report: Report = silent) -> Audit:
    """Examine the live model of a function, as far as that has not been done.

    Parameters
    ----------
    report : Report
        May raise to stop; what is finished stays.

    Raises
    ------
    NoModel
        Nothing is trained yet.
    NotAuditable
        Samples or labels were changed since the training, and parts are missing that need them.
    BackboneUnavailable
    """
    model = load_serving_model(ws, function_id).row
    missing = [part for part in PARTS if part not in evaluations.read_parts(ws.db, model.id)]
    if missing:
        report("evaluate", 0, 0, "Collecting what the model was trained on", None)
        examination = Examination(ws, load_audit_data(ws, function_id))
        if examination.audit_data.model.id != model.id:
            # Another model went live in this very moment; its own audit is to come.
            raise NotAuditable(model.version)
        for name in missing:
            start = time.perf_counter()
            part = PARTS[name]
            found, flips = part.run(examination, report)
            if part.outdated is not None and part.outdated(examination):
                continue
            evaluations.write_part(ws.db, model.id, name, part.to_json(found), time.perf_counter() - start, flips)
    # Read again: what may be promised of sources never seen, and what the samples cover, was found meanwhile.
    return read_audit(ws.db, models.get_model(ws.db, model.id))
