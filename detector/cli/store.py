"""The command line's part that copies a data folder's pictures and models into an object store."""

from __future__ import annotations

import argparse
from typing import Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.errors import InvalidInput
from detector.formatting import count
from detector.importing.entries import printable
from detector.workspace import Workspace


def add_store_command(commands: Any) -> None:
    """Add ``copy-to-store`` to the parser's commands."""
    copy = commands.add_parser(
        "copy-to-store",
        help="copy the pictures and models of the data folder into an object store",
        description=(
            "Copy the pictures and models of the data folder into an object store, each compared with its checksum. "
            "What is there already is not sent again, so it can be stopped and repeated. The folder stays as it is."
        ),
    )
    copy.add_argument("store", metavar="STORE", help="s3://bucket/prefix, as in DETECTOR_STORE")
    json_option(copy)
    copy.set_defaults(run=_copy)


def _copy(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.operations.store_copy import copy_to_store
    from detector.storage.folder import BLOBS
    from detector.storage.folder_blobs import FolderBlobs
    from detector.storage.places import count_places
    from detector.storage.stores import open_blobs

    if not isinstance(ws.blobs.stored, FolderBlobs):
        raise InvalidInput(
            "DETECTOR_STORE is set, so pictures are stored there already. Unset it to copy those of the data folder."
        )
    target = open_blobs(options.store, ws.settings.data_dir, 0)
    if isinstance(target, FolderBlobs):
        raise InvalidInput("Name an object store, such as s3://bucket/prefix.")
    target.check()
    with progress_bar() as report:
        copied = copy_to_store(ws.settings.data_dir / BLOBS, target, report)
    if in_place := count_places(ws.db):
        say(f"{count(in_place, 'picture')} imported in place stay where they are, and are read from there.")
    for name in copied.damaged:
        say(f"{printable(name)} is damaged in the data folder and was not copied.")
    if options.json:
        answer({"copied": copied.copied, "already_there": copied.already_there, "damaged": list(copied.damaged)})
    else:
        say(
            f"{count(copied.copied, 'file')} copied, {copied.already_there:,} were there already. Stop the program, "
            f"run this once more, and start it with DETECTOR_STORE={options.store}."
        )
    return 1 if copied.damaged else 0
