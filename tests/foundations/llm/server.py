"""A real HTTP server on loopback that answers as OpenAI's interface does, with faults in a given order.

    with Server([fault(429, retry_after="0"), says("yes")]) as server:
        server.url; server.seen        # bodies and headers of the requests, in order

A script's last entry answers all later requests. An entry is a function of (handler, body).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    def __init__(self, script):
        self.script, self.seen, self.lock = list(script), [], threading.Lock()
        self.busy, self.most = 0, 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    number = len(outer.seen)
                    outer.seen.append({"path": self.path, "headers": dict(self.headers), "body": body})
                    outer.busy += 1
                    outer.most = max(outer.most, outer.busy)
                try:
                    outer.script[min(number, len(outer.script) - 1)](self, body)
                finally:
                    with outer.lock:
                        outer.busy -= 1

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that gave up
        self.port = self.server.server_address[1]
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def send(handler, status, content, headers=()):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def says(text, finish="stop", prompt=7, completion=3, after=0.0):
    """An answer; `text` may be a function of the request's last message."""

    def act(handler, body):
        time.sleep(after)
        said = text(body["messages"][-1]["content"]) if callable(text) else text
        send(handler, 200, {"choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": finish}],
                            "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})  # fmt: skip

    return act


def fault(status, message="scripted", retry_after=None, code=None):
    def act(handler, body):
        headers = [("Retry-After", retry_after)] if retry_after is not None else []
        told = message(handler) if callable(message) else message
        send(handler, status, {"error": {"message": told, "code": code}}, headers)

    return act


def raw(data, status=200, headers=()):
    return lambda handler, body: send(handler, status, data, headers)


def hangs(seconds):
    def act(handler, body):
        time.sleep(seconds)
        with contextlib.suppress(OSError):
            send(handler, 200, {})

    return act


def breaks(handler, body):
    """Half a response, then the connection is gone."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
