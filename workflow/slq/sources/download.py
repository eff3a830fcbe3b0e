"""A file by its URL: continued behind what an earlier call left, tried again (urllib3's Retry) where waiting helps."""

import os
import re
import sys
import time
from http.client import OK, REQUESTED_RANGE_NOT_SATISFIABLE
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from tqdm import tqdm
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager
from urllib3.exceptions import HTTPError, InvalidHeader, MaxRetryError
from urllib3.util import Retry, make_headers, parse_url

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json

BLOCK_BYTES = 1 << 20  # bytes read at once
TIMEOUT_SECONDS = 60  # seconds without a byte
MAX_WAIT_SECONDS = 120  # seconds: a server that asks for more is tried again by a person
# Tries that follow one without progress, at 0, 2, 4, 8 and 16 seconds; afterwards it is given up.
RETRIES = Retry(5, backoff_factor=1, status_forcelist={408, 429, 500, 502, 503, 504})
SINGLE_REQUEST = Retry(None, connect=0, read=0, other=0, redirect=5, respect_retry_after_header=False)  # of one request


class _TransferInterrupted(Exception):
    """The transfer ended early; `status`, `retry_after`: of a server that refused, the latter its header."""

    def __init__(self, reason: str, status: int | None = None, retry_after: str | None = None) -> None:
        super().__init__(reason)
        self.status, self.retry_after = status, retry_after


def wait_before_retry(retries: Retry, failure: Exception, status: int | None, retry_after: str | None) -> Retry:
    """Wait before another try, as long as a refusal asks, or longer each time, and return the tries that are left.

    Raises:
        Exception: `failure`, where waiting does not help, takes too long, or has been tried enough.
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
    """Read `Retry-After`, a number of seconds or a date; None without it, or of what is neither."""
    try:
        return RETRIES.parse_retry_after(retry_after) if retry_after else None
    except InvalidHeader:
        return None


def apply_mirror(url: str) -> str:
    """The address that a URL is fetched from: another one where SLQ_MIRROR says so (docs/data.md).

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
    """Bring the whole of `url` into `path`; what is there already is continued, if it is of the same version.

    Beside `path` stands `<path>.version.json` with what the server said about the version (ETag, date, bytes). Whether
    the bytes are the right ones is the caller's to check.

    Raises:
        SlqError: the server refuses, gives a web page, cannot be reached, or the disk is full. What has come stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    retries, largest_size = RETRIES, file_size(path)
    with _progress_bar(path.name) as bar:
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
    """Bytes of a file; 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def version_path(path: Path) -> Path:
    """Where `download` notes which version of the URL the bytes in `path` are of."""
    return path.with_name(f"{path.name}.version.json")


def _transfer(url: str, path: Path, bar: Any) -> None:
    """One request, from where `path` ends."""
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
    """The answer to a request, by way of a mirror or a proxy: bytes of a file, or that it has none in this range."""
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
    """Connections to a server, or to the proxy that the environment names for it (http_proxy, no_proxy)."""
    parts = urlsplit(address)
    proxy = None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)
    if proxy is None:
        return PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"  # host:port alone, as other programs take it too
    login = parse_url(proxy).auth
    return ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=unquote(login)) if login else None)


def _append_body(response: BaseHTTPResponse, path: Path, offset: int, bar: Any) -> None:
    """Write the answer's bytes behind the first `offset` of `path`."""
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
    """Bytes of the whole file; None of an answer that does not begin behind the first `offset` of them."""
    found = re.fullmatch(rf"bytes {offset}-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _version_headers(response: BaseHTTPResponse) -> dict[str, str]:
    """What names the version: a strong ETag, else the date."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and not etag.startswith("W/"):
        return {"etag": etag}
    return {"modified": modified} if modified else {}


def remove_download(path: Path) -> None:
    """Remove a download, begun or whole, and what is noted about it."""
    path.unlink(missing_ok=True)
    version_path(path).unlink(missing_ok=True)


def _resume_hint(path: Path) -> str:
    return f"fetch again: it goes on behind the {file_size(path):,} bytes that are here"


def _progress_bar(name: str) -> Any:
    """A progress bar; in a log a line every half minute."""
    interval = 0.5 if sys.stderr.isatty() else 30
    return tqdm(desc=name, unit="B", unit_scale=True, mininterval=interval, maxinterval=interval, file=sys.stderr)
