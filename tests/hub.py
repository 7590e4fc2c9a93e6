"""A Hugging Face hub of one dataset, on this machine: enough of its protocol for `datasets` to read parquet files."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def serve(dataset: str, files: Mapping[str, bytes], delay: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """The hub's address while it serves `files` as `dataset` at COMMIT, and the paths that were asked for.

    Its first answer takes `delay` seconds.
    """
    hub = _Hub(dataset, files, delay)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{hub.server_port}", hub.asked
    finally:
        hub.shutdown()
        hub.server_close()


class _Hub(ThreadingHTTPServer):
    def __init__(self, dataset: str, files: Mapping[str, bytes], delay: float):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.dataset, self.files, self.delay = dataset, files, delay
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: _Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        paths = json.loads(self.rfile.read(length) or b"{}").get("paths", [])
        self.server.asked.append(f"POST {self.path} {paths}")
        self._json([_entry(name, self.server.files[name]) for name in paths if name in self.server.files])

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        first, dataset, files = not self.server.asked, self.server.dataset, self.server.files
        self.server.asked.append(f"{self.command} {self.path}")
        time.sleep(self.server.delay * first)
        path = self.path.partition("?")[0]
        if match := re.fullmatch(f"/api/datasets/{dataset}/tree/[^/]+/?(.*)", path):
            self._json(_listing(files, match[1]))
        elif path.startswith(f"/api/datasets/{dataset}/"):
            self._json({"id": dataset, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})
        elif match := re.fullmatch(f"/datasets/{dataset}/resolve/[^/]+/(.*)", path):
            self._file(match[1], body)
        else:
            self._missing("RepoNotFound")

    def _file(self, name: str, body: bool) -> None:
        if name not in self.server.files:
            return self._missing("EntryNotFound")
        data = self.server.files[name]
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(part[1]), int(part[2] or len(data) - 1)) if part else (0, len(data) - 1)
        self.send_response(206 if part else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self._body(data[first : last + 1], body)

    def _json(self, value: object) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self._body(json.dumps(value).encode(), self.command != "HEAD")

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self._body(b"", False)

    def _body(self, data: bytes, send: bool) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if send:
            self.wfile.write(data)


def _listing(files: Mapping[str, bytes], folder: str) -> list[dict[str, object]]:
    """The files and folders right in `folder`."""
    inside = f"{folder}/" if folder else ""
    rest = {name.removeprefix(inside): data for name, data in files.items() if name.startswith(inside)}
    folders = dict.fromkeys(name.partition("/")[0] for name in rest if "/" in name)
    return [{"type": "directory", "path": inside + name, "size": 0, "oid": "0" * 40} for name in folders] + [
        _entry(inside + name, data) for name, data in rest.items() if "/" not in name
    ]


def _entry(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
