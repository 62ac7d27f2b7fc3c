"""How Review shows samples: as tiles, and one of them large."""

from __future__ import annotations

from collections.abc import Sequence

from detector.charts.palette import PAPER, Ink, Theme, label_inks
from detector.errors import NotFound
from detector.formatting import percent
from detector.gallery.detail import sample_detail
from detector.gallery.neighbours import nearest
from detector.storage import samples
from detector.storage.functions import Label
from detector.storage.samples import Sample
from detector.storage.stored_names import TEST
from detector.web.addresses import from_page
from detector.web.signing import Kind, picture_path
from pages._gallery import LabelKey, Large, Near, Tile
from pages._state import workspace


class TilePresenter:
    """Names and colours of a function's labels, put on its samples."""

    def __init__(self, function_id: str, labels: Sequence[Label], theme: Theme) -> None:
        self._function_id = function_id
        self._names = {label.id: label.name for label in labels}
        self._inks = label_inks([label.name for label in labels], theme)
        self._neutral = PAPER[theme].neutral
        self.keys = [LabelKey(label.id, label.name, self._inks[label.name].text) for label in labels]

    def tile(self, sample: Sample, stack: int) -> Tile:
        """A sample in the grid; ``stack`` near-duplicates stand behind it, itself included."""
        label = self._names.get(sample.label_id or "")
        says = self._names.get(sample.predicted_label_id or "")
        return Tile(
            id=sample.id,
            thumbnail_url=_picture("thumbnail", sample.image_hash),
            label=label,
            label_colour=self._ink(label).text,
            prediction=says,
            prediction_colour=self._ink(says).fill,
            confidence=sample.confidence,
            differs=sample.agrees is False,
            title=sample.file_name,
            stack=stack,
            note="test set" if sample.split == TEST else "",
        )

    def _ink(self, name: str | None) -> Ink:
        return self._inks.get(name or "", self._neutral)

    def large(self, sample_id: str) -> Large | None:
        """Everything about the sample that is open; None where it is gone."""
        ws = workspace()
        try:
            detail = sample_detail(ws, sample_id)
        except NotFound:
            return None
        near = nearest(ws, self._function_id, sample_id)
        found = {item.id: item for item in samples.get_samples(ws.db, [item.sample_id for item in near])}
        says = "No prediction yet."
        if detail.prediction is not None and detail.confidence is not None:
            measured = "out-of-fold" if detail.out_of_fold else "not validated"
            says = f"Says {detail.prediction}, {percent(detail.confidence)}, {measured}."
        if detail.failure is not None:
            says = f"Could not be read: {detail.failure}"
        flips = [("Verdict changes after", ", ".join(f"{change} ({label})" for change, label in detail.flips))]
        return Large(
            id=detail.id,
            image_url=_picture("view", detail.image_hash),
            title=detail.file_name,
            width=detail.width,
            height=detail.height,
            label=detail.label,
            label_colour=self._ink(detail.label).text,
            says=says,
            prediction=detail.prediction,
            differs=detail.agrees is False,
            confidences=[(name, self._ink(name).fill, share) for name, share in detail.confidences],
            facts=[*detail.facts, *(flips if detail.flips else [])],
            history=detail.history,
            near=[
                Near(
                    id=item.sample_id,
                    thumbnail_url=_picture("thumbnail", found[item.sample_id].image_hash),
                    title=found[item.sample_id].file_name,
                    label=self._names.get(found[item.sample_id].label_id or ""),
                    label_colour=self._ink(self._names.get(found[item.sample_id].label_id or "")).text,
                    similarity=f"{item.similarity:.2f}",
                )
                for item in near
                if item.sample_id in found
            ],
        )


def _picture(kind: Kind, image_hash: str) -> str:
    return from_page(picture_path(workspace().db, kind, image_hash))
