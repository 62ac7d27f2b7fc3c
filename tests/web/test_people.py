"""Named users: who comes in, who does not any more, and what is written down of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from detector.errors import Conflict, InvalidInput, NotAllowed, SignedOut, TooManyAttempts, WrongPassword
from detector.storage import audit_log, keys, users
from detector.storage.acting import LABEL, LOOK, MANAGE, acting
from detector.storage.audit_log import KEPT_DAYS, MOST_CHARACTERS, list_entries, note, note_refusal
from detector.storage.database import BUSY_TIMEOUT_SECONDS
from detector.storage.people_schema import audit_log as audit_table
from detector.storage.people_schema import users as users_table
from detector.web import people
from detector.web.password import PasswordHash
from detector.web.people import UserGate, actor_of, in_name_of, still_in, ticket, user_of_ticket
from detector.web.throttling import FREE_FAILURES, LoginThrottle
from detector.workspace import Workspace
from tests.factories import workspace

PASSWORD = "correct horse battery"
#: Made once: it takes a tenth of a second on purpose.
HASH = str(PasswordHash.make(PASSWORD))


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    opened = workspace(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def eva(ws: Workspace) -> users.User:
    return users.add_user(ws.db, "Eva", MANAGE, HASH)


def test_the_first_user_must_be_one_who_manages(ws: Workspace) -> None:
    with pytest.raises(InvalidInput, match="first user needs the role 'manage'"):
        users.add_user(ws.db, "Anna", LOOK, HASH)
    assert not users.any_users(ws.db)
    users.add_user(ws.db, "Eva", MANAGE, HASH)
    users.add_user(ws.db, "Anna", LOOK, HASH)
    assert [user.name for user in users.list_users(ws.db)] == ["Anna", "Eva"]


def test_the_last_one_who_manages_stays(ws: Workspace, eva: users.User) -> None:
    anna = users.add_user(ws.db, "Anna", LABEL, HASH)
    for change in (
        lambda: users.set_role(ws.db, eva.id, LABEL),
        lambda: users.set_disabled(ws.db, eva.id, True),
    ):
        with pytest.raises(InvalidInput, match="Eva is the only user with the role 'manage'"):
            change()
    assert user_of_ticket(ws.db, ticket(eva)) is not None
    users.set_role(ws.db, anna.id, MANAGE)
    users.set_disabled(ws.db, eva.id, True)
    assert users.get_user(ws.db, eva.id).disabled_at is not None
    # And one who is shut out is nobody who could let others in.
    with pytest.raises(InvalidInput, match="Anna is the only user"):
        users.set_role(ws.db, anna.id, LOOK)


def test_a_session_ends_with_password_role_and_being_shut_out(ws: Workspace, eva: users.User) -> None:
    anna = users.add_user(ws.db, "Anna", LABEL, HASH)
    for end in (
        lambda: users.set_role(ws.db, anna.id, LOOK),
        lambda: users.set_password(ws.db, anna.id, HASH),
        lambda: users.set_disabled(ws.db, anna.id, True),
        lambda: users.set_disabled(ws.db, anna.id, False),
    ):
        before = ticket(users.get_user(ws.db, anna.id))
        end()
        assert user_of_ticket(ws.db, before) is None
        assert not still_in(ws.db, before)
    assert still_in(ws.db, ticket(users.get_user(ws.db, anna.id)))
    assert still_in(ws.db, ticket(eva))


@pytest.mark.parametrize(
    "forged",
    ["", "user", "user..", "user.x.0", "user.' OR 1=1 --.0", "login", "user.{id}.-1", "user.{id}.٣", "user.{id}"],
)
def test_a_ticket_that_is_none_lets_nobody_in(ws: Workspace, eva: users.User, forged: str) -> None:
    assert user_of_ticket(ws.db, forged.format(id=eva.id)) is None
    assert not still_in(ws.db, forged.format(id=eva.id))


def test_without_users_every_address_is_good(ws: Workspace) -> None:
    assert still_in(ws.db, "")
    assert in_name_of(ws.db, "", lambda: 7)() == 7


def test_what_is_made_later_is_made_in_the_name_of_who_asked(ws: Workspace, eva: users.User) -> None:
    from detector.storage.acting import actor_now

    later = in_name_of(ws.db, ticket(eva), actor_now)
    assert later() == actor_of(eva)
    users.set_password(ws.db, eva.id, HASH)
    with pytest.raises(SignedOut):
        later()


def test_name_and_password_let_in_whatever_the_case_of_the_name(ws: Workspace, eva: users.User) -> None:
    assert UserGate(ws.db).enter(" EVA ", PASSWORD, "10.0.0.1").id == eva.id
    [entry, *_] = list_entries(ws.db)
    assert (entry.who, entry.action, entry.facts) == ("Eva", "signed in", {"address": "10.0.0.1"})


@pytest.mark.slow
def test_all_who_may_not_come_in_get_the_same_sentence(ws: Workspace, eva: users.User) -> None:
    """Nobody is told which names there are, nor that somebody was shut out."""
    users.add_user(ws.db, "By address", LOOK, identity="b@example.org")
    out = users.add_user(ws.db, "Out", LOOK, HASH)
    users.set_disabled(ws.db, out.id, True)
    said = set()
    for n, (name, password) in enumerate(
        [("Eva", "wrong"), ("Nobody", PASSWORD), ("By address", ""), ("Out", PASSWORD), ("", ""), ("Eva", "x" * 5000)]
    ):
        with pytest.raises(WrongPassword) as refused:
            UserGate(ws.db).enter(name, password, f"10.0.1.{n}")
        said.add(str(refused.value))
    assert said == {people.WRONG}


@pytest.mark.slow
def test_guessing_at_one_name_is_slowed_from_whatever_address(ws: Workspace, eva: users.User) -> None:
    """But its owner, who has come from their address before, is not kept out."""
    gate = UserGate(ws.db)
    gate.enter("Eva", PASSWORD, "10.0.0.1")
    for n in range(FREE_FAILURES + 1):
        with pytest.raises(WrongPassword):
            gate.enter("eva", "guess", f"10.0.2.{n}")
    with pytest.raises(TooManyAttempts):
        gate.enter("Eva", PASSWORD, "10.0.2.99")
    assert gate.enter("Eva", PASSWORD, "10.0.0.1").id == eva.id


@pytest.mark.slow
def test_ones_own_password_asks_for_the_old_one_and_ends_all_other_sessions(ws: Workspace, eva: users.User) -> None:
    gate, given = UserGate(ws.db), ticket(eva)
    for old, new, error in (
        ("wrong", "another one", WrongPassword),
        (PASSWORD, "short", InvalidInput),
        (PASSWORD, PASSWORD, InvalidInput),
    ):
        with pytest.raises(error):
            people.change_password(ws.db, gate, given, old, new, "10.0.0.1")
    assert user_of_ticket(ws.db, given) is not None
    changed = people.change_password(ws.db, gate, given, PASSWORD, "another good one", "10.0.0.1")
    assert user_of_ticket(ws.db, given) is None
    assert user_of_ticket(ws.db, ticket(changed)) is not None
    with pytest.raises(WrongPassword):
        gate.enter("Eva", PASSWORD, "10.0.0.2")
    assert gate.enter("Eva", "another good one", "10.0.0.1").id == eva.id
    with pytest.raises(SignedOut):
        people.change_password(ws.db, gate, given, "another good one", "a third good one", "10.0.0.1")


def test_an_identity_is_found_in_whatever_case_and_no_other_is(ws: Workspace, eva: users.User) -> None:
    made = users.add_user(ws.db, "Anna", LOOK, identity="Anna@Example.org")
    assert people.user_by_identity(ws.db, "anna@example.ORG").id == made.id
    with pytest.raises(Conflict, match="another user's"):
        users.add_user(ws.db, "Anna 2", LOOK, identity="ANNA@example.org")
    users.set_disabled(ws.db, made.id, True)
    for identity, verified in (("anna@example.org", True), ("other@example.org", True), ("", True)):
        with pytest.raises(WrongPassword, match="No user of this server has the identity"):
            people.user_by_identity(ws.db, identity, verified)
    users.set_disabled(ws.db, made.id, False)
    with pytest.raises(WrongPassword):
        people.user_by_identity(ws.db, "anna@example.org", verified=False)


@pytest.mark.parametrize("name", ["", " ", "a\nb<script>", "x" * 81, "anna (key)", "\u202eanna\x00/"])
def test_a_name_that_could_pass_for_something_else_is_refused(ws: Workspace, eva: users.User, name: str) -> None:
    with pytest.raises((InvalidInput, Conflict)):
        users.add_user(ws.db, name, LOOK, HASH)
    assert len(users.list_users(ws.db)) == 1


def test_two_names_that_differ_in_case_are_one(ws: Workspace, eva: users.User) -> None:
    with pytest.raises(Conflict, match="There is a user 'Eva' already"):
        users.add_user(ws.db, "EVA", LOOK, HASH)


def test_only_who_manages_makes_users(ws: Workspace, eva: users.User) -> None:
    anna = users.add_user(ws.db, "Anna", LABEL, HASH)
    with acting(actor_of(anna)):
        for change in (
            lambda: people.create_user(ws.db, "Carl", MANAGE, PASSWORD),
            lambda: users.set_role(ws.db, anna.id, MANAGE),
            lambda: people.give_password(ws.db, eva.id, PASSWORD),
            lambda: users.set_disabled(ws.db, eva.id, True),
        ):
            with pytest.raises(NotAllowed):
                change()
    assert [(user.name, user.role) for user in users.list_users(ws.db)] == [("Anna", LABEL), ("Eva", MANAGE)]


def test_refused_sign_ins_are_written_once_a_minute_and_cleaned(ws: Workspace) -> None:
    """A stranger who tries all day, or under names without end, must not fill the disk."""
    for _ in range(5):
        note_refusal(ws.db, "Eva\x00\n\u202e" + "x" * 500, "10.0.0.1", "page")
    note_refusal(ws.db, "Eva", "10.0.0.1", "page")
    note_refusal(ws.db, "Eva", "10.0.0.2", "page")
    assert len(list_entries(ws.db)) == 3
    long = list_entries(ws.db)[-1].what
    assert len(long) <= MOST_CHARACTERS
    assert long.isprintable()
    for n in range(audit_log.MOST_REFUSALS + 20):
        note_refusal(ws.db, f"Name {n}", "10.0.0.3", "page")
    written = list_entries(ws.db, limit=1000)
    assert len(written) == audit_log.MOST_REFUSALS + 1
    assert (written[0].what, written[0].facts) == (audit_log.FURTHER, {"attempts": 23})


def test_guesses_at_users_are_not_hidden_among_made_up_names(
    ws: Workspace, eva: users.User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "MOST_REFUSALS", 5)
    monkeypatch.setattr(audit_log, "MOST_OF_USERS", 2)
    users.add_user(ws.db, "Anna", LOOK, HASH, "anna@example.org")
    for n in range(8):
        note_refusal(ws.db, f"Name {n}", "10.0.0.3", "page")
    for n in range(4):
        note_refusal(ws.db, "eva", f"10.0.1.{n}", "page")
    note_refusal(ws.db, "Anna", "10.0.0.3", "page")
    written = [entry.what for entry in list_entries(ws.db, action=audit_log.REFUSED)]
    assert (written.count("eva"), written.count("Anna"), written.count(audit_log.FURTHER)) == (2, 1, 1)
    assert len(written) == 9


def test_the_log_keeps_so_many_entries_and_no_more(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MOST_ENTRIES", 5)
    for n in range(8):
        note(ws.db, "check", str(n))
    assert [entry.what for entry in list_entries(ws.db)] == ["7", "6", "5", "4", "3"]


def test_the_log_is_searched_by_name_and_action_and_forgets_in_time(ws: Workspace, eva: users.User) -> None:
    with acting(actor_of(eva)):
        note(ws.db, "run deleted", "Übung.zip")
        note(ws.db, "backup", "file")
    assert [entry.action for entry in list_entries(ws.db, "übung")] == ["run deleted"]
    assert [entry.action for entry in list_entries(ws.db, "EVA", "backup")] == ["backup"]
    assert list_entries(ws.db, "100%_") == []
    first, second = list_entries(ws.db, limit=2)
    assert list_entries(ws.db, limit=1, before=first.sequence) == [second]
    with ws.db.write() as connection:
        connection.execute(audit_table.update().values(at=audit_table.c.at - (KEPT_DAYS + 1) * 86_400))
    note(ws.db, "check")
    assert [entry.action for entry in list_entries(ws.db)] == ["check"]


def test_no_secret_stands_in_the_log(ws: Workspace, eva: users.User) -> None:
    gate = UserGate(ws.db)
    people.change_password(ws.db, gate, ticket(eva), PASSWORD, "another good one", "10.0.0.1")
    people.give_password(ws.db, eva.id, "a third good one")
    with pytest.raises(WrongPassword):
        gate.enter("Eva", "my other password", "10.0.0.1")
    written = repr(list_entries(ws.db))
    assert "password changed" in written
    for secret in (PASSWORD, "another good one", "a third good one", "my other password", "scrypt"):
        assert secret not in written


def test_that_somebody_is_here_is_written_once_a_minute(ws: Workspace, eva: users.User) -> None:
    users.note_seen(ws.db, eva)
    seen = users.get_user(ws.db, eva.id)
    assert seen.last_seen_at is not None
    users.note_seen(ws.db, seen)
    with ws.db.read() as connection:
        assert (
            connection.scalar(users_table.select().with_only_columns(users_table.c.last_seen_at)) == seen.last_seen_at
        )


def test_passwords_that_are_given_out_are_long_and_differ() -> None:
    made = {people.one_time_password() for _ in range(50)}
    assert len(made) == 50
    assert {len(password) for password in made} == {19}


@pytest.mark.slow
def test_a_neighbour_with_an_account_does_not_guess_for_ever_at_a_name_known_here(
    ws: Workspace, eva: users.User
) -> None:
    """Behind one address, as in an office: signing in oneself forgives no guess at somebody else."""
    users.add_user(ws.db, "Mallory", LOOK, HASH)
    gate = UserGate(ws.db)
    gate.enter("Eva", PASSWORD, "10.0.0.1")
    for _ in range(FREE_FAILURES + 1):
        gate.enter("Mallory", PASSWORD, "10.0.0.1")
        with pytest.raises(WrongPassword):
            gate.enter("Eva", "guess", "10.0.0.1")
    gate.enter("Mallory", PASSWORD, "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        gate.enter("Eva", "guess", "10.0.0.1")
    # And Mallory's own name there has a slate of its own.
    assert gate.enter("Mallory", PASSWORD, "10.0.0.1").name == "Mallory"


@pytest.mark.slow
def test_somebody_new_who_comes_in_clears_no_failures_of_other_names_at_the_address(
    ws: Workspace, eva: users.User
) -> None:
    users.add_user(ws.db, "Mallory", LOOK, HASH)
    seconds = [0.0]
    gate = UserGate(ws.db, LoginThrottle(lambda: seconds[0]))
    for n in range(FREE_FAILURES):
        with pytest.raises(WrongPassword):
            gate.enter(f"Name {n}", "guess", "10.0.0.1")
    with pytest.raises(WrongPassword):
        gate.enter("Mallory", "mistyped", "10.0.0.1")
    seconds[0] = 10.0
    gate.enter("Mallory", PASSWORD, "10.0.0.1")
    with pytest.raises(WrongPassword):
        gate.enter("Eva", "guess", "10.0.0.1")
    with pytest.raises(TooManyAttempts):
        gate.enter("Eva", PASSWORD, "10.0.0.1")


@pytest.mark.slow
def test_wrong_old_passwords_are_written_down_and_unchecked_ones_not_counted(ws: Workspace, eva: users.User) -> None:
    gate = UserGate(ws.db)
    for n in range(FREE_FAILURES + 1):
        with pytest.raises(WrongPassword):
            gate.require(eva, "guess", f"10.0.0.{n}")
    assert [entry.what for entry in list_entries(ws.db, action=audit_log.REFUSED)] == ["Eva"] * (FREE_FAILURES + 1)
    for _ in range(2 * FREE_FAILURES):
        with pytest.raises(TooManyAttempts):
            gate.require(eva, PASSWORD, "10.0.1.1")
    # Nothing was checked from there: another name is not held up.
    users.add_user(ws.db, "Anna", LOOK, HASH)
    assert gate.enter("Anna", PASSWORD, "10.0.1.1").name == "Anna"


def locked(ws: Workspace) -> closing[sqlite3.Connection]:
    """The database, held by another program that writes."""
    connection = sqlite3.connect(str(ws.db.engine.url.database), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return closing(connection)


@pytest.fixture
def sqlite_only(ws: Workspace) -> None:
    if ws.db.engine.dialect.name != "sqlite":
        pytest.skip("another program locks a file of SQLite here")


@pytest.mark.slow
@pytest.mark.usefixtures("sqlite_only")
def test_who_has_the_right_password_comes_in_where_nothing_can_be_written(
    ws: Workspace, eva: users.User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_log, "_MOMENT", 0.05)
    gate = UserGate(ws.db)
    with locked(ws):
        assert gate.enter("Eva", PASSWORD, "10.0.0.1").id == eva.id
        with pytest.raises(WrongPassword):
            gate.enter("Eva", "wrong", "10.0.0.1")
        audit_log.note_sign_in(ws.db, "by the shared password", "10.0.0.1")
    assert caplog.text.count("the audit log lacks") == 3
    assert list_entries(ws.db, action="signed in") == []
    # And whoever writes afterwards is as patient as before.
    with ws.db.write() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000 * BUSY_TIMEOUT_SECONDS


@pytest.mark.usefixtures("sqlite_only")
def test_that_somebody_is_here_is_no_reason_to_wait_or_to_fail(ws: Workspace, eva: users.User) -> None:
    with locked(ws):
        users.note_seen(ws.db, eva)
    assert users.get_user(ws.db, eva.id).last_seen_at is None


def test_a_clock_that_is_ahead_elsewhere_does_not_have_each_run_of_a_page_write(ws: Workspace, eva: users.User) -> None:
    users.note_seen(ws.db, eva)
    with ws.db.write() as connection:
        connection.execute(users_table.update().values(last_seen_at=users_table.c.last_seen_at + 600))
    ahead = users.get_user(ws.db, eva.id)
    users.note_seen(ws.db, ahead)
    assert users.get_user(ws.db, eva.id).last_seen_at == ahead.last_seen_at


def test_two_addresses_that_only_look_alike_are_two_people(ws: Workspace, eva: users.User) -> None:
    straight = users.add_user(ws.db, "Anna", LOOK, identity="mass@example.org")
    sharp = users.add_user(ws.db, "Berta", LOOK, identity="ma\u00df@example.org")
    assert people.user_by_identity(ws.db, "MASS@example.org").id == straight.id
    assert people.user_by_identity(ws.db, "ma\u00df@Example.org").id == sharp.id
    with pytest.raises(WrongPassword):
        people.user_by_identity(ws.db, "ma\u017fs@example.org")


@pytest.mark.parametrize(
    ("said", "verified"),
    [(None, True), (True, True), ("true", True), (1, True), (False, False), (0, False), ("False", False), ("0", False)],
)
def test_an_address_counts_as_verified_unless_the_login_says_otherwise(said: object, verified: bool) -> None:
    assert people.is_verified(said) is verified


def test_users_and_keys_are_told_by_their_names_beside_what_they_kept(ws: Workspace, eva: users.User) -> None:
    key = keys.create_key(ws.db, "Nightly")
    assert people.names_of_actors(ws.db) == {f"user:{eva.id}": "Eva", f"key:{key.id}": "Nightly (key)"}
