"""What the parts of an audit are given: one model with what it was trained on. What several need is made once."""

from __future__ import annotations

from functools import cached_property

from detector.evaluation.audit_data import Material
from detector.evaluation.stress import StressTest
from detector.serving.model import load_serving_model, serving_backbone
from detector.storage import samples
from detector.workspace import Workspace


class Examination:
    """One model that is examined.

    Attributes
    ----------
    ws : Workspace
    material : Material
    """

    def __init__(self, ws: Workspace, material: Material) -> None:
        self.ws, self.material = ws, material

    def sources_are_others_now(self) -> bool:
        """Whether samples were given other sources since the material was collected."""
        now = {row.sample_id: row.source for row in samples.training_rows(self.ws.db, self.material.model.function_id)}
        return any(now.get(row.sample_id) != row.source for row in self.material.rows)

    @cached_property
    def stress_test(self) -> StressTest:
        """Out-of-fold models with their backbone, for verdicts on changed copies."""
        backbone = serving_backbone(self.ws, load_serving_model(self.ws, self.material.model.function_id))
        return StressTest(self.ws, self.material, backbone)
