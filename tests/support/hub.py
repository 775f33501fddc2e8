"""A hub of models and sets, played by a real HTTP server on the loopback, with faults on request."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
"""The one commit of every repository."""
Repositories = Mapping[str, Mapping[str, bytes]]
"""Name of a repository, ``models/some/model`` or ``datasets/some/set``, to its files."""


class Hub(ThreadingHTTPServer):
    """As much of the hub as ``hf_hub_download``, ``snapshot_download`` and ``load_dataset`` ask for."""

    daemon_threads = True

    def __init__(self, repositories: Repositories) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.faults: dict[str, list[str]] = {"HEAD": [], "GET": []}
        """Faults of the next requests for a file, by method; without one the request is answered."""
        self.asked: list[str] = []
        """Methods of the requests for files, and their paths."""
        self.paths: list[str] = []

    def environment(self, home: Path) -> dict[str, str]:
        """Return environment variables that point a process to this hub, with its cache in ``home``."""
        return {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }


@contextmanager
def serving(repositories: Repositories) -> Iterator[Hub]:
    """Run a hub for the duration of the context."""
    server = Hub(repositories)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        api, path = path.startswith("api/"), path.removeprefix("api/")
        if not path.startswith(("models/", "datasets/")):
            path = f"models/{path}"
        words = path.split("/")
        repository, (action, _, *rest) = "/".join(words[:3]), [*words[3:], "", ""][: max(2, len(words) - 3)]
        files = self.server.repositories.get(repository)
        if files is None:
            self.answer(401, b"", X_Error_Code="RepoNotFound")
        elif api and action in ("", "revision"):
            siblings = [{"rfilename": name} for name in files]
            about = {"id": "/".join(words[1:3]), "sha": COMMIT, "siblings": siblings, "tags": []}
            self.answer(200, json.dumps(about).encode())
        elif api and action == "tree":
            self.list_files({name: files[name] for name in files if name.startswith("/".join(rest))})
        elif action == "resolve" and "/".join(rest) in files:
            self.server.asked.append(self.command)
            self.server.paths.append(self.path)
            faults = self.server.faults[self.command]
            self.serve_file(files["/".join(rest)], faults.pop(0) if faults else "")
        else:
            self.answer(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)

    def list_files(self, files: Mapping[str, bytes]) -> None:
        entries = [
            {"type": "file", "path": name, "size": len(content), "oid": "b" * 40} for name, content in files.items()
        ]
        self.answer(200, json.dumps(entries).encode())

    def serve_file(self, content: bytes, fault: str) -> None:
        if fault in ("500", "503"):
            self.answer(int(fault), b"")
        elif fault == "gated":
            self.answer(403, b"", X_Error_Code="GatedRepo")
        elif fault == "cut":  # half of it, then nothing more
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "drop":
            self.close_connection = True
        else:
            first = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            whole = {"Content_Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
            self.answer(
                206 if first else 200,
                content[first:],
                ETag=f'"{hashlib.sha1(content).hexdigest()}"',
                X_Repo_Commit=COMMIT,
                **whole,
            )

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
