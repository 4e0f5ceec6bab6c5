"""A web server that answers a ranged read with anything else gives one clear error, and never wrong bytes."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline import storage
from pipeline.storage.errors import StorageError
from tests.support.file_server import running

FILE = bytes(range(256)) * 4  # 1,024 bytes
Answer = tuple[int, dict[str, str], bytes]


class OddServer(ThreadingHTTPServer):
    """Answers each GET with `answer`, and each HEAD with the size of FILE."""

    answer: Answer = (200, {}, FILE)
    sent = 0
    asked: dict[str, str]

    @property
    def file(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/a.tar"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: OddServer

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(FILE)))
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked = dict(self.headers)
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Transfer-Encoding" in headers:
            self.close_connection = True
            self.end_headers()
            self.endless(body)
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def endless(self, body: bytes) -> None:
        """Chunks until the client goes."""
        try:
            while True:
                self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")
                self.server.sent += len(body)
        except OSError:
            return

    def log_message(self, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[OddServer]:
    with running(OddServer(("127.0.0.1", 0), Handler)) as server:
        yield server


def part(first: int, last: int, size: object = len(FILE)) -> dict[str, str]:
    return {"Content-Range": f"bytes {first}-{last}/{size}"}


COPY = "; copy it to a disk or a bucket"
WHOLE = "the server sends whole files only, no parts" + COPY
OTHER = "the server sent bytes {} where {} were requested" + COPY


@pytest.mark.parametrize(
    ("start", "end", "answer", "words"),
    [
        (512, 768, (206, part(0, 255), FILE[:256]), OTHER.format("0-255", "512-767")),
        (512, 768, (206, part(512, 1023), FILE[512:]), OTHER.format("512-1023", "512-767")),
        (512, None, (206, part(0, 1023), FILE), OTHER.format("0-1023", "512-")),
        (512, 768, (206, part(768, 512), b""), OTHER.format("768-512", "512-767")),
        (512, 768, (206, part(512, 767), FILE[512:]), "the server sent more bytes than it announced" + COPY),
        (512, 768, (206, {}, FILE[:256]), "the server sent a part without its place (Content-Range)" + COPY),
        (
            512, 768, (206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n"),
            "the server sent a part without its place (Content-Range)" + COPY,
        ),
        (512, 1536, (200, {}, FILE), WHOLE),  # as long as requested, and other bytes
        (512, 768, (200, {}, FILE), WHOLE),
        (0, 256, (200, {}, FILE), WHOLE),
    ],
)  # fmt: skip
def test_an_answer_with_other_bytes_is_one_line(
    server: OddServer, start: int, end: int | None, answer: Answer, words: str
) -> None:
    server.answer = answer
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(server.file, start, end)
    assert str(caught.value) == f"{server.file}: {words}"
    assert not caught.value.stops_run


@pytest.mark.parametrize(("status", "headers"), [(206, part(512, 767)), (200, {})])
def test_a_body_without_an_end_is_read_no_further_than_requested(
    server: OddServer, status: int, headers: dict[str, str]
) -> None:
    server.answer, server.sent = (status, {**headers, "Transfer-Encoding": "chunked"}, bytes(1 << 16)), 0
    start = 512 if status == 206 else 0
    with pytest.raises(StorageError, match=r"a\.tar: the server sen"):
        storage.read_bytes(server.file, start, start + 256)
    assert server.sent < 64 << 20  # what the buffers of both sides hold


def test_good_answers_are_read(server: OddServer) -> None:
    server.answer = (206, part(512, 767), FILE[512:768])
    assert storage.read_bytes(server.file, 512, 768) == FILE[512:768]
    assert (server.asked["Range"], server.asked["Accept-Encoding"]) == ("bytes=512-767", "identity")
    server.answer = (206, part(512, 1023, "*"), FILE[512:])
    assert storage.read_bytes(server.file, 512) == storage.read_bytes(server.file, 512, 4096) == FILE[512:]
    server.answer = (200, {}, FILE)  # a range that covers the file may be ignored
    assert storage.read_bytes(server.file, 0, 4096) == FILE
    server.answer = (416, {"Content-Range": f"bytes */{len(FILE)}"}, b"")
    assert storage.read_bytes(server.file, 1024, 2048) == b""
    with pytest.raises(StorageError, match="a.tar: 416"):
        storage.read_bytes(server.file, 512, 768)
