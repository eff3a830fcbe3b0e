"""A model hub on loopback, for the real client."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """One repository, org/name, with one commit: repository info, and files with the headers that the client wants."""

    files: ClassVar[dict[str, bytes]] = {}
    commit = COMMIT

    def respond(self, body: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/org/name/revision/"):
            siblings = [{"rfilename": file} for file in self.files]
            info = {"id": "org/name", "modelId": "org/name", "sha": self.commit, "siblings": siblings, "private": False}
            self.respond(json.dumps(info).encode(), Content_Type="application/json")
        elif path.startswith("/api/models/org/name/tree/"):
            tree = [{"type": "file", "path": file, "size": len(body), "oid": "0"} for file, body in self.files.items()]
            self.respond(json.dumps(tree).encode(), Content_Type="application/json")
        elif path == f"/org/name/resolve/{self.commit}/{name}" and name in self.files:
            body = self.files[name]
            self.respond(body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=self.commit)
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serve() -> Iterator[str]:
    """The address of the hub while it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
