"""The second promise on collections that were never seen: who is accused, who is caught, who gets an answer at all."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detector.evaluation.audit_data import load_audit_data
from detector.evaluation.examination import Examination
from detector.evaluation.sources import measure_unseen
from detector.imaging.groups import sample_groups
from detector.pipeline.build import build
from detector.pipeline.copies import embed_copies
from detector.pipeline.embedding import embed_missing, function_backbone
from detector.serving.invoke import likenesses_of
from detector.serving.model import load_serving_model
from detector.serving.thresholds import with_thresholds
from detector.settings import Settings
from detector.storage import embeddings, functions, imports, samples
from detector.storage.functions import Function
from detector.storage.samples import TrainingRow
from detector.storage.stored_names import WHOLE
from detector.training.thresholds import CANT_TELL, STRONG, Thresholds
from detector.workspace import Workspace
from tests.benchmarks.figure import Figure
from tests.factories import LABELS, empty_function, label_ids, new_sample, workspace
from tests.shared_data import SHARED_DATA

#: Real photographs of other collections, beside those of mixed2000.
_FURTHER = ("genimage_mini", "confounded_size", "confounded_png_vs_jpeg")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp")
_DRAWS, _GENERATORS = 4, 3
#: Generators with fewer images are never held out: nothing could be said of them.
_FEWEST = 20


@dataclass
class _Held:
    """What became of the images of one draw that the model had never seen, in shares."""

    accused: float
    strongly_accused: float
    caught: float
    strongly_caught: float
    strongly_cleared: float
    own_strong: float


def elsewhere_accused_pct(folder: Path) -> Figure:
    """Each real collection in turn, with draws of three generators, is held out of a function and then judged by it."""
    ws = workspace(folder, copies=Settings().copies)
    everything = empty_function(ws, "Everything")
    rows = _import_all(ws, everything)
    backbone = function_backbone(ws, everything)
    embed_missing(ws, everything.id, backbone)
    # As a server does, and once for all functions: every model below has learned from degraded copies too, if it may.
    embed_copies(ws, everything.id, backbone)
    real = sorted({source for _, label, source in rows if label == "real"})
    sizes = {source: sum(row[2] == source for row in rows) for _, _, source in rows}
    generators = sorted({source for _, label, source in rows if label == "synthetic" and sizes[source] >= _FEWEST})
    by_collection: dict[str, list[_Held]] = defaultdict(list)
    for collection in real:
        for draw in range(_DRAWS):
            held = {collection, *np.random.default_rng([draw]).choice(generators, _GENERATORS, replace=False).tolist()}
            by_collection[collection].append(_judge(ws, everything, rows, held))
    ws.close()
    means = {name: float(np.mean([item.strongly_accused for item in items])) for name, items in by_collection.items()}
    worst = max(means, key=means.__getitem__)
    every = [item for items in by_collection.values() for item in items]

    def mean(name: str) -> float:
        return 100 * float(np.mean([getattr(item, name) for item in every]))

    return Figure(
        "elsewhere_accused_pct",
        "photographs of a collection that was held out which are strongly called synthetic, mean over five collections",
        100 * float(np.mean(list(means.values()))),
        "%",
        3,
        at_least=False,
        measurements={f"strongly accused, {name}": [100 * value] for name, value in means.items()},
        note=(
            f"{len(every)} draws; worst collection {worst}. At any grade {mean('accused'):.1f} % are. "
            f"Of the held-out generators' images {mean('strongly_caught'):.1f} % were strongly called synthetic (to "
            f"reach: 20), {mean('caught'):.1f} % at any grade, and {mean('strongly_cleared'):.1f} % strongly real. "
            f"Strong answers on images like the samples: {mean('own_strong'):.1f} % (to reach: 35)."
        ),
    )


def _import_all(ws: Workspace, function: Function) -> list[tuple[str, str, str]]:
    """(image hash, label, source) of every image; those of further collections as 256 px JPEG 92, as mixed2000 is."""
    found = []
    for path in sorted((SHARED_DATA / "mixed2000").rglob("*")):
        if path.suffix.lower() in _IMAGES:
            label, source = path.relative_to(SHARED_DATA / "mixed2000").parts[:2]
            found.append((path.read_bytes(), label, source))
    for name in _FURTHER:
        for path in sorted((SHARED_DATA / name / "real").rglob("*")):
            if path.suffix.lower() in _IMAGES:
                found.append((_as_mixed2000(path), "real", f"{name}: {path.relative_to(SHARED_DATA / name).parts[1]}"))
    ids = label_ids(ws, function)
    new = [
        new_sample(ws, data, f"{n}.jpg", label_id=ids[label], source=source)
        for n, (data, label, source) in enumerate(found)
    ]
    imports.add_samples(ws.db, function.id, None, new)
    # An image that is there twice is one sample, with its first label and source.
    names = {label_id: name for name, label_id in ids.items()}
    return [
        (row.image_hash, names[row.label_id or ""], row.source or "")
        for row in samples.training_rows(ws.db, function.id)
    ]


def _as_mixed2000(path: Path) -> bytes:
    picture = Image.open(path).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=92)
    return file.getvalue()


def _judge(ws: Workspace, everything: Function, rows: list[tuple[str, str, str]], held: set[str]) -> _Held:
    """Train without what is held out and what is nearly the same, try it on unseen sources, and judge."""
    grouped = _groups(samples.training_rows(ws.db, everything.id))
    away = {grouped[image] for image, _, source in rows if source in held}
    function = empty_function(ws, f"Without {', '.join(sorted(held))}")
    ids = label_ids(ws, function)
    new = [
        new_sample(ws, ws.blobs.image(image), "x.jpg", label_id=ids[label], source=source)
        for image, label, source in rows
        if grouped[image] not in away
    ]
    imports.add_samples(ws.db, function.id, None, new)
    build(ws, function.id)
    measure_unseen(Examination(ws, load_audit_data(ws, function.id)))
    serving = load_serving_model(ws, function.id)
    thresholds = Thresholds.from_json(with_thresholds(ws, serving.row).thresholds or {})
    said: dict[str, list[tuple[str, str]]] = {}
    for label in LABELS:
        mine = [image for image, given, source in rows if source in held and given == label]
        views = embeddings.read_embeddings(ws.db, serving.row.backbone_key, mine)
        prob = serving.probabilities(views)
        unlike = [like is not None and like.flagged for like in likenesses_of(serving, views[WHOLE])]
        judged = zip(thresholds.verdicts(prob), thresholds.graded(prob), unlike, strict=True)
        said[label] = [(CANT_TELL, CANT_TELL) if flagged else (name, grade) for name, grade, flagged in judged]
    functions.delete_function(ws.db, function.id)

    def share(label: str, verdict: str, *grades: str) -> float:
        return sum(name == verdict and (not grades or grade in grades) for name, grade in said[label]) / len(
            said[label]
        )

    own = thresholds.grades
    total = sum(sum(counts.values()) for counts in own.values())
    return _Held(
        accused=share("real", "synthetic"),
        strongly_accused=share("real", "synthetic", STRONG),
        caught=share("synthetic", "synthetic"),
        strongly_caught=share("synthetic", "synthetic", STRONG),
        strongly_cleared=share("synthetic", "real", STRONG),
        own_strong=sum(counts[STRONG] for counts in own.values()) / total,
    )


def _groups(rows: Sequence[TrainingRow]) -> dict[str, str]:
    return {row.image_hash: group for row, group in zip(rows, sample_groups(rows), strict=True)}
