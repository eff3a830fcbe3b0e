"""Downloads by URL. An interrupted download is resumed, and temporary failures are retried (urllib3's Retry)."""

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
TIMEOUT_SECONDS = 60  # longest wait for the next byte
MAX_WAIT_SECONDS = 120  # if a server requests a longer wait, the download fails and the user must retry
# Attempts without progress are retried after 0, 2, 4, 8 and 16 seconds; then the download fails.
RETRIES = Retry(5, backoff_factor=1, status_forcelist={408, 429, 500, 502, 503, 504})
# Urllib3's own retries within one request: only redirects, because this module does the other retries.
SINGLE_REQUEST = Retry(None, connect=0, read=0, other=0, redirect=5, respect_retry_after_header=False)


class _TransferInterrupted(Exception):
    """Transfer that ended early.

    Attributes:
        status: HTTP status of the response, if the server refused the request.
        retry_after: `Retry-After` header of the response.
    """

    def __init__(self, reason: str, status: int | None = None, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after


def wait_before_retry(retries: Retry, failure: Exception, status: int | None, retry_after: str | None) -> Retry:
    """Wait before the next attempt and return the remaining retries.

    The wait is the server's `Retry-After`, or else doubles with each attempt.

    Raises:
        Exception: `failure` itself, if the status is not a temporary one, the wait is too long, or no retries remain.
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
    """Parse the header `Retry-After`, a number of seconds or a date; return None if it is absent or invalid."""
    try:
        return RETRIES.parse_retry_after(retry_after) if retry_after else None
    except InvalidHeader:
        return None


def apply_mirror(url: str) -> str:
    """Return the address to fetch a URL from: the mirror in SLQ_MIRROR if it has one, else the URL (docs/data.md).

    SLQ_MIRROR is a list of `<prefix>=<mirror prefix>`, separated by blanks.
    """
    for rule in os.environ.get("SLQ_MIRROR", "").split():
        prefix, equals, mirror_prefix = rule.partition("=")
        if not equals or not prefix.startswith("http") or not mirror_prefix.startswith(("http://", "https://")):
            raise SlqError(f"SLQ_MIRROR: {rule!r} is not <prefix of a URL>=<mirror prefix>, e.g. http://a.org=http://b")
        if url.startswith(prefix):
            return mirror_prefix + url.removeprefix(prefix)
    return url


def download(url: str, path: Path) -> None:
    """Download `url` into `path`, resuming a partial download of the same version.

    The file `<path>.version.json` records the server's ETag, date and number of bytes. The caller must verify the
    content of the file.

    Raises:
        SlqError: the server refuses, returns a web page or cannot be reached, or the disk is full. Bytes that were
            already downloaded are kept.
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
    """Return the size of a file in bytes; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def version_path(path: Path) -> Path:
    """Return the path of the file in which `download` records the version of the bytes in `path`."""
    return path.with_name(f"{path.name}.version.json")


def _transfer(url: str, path: Path, bar: Any) -> None:
    """Request the bytes that are missing in `path`, and append them."""
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
                    f"the server no longer has the version that was partly downloaded (from byte {offset} on)"
                )
        bar.reset(total=total)
        bar.update(offset)
        _append_body(response, path, offset, bar)


def _send_request(url: str, headers: dict[str, str]) -> BaseHTTPResponse:
    """Send a request, through a mirror or a proxy if one is set, and return the response.

    The response has bytes of the file, or states that the requested range has none.

    Raises:
        _TransferInterrupted: the server cannot be reached, or refuses temporarily.
        SlqError: the server returns a web page, or refuses permanently.
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
    if status == REQUESTED_RANGE_NOT_SATISFIABLE:  # checked before the type, because the body is often a web page
        return response
    if status < 300:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise SlqError(
                f"{url}: is a web page, expected a file; open it in a browser: it may require a login or an agreement"
            )
        return response
    retry_after = response.headers.get("Retry-After")
    if not RETRIES.is_retry("GET", status):
        advice = "check the address in config.yaml, or set a mirror in SLQ_MIRROR"
        raise SlqError(f"{url}: not fetched: {reason}; {advice}")
    requested_seconds = retry_after_seconds(retry_after)
    raise _TransferInterrupted(
        reason + (f" and asks to wait {requested_seconds:.0f} s" if requested_seconds else ""), status, retry_after
    )


def _connection_pool(address: str) -> PoolManager:
    """Open a pool of connections to a server, or to the proxy set in the environment (http_proxy, no_proxy)."""
    parts = urlsplit(address)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if proxy is None:
        return PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"  # host:port without a scheme is common
    login = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=unquote(login)) if login else None)


def _append_body(response: BaseHTTPResponse, path: Path, offset: int, bar: Any) -> None:
    """Write the body of a response after the first `offset` bytes of `path`."""
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
    """Return the size of the whole file in bytes; None if the response does not begin at byte `offset`."""
    found = re.fullmatch(rf"bytes {offset}-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _version_headers(response: BaseHTTPResponse) -> dict[str, str]:
    """Return the header that identifies the version: a strong ETag, or else the date, or neither."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and not etag.startswith("W/"):
        return {"etag": etag}
    return {"modified": modified} if modified else {}


def remove_download(path: Path) -> None:
    """Remove a download, partial or complete, and its version record."""
    path.unlink(missing_ok=True)
    version_path(path).unlink(missing_ok=True)


def _resume_hint(path: Path) -> str:
    """Return the advice to fetch again, with the number of bytes that are already downloaded."""
    return f"fetch again: the download resumes after the {file_size(path):,} bytes that are already here"
