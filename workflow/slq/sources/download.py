"""Downloads by URL: resumed where an earlier call stopped, retried (urllib3's Retry) where waiting helps."""

import os
import re
import time
from http.client import OK, REQUESTED_RANGE_NOT_SATISFIABLE
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.util import Retry, make_headers, parse_url

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.common.progress import Progress

BLOCK_BYTES = 1 << 20  # bytes read at once
TIMEOUT_SECONDS = 60  # longest time without a byte
MAX_WAIT_SECONDS = 120  # if a server demands a longer wait, the user must retry
# Retries after an attempt without progress, after 0, 2, 4, 8 and 16 seconds; then the download fails.
RETRIES = Retry(5, backoff_factor=1, status_forcelist={408, 429, 500, 502, 503, 504})
SINGLE_REQUEST = Retry(None, connect=0, read=0, other=0, redirect=5, respect_retry_after_header=False)  # per request


class _TransferInterrupted(Exception):
    """A transfer that ended early.

    Attributes:
        status: the HTTP status of a server that refused.
        retry_after: the `Retry-After` header of its answer.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after


def wait_before_retry(retries: Retry, failure: Exception, status: int | None, retry_after: str | None) -> Retry:
    """Wait before another attempt and return the retries that are left.

    The wait is as long as the server's refusal demands, or else longer each time.

    Raises:
        Exception: `failure` itself, if waiting does not help, takes too long, or the retries are used up.
    """
    requested_seconds = retry_after_seconds(retry_after) or 0.0
    if requested_seconds > MAX_WAIT_SECONDS or (status is not None and not retries.is_retry("GET", status)):
        raise failure
    try:
        retries = retries.increment("GET")
    except MaxRetryError:
        raise failure from None
    time.sleep(requested_seconds or retries.get_backoff_time())
    return retries


def retry_after_seconds(retry_after: str | None) -> float | None:
    """Parse `Retry-After`, a number of seconds or a date; return None if it is absent or neither of these."""
    try:
        return RETRIES.parse_retry_after(retry_after) if retry_after else None
    except InvalidHeader:
        return None


def apply_mirror(url: str) -> str:
    """Return the address that a URL is fetched from: a mirror's where SLQ_MIRROR names one (docs/data.md).

    Raises:
        SlqError: SLQ_MIRROR is not a list of `<beginning>=<other beginning>`, separated by blanks.
    """
    for rule in os.environ.get("SLQ_MIRROR", "").split():
        prefix, equals, mirror_prefix = rule.partition("=")
        if not equals or not prefix.startswith("http") or not mirror_prefix.startswith(("http://", "https://")):
            raise SlqError(
                f"SLQ_MIRROR: {rule!r} is not <beginning of a URL>=<other beginning>, e.g. http://a.org=http://b"
            )
        if url.startswith(prefix):
            return mirror_prefix + url.removeprefix(prefix)
    return url


def download(url: str, path: Path) -> None:
    """Download the whole of `url` into `path`, resuming from the bytes already there if they are of the same version.

    The file `<path>.version.json` beside it records what the server said about the version (ETag, date, bytes). The
    caller must check whether the bytes are the right ones.

    Raises:
        SlqError: the server refuses, gives a web page or cannot be reached, or the disk is full. Bytes already
            downloaded stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    retries, largest_size = RETRIES, file_size(path)
    with Progress(desc=path.name, unit="B", unit_scale=True) as bar:
        while True:
            try:
                return _transfer(url, path, bar)
            except _TransferInterrupted as reason:
                if file_size(path) > largest_size:
                    retries, largest_size = RETRIES, file_size(path)
                    continue
                failure = SlqError(f"{url}: not fetched: {reason}; {_resume_hint(path)}")
                retries = wait_before_retry(retries, failure, reason.status, reason.retry_after)


