"""CIFAKE: 60,000 CIFAR-10 photographs and 60,000 images of Stable Diffusion 1.4, all of 32 x 32 pixels.

Bird and Lotfi 2024, "CIFAKE: Image Classification and Explainable Identification of AI-Generated Synthetic Images".
It comes as two parquet files from the Hugging Face hub. :func:`fetch_cifake` gets them, :func:`read_choice` picks
images from parquet files on disk and knows nothing of the network.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detector.backbones.availability import hub_reachable
from detector.datasets import SampleImage
from detector.errors import DatasetUnavailable, DownloadFailed, InvalidInput

REPOSITORY = "dragonintelligence/CIFAKE-image-dataset"
REACHABLE_SECONDS = 2.5
LISTING_SECONDS = 2.0  # with REACHABLE_SECONDS below the 5 s within which a missing network must be reported

Progress = Callable[[int, int, str], None]
_Label = Literal["real", "synthetic"]

_MEANING: dict[str, _Label] = {
    "real": "real",
    "fake": "synthetic",
    "ai": "synthetic",
    "synthetic": "synthetic",
    "generated": "synthetic",
}
_SOURCE: dict[_Label, str] = {"real": "CIFAR-10", "synthetic": "Stable Diffusion 1.4"}
_OTHERWISE = (
    "Without the hub: download the CIFAKE archive in a browser and import its ZIP file with labels from folders."
)
_REMEDY = f"Try again later. {_OTHERWISE}"


def fetch_cifake(per_label: int, seed: int, cache_dir: Path, progress: Progress) -> Iterator[SampleImage]:
    """Get images of CIFAKE, chosen at random.

    Files are taken smallest first (the 20,000 test images, then the 100,000 training images) and only as many as
    ``per_label`` needs, so that up to 10,000 images per label cost one small download; equal arguments give equal
    images. Files that were fetched before are used without a network.

    Parameters
    ----------
    per_label : int
        Images per label; where the set has fewer, all of them.
    seed : int
        Of the random choice.
    cache_dir : Path
        Where the hub's files are kept.
    progress : callable
        ``progress(done, total, message)`` in images, while downloading in bytes; it may raise to cancel.

    Yields
    ------
    SampleImage
        The file as it is in the set; ``source`` is CIFAR-10 or Stable Diffusion 1.4.

    Raises
    ------
    DatasetUnavailable
        The hub cannot be reached (within 5 s), a download fails, or the files are not what is expected.
    InvalidInput
        ``per_label`` is below 1.
    """
    if per_label < 1:
        raise InvalidInput(f"At least 1 image per label is needed; {per_label} were asked for.")
    paths = _undamaged(cached_files(cache_dir), per_label)
    if not _enough(paths, per_label):
        paths = _download(per_label, cache_dir, progress)
    total = sum(min(per_label, count) for count in label_counts(paths).values())
    for done, image in enumerate(read_choice(paths, per_label, seed)):
        progress(done, total, "Reading CIFAKE")
        yield image
    progress(total, total, "Reading CIFAKE")


def require_cifake(cache_dir: Path) -> None:
    """Check within 5 s that CIFAKE can be had, before a function or import is made for it.

    Raises
    ------
    DatasetUnavailable
        Nothing was fetched before and the hub cannot be reached.
    """
    if not cached_files(cache_dir) and not hub_reachable(REACHABLE_SECONDS):
        raise DatasetUnavailable("CIFAKE", "the Hugging Face hub cannot be reached", _REMEDY)


def cached_files(cache_dir: Path) -> list[Path]:
    """The parquet files that were fetched before, smallest first."""
    folder = cache_dir / f"datasets--{REPOSITORY.replace('/', '--')}"
    revision = folder / "refs" / "main"
    if not revision.is_file():
        return []
    return sorted(
        (folder / "snapshots" / revision.read_text().strip()).rglob("*.parquet"),
        key=lambda path: (path.stat().st_size, path.name),
    )


def _undamaged(paths: list[Path], per_label: int) -> list[Path]:
    """The files, less those that the disk has damaged: they are removed, so that they are fetched anew."""
    from detector.backbones.download import drop_if_damaged

    try:
        _enough(paths, per_label)
    except DatasetUnavailable:
        return [path for path in paths if not drop_if_damaged(path)]
    return paths


def label_counts(paths: Sequence[Path]) -> dict[str, int]:
    """Images per label in parquet files; only the label column is read."""
    counts: dict[str, int] = {"real": 0, "synthetic": 0}
    for path in paths:
        with _ParquetSet.open(path) as part:
            for label in counts:
                counts[label] += int(np.count_nonzero(part.labels == label))
    return counts


def read_choice(paths: Sequence[Path], per_label: int, seed: int) -> Iterator[SampleImage]:
    """Choose images from parquet files of the hub's image layout and read those.

    The label column is read first and alone; of the images, only row groups with a chosen one are read, one at a time.
    Which number means which label is taken from the metadata that the hub's library writes into the file.

    Parameters
    ----------
    paths : sequence of Path
        As few of the first files as hold ``per_label`` images of both labels are used.
    per_label : int
        Images per label; where there are fewer, all of them.
    seed : int
        Of the random choice.

    Yields
    ------
    SampleImage
        In the order of the files.

    Raises
    ------
    DatasetUnavailable
        A file cannot be read, has no image column, or its label names cannot be understood.
    """
    used: list[Path] = []
    for path in paths:
        used.append(path)
        if _enough(used, per_label):
            break
    chosen = _choose(used, per_label, seed)
    for path, rows in zip(used, chosen, strict=True):
        with _ParquetSet.open(path) as part:
            yield from part.images(rows)


def _enough(paths: Sequence[Path], per_label: int) -> bool:
    return bool(paths) and min(label_counts(paths).values()) >= per_label


def _choose(paths: Sequence[Path], per_label: int, seed: int) -> list[np.ndarray]:
    labels = []
    for path in paths:
        with _ParquetSet.open(path) as part:
            labels.append(part.labels)
    every = np.concatenate(labels) if labels else np.empty(0, dtype=str)
    random = np.random.Generator(np.random.PCG64(seed))
    picked = np.zeros(len(every), dtype=bool)
    for label in ("real", "synthetic"):
        picked[random.permutation(np.flatnonzero(every == label))[:per_label]] = True
    starts = np.cumsum([0, *map(len, labels)])
    return [np.flatnonzero(picked[start:end]) for start, end in pairwise(starts)]


@dataclass(frozen=True)
class _ParquetSet:
    """One open parquet file in the layout of the hub's ``datasets`` library."""

    path: Path
    file: pq.ParquetFile
    image_column: str
    names: np.ndarray  # (n,) str, the label's name in the set, e.g. FAKE
    labels: np.ndarray  # (n,) str, "real" or "synthetic"

    @classmethod
    def open(cls, path: Path) -> _ParquetSet:
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise _unusable(path, "it is not a readable parquet file") from error
        try:
            image_column, names = _columns(file, path)
            unknown = sorted({name for name in set(names.tolist()) if name.lower() not in _MEANING})
            if unknown:
                raise _unusable(path, f"its label {unknown[0]!r} is neither real nor fake")
        except BaseException:
            file.close()
            raise
        labels = np.array([_MEANING[name.lower()] for name in names.tolist()], dtype=str)
        return cls(path, file, image_column, names, labels)

    def __enter__(self) -> _ParquetSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def images(self, rows: np.ndarray) -> Iterator[SampleImage]:
        split = self.path.stem.split("-")[0]
        start = 0
        for group in range(self.file.num_row_groups):
            end = start + self.file.metadata.row_group(group).num_rows
            wanted = rows[(rows >= start) & (rows < end)]
            if len(wanted):
                column = self.file.read_row_group(group, columns=[self.image_column]).column(self.image_column)
                for row, cell in zip(wanted.tolist(), column.take(pa.array(wanted - start)).to_pylist(), strict=True):
                    yield self._image(row, cell, split)
            start = end

    def _image(self, row: int, cell: dict[str, Any] | None, split: str) -> SampleImage:
        data = (cell or {}).get("bytes")
        if not data:
            raise _unusable(self.path, f"row {row} holds no image")
        label: _Label = "real" if self.labels[row] == "real" else "synthetic"
        # The paths inside repeat between folders ("0001 (2).jpg" is in REAL and in FAKE), the row does not.
        ending = PurePosixPath((cell or {}).get("path") or "").suffix or (
            ".png" if data.startswith(b"\x89PNG") else ".jpg"
        )
        return SampleImage(f"{split}/{self.names[row]}/{row:06d}{ending}", data, label, _SOURCE[label], "")


