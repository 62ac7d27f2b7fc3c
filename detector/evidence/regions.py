"""Where in a picture a verdict comes from: parts are blurred in turn, and what that does to the score is looked at.

Occlusion as of Zeiler and Fergus ("Visualizing and understanding convolutional networks", 2014), with what a network
really gets to see: the middle square of the picture, reduced, and of large pictures three crops in full resolution
(`detector.backbones.views`). Blurring any part moves the score, whatever is in it: a cell says how much more than the
median cell it moves it. A map is drawn of the picture and of copies of it: what is not the same in all is grey, and so
is what hardly moves the score, and all of it where the model does little better than guessing: such a model has reasons
for nothing, and the same wrong ones on every copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, JpegImagePlugin

from detector.arrays import Floats
from detector.backbones.views import DETAIL_POSITIONS, PreparedViews, prepare_views
from detector.errors import JobCancelled
from detector.imaging import DecodedImage
from detector.imaging.degraded_copies import saved_as
from detector.imaging.normalise import normalised
from detector.progress import Report, silent
from detector.serving.model import ServingModel
from detector.storage.embeddings import as_stored
from detector.storage.stored_names import DETAIL, WHOLE
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.backbones import Backbone

#: Cells of a map along each side, and how many of them one blurred part covers: parts overlap by half.
CELLS, PART = 7, 2
#: A cell is grey where the score moves by less than this, in log odds: at most 2.5 points of a percentage.
LEAST_PULL = 0.1
#: The whole map is grey where its versions have less in common than this, as mean correlation of their cells.
LEAST_AGREEMENT = 0.4
#: The whole map is grey, too, where the model is not surely better than guessing by this share of what there is to win:
#: lower end of the interval of its accuracy on images that it had not seen, against always naming the commonest label.
LEAST_SKILL = 0.2
#: What stands with every map.
NEARLY_BLIND = (
    "The network takes averages over the whole picture and is nearly blind to small changes within it: a map without "
    "marks does not prove that nothing was edited."
)

#: Sigma of the blur, and of the soft edge of a blurred part, as shares of the network's input side. With hard edges the
#: maps of copies have less in common: the edges are seen, too.
_BLUR, _EDGE = 1 / 14, 1 / 37
_QUALITY = 75
_CERTAIN = 1e-9

# Importing the plugin registers reader and writer; Pillow would else load all of its plugins at the first save.
assert JpegImagePlugin.Image is not None


@dataclass(frozen=True, eq=False)
class Regions:
    """A map of one picture.

    Attributes
    ----------
    label, label_id, other : str
        The most probable label, and what it is told from: the other label, or "the other labels".
    grid : (CELLS, CELLS) float64
        By how much more than the median cell each raises the log odds of the label, mean of the versions; below 0 it
        speaks against it.
    stable : (CELLS, CELLS) bool
        Where the versions agree and the cell matters; elsewhere the map is grey.
    agreement : float, -1..1
        Mean correlation of the versions.
    skilled : bool
        Whether the model does better than guessing by so much that a map of it means anything.
    box : (left, top, right, bottom)
        The part of the picture that the map covers, in shares of its width and height.
    seconds : float
    crops : int
        How many small pictures the network looked at.
    """

    label: str
    label_id: str
    other: str
    grid: Floats
    stable: NDArray[np.bool_]
    agreement: float
    skilled: bool
    box: tuple[float, float, float, float]
    seconds: float
    crops: int

    @property
    def peak(self) -> tuple[int, int] | None:
        """Row and column of the cell that pulls most; None where all is grey."""
        if not self.stable.any():
            return None
        row, column = np.unravel_index(np.abs(np.where(self.stable, self.grid, 0)).argmax(), self.grid.shape)
        return int(row), int(column)

    @property
    def sentence(self) -> str:
        """What the map shows, as people say it."""
        return " ".join([self._found(), *self._not_covered(), NEARLY_BLIND])

    def _found(self) -> str:
        if not self.skilled:
            return "There is no map: on images that it had not seen, this model did little better than guessing."
        if self.peak is None:
            return "No part of the picture stands out: what was found is too weak, or is another on copies of it."
        row, column = self.peak
        towards = self.label if self.grid[row, column] > 0 else self.other
        where = _place(row, column)
        return (
            f"{int(self.stable.sum())} of {self.stable.size} parts pull the score in the same direction on copies of "
            f"the picture too; most of all {where}, towards {towards}. Grey parts do not."
        )

    def _not_covered(self) -> list[str]:
        if self.box == (0.0, 0.0, 1.0, 1.0):
            return []
        return ["Of pictures that are not square the network sees the middle: the margins are not on the map."]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "label": self.label,
            "grid": [[round(float(value), 3) for value in row] for row in self.grid],
            "stable": self.stable.tolist(),
            "agreement": round(self.agreement, 3),
            "skilled": self.skilled,
            "box": list(self.box),
            "sentence": self.sentence,
        }

    def overlay(self, picture: Image.Image, towards: str, against: str, grey: str = "#7b8590") -> Image.Image:
        """The map laid over a picture.

        Parameters
        ----------
        picture : PIL.Image.Image
            The same picture in any size.
        towards, against : str
            ``#rrggbb`` of the label and of what it is told from.
        grey : str
            ``#rrggbb`` of the hatching of what is not stable.
        """
        layer = Image.new("RGBA", picture.size)
        draw = ImageDraw.Draw(layer)
        strongest = float(np.abs(self.grid[self.stable]).max()) if self.stable.any() else 1.0
        xs, ys = self._edges(picture.size)
        for (row, (top, bottom)), (column, (left, right)) in product(enumerate(pairwise(ys)), enumerate(pairwise(xs))):
            cell = (left, top, max(left, right - 1), max(top, bottom - 1))
            value = float(self.grid[row, column])
            if self.stable[row, column]:
                ink = _rgb(towards if value > 0 else against)
                draw.rectangle(cell, fill=(*ink, round(40 + 140 * abs(value) / strongest)))
            else:
                layer.paste(_hatching(right - left, bottom - top, _rgb(grey), (left, top)), (left, top))
        return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")

    def _edges(self, size: tuple[int, int]) -> tuple[list[int], list[int]]:
        left, top, right, bottom = self.box
        xs = [round(size[0] * (left + (right - left) * step / CELLS)) for step in range(CELLS + 1)]
        ys = [round(size[1] * (top + (bottom - top) * step / CELLS)) for step in range(CELLS + 1)]
        return xs, ys


def examine_regions(
    ws: Workspace,
    serving: ServingModel,
    backbone: Backbone,
    decoded: DecodedImage,
    report: Report = silent,
    cancelled: Callable[[], bool] = lambda: False,
) -> Regions:
    """Draw the map of a picture.

    Parameters
    ----------
    serving, backbone
        The model that gave the verdict, and its network.
    report : Report
        May raise to stop the work, too.
    cancelled : callable
        Asked between batches.

    Raises
    ------
    JobCancelled
        ``cancelled`` says so.
    """
    start = perf_counter()
    with_detail = DETAIL in serving.model.views
    maps, crops, best = [], 0, 0
    versions = _versions(decoded.pixels, with_detail)
    for number, (make, mirrored) in enumerate(versions):
        occluded = _Occluded(backbone, make(), with_detail)
        crops += occluded.count
        rows = _embed(backbone, occluded, report, cancelled, number, len(versions))
        odds = serving.probabilities(occluded.views(rows))
        if number == 0:
            best = int(odds[0].argmax())
        chosen = np.clip(odds[:, best], _CERTAIN, 1 - _CERTAIN)
        log_odds = np.log(chosen) - np.log1p(-chosen)
        found = _cells(log_odds[0] - log_odds[1:])
        found -= np.median(found)
        maps.append(found[:, ::-1] if mirrored else found)
    grid, stable, agreement = _together(np.stack(maps))
    skilled = _skilled(serving)
    labels = serving.labels
    other = labels[1 - best].name if len(labels) == 2 else "the other labels"
    return Regions(
        label=labels[best].name,
        label_id=labels[best].id,
        other=other,
        grid=grid,
        stable=stable & skilled,
        agreement=agreement,
        skilled=skilled,
        box=_middle(*decoded.pixels.size),
        seconds=perf_counter() - start,
        crops=crops,
    )


def _versions(picture: Image.Image, with_detail: bool) -> list[tuple[Callable[[], Image.Image], bool]]:
    """How each version of a picture is made, and whether it is a mirror image."""
    mirror = Image.Transpose.FLIP_LEFT_RIGHT
    if with_detail:
        # Each takes up to four times as many small pictures: both changes in one.
        return [(lambda: picture, False), (lambda: saved_as(picture.transpose(mirror), "JPEG", quality=_QUALITY), True)]
    return [
        (lambda: picture, False),
        (lambda: saved_as(picture, "JPEG", quality=_QUALITY), False),
        (lambda: picture.transpose(mirror), True),
    ]


def _skilled(serving: ServingModel) -> bool:
    measured = serving.row.cross_validation
    if measured is None:
        return False
    commonest = max(label["n"] for label in measured["labels"].values()) / measured["n"]
    return bool((measured["interval"][0] - commonest) / max(1 - commonest, _CERTAIN) >= LEAST_SKILL)


class _Occluded:
    """All that the network is shown of one version: the picture itself first, then each part blurred in turn.

    Crops that a blurred part does not touch are shown once.
    """

    def __init__(self, backbone: Backbone, picture: Image.Image, with_detail: bool) -> None:
        if backbone.normalisation is not None:
            picture = normalised(picture, backbone.normalisation)
        size = self._size = backbone.input_size
        prepared = prepare_views(picture, size, backbone.spec.interpolation)
        if not with_detail:
            prepared = PreparedViews(prepared.whole)
        self._plain = [crop for _, crop in prepared.crops()]
        self._plain_pictures = [Image.fromarray(crop) for crop in self._plain]
        self._blurred = [crop.filter(ImageFilter.GaussianBlur(_BLUR * size)) for crop in self._plain_pictures]
        #: By crop, where it lies in cells of the map: left, top, and how many pixels of it a cell has.
        self._frames = [(0.0, 0.0, size / CELLS), *_detail_frames(picture.size, size)][: len(self._plain)]
        steps = range(CELLS - PART + 1)
        self._touched: list[list[tuple[int, tuple[slice, slice]]]] = [
            [(number, area) for number in range(len(self._plain)) if (area := self._area(number, row, column))]
            for row, column in product(steps, steps)
        ]

    @property
    def count(self) -> int:
        return len(self._plain) + sum(map(len, self._touched))

    def crops(self) -> Iterator[np.ndarray]:
        yield from self._plain
        for touched in self._touched:
            for number, area in touched:
                mask = np.zeros((self._size, self._size), np.uint8)
                mask[area] = 255
                soft = Image.fromarray(mask).filter(ImageFilter.GaussianBlur(_EDGE * self._size))
                yield np.asarray(Image.composite(self._blurred[number], self._plain_pictures[number], soft))

    def views(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of `crops` -> what the model takes: the picture itself first, then one row a blurred part."""
        plain, given = rows[: len(self._plain)], len(self._plain)
        wholes, details = [plain[0]], [plain[1:]]
        for touched in self._touched:
            mine = plain.copy()
            for number, _ in touched:
                mine[number] = rows[given]
                given += 1
            wholes.append(mine[0])
            details.append(mine[1:])
        whole = as_stored(np.stack(wholes)).astype(np.float32)
        if len(self._plain) == 1:
            return {WHOLE: whole, DETAIL: whole}
        detail = np.stack([each.mean(axis=0, dtype=np.float32) for each in details])
        return {WHOLE: whole, DETAIL: as_stored(detail).astype(np.float32)}

    def _area(self, number: int, row: int, column: int) -> tuple[slice, slice] | None:
        left, top, cell = self._frames[number]
        xs = [min(max(round((column + end - left) * cell), 0), self._size) for end in (0, PART)]
        ys = [min(max(round((row + end - top) * cell), 0), self._size) for end in (0, PART)]
        return (slice(*ys), slice(*xs)) if xs[0] < xs[1] and ys[0] < ys[1] else None


