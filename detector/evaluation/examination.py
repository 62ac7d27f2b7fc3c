"""What the parts of an audit are given: one model with what it was trained on. What several need is made once."""

from __future__ import annotations

from functools import cached_property

from detector.evaluation.audit_data import AuditData
from detector.evaluation.stress import StressTest
from detector.serving.model import load_serving_model, serving_backbone
from detector.storage import samples
from detector.workspace import Workspace


class Examination:
    """One model that is examined.

    Attributes
    ----------
    ws : Workspace
    audit_data : AuditData
    """

    def __init__(self, ws: Workspace, audit_data: AuditData) -> None:
        self.ws, self.audit_data = ws, audit_data

    def sources_are_others_now(self) -> bool:
        """Whether samples were given other sources since these data were collected."""
        now = {
            row.sample_id: row.source for row in samples.training_rows(self.ws.db, self.audit_data.model.function_id)
        }
        return any(now.get(row.sample_id) != row.source for row in self.audit_data.rows)

    @cached_property
    def stress_test(self) -> StressTest:
        """Out-of-fold models with their backbone, for verdicts on changed copies."""
        backbone = serving_backbone(self.ws, load_serving_model(self.ws, self.audit_data.model.function_id))
        return StressTest(self.ws, self.audit_data, backbone)
