"""Objects of an S3 server, or of one that speaks like it, through s3fs.

Address and keys come from the standard variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...), read by Amazon's own
library; nothing of them is ever part of a sentence. Its errors quote addresses, so they are no cause of ours either.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from typing import Any

from detector.errors import InvalidInput, StoreUnavailable
from detector.storage.objects import Found, Objects

#: Seconds to connect, and for the next bytes of an answer. A picture is sent and read within moments.
_CONNECT_SECONDS, _ANSWER_SECONDS = 5, 10
#: How often something is tried, with growing pauses: a store that is busy says so, and means a moment.
_ATTEMPTS = 3
#: As many at once as threads of one process ask.
_CONNECTIONS = 32
_PAGE = 1000

_BROUGHT, _SHA256 = "detector-brought", "detector-sha256"

#: Of the bucket of this program.
_OUR_BUCKET = "the bucket that DETECTOR_STORE names"

_WHY = {
    "NoSuchBucket": "{bucket} does not exist",
    "InvalidBucketName": "{bucket} has no name that a bucket can have",
    "AccessDenied": "it refuses access to the bucket",
    "403": "it refuses access to the bucket",
    "AllAccessDisabled": "it refuses access to the bucket",
    "InvalidAccessKeyId": "it does not know the access key (AWS_ACCESS_KEY_ID)",
    "SignatureDoesNotMatch": "the secret key (AWS_SECRET_ACCESS_KEY) is not the one of the access key",
    "ExpiredToken": "the session token (AWS_SESSION_TOKEN) has expired",
    "InvalidToken": "the session token (AWS_SESSION_TOKEN) is not valid",
    "RequestTimeTooSkewed": "the clock of this machine is wrong by minutes",
    "PermanentRedirect": "the bucket lies in another region (AWS_DEFAULT_REGION)",
    "301": "the bucket lies in another region (AWS_DEFAULT_REGION)",
    "SlowDown": "it has too much to do",
    "503": "it has too much to do",
}
#: By the name of the class in Amazon's library, which is not imported for them: without an answer from the store.
_WHY_WITHOUT_ANSWER = {
    "NoCredentialsError": "there are no keys for it (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)",
    "PartialCredentialsError": "only one of the two keys for it is there (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
    "CredentialRetrievalError": "the keys for it could not be read",
    "ProfileNotFound": "the profile that AWS_PROFILE names does not exist",
    "ParamValidationError": "{bucket} has no name that a bucket can have",
    "InvalidRegionError": "AWS_DEFAULT_REGION is no name of a region",
    "SSLError": "the certificate of its address is not accepted",
    "ValueError": "AWS_ENDPOINT_URL is no address",
}
#: What goes wrong on the way to the store, and in what the way is made of: bases in Amazon's library and below it.
_OF_THE_WAY = {"BotoCoreError", "HTTPClientError", "ClientError", "OSError", "TimeoutError"}
_MISSING = {"NoSuchKey", "404", "NoSuchVersion"}


class S3Objects(Objects):
    """Objects below a prefix of a bucket.

    Parameters
    ----------
    bucket, prefix : str
        The prefix has no slash at its ends; it may be empty.

    Raises
    ------
    InvalidInput
        s3fs is not installed.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise InvalidInput(
                "The object store of DETECTOR_STORE needs a Python package that is not installed. Install it with: "
                'pip install "ai-image-detector[s3]"'
            ) from error
        self._fs: Any = S3FileSystem(
            # A store of its own, which no other part of the process has set up in another way; and nothing that was
            # listed before may be taken for what lies there now.
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "connect_timeout": _CONNECT_SECONDS,
                "read_timeout": _ANSWER_SECONDS,
                "max_pool_connections": _CONNECTIONS,
                # Else links are signed in the old way, which most servers do not take any more.
                "signature_version": "s3v4",
                "retries": {"mode": "standard", "total_max_attempts": _ATTEMPTS},
            },
        )
        self._fs.loop.set_exception_handler(_drop_cut_connections)
        # Around the attempts of Amazon's library there are those of s3fs; together they would take minutes.
        self._fs.retries = 1
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._conditional = True

    def head(self, key: str) -> Found | None:
        try:
            return _found(self._call("head_object", Key=self._prefix + key))
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise StoreUnavailable(refused.why) from None

    def read(self, key: str) -> tuple[bytes, Found] | None:
        try:
            answer = self._call("get_object", Key=self._prefix + key)
        except Refused as refused:
            if refused.code in _MISSING:
                return None
            raise StoreUnavailable(refused.why) from None
        return answer["Body"], _found(answer)

    def create(self, key: str, data: bytes) -> bool:
        for _ in range(_ATTEMPTS):
            if not self._conditional:
                break
            try:
                self._put(key, data, IfNoneMatch="*")
                return True
            except Refused as refused:
                if refused.code in ("PreconditionFailed", "412"):
                    return False
                if refused.code in ("ConditionalRequestConflict", "409"):
                    # Somebody is just putting it, or removing it.
                    time.sleep(0.2)
                    continue
                if refused.code in ("NotImplemented", "501"):
                    self._conditional = False
                    break
                raise StoreUnavailable(refused.why) from None
        if self.head(key) is not None:
            return False
        self.write(key, data)
        return True

    def write(self, key: str, data: bytes) -> Found:
        try:
            return self._put(key, data)
        except Refused as refused:
            raise StoreUnavailable(refused.why) from None

    def copy(self, key: str, other: str) -> bool:
        source = {"Bucket": self._bucket, "Key": self._prefix + key}
        try:
            self._call("copy_object", Key=self._prefix + other, CopySource=source)
        except Refused as refused:
            if refused.code in _MISSING:
                return False
            raise StoreUnavailable(refused.why) from None
        return True

    def delete(self, key: str) -> None:
        try:
            self._call("delete_object", Key=self._prefix + key)
        except Refused as refused:
            if refused.code not in _MISSING:
                raise StoreUnavailable(refused.why) from None

    def names(self, prefix: str, limit: int | None = None) -> Iterator[tuple[str, float]]:
        more: dict[str, str] = {}
        count = min(limit or _PAGE, _PAGE)
        while True:
            try:
                answer = self._call("list_objects_v2", Prefix=self._prefix + prefix, MaxKeys=count, **more)
            except Refused as refused:
                raise StoreUnavailable(refused.why) from None
            for item in answer.get("Contents", ()):
                yield item["Key"][len(self._prefix) :], item["LastModified"].timestamp()
            if limit is not None or not answer.get("IsTruncated"):
                return
            more = {"ContinuationToken": answer["NextContinuationToken"]}

    def link(self, key: str, media_type: str, seconds: int) -> str | None:
        from fsspec.asyn import sync

        # As what it is shown is said here: what strangers have sent is never a page.
        told = {"ResponseContentType": media_type, "ResponseCacheControl": f"private, max-age={seconds}"}
        path = f"{self._bucket}/{self._prefix}{key}"
        try:
            return str(sync(self._fs.loop, self._fs._url, path, expires=seconds, **told))
        except Exception as error:
            raise StoreUnavailable(refusal(error).why) from None

    def _put(self, key: str, data: bytes, **condition: str) -> Found:
        brought, digest = time.time(), hashlib.sha256(data).hexdigest()
        noted = {_BROUGHT: f"{brought:.6f}", _SHA256: digest}
        answer = self._call("put_object", Key=self._prefix + key, Body=data, Metadata=noted, **condition)
        return Found(len(data), _etag(answer), round(brought, 6), digest)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request, from whatever thread; the answer's body is read. Raises Refused."""
        from fsspec.asyn import sync

        async def ask() -> dict[str, Any]:
            answer: dict[str, Any] = await self._fs._call_s3(method, Bucket=self._bucket, **arguments)
            if "Body" in answer:
                async with answer["Body"] as body:
                    answer["Body"] = await body.read()
            return answer

        for attempt in range(_ATTEMPTS):
            try:
                return dict(sync(self._fs.loop, ask))
            except Exception as error:
                refused = refusal(error)
                # Cut off in the middle of a body: the library's own attempts end with the head of the answer.
                if not refused.cut_off or attempt + 1 == _ATTEMPTS:
                    raise refused from None
        raise AssertionError("the last attempt returns or raises")


