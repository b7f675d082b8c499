"""A fake Hugging Face hub on loopback: commits of repositories, their metadata and their files."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

#: Files with these endings are stored with Git LFS, under their SHA-256.
_LFS = (".safetensors", ".bin", ".gguf", "tokenizer.json")


@dataclass
class _Repository:
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    is_gated: bool = False


class FakeHub:
    """A hub on a free port, in a thread of its own.

    Attributes:
        requests: Method and path of each request.
        fault: HTTP status that answers all requests instead; "hang" answers none.
        file_fault: HTTP status that answers downloads of weights instead.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.fault: int | str | None = None
        self.file_fault: int | None = None
        self._repositories: dict[str, _Repository] = {}
        self._released = threading.Event()
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def publish(
        self,
        repository: str,
        files: Mapping[str, bytes],
        revision: str = "main",
        gated: bool = False,
    ) -> str:
        """Add a commit, to which a branch or tag moves, and return it."""
        content = b"".join(name.encode() + data for name, data in sorted(files.items()))
        commit = hashlib.sha1(revision.encode() + content).hexdigest()
        repo = self._repositories.setdefault(repository, _Repository())
        repo.commits[commit], repo.revisions[revision], repo.is_gated = files, commit, gated
        return commit

    def downloads(self) -> list[str]:
        """Return the names of the files that were downloaded, sorted."""
        paths = [request.split(" ")[1] for request in self.requests if request[:4] == "GET "]
        return sorted(p.split("/resolve/")[1].partition("/")[2] for p in paths if "/resolve/" in p)


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.fault == "hang":
            self.hub._released.wait()
        if self.hub._released.is_set():  # on a connection that is still open
            self.close_connection = True
        elif isinstance(self.hub.fault, int):
            self._send(self.hub.fault)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self._metadata(match[1], match[2] or "revision", match[3] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3])
        else:
            self._send(404)

    def _metadata(self, name: str, kind: str, revision: str) -> None:
        repo = self.hub._repositories.get(name)
        if repo is None:
            return self._send(401, error="RepoNotFound")
        commit = repo.revisions.get(revision, revision)
        if commit not in repo.commits:
            return self._send(404, error="RevisionNotFound")
        files = [_sibling(item, data) for item, data in repo.commits[commit].items()]
        if kind == "tree":
            tree = [
                {"type": "file", "path": f["rfilename"], "size": f["size"], "oid": f["blobId"]}
                | ({"lfs": {**f["lfs"], "oid": f["lfs"]["sha256"]}} if "lfs" in f else {})
                for f in files
            ]
            return self._send(200, json.dumps(tree).encode())
        info = {"id": name, "modelId": name, "sha": commit, "siblings": files, "tags": []}
        return self._send(200, json.dumps(info).encode())

    def _file(self, name: str, commit: str, file: str) -> None:
        repo = self.hub._repositories[name]
        if repo.is_gated:
            return self._send(401, error="GatedRepo")
        if (
            self.command == "GET"
            and self.hub.file_fault
            and file.endswith((".safetensors", ".bin"))
        ):
            return self._send(self.hub.file_fault)
        data = repo.commits[commit][file]
        sibling = _sibling(file, data)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{sibling["blobId"]}"'}
        if "lfs" in sibling:
            headers["X-Linked-Etag"] = f'"{sibling["lfs"]["sha256"]}"'
        return self._send(200, data, headers=headers)

    def _send(
        self,
        status: int,
        body: bytes = b"",
        error: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _sibling(name: str, data: bytes) -> dict[str, Any]:
    sibling = {"rfilename": name, "size": len(data), "blobId": hashlib.sha1(data).hexdigest()}
    if not name.endswith(_LFS):
        return sibling
    digest = hashlib.sha256(data).hexdigest()
    return sibling | {"lfs": {"sha256": digest, "size": len(data), "pointerSize": 134}}
