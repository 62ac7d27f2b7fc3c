"""The real command line and server on a data folder that is full, damaged, read-only, foreign or only half there."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from detector.storage import database
from tests.app_server import start_app
from tests.command_line import CHECKOUT, OFFLINE, Ran, environment, run, run_here
from tests.databases import sqlite_only
from tests.factories import make_image
from tests.made_folders import make_folder
from tests.ports import free_port
from tests.stored import row_counts
from tests.test_start import refusal

pytestmark = [pytest.mark.slow, sqlite_only("it is damaged, lost or held by others")]

DATABASE = "detector.sqlite"
#: Every command that opens the data folder, with arguments that reach into it.
COMMANDS = (
    *(["functions"], ["functions", "--json"], ["backbones"], ["audit", "set"], ["export", "set", "{tmp}/all.csv"]),
    *(["invoke", "set", "{tmp}/picture.png"], ["train", "{tmp}/set", "--function", "set"], ["sources", "set"]),
    *(["labels", "set"], ["keys", "list"], ["keys", "create", "--name", "K"], ["keys", "revoke", "none"], ["openapi"]),
    *(["bench"], ["sample", *OFFLINE], ["cifake"]),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ (a trained function ``set``), set/ (its pictures) and picture.png (another one)."""
    root = tmp_path_factory.mktemp("folder")
    folder = make_folder(root / "set", {"real": 3, "synthetic": 3})
    assert run_here(root / "data", "train", folder, *OFFLINE).code == 0
    (root / "picture.png").write_bytes(make_image(901))
    with contextlib.closing(sqlite3.connect(root / "data" / DATABASE)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """A copy of it that may be broken."""
    shutil.copytree(trained, tmp_path / "root")
    return tmp_path / "root"


def ask(root: Path, *arguments: str) -> Ran:
    return run_here(root / "data", *(argument.replace("{tmp}", str(root)) for argument in arguments))


def is_refusal(ran: Ran, *parts: str) -> bool:
    """One sentence on stderr, nothing on stdout, exit code 1."""
    lines = ran.err.strip().splitlines()
    return (
        (ran.code, ran.out) == (1, "")
        and len(lines) == 1
        and not any(word in ran.err for word in ("Traceback", "sqlalche", "(sqlite3."))
        and all(part in ran.err for part in parts)
    )


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    if how == "zeroed":
        data[size : size * 40] = bytes(size * 39)
    elif how == "flipped":
        for page in range(1, len(data) // size):
            for place in range(page * size, page * size + 12):
                data[place] ^= 0xFF
    elif how == "truncated":
        del data[size * 5 :]
    elif how == "header":
        data[:100] = b"\x5a" * 100
    else:
        data[:] = how.encode() * 500
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["zeroed", "flipped", "truncated", "header", "This is a text. "])
@pytest.mark.long
def test_a_damaged_database_is_a_sentence_on_every_command_and_at_the_start(root: Path, how: str) -> None:
    """The kind: SQLAlchemy's traceback where the database cannot be read, wherever in it the damage is."""
    path = root / "data" / DATABASE
    damage(path, how)
    before = path.read_bytes()
    for command in COMMANDS:
        ran = ask(root, *command)
        assert is_refusal(ran, "is damaged", "ut back a copy", str(root / "data")), (command, ran)
    assert path.read_bytes() == before
    said = refusal(start_app(free_port(), {"DETECTOR_DATA_DIR": str(root / "data")}, stderr=subprocess.PIPE))
    assert "is damaged" in said.strip().splitlines()[-1]
    assert "Traceback" not in said


def test_damage_that_is_met_later_is_the_same_sentence(root: Path) -> None:
    """The kind: a page that only one command reads, and a flipped bit within a value, which SQLite does not notice."""
    path = root / "data" / DATABASE
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE functions SET sweep_settings = '{\"a\": ' || char(1)")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert is_refusal(ask(root, "functions"), "is damaged", "PRAGMA integrity_check", str(root / "data"))
    assert ask(root, "keys", "list").code == 0
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE api_keys")
        connection.commit()
    assert is_refusal(ask(root, "keys", "list"), "is damaged", "no such table")


@pytest.mark.parametrize("lost", ["missing", "emptied", "missing, with its log", "emptied, with its log"])
@pytest.mark.long
def test_a_database_that_is_gone_is_not_made_anew_beside_what_it_described(root: Path, lost: str) -> None:
    """The kind: all functions seem gone and the next import mixes with the pictures of before."""
    data = root / "data"
    path, log = data / DATABASE, data / f"{DATABASE}-wal"
    path.unlink()
    if lost.startswith("emptied"):
        path.touch()
    if lost.endswith("log"):
        log.write_bytes(b"what was committed last")
        shutil.rmtree(data / "blobs")
    for command in COMMANDS[:4]:
        ran = ask(root, *command)
        assert is_refusal(ran, lost.split(",")[0].replace("emptied", "empty (0 bytes)"), "move the folder", str(data))
    said = refusal(start_app(free_port(), {"DETECTOR_DATA_DIR": str(data)}, stderr=subprocess.PIPE))
    assert "To start over, move the folder" in said.strip().splitlines()[-1]
    assert path.exists() == lost.startswith("emptied")
    assert not path.exists() or not path.stat().st_size
    assert not lost.endswith("log") or log.read_bytes() == b"what was committed last"


def test_another_database_without_tables_is_not_begun_beside_the_old_pictures(root: Path, tmp_path: Path) -> None:
    """The kind: DETECTOR_DATABASE_URL set for a folder that has a database already."""
    other = tmp_path / "other.sqlite"
    url = f"sqlite:///{other}"
    assert is_refusal(run_here(root / "data", "functions", DETECTOR_DATABASE_URL=url), "is missing", "pictures")
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    ran = run_here(root / "data", "functions", DETECTOR_DATABASE_URL=url)
    assert is_refusal(ran, "has no tables", "unset DETECTOR_DATABASE_URL", str(other))
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE invoices (id)")
    assert is_refusal(run_here(root / "data", "functions", DETECTOR_DATABASE_URL=url), "not made by this program")


def test_a_new_folder_begins_without_a_word_even_where_it_was_left_half_made(tmp_path: Path) -> None:
    (tmp_path / "data" / "blobs" / "images").mkdir(parents=True)
    (tmp_path / "data" / "spool").mkdir()
    (tmp_path / "data" / DATABASE).touch()
    assert run_here(tmp_path / "data", "functions", "--json") == Ran(0, "[]\n", "")
    assert run_here(tmp_path / "new" / "deep", "functions", "--json") == Ran(0, "[]\n", "")


def test_the_database_of_another_folder_is_said_and_nothing_of_either_is_removed(root: Path) -> None:
    """The kind: the pictures moved away, or the database of another folder put beside them."""
    (root / "data" / "blobs").rename(root / "elsewhere")
    ran = ask(root, "functions")
    assert ran.code == 0
    assert "None of the newest pictures" in ran.err
    (root / "elsewhere").rename(root / "data" / "blobs")
    assert ask(root, "functions").err == ""


def test_a_database_that_another_program_holds_is_said_when_the_waiting_is_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0)
    with contextlib.closing(sqlite3.connect(root / "data" / DATABASE)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = ask(root, "functions")
    assert is_refusal(ran, "held by another program", str(root / "data"))
    assert ask(root, "functions").code == 0


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("nonsense", "is not the URL of a database"),
        ("foo://a/b", "is not the URL of a database"),
        ("mysql://root:secret@127.0.0.1:9/x", "package that is not installed"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_a_sentence_without_its_password(
    tmp_path: Path, url: str, part: str
) -> None:
    ran = run_here(tmp_path / "data", "functions", DETECTOR_DATABASE_URL=url)
    assert is_refusal(ran, part, "DETECTOR_DATABASE_URL")
    assert "secret" not in ran.err


def without_privilege(root: Path, *arguments: str) -> Ran:
    """The real command line as somebody for whom the rights of files hold: root may write everywhere."""
    if os.geteuid() or shutil.which("setpriv") is None:
        pytest.skip("only root can give up what it may, by setpriv")
    for folder in (root, *list(root.parents)[:-2]):
        folder.chmod(folder.stat().st_mode | 0o555)
    process = subprocess.run(
        [
            # Not as another user: they could not read a virtual environment that root has made for itself.
            *("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"),
            *(sys.executable, "-m", "detector", *arguments),
        ],
        cwd=CHECKOUT,
        env=environment(root / "data") | {"HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ran(process.returncode, process.stdout, process.stderr)


@pytest.mark.parametrize("what", ["the folder", "the database", "no way in", "a new folder"])
def test_a_folder_that_may_not_be_written_is_a_sentence(root: Path, what: str) -> None:
    """The kind: rights of the data folder, its database, or the folder in which it would be made."""
    data = root / "data"
    for path in (data, *data.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    before = row_counts(data)
    if what == "the folder":
        data.chmod(0o555)
        for beside in data.glob(f"{DATABASE}-*"):
            beside.unlink()
    elif what == "the database":
        (data / DATABASE).chmod(0o444)
    elif what == "no way in":
        data.chmod(0o000)
    else:
        shutil.rmtree(data)
        root.chmod(0o555)
    ran = without_privilege(root, "keys", "create", "--name", "K")
    # SQLite lets a file that may only be read be read.
    part = "its permissions" if what == "the database" else "right to read and write"
    assert is_refusal(ran, part, str(data)), ran
    root.chmod(0o755)
    if what != "a new folder":
        data.chmod(0o755)
        assert row_counts(data) == before


def test_a_folder_that_is_a_file_a_loop_or_beyond_all_names_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "full" / DATABASE).mkdir(parents=True)
    for name in ("file", "file/below", "loop", "loop/below", "full", "x" * 300, "nothing/" * 600):
        assert is_refusal(run_here(tmp_path / name, "functions"), "DETECTOR_DATA_DIR"), name
    assert is_refusal(run_here(Path("~nobody-of-that-name/x"), "functions"), "DETECTOR_DATA_DIR")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_a_sentence_and_what_was_stored_stays(small_disk: Path, tmp_path: Path) -> None:
    """The kind: no room for the database, at the start and in the middle of a command."""
    data = small_disk / "data"
    assert run_here(data, "keys", "create", "--name", "Before").code == 0
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    picture = tmp_path / "set" / "real" / "a.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(make_image(1, size=300))
    for command in (["train", str(tmp_path / "set"), *OFFLINE], ["keys", "create", "--name", "After"]):
        ran = run_here(data, *command)
        assert ran.code == 1
        assert "is full" in ran.sentence
        assert "Make room" in ran.sentence
        assert "Traceback" not in ran.err
    new = run_here(small_disk / "new", "functions")
    assert is_refusal(new, "is full", "Make room")
    filler.unlink()
    with contextlib.closing(sqlite3.connect(data / DATABASE)) as connection:
        assert connection.execute("SELECT name FROM api_keys").fetchall() == [("Before",)]
    assert run_here(data, "keys", "create", "--name", "After").code == 0


def test_a_server_on_a_postgresql_that_does_not_run_says_so(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    url = f"postgresql+psycopg://detector:secret@127.0.0.1:{free_port()}/detector"
    ran = run(tmp_path / "data", "functions", DETECTOR_DATABASE_URL=url)
    assert is_refusal(ran, "See that its server runs", "DETECTOR_DATABASE_URL")
    assert "secret" not in ran.err
