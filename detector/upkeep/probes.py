"""A few predictions that a restored model must repeat."""

from __future__ import annotations

import logging

import numpy as np

from detector.errors import NotFound, StoredEmbeddingsDamaged, StoredModelUnusable
from detector.serving.stored_models import fitting_model, stored_out_of_fold
from detector.storage import embeddings, functions, models
from detector.storage.stored_names import WHOLE
from detector.upkeep.manifest import Probe
from detector.workspace import Workspace

log = logging.getLogger(__name__)

#: Functions that are probed, the first by id, and pictures of each.
_FUNCTIONS, _PICTURES = 50, 5
#: Of a probability: other processors add up in another order.
TOLERANCE = 1e-6


def make_probes(ws: Workspace) -> tuple[Probe, ...]:
    """What the live models say now of stored embeddings. A model that cannot be read is none that is probed."""
    found = []
    every = sorted((item.function for item in functions.list_functions(ws.db)), key=lambda item: item.id)
    for function in every[:_FUNCTIONS]:
        if function.live_model_id is None:
            continue
        try:
            row = models.get_model(ws.db, function.live_model_id)
            hashes = sorted(embeddings.embedded_hashes(ws.db, function.id, row.backbone_key))[:_PICTURES]
            if hashes:
                said = predictions(ws, row.id, tuple(hashes))
                found.append(Probe(function.id, row.id, tuple(hashes), tuple(map(tuple, said.tolist()))))
        except (NotFound, StoredModelUnusable, StoredEmbeddingsDamaged, LookupError) as error:
            log.warning("no prediction of function %s stands in the backup: %s", function.id, error)
    return tuple(found)


def unusable_models(ws: Workspace) -> dict[str, str]:
    """The models whose files are missing or damaged, by id: which it is, in words."""
    found = {}
    for item in functions.list_functions(ws.db):
        for row in models.list_models(ws.db, item.function.id):
            try:
                fitting_model(ws, row)
                stored_out_of_fold(ws, row)
            except StoredModelUnusable as error:
                live = ", the live one," if row.id == item.function.live_model_id else ""
                found[row.id] = f"Model {row.version}{live} of the function {item.function.name} is {error.state}."
    return found


def predictions(ws: Workspace, model_id: str, hashes: tuple[str, ...]) -> np.ndarray:
    """(n, k) probabilities of stored embeddings.

    Raises
    ------
    NotFound, StoredModelUnusable, StoredEmbeddingsDamaged, LookupError
    """
    row = models.get_model(ws.db, model_id)
    model = fitting_model(ws, row)
    views = embeddings.read_embeddings(ws.db, row.backbone_key, hashes)
    return np.asarray(model.predict_proba({view: views.get(view, views[WHOLE]) for view in model.views}))


def differing(ws: Workspace, probes: tuple[Probe, ...]) -> list[str]:
    """The ids of functions whose models do not say again what they said."""
    wrong = []
    for probe in probes:
        try:
            said = predictions(ws, probe.model_id, probe.images)
            same = said.shape == np.shape(probe.probabilities) and np.allclose(
                said, np.asarray(probe.probabilities), rtol=0, atol=TOLERANCE
            )
        except (NotFound, StoredModelUnusable, StoredEmbeddingsDamaged, LookupError):
            same = False
        if not same:
            wrong.append(probe.function_id)
    return wrong
