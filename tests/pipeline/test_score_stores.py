"""Pictures to score in an object store: what belongs to one of them, and what to the store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from detector.errors import DetectorError, EntryUnreadable, PicturesUnreachable, PlaceUnusable
from detector.pipeline import score_stores
from detector.pipeline.score_places import places_of, read_place
from tests.ports import free_port
from tests.s3_answers import S3Answers, s3_answers

pytestmark = pytest.mark.cluster


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Answers]:
    monkeypatch.setattr(score_stores, "PAUSES", [0.01])
    with s3_answers(monkeypatch) as answers:
        answers.objects["/bucket/1.png"] = b"the bytes"
        yield answers


def _raised(place: str) -> DetectorError:
    with pytest.raises(DetectorError) as raised:
        read_place(place, 1000)
    return raised.value


def test_what_is_wrong_with_one_picture_is_said_of_it(store: S3Answers) -> None:
    assert read_place("s3://bucket/1.png", 1000) == b"the bytes"
    for status, code, why in (
        (404, "NoSuchKey", "there is no such file"),
        (404, "NoSuchBucket", "there is no such"),
        (403, "AccessDenied", "it may not be read"),
    ):
        store.failing_keys["/bucket/1.png"] = status, code
        error = _raised("s3://bucket/1.png")
        assert isinstance(error, EntryUnreadable), code
        assert why in str(error)
    for nonsense in ("s3://a b/c.png", "s3://bucket", "s3://"):
        assert isinstance(_raised(nonsense), EntryUnreadable), nonsense


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (500, "InternalError"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (400, "ExpiredToken"),
    ],
)
def test_what_the_store_answers_to_everything_is_no_matter_of_a_picture(
    store: S3Answers, status: int, code: str
) -> None:
    store.failing = status, code
    error = _raised("s3://bucket/1.png")
    assert isinstance(error, PicturesUnreachable)
    assert "the same command resumes" in str(error)
    assert "DETECTOR_STORE" not in str(error)


def test_a_store_that_stumbles_once_is_asked_again(store: S3Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(score_stores, "PAUSES", [0.01] * 3)
    store.failing = 500, "InternalError"
    monkeypatch.setattr(score_stores.time, "sleep", lambda _seconds: setattr(store, "failing", None))
    assert read_place("s3://bucket/1.png", 1000) == b"the bytes"


def test_no_sentence_names_the_store_s_address_or_account(store: S3Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for failing in ((503, "SlowDown"), (403, "AccessDenied"), (400, "Strange")):
        store.failing = failing
        said.append(str(_raised("s3://bucket/1.png")))
        with pytest.raises(PlaceUnusable) as raised:
            list(places_of("s3://bucket/*.png"))
        said.append(str(raised.value))
        with pytest.raises(PlaceUnusable) as raised:
            list(places_of("s3://bucket/list.txt"))
        said.append(str(raised.value))
    gone = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{gone}")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    unreachable = _raised("s3://bucket/1.png")
    assert isinstance(unreachable, PicturesUnreachable)
    assert "it does not answer" in str(unreachable)
    for sentence in (*said, str(unreachable)):
        assert not any(part in sentence for part in ("127.0.0.1", str(store.port), str(gone), "123456789012"))