def _columns(file: pq.ParquetFile, path: Path) -> tuple[str, np.ndarray]:
    """The image column's name, and each row's label name."""
    schema = file.schema_arrow
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {name: feature["_type"] for name, feature in features.items()}
        image_column = next(name for name, kind in kinds.items() if kind == "Image")
        label_column = next(name for name, kind in kinds.items() if kind == "ClassLabel")
        names = features[label_column]["names"]
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise _unusable(path, "it does not say which column holds the label and what its numbers mean") from error
    numbers = file.read(columns=[label_column]).column(label_column).to_numpy()
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(names)):
        raise _unusable(path, f"it has label numbers outside of its {len(names)} names")
    return image_column, np.array(names, dtype=str)[numbers]


def _unusable(path: Path, why: str) -> DatasetUnavailable:
    return DatasetUnavailable("CIFAKE", f"{path.name} cannot be used, {why}", _REMEDY)


def _unreachable() -> DatasetUnavailable:
    return DatasetUnavailable("CIFAKE", "the Hugging Face hub cannot be reached", _REMEDY)


def _download(per_label: int, cache_dir: Path, progress: Progress) -> list[Path]:
    if not hub_reachable(REACHABLE_SECONDS):
        raise _unreachable()
    from detector.backbones.download import HubFile, fetch

    paths: list[Path] = []
    for name, _ in _listing():
        try:
            paths.append(fetch(HubFile(REPOSITORY, name, "CIFAKE", "dataset", cache_dir), progress))
        except DownloadFailed as error:
            raise _failed(error) from error
        if _enough(paths, per_label):
            break
    return paths


