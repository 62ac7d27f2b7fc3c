"""The one table of settings. Nothing else in the package reads the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from detector.errors import InvalidInput

CHECKOUT = Path(__file__).resolve().parent.parent


#: Degraded copies of one image: more bring nothing that could be measured, and each costs as much as a further image.
MOST_COPIES = 8
#: More threads than this take turns on the cores, and thousands of them bring the machine to a stand.
_MOST_THREADS = max(64, 8 * (os.cpu_count() or 1))
#: Above every disk and every waiting time, and small enough to be counted in bytes and added to a clock.
_MOST = 1_000_000_000


def default_data_dir(checkout: Path, environment: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where the data lies when nobody says where.

    In a checkout: beside the code. Installed, the code lies in a folder that an update of the package replaces, and
    commands are called from anywhere: so the folder that the system has for the data of a user's programs, the same
    one whatever the working directory is.

    Parameters
    ----------
    checkout : Path
        The folder above this package.
    environment : mapping of str to str
        ``XDG_DATA_HOME`` and ``LOCALAPPDATA`` are read from it.
    platform : str
        As in ``sys.platform``.
    """
    if (checkout / "streamlit_app.py").is_file():
        return checkout / "data"
    try:
        home = Path.home()
    except RuntimeError:
        # The account of a service that has no home: it is started in a folder of its own.
        return Path.cwd() / "ai-image-detector"
    if platform == "win32":
        folder = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif platform == "darwin":
        folder = home / "Library" / "Application Support"
    else:
        named = Path(environment.get("XDG_DATA_HOME", ""))
        # The specification: a relative path is invalid and to be ignored.
        folder = named if named.is_absolute() else home / ".local" / "share"
    return folder / "ai-image-detector"


def _setting(
    default: Any, help_text: str, least: int = 0, most: int = _MOST, choices: tuple[str, ...] | None = None
) -> Any:
    return field(default=default, metadata={"help": help_text, "least": least, "most": most, "choices": choices})


@dataclass(frozen=True)
class Settings:
    """Settings, each read from ``DETECTOR_<NAME>`` and documented in the README (a test holds the two together)."""

    data_dir: Path = _setting(
        default_data_dir(CHECKOUT, os.environ), "Folder for the database, images, thumbnails and models."
    )
    database_url: str = _setting("", "SQLAlchemy URL of the database; empty: SQLite in the data folder.")
    store: str = _setting(
        "",
        "Object store for images and models, as s3://bucket/prefix; empty: the data folder. See docs/object-store.md.",
    )
    store_cache_mb: int = _setting(
        2000, "With an object store: how much of it is kept on this machine too, in megabytes; 0: nothing."
    )
    min_free_mb: int = _setting(
        500,
        "Room that is kept free on the disk of the data folder, in megabytes: below it no import, run of pictures or "
        "making of copies begins; 0: none.",
    )
    log: str = _setting(
        "text",
        "Lines of the log: text, or json, with the id of the request or job; errors of the HTTP API then name it too.",
        choices=("text", "json"),
    )
    metrics_token: str = _setting(
        "",
        "Secret with which /metrics and the details of /readyz are read from elsewhere (Authorization: Bearer ...); "
        "empty: from this machine or with a key of the API alone.",
    )
    store_links: bool = _setting(
        False, "true: browsers fetch originals from the object store itself, by links that are good for ten minutes."
    )
    backbone: str = _setting("auto", "Backbone of new functions when none is chosen: auto or a registry id.")
    clip_checkpoint: str = _setting(
        "", "Local CLIP weights as <registry id>:<file>; several are separated by a semicolon."
    )
    import_root: str = _setting("", "Folder below which the Import page may read; empty: reading folders is off.")
    max_image_mb: int = _setting(64, "Largest image file accepted, in megabytes.", least=1)
    max_megapixels: int = _setting(100, "Largest image accepted, in megapixels.", least=1)
    max_zip_gb: float = _setting(
        20.0, "Largest ZIP upload, and largest total of what is unpacked from it, in gigabytes."
    )
    max_zip_entries: int = _setting(500_000, "Most files in one ZIP.", least=1)
    copies: int = _setting(
        4,
        "Degraded copies of each labelled image that are trained on, up to 5,000 images, and fewer above; 0: none.",
        most=MOST_COPIES,
    )
    retrain_delay: float = _setting(3.0, "Seconds without a label change before a retraining starts.")
    threads: int = _setting(0, "CPU threads for decoding and torch; 0: all cores.", most=_MOST_THREADS)
    worker: str = _setting(
        "process",
        "Where imports, trainings and audits run: process (a process of their own), inside (threads of the server), "
        "imports (a process for imports and runs of pictures alone; workers elsewhere do the rest), or none.",
        choices=("process", "inside", "imports", "none"),
    )
    dask: str = _setting(
        "",
        "Dask cluster that shares the work on pictures: tcp://SCHEDULER:8786, or local:N for N processes on this "
        "machine; empty: none.",
    )
    dask_resources: str = _setting(
        "", "What a Dask worker must have to be given such work, as GPU=1; several are separated by commas."
    )
    precision: str = _setting(
        "auto",
        "Numbers of the backbone: auto (measured once per function), float32, or bfloat16 where the machine has it.",
    )
    invoke_places: int = _setting(
        64,
        "Invokes over the HTTP API at the same time, and as many posts of samples; further ones are told to wait.",
        least=1,
    )
    bodies_mb: int = _setting(
        512,
        "Memory for what is being sent to the HTTP API, in megabytes; what is over is told to wait before it is read.",
        least=1,
    )
    dropped_files_mb: int = _setting(
        2000,
        "Memory for files that lie in the upload fields of open pages, all people together, in megabytes.",
        least=1,
    )
    batch_files: int = _setting(100, "Most images in one invoke/batch request of the HTTP API.", least=1)
    max_request_mb: int = _setting(256, "Largest request of several images to the HTTP API, in megabytes.", least=1)
    request_seconds: float = _setting(
        120.0, "Longest time a request to the HTTP API may take to arrive, and an invoke to be answered, in seconds."
    )
    upload_places: int = _setting(8, "Uploads of archives at the same time; further ones are told to wait.", least=1)
    upload_stall_seconds: float = _setting(
        60.0, "Seconds for which an upload may bring less than 10 kB each; then it is ended. 0: no limit."
    )
    allow_url_import: bool = _setting(
        False, "true: the Invoke page also fetches pictures by their address (https, from the open internet only)."
    )
    password_hash: str = _setting("", "The dashboard's password as python -m detector password prints it; empty: none.")
    open: bool = _setting(False, "true: let everybody in without a password, on whatever address the server listens.")
    allowed_hosts: str = _setting(
        "", "Further host names under which the server answers, separated by commas; *.example.org takes subdomains."
    )
    trusted_proxies: str = _setting(
        "", "Addresses and networks of reverse proxies, separated by commas; only their X-Forwarded-... headers count."
    )

    c2pa_trust: str = _setting(
        "", "File of certificates (PEM) of signers whose content credentials are trusted; empty: no list, none is."
    )

    @property
    def url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'detector.sqlite'}"

    @property
    def max_image_bytes(self) -> int:
        return self.max_image_mb * 1_000_000

    @property
    def bodies_bytes(self) -> int:
        return self.bodies_mb * 1_000_000

    @property
    def max_pixels(self) -> int:
        return self.max_megapixels * 1_000_000

    @property
    def max_zip_bytes(self) -> int:
        return int(self.max_zip_gb * 1e9)


