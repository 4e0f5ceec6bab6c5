"""Network and server faults on purpose: an HTTP proxy before the S3 gateway of the tests.

It passes requests on as they are (the signature covers the Host header, so the client signs for the proxy and the
gateway checks just that) and now and then does what storage does on bad days.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import s3fs

# The faults of a request. One that is "lost" reaches the server, and its answer is dropped.
FAULTS = (
    # These do not reach it. "busy" is a good answer to a list of files to delete, one of which is refused.
    *("slow_down", "busy", "internal_error", "expired", "denied", "not_implemented", "mute", "reset"),
    *("lost", "cut", "half", "short", "slow"),
)

ERROR = """<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>"""
BUSY = """<?xml version="1.0" encoding="UTF-8"?><DeleteResult><Error><Key>a</Key><Code>SlowDown</Code>
<Message>Please reduce your request rate.</Message></Error></DeleteResult>"""
REFUSALS = {
    "slow_down": (503, "Service Unavailable", "SlowDown", "Please reduce your request rate."),
    "expired": (400, "Bad Request", "ExpiredToken", "The provided token has expired."),
    "denied": (403, "Forbidden", "AccessDenied", "Access Denied"),
    "not_implemented": (501, "Not Implemented", "NotImplemented", "A header implies functionality that is not there."),
    "mute": (400, "Bad Request", "", ""),
    "internal_error": (500, "Internal Server Error", "InternalError", "We encountered an internal error."),
}
LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:\s*chunked", re.IGNORECASE)
EXPECT = re.compile(rb"\r\nexpect:\s*100-continue", re.IGNORECASE)

Rule = Callable[[str, str], str | None]  # (method, path with query) -> one of FAULTS, or None


def no_rest(patch: pytest.MonkeyPatch) -> None:
    """s3fs rests for a tenth of a second after each request that fails, even the last: for tests with hundreds."""
    names: dict[str, Any] = vars(asyncio) | {"sleep": lambda seconds: asyncio.sleep(0)}
    patch.setattr(s3fs.core, "asyncio", SimpleNamespace(**names))


@dataclass
class FaultProxy:
    """`with FaultProxy(port, {"slow_down": 0.05}) as proxy:` listens on `proxy.endpoint` until the block is left.

    port: of the server on 127.0.0.1. rates: fault -> share of the requests, 0 to 1, drawn from `seed`. rule: decides
    in place of the rates. unknown: a header that is not implemented.
    seconds: what a "slow" answer waits. counts: what was done, "passed" for the rest. under_way: requests without their
    answer yet; busiest: the most of them so far.

    "cut" and "half" end the connection one byte or half of the body early; "short" leaves the last byte out and says
    so in Content-Length, as a broken server would: only who knows the size can tell.
    """

    port: int
    rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    rule: Rule | None = None
    seconds: float = 0.5
    unknown: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    endpoint: str = ""
    under_way: int = 0
    busiest: int = 0

    def __enter__(self) -> Self:
        self._random = random.Random(self.seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._client, "127.0.0.1", 0), self._loop
        ).result()
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(await reader.readuntil(b"\r\n\r\n"), reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client or the server went away, or the test is over: nobody would get an error
        finally:
            writer.close()

    async def _exchange(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether the connection is still good. head: of the request."""
        self.under_way += 1
        self.busiest = max(self.busiest, self.under_way)
        try:
            return await self._handled(head, reader, writer)
        finally:
            self.under_way -= 1

    async def _handled(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        if EXPECT.search(head):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = EXPECT.sub(b"", head)
        request = head + await _body(reader, head)
        unknown = self.unknown and f"\r\n{self.unknown}:".encode() in head.lower()
        fault = "not_implemented" if unknown else self._fault(method, path)
        self.counts[fault or "passed"] += 1
        if fault == "reset":
            return _reset(writer)
        if fault == "busy":
            return await _send(writer, _answer_of(200, "OK", BUSY.encode()))
        if fault in REFUSALS:
            return await _send(writer, _refusal(*REFUSALS[fault], has_body=method != "HEAD"))
        if fault == "slow":
            await asyncio.sleep(self.seconds)
        answer_head, answer_body = await self._answer(request, method)
        if fault == "lost":
            return _reset(writer)
        if fault in ("cut", "half") and answer_body:
            kept = len(answer_body) - 1 if fault == "cut" else len(answer_body) // 2
            await _send(writer, answer_head + answer_body[:kept])
            return False
        if fault == "short" and answer_body and not CHUNKED.search(answer_head):
            answer_body = answer_body[:-1]
            answer_head = LENGTH.sub(b"\r\nContent-Length: %d" % len(answer_body), answer_head)
        return await _send(writer, answer_head + answer_body)

    def _fault(self, method: str, path: str) -> str | None:
        if self.rule is not None:
            return self.rule(method, path)
        drawn = self._random.random()
        for fault, rate in self.rates.items():
            drawn -= rate
            if drawn < 0:
                return fault
        return None

    async def _answer(self, request: bytes, method: str) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 100"):
                head = await reader.readuntil(b"\r\n\r\n")
            bodiless = method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304")
            return head, b"" if bodiless else await _body(reader, head)
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """What follows a head, as it is on the wire."""
    if length := LENGTH.search(head):
        return await reader.readexactly(int(length[1]))
    if not CHUNKED.search(head):
        return b""
    parts = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        parts += [line, await reader.readexactly(size + 2) if size else await _trailer(reader)]
        if size == 0:
            return b"".join(parts)


async def _trailer(reader: asyncio.StreamReader) -> bytes:
    lines = [await reader.readuntil(b"\r\n")]
    while lines[-1] != b"\r\n":
        lines.append(await reader.readuntil(b"\r\n"))
    return b"".join(lines)


async def _send(writer: asyncio.StreamWriter, data: bytes) -> bool:
    writer.write(data)
    await writer.drain()
    return True


def _refusal(status: int, reason: str, code: str, words: str, has_body: bool) -> bytes:
    body = ERROR.format(code=code, words=words).encode() if code else b""
    return _answer_of(status, reason, body, has_body)


def _answer_of(status: int, reason: str, body: bytes, has_body: bool = True) -> bytes:
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (body if has_body else b"")


def _reset(writer: asyncio.StreamWriter) -> bool:
    """End the connection with RST, not FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True).returncode
    ):
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
