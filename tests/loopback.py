"""Servers on loopback that behave like the real ones: a hub of models and datasets, and a file server.

A site can simulate faults: `refusals` answer the next requests, `cuts` end the next transfers early, and `damage`
flips a byte of the sent data. `log` records every request.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_" + "t" * 34  # the only token that the hub accepts
LARGE = (".safetensors", ".parquet")  # files that the hub serves behind a redirect


@dataclass
class Answer:
    """A response: status, headers and body; range requests are answered if `data` is set."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    data: bool = False


@dataclass
class Site:
    """Common behaviour of the servers, with simulated faults."""

    refusals: list[Answer] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)  # the fraction of each of the next transfers that arrives
    damage: bool = False
    ranges: bool = True
    log: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        raise NotImplementedError

    def transfers(self) -> list[str]:
        """Return the paths of all GET requests, in order."""
        return [path for method, path, _ in self.log if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """The handler of a request, which passes it to the server's site."""

    def do_GET(self) -> None:
        site = self.server.site
        headers = {name.lower(): value for name, value in self.headers.items()}
        site.log.append((self.command, self.path, headers))
        path = unquote(self.path.partition("?")[0])
        # The client first requests this list of agent programs, which has nothing to do with repositories.
        refused = site.refusals and path != "/api/agent-harnesses"
        answer = site.refusals.pop(0) if refused else site.answer(path, headers)
        if answer.data and site.ranges:
            self.restrict(answer, headers)
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            body = answer.body
            if answer.data and site.damage and body:
                body = body[:-1] + bytes([body[-1] ^ 1])
            if answer.data and site.cuts:
                body = body[: int(len(body) * site.cuts.pop(0))]
            self.wfile.write(body)

    do_HEAD = do_GET

    def restrict(self, answer: Answer, headers: dict[str, str]) -> None:
        """Reduce an answer to the requested range, if the requested version is still served."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        stale = headers.get("if-range", answer.headers.get("ETag")) != answer.headers.get("ETag")
        if answer.status != 200 or asked is None or stale:
            return
        start, size = int(asked[1]), len(answer.body)
        end = int(asked[2] or size - 1)
        if start >= size:
            answer.status, answer.body, answer.data = 416, b"", False
            return
        answer.status, answer.body = 206, answer.body[start : end + 1]
        answer.headers["Content-Range"] = f"bytes {start}-{min(end, size - 1)}/{size}"

    def log_message(self, format: str, *args: object) -> None:
        """Suppress the log of the server."""


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Serve a site, with its `address` set, for as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.site = site
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Files(Site):
    """A file server with ETags and range requests."""

    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        if path not in self.files:
            return Answer(404)
        body = self.files[path]
        return Answer(200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, body, data=True)


def commit_of(files: dict[str, bytes]) -> str:
    """Compute the name of a commit from its files."""
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


@dataclass
class Hub(Site):
    """A hub of repositories with commits, of which `main` is the last; gated repositories require TOKEN."""

    repositories: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)  # "models/org/name": commits' files
    pinned: dict[str, str] = field(default_factory=dict)  # the name of a repository's only commit, if not commit_of
    gated: set[str] = field(default_factory=set)

    def answer(self, path: str, headers: dict[str, str]) -> Answer:
        if lfs := re.fullmatch(r"/lfs/(\w+)", path):
            return self.large(lfs[1])
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree)/([^/]+)/?(.*)", path)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if api:
            kind, name, revision = api[1], api[2], api[4]
        elif file:
            kind, name, revision = (file[1] or "models/")[:-1], file[2], file[3]
        else:
            return Answer(404)
        repository = f"{kind}/{name}"
        if repository not in self.repositories:
            return Answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if repository in self.gated and token != TOKEN:
            status = 403 if token else 401
            return Answer(status, {"X-Error-Code": "GatedRepo", "X-Error-Message": f"Access to {name} is restricted."})
        commits = {self.pinned.get(repository, commit_of(files)): files for files in self.repositories[repository]}
        commit = list(commits)[-1] if revision == "main" else revision
        if commit not in commits:
            return Answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"})
        if file:
            return self.resolved(commits[commit], commit, file[4])
        return self.index(commits[commit], commit, name, tree=api[3] == "tree")

    def index(self, files: dict[str, bytes], commit: str, name: str, tree: bool) -> Answer:
        entries = []
        for path, body in files.items():
            digest = hashlib.sha256(body).hexdigest()
            lfs = {"lfs": {"oid": digest, "sha256": digest, "size": len(body), "pointerSize": 130}}
            oid = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            names = {"type": "file", "path": path, "oid": oid} if tree else {"rfilename": path, "blobId": oid}
            entries.append(names | {"size": len(body)} | (lfs if path.endswith(LARGE) else {}))
        info = {"id": name, "sha": commit, "siblings": entries, "private": False}
        body = json.dumps(entries if tree else info).encode()
        return Answer(200, {"Content-Type": "application/json"}, body)

    def resolved(self, files: dict[str, bytes], commit: str, path: str) -> Answer:
        if path not in files:
            return Answer(404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        body, headers = files[path], {"X-Repo-Commit": commit}
        if not path.endswith(LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
            return Answer(200, headers | {"ETag": f'"{etag}"'}, body, data=True)
        digest = hashlib.sha256(body).hexdigest()
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        # On another host, as on the real hub: the client reads the headers above only from the redirect.
        elsewhere = self.address.replace("127.0.0.1", "localhost")
        return Answer(302, headers | {"Location": f"{elsewhere}/lfs/{digest}?Signature=secret-signature"})

    def large(self, digest: str) -> Answer:
        bodies = [body for commits in self.repositories.values() for files in commits for body in files.values()]
        body = next(body for body in bodies if hashlib.sha256(body).hexdigest() == digest)
        return Answer(200, {"ETag": f'"{digest}"'}, body, data=True)
