"""A loaded backbone: prepared views in, embeddings out.

Two promises hold for every backbone, because a run that was killed goes on with other batches than it began with:
the numbers of an image do not depend on the other images of its batch, nor on its place in it. Both follow from batches
of one fixed size, padded with black, and from one thread a batch: with two, float32 sums come out otherwise than with
one, and a machine with other cores would give other numbers.

The cores are kept busy by several batches at once: torch's own threads wait for each other after every layer, and where
other programs want the cores too, that stalls. Measured on two shared cores with the offline backbone, images/s, worst
and median and best of 7 rounds: float32 45 / 73 / 102, torch's own threads 11 / 78 / 160; bfloat16 66 / 200 / 234,
torch's own threads 5 / 207 / 226. So nothing is won on an idle machine (float32 loses there), and much on a busy one.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image

from detector.backbones.accelerator import accelerator
from detector.backbones.bfloat16 import BY_WAY_OF_FLOAT32, calculates_bfloat16, rounded_products
from detector.backbones.inner import INNER
from detector.backbones.registry import BackboneSpec
from detector.backbones.torchscript import as_torchscript
from detector.backbones.views import PREPROCESSING_VERSION, PreparedViews, prepare_views
from detector.errors import InvalidInput
from detector.imaging.normalise import Normalisation, normalised
from detector.storage.stored_names import DETAIL, WHOLE
from detector.system.memory import keep_freed_memory
from detector.system.priority import lower_thread_priority
from detector.system.single_threaded import stay_single_threaded

log = logging.getLogger(__name__)

FLOAT32 = "float32"
BFLOAT16 = "bfloat16"
GPU_BATCH_SIZE = 32
# Some systems count processor time in steps of 16 ms.
LEAST_PROCESSOR_SECONDS = 0.1
_DTYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16}


class Backbone:
    """A frozen network with its preprocessing. Safe to use from several threads: it keeps no state between calls.

    Parameters
    ----------
    spec : BackboneSpec
    network : torch.nn.Module
        (B, 3, S, S) normalised images -> (B, D) features, in evaluation mode. Where it has a part named ``rounded``,
        only that is put into the precision; it must then convert what it gives to that part itself.
    features : mapping of str to slice
        Named feature sets inside one row of D numbers.
    fingerprint : str
        Of the weights, from `weights_fingerprint`.
    precision : {"float32", "bfloat16"}
    threads : int
        Batches calculated at once; 0: one per core. Changes the speed, never the numbers.
    one_call : bool
        Try to calculate without Python's lock, see `as_torchscript`. Of use to networks of many short layers.
    inner : bool
        Whether inner blocks are among the features; the key says so.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        network: Any,
        features: Mapping[str, slice],
        fingerprint: str,
        precision: str,
        threads: int = 0,
        one_call: bool = False,
        inner: bool = False,
    ) -> None:
        if precision not in _DTYPES:
            raise InvalidInput(f"The precision is {precision!r}; expected float32 or bfloat16.")
        self.spec = spec
        self.fingerprint = fingerprint
        self.precision = precision
        self.inner = inner
        self.normalisation: Normalisation | None = None
        self.features = dict(features)
        self.dimension = max(part.stop for part in self.features.values())
        device = accelerator()
        on_gpu = device is not None
        self._device = device if on_gpu else torch.device("cpu")
        self.batch_size = GPU_BATCH_SIZE if on_gpu else spec.batch_size
        self.workers = 1 if on_gpu else threads or os.cpu_count() or 1
        # Crops that keep every core busy once.
        self.round_size = self.workers * self.batch_size
        # Crops that are best given to one core at a time where there are many.
        self.bulk_size = self.batch_size * (2 if getattr(network, "has_blocks", False) and not on_gpu else 1)
        keep_freed_memory()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="backbone", initializer=_start_worker)
        network = network.eval().requires_grad_(False)
        getattr(network, "rounded", network).to(_DTYPES[precision])
        self._dtype = torch.float32 if hasattr(network, "rounded") else _DTYPES[precision]
        self._network = network.to(self._device).to(memory_format=torch.channels_last)
        self._products = rounded_products if precision == BFLOAT16 else nullcontext
        if precision == BFLOAT16 and not calculates_bfloat16():
            log.warning("%s: %s", spec.title, BY_WAY_OF_FLOAT32)
        if one_call and not on_gpu:
            # Any picture but an even one: what is clipped or cancels out everywhere would be compared with nothing.
            shape = (self.batch_size, 3, spec.image_size, spec.image_size)
            example = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self._dtype)
            example = example.contiguous(memory_format=torch.channels_last)
            self._network = self._pool.submit(self._in_one_call, example).result()
        mean, std = (np.array(values, dtype=np.float64) for values in (spec.mean, spec.std))
        # (x / 255 - mean) / std as one multiplication and one addition.
        self._gain, self._shift = self._for_each_pixel(1 / (255 * std)), self._for_each_pixel(-mean / std)

    @property
    def key(self) -> str:
        """Embeddings may be compared only where this is equal."""
        key = f"{self.spec.id}:{self.fingerprint}:{self.preprocessing_version}:{self.precision}"
        return f"{key}:{INNER}" if self.inner else key

    @property
    def preprocessing_version(self) -> str:
        """What is done to a picture before the network sees it; part of ``key``."""
        return PREPROCESSING_VERSION + (f"+{self.normalisation.code}" if self.normalisation else "")

    def normalising(self, code: str | None) -> Backbone:
        """This backbone for pictures that are first made alike in size, format and quality.

        The network is shared with it. None: pictures as they are.

        Raises
        ------
        InvalidInput
            ``code`` names no normalisation.
        """
        other = copy.copy(self)
        other.normalisation = Normalisation.parse(code) if code is not None else None
        return other

    @property
    def input_size(self) -> int:
        return self.spec.image_size

    def views_of(self, image: Image.Image) -> PreparedViews:
        """Cut an upright RGB image into the views of this backbone. Needs no torch; meant for a decoding thread."""
        if self.normalisation is not None:
            image = normalised(image, self.normalisation)
        return prepare_views(image, self.input_size, self.spec.interpolation)

    def embed_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Embed single crops.

        Parameters
        ----------
        crops : sequence of uint8 arrays (S, S, 3)

        Returns
        -------
        float32 array (len(crops), D)
        """
        # Few enough at a time for every core to have some.
        step = self.bulk_size if len(crops) > self.round_size else self.batch_size
        parts = [self.start_batch(crops[start : start + step]) for start in range(0, len(crops), step)]
        return np.concatenate([part.result() for part in parts] or [np.empty((0, self.dimension), np.float32)])

    def start_batch(self, crops: Sequence[np.ndarray]) -> Future[np.ndarray]:
        """Embed at most ``bulk_size`` crops as soon as a core is free; the result is that of `embed_crops`."""
        return self._pool.submit(self._embed_batches, crops)

    def processor_seconds(self, crops: Sequence[np.ndarray]) -> float:
        """Time of a core that a batch takes, at best, when all cores calculate it at once on the CPU.

        Time in which other programs have the core does not count.
        """

        def timed() -> float:
            start, batches, took = time.thread_time(), 0, 0.0
            while took < LEAST_PROCESSOR_SECONDS:
                self._embed_batches(crops)
                batches, took = batches + 1, time.thread_time() - start
            return took / batches

        return min(part.result() for part in [self._pool.submit(timed) for _ in range(self.workers)])

    def embed(self, prepared: Sequence[PreparedViews]) -> list[dict[str, np.ndarray]]:
        """Embed images.

        Parameters
        ----------
        prepared : sequence of PreparedViews
            From `views_of`.

        Returns
        -------
        list of dict
            One an image: view name -> float32 array (D,). `detail` is absent where the image has none.
        """
        rows = self.embed_crops([crop for views in prepared for _, crop in views.crops()])
        results, start = [], 0
        for views in prepared:
            count = 1 + len(views.detail)
            results.append(join_views(rows[start : start + count]))
            start += count
        return results

    def _in_one_call(self, example: Any) -> Any:
        with self._products():
            return as_torchscript(self._network, example)

    def _for_each_pixel(self, values: np.ndarray) -> Any:
        """(1, 3, S, S): numbers beside numbers are calculated with eight at a time, three channels are not."""
        size = self.input_size
        channels = torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)
        return channels.expand(1, 3, size, size).contiguous(memory_format=torch.channels_last)

    def _embed_batches(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        starts = range(0, len(crops), self.batch_size)
        batches = [crops[start : start + self.batch_size] for start in starts]
        with torch.inference_mode(), self._products():
            images = [self._images(batch) for batch in batches]
            together = getattr(self._network, "together", None)
            found = together(images) if together and len(images) > 1 else [self._network(each) for each in images]
            rows = [part[: len(batch)].float().cpu().numpy() for part, batch in zip(found, batches, strict=True)]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def _images(self, crops: Sequence[np.ndarray]) -> Any:
        """(B, 3, S, S) as the network takes them."""
        batch = np.zeros((self.batch_size, self.input_size, self.input_size, 3), dtype=np.uint8)
        for place, crop in enumerate(crops):
            batch[place] = crop
        # A transposed view of (B, S, S, 3) already is channels_last in memory.
        images = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).float()
        images = images.mul_(self._gain).add_(self._shift).to(self._dtype)
        return images.contiguous(memory_format=torch.channels_last)


def _start_worker() -> None:
    lower_thread_priority()
    stay_single_threaded()


def join_views(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The rows of one image's crops, `whole` first, as one row a view; the `detail` crops are averaged."""
    views = {WHOLE: rows[0].copy()}
    if len(rows) > 1:
        views[DETAIL] = rows[1:].mean(axis=0, dtype=np.float32)
    return views


def weights_fingerprint(state: Mapping[str, Any]) -> str:
    """Sixteen hex digits of SHA-256 over names, shapes and values of the weights, whatever file they came from.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        A state dict on the CPU, before any change of precision.

    Raises
    ------
    ValueError
        A weight is not a finite number.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().contiguous()
        if tensor.is_floating_point():
            tensor = tensor.float()
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"the weights of {name} are not finite numbers")
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]
