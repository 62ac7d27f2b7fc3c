"""The command line's part that makes backups and puts them back."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.cli.output import answer, json_option, progress_bar, say
from detector.errors import DetectorError, InvalidInput
from detector.formatting import count
from detector.importing.entries import printable
from detector.settings import load_settings
from detector.workspace import Workspace

if TYPE_CHECKING:
    from detector.upkeep.backup import Reader, Writer

#: Exit codes. 1: a backup that is there, without some pictures that could not be read.
NO_BACKUP, NOT_RESTORED = 2, 2
_VARIABLE = "DETECTOR_BACKUP_PASSPHRASE"


def add_backup_commands(commands: Any) -> None:
    """Add ``backup`` and ``restore`` to the parser's commands."""
    backup = commands.add_parser(
        "backup",
        help="copy everything into one file, or what is new into a folder; while a server runs or without one",
        description=(
            "Copy everything that is stored into one file, or what is new into a folder of backups, while others go on "
            "working, and read it back. Exit code 1: some pictures could not be read; all else is in "
            "the backup. 2: there is no backup."
        ),
    )
    backup.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the new file, such as detector.backup")
    backup.add_argument("--to", metavar="FOLDER", type=Path, help="add a backup to a folder, with what is new only")
    backup.add_argument("--keep", metavar="N", type=int, help="with --to: keep the newest N backups, remove others")
    backup.add_argument("--encrypt", action="store_true", help="encrypt the file with a passphrase")
    backup.add_argument("--with-places", action="store_true", help="also the pictures that were imported in place")
    _passphrase_option(backup)
    json_option(backup)
    backup.set_defaults(run=_backup, opens_data=False)

    restore = commands.add_parser(
        "restore",
        help="put a backup into an empty data folder, database and store",
        description=(
            "Put a backup into the data folder, database and store that the settings name. They must be empty: nothing "
            "of before is needed, and nothing is overwritten. Every byte is verified before anything is written."
        ),
    )
    restore.add_argument("backup", metavar="BACKUP", type=Path, help="a file of backup, or a folder of backup --to")
    restore.add_argument(
        "--at", metavar="TIME", help="of a folder: the newest of 2026-11-03 or 2026-11-03T0400 or before"
    )
    _passphrase_option(restore)
    json_option(restore)
    restore.set_defaults(run=_restore, opens_data=False)


def _passphrase_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=Path, help=f"its first line is the passphrase (or set {_VARIABLE})"
    )


def _backup(_none: None, options: argparse.Namespace) -> int:
    try:
        with contextlib.closing(Workspace.open(load_settings())) as ws:
            return _back_up(ws, options)
    except (DetectorError, OSError) as error:
        # Told from a backup that is there, with pictures missing in it.
        say(f"There is no backup. {error}")
        return NO_BACKUP


def _back_up(ws: Workspace, options: argparse.Namespace) -> int:
    from detector.upkeep.archive_folder import prune
    from detector.upkeep.backup import back_up

    writer = _writer(options)
    with progress_bar() as report:
        done = back_up(ws, writer, options.with_places, report)
    manifest = done.manifest
    removed = 0
    if options.keep is not None:
        try:
            removed = prune(options.to, options.keep)
        except (DetectorError, OSError) as error:
            say(f"The new backup is there; no older one was removed. {error}")
    for image_hash, why in manifest.lost.items():
        say(f"Not in the backup: picture {image_hash[:16]}. {why}")
    for why in manifest.lost_models.values():
        say(f"Not in the backup as it should be: {printable(why)} Run python -m detector check.")
    if manifest.in_place:
        say(
            f"{count(manifest.in_place, 'picture')} imported in place are not in the backup, only where they lie. "
            "--with-places takes them along."
        )
    if options.json:
        answer({**done.to_json(), "removed": removed})
        return 0 if manifest.whole else 1
    size = f"{done.byte_count / 1e6:,.1f} MB{' of it new' if options.to else ''}"
    rows = f"{manifest.tables['samples']:,} samples of {count(manifest.tables['functions'], 'function')}"
    say(
        f"{done.path}: {rows}, {count(len(manifest.members), 'file')}, {size}. Read back and verified: every byte, the "
        f"rows of every table, and the predictions of {count(len(manifest.probes), 'model')}. {done.seconds:.0f} s."
    )
    if removed:
        say(f"{count(removed, 'older backup')} removed.")
    return 0 if manifest.whole else 1