def file_size(path: Path) -> int:
    """Return the bytes of a file; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def version_path(path: Path) -> Path:
    """Return the file in which `download` records the version of the URL that the bytes in `path` are from."""
    return path.with_name(f"{path.name}.version.json")


def _transfer(url: str, path: Path, bar: Any) -> None:
    """Send one request for the bytes from where `path` ends, and write its answer there."""
    record_file = version_path(path)
    version = read_json(record_file) if record_file.exists() else {}
    offset = file_size(path) if version.get("url") == url else 0
    if offset and offset == version.get("bytes"):
        return
    headers = {"User-Agent": "slq", "Accept-Encoding": "identity"}
    if offset:
        validator = version.get("etag") or version.get("modified")
        headers |= {"Range": f"bytes={offset}-"} | ({"If-Range": validator} if validator else {})
    with _send_request(url, headers) as response:
        if response.status == OK:
            offset, length = 0, response.headers.get("Content-Length")
            total = int(length) if length is not None else None
            write_json(record_file, {"url": url, "bytes": total} | _version_headers(response))
        else:
            total = _total_bytes(response, offset)
            if total is None or total != version["bytes"]:
                remove_download(path)
                raise _TransferInterrupted(
                    f"the server no longer has the bytes from {offset} on of the file that was begun"
                )
        bar.reset(total=total)
        bar.update(offset)
        _append_body(response, path, offset, bar)


def _send_request(url: str, headers: dict[str, str]) -> BaseHTTPResponse:
    """Send a request, through a mirror or a proxy if one is set, and return its answer.

    The answer has bytes of the file, or says that the file has none in the requested range.

    Raises:
        _TransferInterrupted: the server cannot be reached, or refuses for a reason that waiting may help.
        SlqError: the server gives a web page, or refuses for good.
    """
    address = apply_mirror(url)
    try:
        pool = _connection_pool(address)
        response = pool.request(
            "GET", address, headers=headers, timeout=TIMEOUT_SECONDS, retries=SINGLE_REQUEST, preload_content=False
        )
    except HTTPError as error:
        raise _TransferInterrupted(f"the server cannot be reached ({getattr(error, 'reason', error)})") from None
    status, reason = response.status, f"the server answers {response.status} {response.reason}"
    if status == REQUESTED_RANGE_NOT_SATISFIABLE:  # often with a page that says so
        return response
    if status < 300:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise SlqError(f"{url}: is a web page, expected a file; look at it in a browser: it may ask for something")
        return response
    retry_after = response.headers.get("Retry-After")
    if not RETRIES.is_retry("GET", status):
        advice = "check the address in config.yaml, or name a mirror, SLQ_MIRROR"
        raise SlqError(f"{url}: not fetched: {reason}; {advice}")
    requested_seconds = retry_after_seconds(retry_after)
    raise _TransferInterrupted(
        reason + (f" and asks to wait {requested_seconds:.0f} s" if requested_seconds else ""), status, retry_after
    )


def _connection_pool(address: str) -> PoolManager:
    """Open a pool of connections to a server, or to the proxy that the environment names (http_proxy, no_proxy)."""
    parts = urlsplit(address)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if proxy is None:
        return PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"  # host:port alone is accepted, as by other programs
    login = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=unquote(login)) if login else None)


def _append_body(response: BaseHTTPResponse, path: Path, offset: int, bar: Any) -> None:
    """Write the answer's bytes behind the first `offset` bytes of `path`."""
    try:
        with open(path, "r+b" if offset else "wb") as file:
            file.seek(offset)
            for block in response.stream(BLOCK_BYTES, decode_content=False):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    except HTTPError as error:
        reason = f"the connection ended after {file_size(path):,} of {bar.total or 0:,} bytes"
        raise _TransferInterrupted(f"{reason} ({type(error).__name__})") from None
    except OSError as error:
        raise SlqError(f"{path}: cannot be written: {error.strerror}; {_resume_hint(path)}") from error


def _total_bytes(response: BaseHTTPResponse, offset: int) -> int | None:
    """Return the bytes of the whole file; None if the answer does not begin right behind the first `offset` of them."""
    found = re.fullmatch(rf"bytes {offset}-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _version_headers(response: BaseHTTPResponse) -> dict[str, str]:
    """Return the header that identifies the version: a strong ETag, else the date."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and not etag.startswith("W/"):
        return {"etag": etag}
    return {"modified": modified} if modified else {}


def remove_download(path: Path) -> None:
    """Remove a download, partial or complete, and its version record."""
    path.unlink(missing_ok=True)
    version_path(path).unlink(missing_ok=True)


def _resume_hint(path: Path) -> str:
    """Return the advice to fetch again, with the bytes that are here already."""
    return f"fetch again: it goes on behind the {file_size(path):,} bytes that are here"
