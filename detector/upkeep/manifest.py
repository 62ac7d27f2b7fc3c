"""What a backup says of itself: read before anything else of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from detector.errors import BackupDamaged, BackupUnusable
from detector.storage.blobs import hash_of
from detector.storage.migrations import SCHEMA_VERSION

FORMAT = 1
#: The database, always as an SQLite file, whatever it was copied from.
DATABASE = "database.sqlite"
MANIFEST = "manifest.json"
#: Below it lie pictures and models under the names that they have in the store.
BLOBS = "blobs/"

#: Names of files of our own: no dots at a beginning, no steps upwards, nothing of another system's paths.
_OWN = re.compile(r"[a-z][a-z0-9-]{0,40}/[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")
#: The year 9999: what calendars can say.
_LATEST = 253_000_000_000.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Member:
    """One file of a backup; ``pieces``: the hashes of its pieces where it lies in several."""

    byte_count: int
    sha256: str
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What a model says of a few stored embeddings, by the hashes of their images: a restored one must say the same."""

    function_id: str
    model_id: str
    images: tuple[str, ...]
    probabilities: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Manifest:
    """
    Attributes
    ----------
    version, schema : of the program and of the tables
    created : in seconds since the epoch
    tables : rows by table
    members : every file but this one, by name
    settings : of the server, without secrets and paths
    lost : pictures whose bytes were missing or damaged when the backup was made, and why
    lost_models : models, by id, whose files were missing or damaged then, in words
    in_place : pictures that lie elsewhere and are not in the backup
    probes : see `Probe`
    """

    version: str
    schema: int
    created: float
    tables: Mapping[str, int]
    members: Mapping[str, Member]
    settings: Mapping[str, Any]
    lost: Mapping[str, str] = field(default_factory=dict)
    lost_models: Mapping[str, str] = field(default_factory=dict)
    in_place: int = 0
    probes: tuple[Probe, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing was missing or damaged when it was made."""
        return not (self.lost or self.lost_models)

    @property
    def byte_count(self) -> int:
        """Of all files."""
        return sum(member.byte_count for member in self.members.values())

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Manifest:
        """Read one of a backup called ``name``. It may come from a stranger: nothing in it is a path.

        Raises
        ------
        BackupDamaged
            It is none of ours.
        BackupUnusable
            It was made by a newer version.
        """
        try:
            found = json.loads(data)
            if int(found.pop("format")) > FORMAT or int(found["schema"]) > SCHEMA_VERSION:
                raise BackupUnusable(
                    f"The backup {name} was made by a newer version of this program ({str(found['version'])[:40]}). "
                    "Restore it with that version or a newer one."
                )
            manifest = cls(
                str(found["version"])[:40],
                int(found["schema"]),
                _moment(found["created"]),
                {str(table): int(rows) for table, rows in found["tables"].items()},
                {_known(member): _member(facts) for member, facts in found["members"].items()},
                dict(found["settings"]),
                {_sha(image): str(why)[:200] for image, why in found["lost"].items()},
                {str(model)[:32]: str(why)[:200] for model, why in found.get("lost_models", {}).items()},
                int(found["in_place"]),
                tuple(_probe(probe) for probe in found["probes"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
            raise BackupDamaged(name, MANIFEST) from error
        if DATABASE not in manifest.members or manifest.schema < 1:
            raise BackupDamaged(name, MANIFEST)
        return manifest


def _known(member: str) -> str:
    blob = member.removeprefix(BLOBS)
    if member == DATABASE or (blob != member and (hash_of(blob) or _OWN.fullmatch(blob))):
        return member
    raise ValueError("a name that no backup has")


def _moment(value: Any) -> float:
    moment = float(value)
    if not 0 <= moment < _LATEST:
        raise ValueError("no moment that a calendar has")
    return moment


def _sha(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("no hash")
    return text


def _member(facts: Mapping[str, Any]) -> Member:
    size = int(facts["byte_count"])
    if size < 0:
        raise ValueError("a negative size")
    return Member(size, _sha(facts["sha256"]), tuple(_sha(piece) for piece in facts["pieces"]))


def _probe(facts: Mapping[str, Any]) -> Probe:
    rows = tuple(tuple(float(value) for value in row) for row in facts["probabilities"])
    return Probe(str(facts["function_id"]), str(facts["model_id"]), tuple(map(_sha, facts["images"])), rows)