def _failed(error: DownloadFailed) -> DatasetUnavailable:
    return DatasetUnavailable("CIFAKE", error.why, f"{error.remedy} {_OTHERWISE}")


def _listing() -> list[tuple[str, int]]:
    """The set's parquet files on the hub with their sizes in bytes, smallest first."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    from detector.backbones.download import hub_failure

    files: list[tuple[str, int]] = []
    failures: list[Exception] = []

    def ask() -> None:
        try:
            found = HfApi().dataset_info(REPOSITORY, files_metadata=True, timeout=LISTING_SECONDS)
            files.extend((item.rfilename, item.size or 0) for item in found.siblings or ())
        except Exception as error:
            failures.append(error)

    # As in hub_reachable: name resolution ignores timeouts, so the thread is left behind when the time is up.
    thread = threading.Thread(target=ask, name="cifake-listing", daemon=True)
    thread.start()
    thread.join(LISTING_SECONDS)
    if failures and isinstance(failures[0], HfHubHTTPError):
        raise _failed(hub_failure(failures[0], "CIFAKE", REPOSITORY)) from failures[0]
    if thread.is_alive() or failures:
        raise _unreachable() from (failures[0] if failures else None)
    parquet = [(name, size) for name, size in files if name.endswith(".parquet")]
    if not parquet:
        raise DatasetUnavailable("CIFAKE", f"{REPOSITORY} holds no parquet files", _REMEDY)
    return sorted(parquet, key=lambda item: (item[1], PurePosixPath(item[0]).name))
