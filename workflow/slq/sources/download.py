"""A file by its URL: continued behind what an earlier call left, retried where waiting helps."""

import email.utils
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slq.errors import SlqError
from slq.files import read_json, write_json

BLOCK = 1 << 20  # bytes read at once
TIMEOUT = 60  # seconds without a byte
PAUSES = (1, 2, 4, 8, 16)  # seconds before the tries that follow one without progress; afterwards it is given up
LONGEST_WAIT = 120  # seconds: a server that asks for more is tried again by a person
WORTH_WAITING = {408, 429, 500, 502, 503, 504}


class _Interrupted(Exception):
    """The transfer ended early, for a reason that may pass; `wait`: seconds that the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def mirrored(url: str) -> str:
    """The address that a URL is fetched from: another one where SLQ_MIRROR says so (docs/data.md).

    Raises:
        SlqError: SLQ_MIRROR is not a list of `<beginning>=<other beginning>`, separated by blanks.
    """
    for rule in os.environ.get("SLQ_MIRROR", "").split():
        beginning, equals, other = rule.partition("=")
        if not equals or not beginning.startswith("http") or not other.startswith(("http://", "https://")):
            raise SlqError(
                f"SLQ_MIRROR: {rule!r} is not <beginning of a URL>=<other beginning>, e.g. http://a.org=http://b"
            )
        if url.startswith(beginning):
            return other + url.removeprefix(beginning)
    return url


def download(url: str, path: Path) -> None:
    """Bring the whole of `url` into `path`; what is there already is continued, if it is of the same version.

    Beside `path` stands `<path>.version.json` with what the server said about the version (ETag, date, bytes). Whether
    the bytes are the right ones is the caller's to check.

    Raises:
        SlqError: the server refuses, gives a web page, cannot be reached, or the disk is full. What has come stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    failed = 0
    with _bar(path.name) as bar:
        while True:
            before = size(path)
            try:
                _transfer(url, path, bar)
                return
            except _Interrupted as reason:
                failed = 0 if size(path) > before else failed + 1
                if failed > len(PAUSES):
                    raise SlqError(f"{url}: not fetched: {reason}; {_kept(path)}") from None
                time.sleep(PAUSES[max(failed - 1, 0)] if reason.wait is None else reason.wait)


def size(path: Path) -> int:
    """Bytes of a file; 0 if it is not there."""
    return path.stat().st_size if path.exists() else 0


def version_file(path: Path) -> Path:
    """Where `download` notes which version of the URL the bytes in `path` are of."""
    return path.with_name(f"{path.name}.version.json")


def _transfer(url: str, path: Path, bar: Any) -> None:
    """One request, from where `path` ends."""
    note = version_file(path)
    version = read_json(note) if note.exists() else {}
    have = size(path) if version.get("url") == url else 0
    if have and have == version.get("bytes"):
        return
    request = urllib.request.Request(mirrored(url), headers={"User-Agent": "slq", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        validator = version.get("etag") or version.get("modified")
        if validator:
            request.add_header("If-Range", validator)
    with _opened(request, url, path) as response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            have = 0
        total = _total(response, have)
        if have == 0:
            write_json(note, {"url": url, "bytes": total} | _validators(response))
        elif total != version.get("bytes"):
            forget(path)
            raise _Interrupted(f"the file has changed on the server, from {version.get('bytes')} bytes to {total}")
        bar.reset(total=total)
        bar.update(have)
        _append(response, path, have, bar)
    if total is not None and size(path) < total:
        raise _Interrupted(f"the connection ended after {size(path):,} of {total:,} bytes")


def _opened(request: urllib.request.Request, url: str, path: Path) -> Any:
    """The answer to a request: a success that is no web page."""
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, url, path) from None
    except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as error:
        raise _Interrupted(f"the server cannot be reached ({getattr(error, 'reason', error)})") from None
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise SlqError(f"{url}: is a web page, expected a file; look at it in a browser: it may ask for something")
    return response


def _refusal(error: urllib.error.HTTPError, url: str, path: Path) -> Exception:
    """What a status that is no success means."""
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        forget(path)
        return _Interrupted("what is here is longer than the file on the server")
    reason = f"the server answers {error.code} {error.reason}"
    if error.code not in WORTH_WAITING:
        return SlqError(f"{url}: not fetched: {reason}; check the address in config.yaml, or name a mirror, SLQ_MIRROR")
    wait = seconds(error.headers.get("Retry-After"))
    if wait is not None and wait > LONGEST_WAIT:
        return SlqError(f"{url}: not fetched: {reason} and asks to wait {wait:.0f} s; {_kept(path)}")
    return _Interrupted(reason, wait)


def _append(response: Any, path: Path, have: int, bar: Any) -> None:
    """Write the answer's bytes behind the first `have` of `path`."""
    read = _reader(response)
    try:
        with open(path, "r+b" if have else "wb") as file:
            file.seek(have)
            while block := read(BLOCK):
                file.write(block)
                bar.update(len(block))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SlqError(f"{path}: cannot be written: {error.strerror}; {_kept(path)}") from error


def _reader(response: Any) -> Callable[[int], bytes]:
    """Reads of the connection whose errors are not those of the disk."""

    def read(count: int) -> bytes:
        try:
            return bytes(response.read(count))
        except (OSError, http.client.HTTPException) as error:
            raise _Interrupted(f"the connection broke ({error})") from None

    return read


def _total(response: Any, have: int) -> int | None:
    """Bytes of the whole file, if the server says so."""
    if response.status == http.client.PARTIAL_CONTENT:
        span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if span.partition("-")[0] != str(have) or not whole.isdecimal():
            raise _Interrupted(f"the server was asked for the bytes from {have} and gives '{span}/{whole}'")
        return int(whole)
    length = response.headers.get("Content-Length")
    return int(length) if length is not None else None


def _validators(response: Any) -> dict[str, str]:
    """What names the version: a strong ETag, else the date."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    if etag and not etag.startswith("W/"):
        return {"etag": etag}
    return {"modified": modified} if modified else {}


def seconds(retry_after: str | None) -> float | None:
    """How long `Retry-After` asks to wait: it is a number of seconds, or a date; None without it."""
    if retry_after is None or retry_after.isdecimal():
        return float(retry_after) if retry_after else None
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(date.timestamp() - time.time(), 0.0)


def forget(path: Path) -> None:
    """Remove a download, begun or whole, and what is noted about it."""
    path.unlink(missing_ok=True)
    version_file(path).unlink(missing_ok=True)


def _kept(path: Path) -> str:
    return f"fetch again: it goes on behind the {size(path):,} bytes that are here"


def _bar(name: str) -> Any:
    """A progress bar; in a log a line every half minute."""
    pace = 0.5 if sys.stderr.isatty() else 30
    return tqdm(desc=name, unit="B", unit_scale=True, mininterval=pace, maxinterval=pace, file=sys.stderr)