def _detail_frames(picture: tuple[int, int], size: int) -> list[tuple[float, float, float]]:
    width, height = picture
    cell = min(picture) / CELLS
    left, top = (width - min(picture)) / 2, (height - min(picture)) / 2
    return [
        ((position * (width - size) - left) / cell, (position * (height - size) - top) / cell, cell)
        for position in DETAIL_POSITIONS
    ]


def _embed(
    backbone: Backbone,
    occluded: _Occluded,
    report: Report,
    cancelled: Callable[[], bool],
    number: int,
    versions: int,
) -> np.ndarray:
    rows: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    done = 0

    def look() -> None:
        nonlocal done
        if cancelled():
            raise JobCancelled
        rows.append(backbone.embed_crops(waiting))
        done += len(waiting)
        waiting.clear()
        share = (number + done / occluded.count) / versions
        report("regions", round(100 * share), 100, "Blurring one part of the picture after another", None)

    for crop in occluded.crops():
        waiting.append(crop)
        if len(waiting) == max(backbone.round_size, 16):
            look()
    if waiting:
        look()
    return np.concatenate(rows)


def _cells(parts: Floats) -> Floats:
    """What was found of parts, in the order of their places -> the mean over the parts that cover each cell."""
    steps = CELLS - PART + 1
    total, covered = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for value, (row, column) in zip(parts, product(range(steps), range(steps)), strict=True):
        total[row : row + PART, column : column + PART] += value
        covered[row : row + PART, column : column + PART] += 1
    return total / covered


