"""The whole examination of a model, part by part: each finished part is stored, so that a killed audit goes on."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from detector.errors import NotAuditable
from detector.evaluation.audit_data import Material, load_material
from detector.evaluation.duplicates import measure_duplicates
from detector.evaluation.learning_curve import measure_learning_curve
from detector.evaluation.report import PARTS, Audit, read_audit, stress_part
from detector.evaluation.results import STRESSES
from detector.evaluation.shortcut import FileFactsRow, shortcut_audit
from detector.evaluation.sources import measure_sources
from detector.evaluation.stress import StressTest
from detector.operations.normalisation import file_facts
from detector.progress import Report, silent
from detector.serving.model import load_serving_model, serving_backbone
from detector.storage import evaluations, samples
from detector.storage.evaluations import DUPLICATES, LEARNING_CURVE, SHORTCUT, SOURCES, Flip
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
        examination = _Examination(ws, load_material(ws, function_id))
        if examination.material.model.id != model.id:
            # Another model went live in this very moment; its own audit is to come.
            raise NotAuditable(model.version)
        for name in missing:
            start = time.perf_counter()
            result, flips = examination.run(name, report)
            if name == SOURCES and examination.sources_are_others_now():
                # Given by hand meanwhile; whoever does so asks for this part again.
                continue
            evaluations.write_part(ws.db, model.id, name, result, time.perf_counter() - start, flips)
    return read_audit(ws.db, model)


class _Examination:
    """One model's parts by name. What several of them need is made once."""

    def __init__(self, ws: Workspace, material: Material) -> None:
        self.ws, self.material = ws, material

    def run(self, name: str, report: Report) -> tuple[dict[str, Any], list[Flip]]:
        material = self.material
        if name == SHORTCUT:
            return {"shortcut": self._shortcut(report)}, []
        if name == SOURCES:
            return measure_sources(material, report).to_json(), []
        if name == DUPLICATES:
            return measure_duplicates(self.ws, material, report).to_json(), []
        if name == LEARNING_CURVE:
            return measure_learning_curve(material, report).to_json(), []
        if material.folds is None:
            # Without folds every verdict would be of a model that knows the sample.
            return {"score": None}, []
        stress = next(stress for stress in STRESSES if stress_part(stress) == name)
        score, flips = self._stress_test.measure(stress, report)
        return {"score": score.to_json()}, flips

    def sources_are_others_now(self) -> bool:
        """Whether samples were given other sources since the material was collected."""
        now = {row.sample_id: row.source for row in samples.training_rows(self.ws.db, self.material.model.function_id)}
        return any(now.get(row.sample_id) != row.source for row in self.material.rows)

    def _shortcut(self, report: Report) -> dict[str, Any] | None:
        material = self.material
        facts = file_facts(self.ws, [row.image_hash for row in material.rows], material.model.normalise, report)
        rows = [
            FileFactsRow(row.image_hash, int(label), found, group)
            for row, label, found, group in zip(material.rows, material.y, facts, material.groups, strict=True)
        ]
        chosen = material.model.hyperparameters
        found = shortcut_audit(
            rows,
            material.label_names,
            max(chosen["folds"], 2),
            chosen["seed"],
            lambda done, total: report(
                "evaluate", done, total, "Checking whether file properties reveal the label", None
            ),
        )
        return found.to_json() if found else None

    @cached_property
    def _stress_test(self) -> StressTest:
        backbone = serving_backbone(self.ws, load_serving_model(self.ws, self.material.model.function_id))
        return StressTest(self.ws, self.material, backbone)
