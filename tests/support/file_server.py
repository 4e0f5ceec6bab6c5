"""A web server on this machine that serves files or the rest of them, like a release page and the hub."""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

Server = TypeVar("Server", bound=ThreadingHTTPServer)

REVISION = "0123456789abcdef0123456789abcdef01234567"


class FileServer(ThreadingHTTPServer):
    """`files` by path, such as "/owner/name/resolve/REVISION/file"; `requests` in order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.sent: Counter[str] = Counter()  # bytes of each path
        self.knows_ranges = True
        self.busy: list[str] = []  # Retry-After of the next answers, which are "429 Too Many Requests"
        self.cut_short: set[str] = set()  # answers with half of what it announces
        self.stated_sha256: dict[str, str] = {}  # the sha256 that the hub states, if it is not the file's own

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.busy:
            self.send_response(429)
            self.send_header("Retry-After", self.server.busy.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        sha256 = self.server.stated_sha256.get(self.path, hashlib.sha256(body).hexdigest())
        # Like the hub: a large file has its sha256, a small one git's SHA-1.
        large = not self.path.endswith(".json")
        tag = f'"{sha256 if large else hashlib.sha1(body).hexdigest()}"'
        (start, end), whole = self.range_of(tag), len(body)
        if start and start >= whole:
            self.send_error(416)
            return
        body = body[start:end]
        part = (start, end) != (0, None)
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{whole}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if with_body:
            body = body[: len(body) // 2] if self.path in self.server.cut_short else body
            self.server.sent[self.path] += len(body)
            self.wfile.write(body)

    def range_of(self, tag: str) -> tuple[int, int | None]:
        """Where the answer begins and ends: all without a range, and for a range of a different version."""
        asked = self.headers.get("Range")
        if asked is None or self.headers.get("If-Range", tag) != tag or not self.server.knows_ranges:
            return 0, None
        start, _, last = asked.removeprefix("bytes=").partition("-")
        return int(start), int(last) + 1 if last else None

    def log_message(self, *args: Any) -> None:
        """Log nothing: the test reads `requests`."""


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A web server that answers in a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class FolderHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """A plain web server on the files of a folder; its address."""
    with running(ThreadingHTTPServer(("127.0.0.1", 0), partial(FolderHandler, directory=str(folder)))) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def serve() -> Iterator[FileServer]:
    with running(FileServer()) as server:
        yield server