def _together(maps: Floats) -> tuple[Floats, NDArray[np.bool_], float]:
    """(versions, CELLS, CELLS) -> their mean, where it is stable, and how much they have in common."""
    grid = maps.mean(axis=0)
    # Not of ranks: most cells of a map lie about zero, and their order means nothing.
    flat = maps.reshape(len(maps), -1) - maps.mean(axis=(1, 2))[:, None]
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), _CERTAIN)
    agreement = float((flat @ flat.T)[np.triu_indices(len(maps), 1)].mean())
    same_sign = np.abs(np.sign(maps).sum(axis=0)) == len(maps)
    # Where the maps differ by more than they say, their mean says nothing.
    steady = np.ptp(maps, axis=0) <= 2 * np.abs(grid)
    stable = same_sign & steady & (np.abs(grid) >= LEAST_PULL)
    return grid, stable if agreement >= LEAST_AGREEMENT else np.zeros_like(stable), agreement


def _middle(width: int, height: int) -> tuple[float, float, float, float]:
    side = min(width, height)
    x, y = (width - side) / 2 / width, (height - side) / 2 / height
    return (x, y, 1 - x, 1 - y)


def _place(row: int, column: int) -> str:
    third = (CELLS - 1) / 3
    vertical = "upper" if row < third else "lower" if row > 2 * third else ""
    side = "left" if column < third else "right" if column > 2 * third else ""
    if vertical and side:
        return f"at the {vertical} {side}"
    if side:
        return f"at the {side}"
    return {"upper": "at the top", "lower": "at the bottom", "": "in the middle"}[vertical]


def _rgb(ink: str) -> tuple[int, int, int]:
    return int(ink[1:3], 16), int(ink[3:5], 16), int(ink[5:7], 16)


def _hatching(width: int, height: int, ink: tuple[int, int, int], at: tuple[int, int]) -> Image.Image:
    """Slanting lines that go on from one cell to the next."""
    pixels = np.zeros((max(height, 1), max(width, 1), 4), np.uint8)
    y, x = np.mgrid[: max(height, 1), : max(width, 1)]
    on_line = (x + at[0] + y + at[1]) % 8 < 2
    pixels[...] = (*ink, 90)
    pixels[on_line] = (*ink, 200)
    return Image.fromarray(pixels)