def _writer(options: argparse.Namespace) -> Writer:
    from detector.upkeep.archive_file import FileWriter
    from detector.upkeep.archive_folder import FolderWriter

    if (options.file is None) == (options.to is None):
        raise InvalidInput("Name either a FILE or, with --to, a folder of backups.")
    if options.to is not None:
        if options.encrypt or options.passphrase_file is not None:
            raise InvalidInput(
                "A folder of backups cannot be encrypted. Name a FILE, or a folder on an encrypted disk."
            )
        if options.keep is not None and options.keep < 1:
            raise InvalidInput("--keep is the number of backups that stay: at least 1.")
        if options.to.exists() and not options.to.is_dir():
            raise InvalidInput(f"{options.to} is no folder. Name one, or leave --to out to write a file.")
        return FolderWriter(options.to)
    if options.keep is not None:
        raise InvalidInput("--keep goes with --to FOLDER.")
    path: Path = options.file
    if path.exists():
        raise InvalidInput(f"{path} is there already. Name another file: a backup is never overwritten.")
    if not path.parent.is_dir():
        raise InvalidInput(f"There is no folder {path.parent}. Make it, or name another place.")
    passphrase = None
    if options.encrypt or options.passphrase_file is not None:
        passphrase = _passphrase(options, twice=True)
        if passphrase is None:
            raise InvalidInput(f"--encrypt needs a passphrase: in {_VARIABLE}, in --passphrase-file, or typed.")
    return FileWriter(path, passphrase)


def _restore(_none: None, options: argparse.Namespace) -> int:
    try:
        return _put_back(options)
    except DetectorError as error:
        say(str(error))
        return NOT_RESTORED


def _put_back(options: argparse.Namespace) -> int:
    from detector.upkeep.restore import restore

    settings = load_settings()
    with _reader(options) as reader, progress_bar() as report:
        done = restore(reader, settings, report)
    manifest = done.manifest
    if options.json:
        answer(done.to_json())
        return 0
    made = datetime.fromtimestamp(manifest.created).strftime("%d %b %Y, %H:%M")
    rows = f"{done.tables['samples']:,} samples of {count(done.tables['functions'], 'function')}"
    say(
        f"Restored into {settings.data_dir}: {rows}, as of {made}, {count(len(manifest.members), 'file')}, "
        f"{done.byte_count / 1e6:,.1f} MB. {count(len(manifest.probes), 'model')} predicted the same as then. "
        f"{done.seconds:.0f} s."
    )
    if manifest.lost:
        say(
            f"{count(len(manifest.lost), 'picture')} had no good bytes when the backup was made. python -m detector "
            "check names them."
        )
    for why in manifest.lost_models.values():
        say(f"When the backup was made: {printable(why)} Train it again.")
    if manifest.in_place:
        say(f"{count(manifest.in_place, 'picture')} imported in place are read where they lay.")
    return 0


def _reader(options: argparse.Namespace) -> Reader:
    from detector.upkeep.archive_file import FileReader
    from detector.upkeep.archive_folder import FolderReader
    from detector.upkeep.sealed import is_encrypted

    path: Path = options.backup
    if path.is_dir():
        return FolderReader(path, options.at)
    if not path.is_file():
        raise InvalidInput(f"There is no file or folder {path}.")
    if options.at is not None:
        raise InvalidInput("--at chooses among the backups of a folder, and this is a file.")
    return FileReader(path, _passphrase(options, twice=False) if is_encrypted(path) else None)


def _passphrase(options: argparse.Namespace, twice: bool) -> str | None:
    """From a file, the environment or a terminal; never from an argument, which others on the machine can see."""
    if options.passphrase_file is not None:
        try:
            lines = options.passphrase_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"The passphrase file {options.passphrase_file} cannot be read.") from error
        return lines[0] if lines else ""
    if _VARIABLE in os.environ:
        return os.environ[_VARIABLE]
    if not sys.stdin.isatty():
        return None
    typed = getpass.getpass("Passphrase: ")
    if twice and getpass.getpass("Once more: ") != typed:
        raise InvalidInput("The two passphrases differ. Nothing was written.")
    return typed
