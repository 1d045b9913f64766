# SPDX-License-Identifier: Apache-2.0
"""The process a closed SDK lives in: answers the calls of `vendor_worker` one by one. Standard library only, so that any Python runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

MAX_MESSAGE_BYTES = 65536
GRACE_S = 1.0
"""The caller ends a process that is late; this much later an orphan, whose caller died before it could, ends itself."""


def load_calls(path: str) -> dict[str, Callable[..., Any]]:
    """The table ``CALLS`` of an adapter module: name of a call -> function."""
    spec = importlib.util.spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    return dict(adapter.CALLS)


def answer(calls: dict[str, Callable[..., Any]], request: dict[str, Any]) -> dict[str, Any]:
    """What one request gets: its result, or the error in words with its kind: ``missing`` (no SDK), ``failed``,
    or what the error itself says it is, as ``lost``."""
    try:
        return {"id": request["id"], "result": calls[request["call"]](*request["args"])}
    except ImportError as error:
        return {"id": request["id"], "kind": "missing", "error": str(error)}
    except Exception as error:  # noqa: BLE001  whatever a closed SDK throws is told to the caller, who decides
        told = {"kind": getattr(error, "kind", "failed"), "error": f"{type(error).__name__}: {error}", "code": getattr(error, "device_code", None)}
        return {"id": request["id"], **told}


def serve(link: socket.socket, calls: dict[str, Callable[..., Any]]) -> None:
    """Answers until the caller has gone. A call that outlasts its limit ends the process: the alarm comes even while native code holds it."""
    while True:
        data = link.recv(MAX_MESSAGE_BYTES)
        if not data:
            return
        request = json.loads(data)
        signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + GRACE_S)
        reply = json.dumps(answer(calls, request)).encode()
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        link.send(reply)


def main() -> int:
    """``vendor_worker_main.py FD ADAPTER.py``: FD is one end of a SOCK_SEQPACKET pair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the caller, who holds the hand first
    os.dup2(2, 1)  # what an SDK prints goes to the log, not into anybody's output
    with socket.socket(fileno=int(sys.argv[1])) as link:
        try:
            serve(link, load_calls(sys.argv[2]))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the caller has gone
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
