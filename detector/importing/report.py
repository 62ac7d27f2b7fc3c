"""The report of one import as a file: a line for every file that did not become a new sample as asked."""

from __future__ import annotations

import csv
import io

from detector.formatting import BYTE_ORDER_MARK, safe_cell
from detector.storage import imports
from detector.storage.database import Database

#: What became of a file, in words, the worst first.
OUTCOMES = {
    "rejected": "rejected",
    "conflict": "other label",
    "relabelled": "new label taken",
    "present": "already there",
}


def report_csv(db: Database, batch_id: str) -> bytes:
    """All lines of an import's report as CSV: UTF-8 with a byte order mark, no cell that a spreadsheet would run."""
    text = io.StringIO(BYTE_ORDER_MARK, newline="")
    text.seek(0, io.SEEK_END)
    writer = csv.writer(text)
    writer.writerow(("file", "outcome", "reason"))
    for row in imports.batch_rows(db, batch_id, list(OUTCOMES), limit=None):
        writer.writerow([safe_cell(value) for value in (row.file, OUTCOMES[row.outcome], row.reason)])
    return text.getvalue().encode()
