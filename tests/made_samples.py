"""Functions with as many samples as one likes, written as rows: what the gallery is measured and tested on."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image
from sqlalchemy import insert, update

from detector.imaging.decode import ImageFacts
from detector.storage import functions
from detector.storage.database import new_id
from detector.storage.functions import Function
from detector.storage.schema import embeddings, images, import_batches, models, samples, thumbnails
from detector.storage.schema import functions as functions_table
from detector.workspace import Workspace

LABELS = ("real", "synthetic")
SOURCES = ("camera", "scanner", "sdxl", "flux", "dalle", "midjourney", None)
BACKBONE_KEY = "made:0:1:float32"
_CHUNK = 5000


def made_function(
    ws: Workspace,
    n: int,
    *,
    seed: int = 0,
    pictures: int = 0,
    dimension: int = 0,
    backbone_key: str = BACKBONE_KEY,
    name: str = "Made",
) -> Function:
    """A function with ``n`` samples, four fifths of them annotated, all predicted by a live model.

    Parameters
    ----------
    pictures : int
        So many different thumbnails, made once and given out in turn; 0: none at all.
    dimension : int
        Numbers of each embedding; 0: none at all. The labels can be learned from them.
    """
    rng = np.random.default_rng(seed)
    function = functions.create_function(ws.db, name, backbone_id="efficientnet-lite0", label_names=LABELS)
    label_ids = [label.id for label in functions.list_labels(ws.db, function.id)]
    batches = [new_id() for _ in range(5)]
    model_id = new_id()
    thumbs = [_thumbnail(rng) for _ in range(pictures)]
    confidence = np.round(1 - 0.5 * rng.beta(1, 4, n), 6)
    predicted = rng.integers(0, 2, n)
    wrong = rng.random(n) < 0.06
    annotated = rng.random(n) < 0.8
    twins = rng.random(n) < 0.05
    groups: list[str] = []
    with ws.db.write() as connection:
        connection.execute(
            insert(import_batches),
            [
                {
                    "id": batch,
                    "function_id": function.id,
                    "origin": "zip",
                    "title": f"{batch}.zip",
                    "state": "done",
                    "created_at": 1000.0 + place,
                }
                for place, batch in enumerate(batches)
            ],
        )
        connection.execute(
            insert(models).values(
                id=model_id,
                function_id=function.id,
                version=1,
                backbone_id="efficientnet-lite0",
                backbone_key=backbone_key,
                precision="float32",
                label_ids=label_ids,
                label_names=list(LABELS),
                sample_count=n,
                training_fingerprint="made",
                hyperparameters={},
                sweep=[],
                thresholds={"above": {"real": 0.9, "synthetic": 0.8}},
                seconds=1.0,
                created_at=3e9,
            )
        )
        for start in range(0, n, _CHUNK):
            chunk = range(start, min(start + _CHUNK, n))
            hashes = [hashlib.sha256(f"{function.id}:{i}".encode()).hexdigest() for i in chunk]
            connection.execute(
                insert(images),
                [
                    {
                        "hash": key,
                        "byte_count": 20_000 + i,
                        "format": "JPEG",
                        "width": 256,
                        "height": 256,
                        "facts": ImageFacts("JPEG", 256, 256, "RGB", 20_000 + i).to_json(),
                        "perceptual_hash": key[:16],
                        "created_at": 1000.0,
                    }
                    for i, key in zip(chunk, hashes, strict=True)
                ],
            )
            if thumbs:
                connection.execute(
                    insert(thumbnails),
                    [{"image_hash": key, "data": thumbs[i % pictures]} for i, key in zip(chunk, hashes, strict=True)],
                )
            if dimension:
                numbers = rng.standard_normal((len(hashes), dimension))
                # A few directions carry the label, about as well as in real embeddings.
                numbers[:, :20] += np.where(predicted[chunk.start : chunk.stop, None], 0.4, -0.4)
                numbers = numbers.astype(np.float16)
                connection.execute(
                    insert(embeddings),
                    [
                        {
                            "image_hash": key,
                            "backbone_key": backbone_key,
                            "view": "whole",
                            "dtype": "float16",
                            "data": row.tobytes(),
                        }
                        for key, row in zip(hashes, numbers, strict=True)
                    ],
                )
            rows = []
            for i, key in zip(chunk, hashes, strict=True):
                says = int(predicted[i])
                given = says if not wrong[i] else 1 - says
                groups.append(groups[-1] if twins[i] and groups else key)
                p = float(confidence[i])
                rows.append(
                    {
                        "id": new_id(),
                        "function_id": function.id,
                        "image_hash": key,
                        "file_name": f"IMG_{i:06d}_{key[:5]}.jpg",
                        "source": SOURCES[i % len(SOURCES)],
                        "import_batch_id": batches[i * 5 // n],
                        "created_at": 2000.0 + i,
                        "split": "train",
                        "near_duplicate_group": groups[-1],
                        "revision": 1,
                        "label_id": label_ids[given] if annotated[i] else None,
                        "annotated_at": 2000.0 + i if annotated[i] else None,
                        "annotated_by": "import" if annotated[i] else None,
                        "predicted_label_id": label_ids[says],
                        "confidence": p,
                        "margin": 2 * p - 1,
                        "agrees": bool(given == says) if annotated[i] else None,
                        "out_of_fold": True,
                        "predicted_by": model_id,
                        "probabilities": np.array([p, 1 - p] if says == 0 else [1 - p, p], np.float32).tobytes(),
                        "label_quality": (p if given == says else 1 - p) if annotated[i] else None,
                        "usefulness": None if annotated[i] else 2 - 2 * p,
                    }
                )
            connection.execute(insert(samples), rows)
        connection.execute(
            update(functions_table)
            .where(functions_table.c.id == function.id)
            .values(live_model_id=model_id, sample_revision=1)
        )
    return functions.get_function(ws.db, function.id)


def _thumbnail(rng: np.random.Generator) -> bytes:
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((256, 256), Image.Resampling.BICUBIC).save(file, "WEBP", method=0)
    return file.getvalue()
