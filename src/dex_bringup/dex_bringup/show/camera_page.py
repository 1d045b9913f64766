# SPDX-License-Identifier: Apache-2.0
"""A page with one moving picture: MJPEG, which every browser and player shows without a line of script, and its figures as JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dex_core.errors import DeviceError

PORTS_TRIED = 20
BOUNDARY = "dexpicture"
WAIT_S = 1.0
MOST_VIEWERS = 8
_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{background:#1c1e22;color:#ebebeb;font:14px sans-serif;margin:1em}}img{{max-width:100%}}td{{padding:0 1em 0 0}}</style>
<h3>{title}</h3><img src="stream.mjpg" alt="camera"><table id="figures"></table>
<script>
setInterval(async () => {{
  let status;
  try {{ status = await (await fetch("status.json")).json(); }} catch (error) {{ status = {{page: "dex show camera has ended"}}; }}
  const table = document.getElementById("figures");
  table.replaceChildren();
  for (const what in status) {{ const row = table.insertRow(); row.insertCell().textContent = what; row.insertCell().textContent = status[what]; }}
}}, 500);
</script>
"""


class CameraPage:
    """Serves the newest picture until closed. ``put`` from one thread.

    Args:
        title: of the page.
        host, port: where to listen; the next free port is taken when this one is in use.

    Attributes:
        url: where a browser finds it.

    Raises:
        DeviceError: no port is free.
    """

    def __init__(self, title: str, host: str = "127.0.0.1", port: int = 8080) -> None:
        self._title, self._news = title, threading.Condition()
        self._jpeg, self._status, self._number, self._closed = b"", {}, 0, False
        self._viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._server = self._listen(host, port)
        self.url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="camera page", daemon=True)
        self._thread.start()

    def put(self, jpeg: bytes, status: Mapping[str, Any]) -> None:
        """The next picture and its figures."""
        with self._news:
            self._jpeg, self._status, self._number = jpeg, dict(status), self._number + 1
            self._news.notify_all()

    def close(self) -> None:
        """Stops serving; any number of times."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def _listen(self, host: str, port: int) -> ThreadingHTTPServer:
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
                page._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server has it
                """A picture a moment is nothing to write down."""

        last: OSError | None = None
        for candidate in range(port, min(port + PORTS_TRIED, 65_536)):
            try:
                server = ThreadingHTTPServer((host, candidate), Handler)
            except OSError as error:
                last = error
                continue
            server.daemon_threads = True
            return server
        raise DeviceError(f"cannot listen on {host}, ports {port} to {port + PORTS_TRIED - 1}: {last}")

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.split("?")[0]
        try:
            if path == "/":
                _send(request, "text/html; charset=utf-8", _PAGE.format(title=self._title).encode())
            elif path == "/status.json":
                _send(request, "application/json", json.dumps(self._status).encode())
            elif path == "/frame.jpg" and self._jpeg:
                _send(request, "image/jpeg", self._jpeg)
            elif path == "/stream.mjpg" and self._viewers.acquire(blocking=False):
                try:
                    self._stream(request)
                finally:
                    self._viewers.release()
            else:
                request.send_error(HTTPStatus.SERVICE_UNAVAILABLE if path in ("/frame.jpg", "/stream.mjpg") else HTTPStatus.NOT_FOUND)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return  # the browser is gone

    def _stream(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(HTTPStatus.OK)
        request.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
        request.send_header("Cache-Control", "no-store")
        request.end_headers()
        request.connection.settimeout(10.0 * WAIT_S)
        sent = 0
        while True:
            with self._news:
                if self._number == sent:
                    self._news.wait(WAIT_S)
                if self._closed:
                    return
                jpeg, number = self._jpeg, self._number
            if number != sent and jpeg:
                head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                request.wfile.write(head.encode() + jpeg + b"\r\n")
                sent = number


def _send(request: BaseHTTPRequestHandler, kind: str, body: bytes) -> None:
    request.send_response(HTTPStatus.OK)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("Cache-Control", "no-store")
    request.end_headers()
    request.wfile.write(body)
