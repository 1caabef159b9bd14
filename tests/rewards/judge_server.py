"""A server on this machine that speaks as much of OpenAI's chat completions as a judge needs, from a script."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = str | tuple[int, dict[str, str]] | bytes | dict[str, Any]
"""A text; a status with headers; a raw body; or a whole completion."""


@dataclass
class Seen:
    """What arrived."""

    url: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    together: int = 0
    most_together: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def judge_server(answer: Callable[[dict[str, Any], int], Answer], *, seconds: float = 0.0) -> Iterator[Seen]:
    """``answer`` gets the request's body and its number among all requests."""
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with seen.lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.times.append(time.monotonic())
                seen.keys.append(self.headers["authorization"])
                seen.together += 1
                seen.most_together = max(seen.most_together, seen.together)
            time.sleep(seconds)
            found = answer(body, number)
            with seen.lock:
                seen.together -= 1
            self.reply(found)

        def reply(self, found: Answer) -> None:
            status, headers, data = 200, {}, b""
            if isinstance(found, tuple):
                status, headers = found
                data = json.dumps({"error": {"message": f"status {status}"}}).encode()
            elif isinstance(found, bytes):
                data = found
            else:
                data = json.dumps(completion(found) if isinstance(found, str) else found).encode()
            self.send_response(status)
            for name, value in {
                "content-type": "application/json",
                "content-length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def completion(text: str | None, *, finish: str = "stop") -> dict[str, Any]:
    return {
        "id": "1", "object": "chat.completion", "created": 0, "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }  # fmt: skip
