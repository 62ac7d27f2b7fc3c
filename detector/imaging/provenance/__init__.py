"""What a file says of its origin: signed, stated, hinted at. Never mixed into a verdict."""

from detector.imaging.provenance.reading import read_provenance
from detector.imaging.provenance.statement import Provenance, Statement

__all__ = ["Provenance", "Statement", "read_provenance"]
