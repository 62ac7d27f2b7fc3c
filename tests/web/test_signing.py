"""Signed addresses: ours, for one thing, for a while."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from detector.storage.database import Database, now
from detector.web.signing import (
    _sign,
    export_order,
    export_token,
    picture_allowed,
    picture_path,
    upload_name,
    upload_token,
)
from tests.factories import workspace

HASH = "ab" * 32


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return workspace(tmp_path).db


def _parts(path: str) -> tuple[str, str, str, str]:
    url = urlsplit(path)
    query = parse_qs(url.query)
    _, _, kind, image_hash = url.path.split("/")
    return kind, image_hash, query["expires"][0], query["signature"][0]


def test_an_address_is_good_for_what_it_names(db: Database) -> None:
    kind, image_hash, expires, signature = _parts(picture_path(db, "thumbnail", HASH))
    assert (kind, image_hash) == ("thumbnail", HASH)
    assert picture_allowed(db, kind, image_hash, expires, signature)


def test_it_is_good_for_nothing_else(db: Database) -> None:
    kind, image_hash, expires, signature = _parts(picture_path(db, "thumbnail", HASH))
    assert not picture_allowed(db, "image", image_hash, expires, signature)
    assert not picture_allowed(db, kind, "cd" * 32, expires, signature)
    assert not picture_allowed(db, kind, image_hash, str(int(expires) + 3600), signature)
    assert not picture_allowed(db, kind, image_hash, expires, signature[:-1])
    assert not picture_allowed(db, kind, image_hash, expires, "é" * 40)


@pytest.mark.parametrize("expires", ["", "soon", "-1", "1e9", "٣" * 10, "9" * 13, " 1"])
def test_times_that_are_no_times_are_refused(db: Database, expires: str) -> None:
    *_, signature = _parts(picture_path(db, "thumbnail", HASH))
    assert not picture_allowed(db, "thumbnail", HASH, expires, signature)


def test_expiry_is_rounded_so_that_a_page_shown_twice_has_the_same_addresses(db: Database) -> None:
    before = now()
    paths = {picture_path(db, "thumbnail", HASH) for _ in range(3)}
    expires = int(_parts(min(paths))[2])
    assert expires % 3600 == 0
    assert 3600 <= expires - before <= 7200
    # Two only when the hour ended between the calls.
    assert len(paths) == 1 or int(now()) // 3600 != int(before) // 3600


def test_the_key_is_the_data_folders_own(db: Database, tmp_path: Path) -> None:
    other = workspace(tmp_path / "other").db
    kind, image_hash, expires, signature = _parts(picture_path(other, "thumbnail", HASH))
    assert picture_allowed(other, kind, image_hash, expires, signature)
    assert not picture_allowed(db, kind, image_hash, expires, signature)


def test_an_upload_token_names_one_file_of_the_spool(db: Database) -> None:
    first, second = upload_token(db), upload_token(db)
    names = [upload_name(db, first), upload_name(db, second)]
    assert None not in names
    assert names[0] != names[1]
    assert all(name.isalnum() for name in names if name)


def test_a_changed_foreign_or_expired_token_is_refused(db: Database, tmp_path: Path) -> None:
    token = upload_token(db)
    name, expires, signature = token.split("-")
    assert upload_name(db, f"{name}x-{expires}-{signature}") is None
    assert upload_name(db, f"{name}-{int(expires) + 1}-{signature}") is None
    assert upload_name(db, f"{name}-{int(now()) - 1}-{signature}") is None
    assert upload_name(db, f"../{name}-{expires}-{signature}") is None
    assert upload_name(db, upload_token(workspace(tmp_path / "other").db)) is None
    for nonsense in ("", "-", "--", name, "a-b-c"):
        assert upload_name(db, nonsense) is None


def test_a_picture_signature_opens_no_upload(db: Database) -> None:
    _, image_hash, expires, signature = _parts(picture_path(db, "thumbnail", HASH))
    assert upload_name(db, f"{image_hash}-{expires}-{signature}") is None


def test_an_export_token_carries_its_order_and_stays_the_same_while_a_page_is_drawn_again(db: Database) -> None:
    order = {"function": "f", "kind": "zip", "where": {"text": "Ä ?&/"}}
    before = now()
    token, again = export_token(db, order), export_token(db, order)
    assert export_order(db, token) == order
    assert token == again or int(now()) // 3600 != int(before) // 3600
    assert token.replace(".", "").replace("-", "").replace("_", "").isalnum()


def test_a_changed_foreign_or_expired_export_token_is_refused(db: Database, tmp_path: Path) -> None:
    body, expires, signature = export_token(db, {"function": "f"}).split(".")
    other = export_token(db, {"function": "g"}).split(".")[0]
    assert export_order(db, f"{other}.{expires}.{signature}") is None
    assert export_order(db, f"{body}.{int(expires) + 1}.{signature}") is None
    assert export_order(db, f"{body}.{expires}.{signature[:-1]}") is None
    assert export_order(db, export_token(workspace(tmp_path / "other").db, {"function": "f"})) is None
    assert export_order(db, f"{body}.{int(now()) - 1}.{_sign(db, 'export', body, int(now()) - 1)}") is None
    for nonsense in ("", ".", "..", body, "a.b.c", "a.9999999999.é"):
        assert export_order(db, nonsense) is None
