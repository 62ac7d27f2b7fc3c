"""From the setting DETECTOR_STORE to the blobs that it names."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from detector.errors import InvalidInput
from detector.storage.blobs import Blobs
from detector.storage.folder import BLOBS
from detector.storage.folder_blobs import FolderBlobs

#: In the data folder: what is kept of an object store.
CACHE = "store-cache"

#: Names of buckets as Amazon has them, and a little more for servers that allow it. A key or an address in its place is
#: never repeated in a sentence.
_S3 = re.compile(r"s3://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(?P<prefix>[^\s?#]*))?")


def open_blobs(store: str, data_dir: Path, cache_mb: int) -> Blobs:
    """The blobs of a data folder, or those of an object store in its place.

    Parameters
    ----------
    store : str
        As DETECTOR_STORE; empty: the data folder.
    cache_mb : int
        How much of an object store is kept in the data folder, in megabytes.

    Raises
    ------
    InvalidInput
        It names no store that is known here, or a package is missing.
    """
    if not store:
        return FolderBlobs(data_dir / BLOBS)
    # Here, not above: most have no object store, and none of this is to be loaded for them.
    from detector.storage.blob_cache import BlobCache
    from detector.storage.object_blobs import ObjectBlobs
    from detector.storage.objects import FsspecObjects, Objects

    objects: Objects
    if store.startswith(("memory://", "file://")):
        objects = FsspecObjects(store)
    else:
        from detector.storage.s3_objects import S3Objects

        objects = S3Objects(*_bucket_and_prefix(store))
    # A folder for each store: what was deleted from one may be in another.
    folder = data_dir / CACHE / hashlib.sha256(store.rstrip("/").encode()).hexdigest()[:16]
    return ObjectBlobs(objects, BlobCache(folder, cache_mb * 1_000_000))


def _bucket_and_prefix(store: str) -> tuple[str, str]:
    found = _S3.fullmatch(store)
    prefix = (found["prefix"] or "").strip("/") if found else ""
    if found is None or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise InvalidInput(
            "DETECTOR_STORE names no object store that is known here; expected s3://bucket or s3://bucket/prefix, with "
            "address and keys in AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Correct or unset it."
        )
    return found["bucket"], prefix