def _drop_cut_connections(loop: Any, context: dict[str, Any]) -> None:
    """Keep what is left over of a connection that was cut out of the log: its request tells that, in a sentence."""
    kinds = {kind.__name__ for kind in type(context.get("exception")).__mro__}
    if not kinds & {"ClientError", "OSError"}:
        loop.default_exception_handler(context)


class Refused(Exception):
    """``code`` is the store's own, empty where it has not answered; ``why`` is a part of a sentence."""

    def __init__(self, code: str, why: str, cut_off: bool = False) -> None:
        super().__init__(why)
        self.code, self.why, self.cut_off = code, why, cut_off


def refusal(error: BaseException, bucket: str = _OUR_BUCKET) -> Refused:
    """What an error of s3fs, or below it, says, without an address or a key.

    Parameters
    ----------
    bucket : str
        What a sentence calls it.

    Raises
    ------
    BaseException
        The error itself, where it is a fault of the program.
    """
    answer: dict[str, Any] | None = None
    current: BaseException | None = error
    while current is not None and answer is None:
        answer = getattr(current, "response", None)
        answer = answer if isinstance(answer, dict) else None
        current = current.__cause__
    if answer is not None:
        code = str(answer.get("Error", {}).get("Code") or answer.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        shown = re.sub(r"[^A-Za-z0-9]", "", code)[:40]
        return Refused(code, _WHY.get(code, f"it answers with the error {shown}").format(bucket=bucket))
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if not _OF_THE_WAY & {*kinds} and "endpoint" not in str(error):
        # A fault of the program is no matter of the store.
        raise error
    why = next((_WHY_WITHOUT_ANSWER[kind] for kind in kinds if kind in _WHY_WITHOUT_ANSWER), "it does not answer")
    cut_off = bool({"ClientPayloadError", "IncompleteRead", "ResponseStreamingError"} & {*kinds})
    return Refused("", why.format(bucket=bucket), cut_off)


def _found(answer: dict[str, Any]) -> Found:
    noted = answer.get("Metadata") or {}
    try:
        brought = float(noted[_BROUGHT])
    except (KeyError, ValueError):
        brought = answer["LastModified"].timestamp()
    return Found(int(answer["ContentLength"]), _etag(answer), brought, noted.get(_SHA256))


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')
