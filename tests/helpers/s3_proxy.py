"""An S3 server's bad days: a proxy on loopback that passes requests on, until it is set to answer otherwise."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

#: unavailable, slowdown, internal: the answers 503, 503 SlowDown, 500; reset: the connection is reset before the request went on;
#: lost: after it went on, instead of its answer; half: half an answer's body, then a reset; late: the answer comes `delay` later;
#: denied: 403, as with credentials that have run out
Kind = Literal["unavailable", "slowdown", "internal", "reset", "lost", "half", "late", "denied"]
ANSWERS: dict[str, tuple[int, str]] = {
    "unavailable": (503, "ServiceUnavailable"), "slowdown": (503, "SlowDown"), "internal": (500, "InternalError"),
    "denied": (403, "AccessDenied"),
}  # fmt: skip
#: headers of one connection only
HOPS = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Trouble:
    """What befalls requests once a key that ends in `after` was put: every `every`-th of them, `times` times, of these methods,
    for so many seconds."""

    kind: Kind
    after: str = "_COMMIT.json"
    every: int = 2
    times: int = 40
    delay: float = 0.2
    seconds: float = float("inf")
    methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
    begun: float | None = None
    seen: int = 0
    hits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def befalls(self, method: str) -> bool:
        with self.lock:
            if self.begun is None or method not in self.methods or self.hits >= self.times:
                return False
            if time.monotonic() - self.begun > self.seconds:
                return False
            self.seen += 1
            self.hits += self.seen % self.every == 0
            return self.seen % self.every == 0

    def note(self, method: str, path: str) -> None:
        """A request has been answered."""
        if method == "PUT" and urlsplit(path).path.endswith(self.after):
            self.begun = self.begun or time.monotonic()


class Proxy(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.trouble: Trouble | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away in the middle are no news here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy
    # headers and body in two packets would wait for each other
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = self.server.trouble
        kind = trouble.kind if trouble is not None and trouble.befalls(self.command) else ""
        if kind in ANSWERS:
            self.answer_error(*ANSWERS[kind])
            return
        if kind == "reset":
            self.reset()
            return
        if kind == "late" and trouble is not None:
            time.sleep(trouble.delay)
        status, headers, content = self.pass_on(body)
        if trouble is not None:
            trouble.note(self.command, self.path)
        if kind == "lost":
            self.reset()
            return
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if kind == "half" else content)
        if kind == "half":
            self.wfile.flush()
            self.reset()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def pass_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body of the server's answer."""
        upstream = http.client.HTTPConnection(self.server.upstream.hostname or "", self.server.upstream.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOPS}
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            content = answer.read()
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in HOPS]
            return answer.status, [*kept, ("Content-Length", length or "0")], content
        finally:
            upstream.close()

    def answer_error(self, status: int, code: str) -> None:
        content = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>told to</Message></Error>'.encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reset(self) -> None:
        """RST instead of FIN."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RD)
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Nothing is logged."""


@contextmanager
def s3_proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy that passes everything on; give it a `trouble`."""
    with Proxy(upstream) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