def to_environment(settings: Settings) -> dict[str, str]:
    """The variables from which `load_settings` reads these settings again, for a process of its own."""
    return {
        f"DETECTOR_{item.name.upper()}": str(value).lower() if isinstance(value, bool) else str(value)
        for item in fields(Settings)
        if (value := getattr(settings, item.name)) != item.default or item.name == "data_dir"
    }


_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from ``DETECTOR_*`` variables.

    Parameters
    ----------
    environment : mapping of str to str, optional
        Defaults to the process environment.

    Raises
    ------
    InvalidInput
        A number is not a number, or too small or too large to be of use.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for item in fields(Settings):
        name = f"DETECTOR_{item.name.upper()}"
        raw = environment.get(name, "").strip()
        if not raw:
            continue
        kind: Any = type(item.default)
        try:
            value = _parse(raw, item.default)
        except (ValueError, RuntimeError, OSError) as error:
            # Of a path: a loop of links, a user without a home, a working directory that is gone.
            expected = _EXPECTED.get(kind, "the path of a folder")
            raise InvalidInput(f"{name} is {raw!r}; expected {expected}. Correct or unset it.") from error
        least, most = item.metadata["least"], item.metadata["most"]
        # Of nan nothing is true.
        if isinstance(value, int | float) and not least <= value <= most:
            raise InvalidInput(f"{name} is {raw!r}; expected a number from {least:,} to {most:,}. Correct or unset it.")
        choices = item.metadata["choices"]
        if choices is not None and value not in choices:
            raise InvalidInput(f"{name} is {raw!r}; expected {' or '.join(choices)}. Correct or unset it.")
        values[item.name] = value
    return Settings(**values)


def _parse(raw: str, default: Any) -> Any:
    if isinstance(default, bool):
        if raw.lower() not in ("true", "false"):
            raise ValueError(raw)
        return raw.lower() == "true"
    if isinstance(default, Path):
        return Path(raw).expanduser().resolve()
    return type(default)(raw)
