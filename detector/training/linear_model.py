"""The trained classifier: scaling, one matrix, a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detector.arrays import Floats
from detector.errors import InvalidInput
from detector.training.calibration import probabilities
from detector.training.scaling import Embeddings, FeatureScaling, row_chunks


@dataclass(frozen=True, eq=False)
class LinearModel:
    """Multinomial logistic regression on the embeddings of one backbone.

    Attributes
    ----------
    label_names : k names
    views : names of the views that must be given, in the order of the coefficients
    feature : name of the backbone's feature set, "all" for all of them
    slices : (start, stop) of its columns within one view's embedding
    dimension : length of one view's embedding
    scaling : "standardise" or "unit-length"
    mean, scale : (D,) float64
    coefficients : (k, D) float64, or (1, D) for two labels: the log odds of the second
    intercept : (k,) or (1,) float64
    temperature : float > 0
    backbone_key, backbone_id, preprocessing_version : which embeddings it reads
    training_fingerprint : SHA-256 of the samples and labels that it was trained on
    thresholds : by label name, or None: the most probable label wins
    """

    label_names: tuple[str, ...]
    views: tuple[str, ...]
    feature: str
    slices: tuple[tuple[int, int], ...]
    dimension: int
    scaling: str
    mean: Floats
    scale: Floats
    coefficients: Floats
    intercept: Floats
    temperature: float
    backbone_key: str
    backbone_id: str
    preprocessing_version: str
    training_fingerprint: str
    thresholds: dict[str, float] | None = None

    def logits(self, embeddings: Embeddings) -> Floats:
        """Scores before calibration: (n, k), or (n, 1) for two labels.

        Raises
        ------
        InvalidInput
            A view is missing, or has another dimension than the embeddings that the model was trained on.
        """
        self._check(embeddings)
        n = len(embeddings[self.views[0]])
        result = np.empty((n, len(self.intercept)))
        scaling = FeatureScaling(self.views, self.slices, self.scaling, self.mean, self.scale)
        for rows in row_chunks(n):
            # Not a matrix product: that rounds differently for one image and for many.
            result[rows] = np.einsum("nd,kd->nk", scaling.apply(embeddings, rows), self.coefficients)
        return result + self.intercept

    def predict_proba(self, embeddings: Embeddings) -> Floats:
        """Calibrated probabilities.

        Parameters
        ----------
        embeddings : (n, d) float array by view
            All views in ``views``. For an image without detail crops, give its whole view as ``detail``, as in
            training.

        Returns
        -------
        (n, k) array, columns in the order of ``label_names``; rows sum to 1. A row does not depend on the others.
        """
        return probabilities(self.logits(embeddings), self.temperature)

    def _check(self, embeddings: Embeddings) -> None:
        for view in self.views:
            if view not in embeddings:
                raise InvalidInput(f"The model reads the view {view}, which is missing. Embed the image again.")
            found = embeddings[view].shape
            if len(found) != 2 or found[1] != self.dimension:
                raise InvalidInput(
                    f"The model reads embeddings of {self.dimension} numbers (backbone {self.backbone_id}), but was "
                    f"given an array of shape {found}. Use embeddings of that backbone."
                )
