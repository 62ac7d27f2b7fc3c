"""One opened data folder: settings, database and blobs together. What every entry point starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from detector.errors import InvalidInput
from detector.imaging import ImageLimits
from detector.settings import Settings, load_settings
from detector.storage.blobs import Blobs
from detector.storage.database import Database


@dataclass(frozen=True)
class Workspace:
    settings: Settings
    db: Database
    blobs: Blobs

    @classmethod
    def open(cls, settings: Settings | None = None) -> Workspace:
        """Open the data folder of ``settings``, making it when it is missing.

        Raises
        ------
        DatabaseTooNew
        InvalidInput
            The folder or the database in it cannot be used.
        """
        settings = settings or load_settings()
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            return cls(settings, Database(settings.url), Blobs(str(settings.data_dir / "blobs")))
        except (OSError, DatabaseError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.orig
            raise InvalidInput(
                f"The data folder {settings.data_dir} cannot be used ({reason}). Give another one in DETECTOR_DATA_DIR."
            ) from error

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(max_bytes=self.settings.max_image_bytes, max_pixels=self.settings.max_pixels)

    @property
    def spool(self) -> Path:
        """Where uploads wait until their import is done."""
        folder = self.settings.data_dir / "spool"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        self.db.close()
