"""Kept verdicts as files to put away: a report for people and the JSON for programs, for each record."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from detector.evidence.report import html_report
from detector.storage.records import Record


def record_files(records: Iterable[Record]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of an HTML report and a JSON file of each record.

    The names are made of the day and the id: what a picture's file calls itself names no file.
    """
    for record in records:
        found = record.to_json()
        stem = f"{datetime.fromtimestamp(record.created_at, UTC):%Y-%m-%d}-{record.id}"
        yield f"{stem}.html", html_report(found, record.thumbnail).encode()
        yield f"{stem}.json", record_json(record)


def record_json(record: Record) -> bytes:
    """A record as a JSON file."""
    return json.dumps(record.to_json(), ensure_ascii=False, indent=2).encode() + b"\n"


def write_records_zip(file: BinaryIO, records: Iterable[Record]) -> int:
    """Write `record_files` as a ZIP archive; returns how many records there were."""
    written = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in record_files(records):
            archive.writestr(name, data)
            written += name.endswith(".json")
    return written
