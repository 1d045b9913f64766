# SPDX-License-Identifier: Apache-2.0
"""A description of a policy for the two-armed cell, and a server that behaves as openpi's does."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from dex_core.config import CellConfig
from dex_core.policy.base import Observation
from dex_core.types import JointState
from dex_policy.foreign import ForeignPolicy, open_foreign
from dex_policy.foreign.wire import decode, encode

INSPIRE = (
    "pinky_proximal_joint", "ring_proximal_joint", "middle_proximal_joint", "index_proximal_joint", "thumb_proximal_pitch_joint",
    "thumb_proximal_yaw_joint",
)
OPEN = dict(zip(INSPIRE, (0.1, 0.1, 0.1, 0.1, 0.05, 0.2), strict=True))
CLOSED = dict(zip(INSPIRE, (1.2, 1.2, 1.2, 1.2, 0.4, 0.9), strict=True))
STEPS, COLUMNS = 10, 16
STAMP_NS = 1_800_000_000_000_000_000


def opened(folder: Path, cell: CellConfig) -> contextlib.closing[ForeignPolicy]:
    """A policy, closed in the end."""
    return contextlib.closing(open_foreign(folder, cell))


def arm(side: str, **more: Any) -> dict[str, Any]:
    """Seven joints in rad."""
    return {"of": "joints", "interface": f"{side}_arm", "joints": [f"joint{i}" for i in range(1, 8)], "unit": "rad", **more}


def gripper(side: str, **more: Any) -> dict[str, Any]:
    """One number for a hand, 1 is open."""
    return {"of": "gripper", "interface": f"{side}_hand", "open_value": 1.0, "closed_value": 0.0, "open_rad": OPEN, "closed_rad": CLOSED, **more}


def moved(part: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A part as an action has it: absolute, with wide limits."""
    width = len(part.get("joints", [0]))
    return {**part, "reference": "absolute", "limits": [[-6.3, 6.3]] * width, **more}


def openpi_description(url: str) -> dict[str, Any]:
    """Both arms in rad, a gripper number per hand, one picture padded to 224 x 224."""
    sides = ("left", "right")
    return {
        "schema": 1, "kind": "remote_policy", "name": "pi_tabletop", "version": "1", "protocol": "openpi",
        "server": {"url": url, "deadline_s": 1.0, "first_deadline_s": 5.0, "connect_timeout_s": 5.0, "heartbeat_s": 0.1, "metadata": {}},
        "observation": {
            "pictures": [{
                "key": "observation/image", "camera": "front", "source_height": 240, "source_width": 320,
                "height": 224, "width": 224, "layout": "HWC", "resize": "pad",
            }],
            "states": [{"key": "observation/state", "dtype": "float32", "parts": [p for side in sides for p in (arm(side), gripper(side))]}],
            "instruction": {"key": "prompt"},
        },
        "action": {
            "key": "actions", "columns": COLUMNS, "chunk": STEPS, "rate_hz": 20.0, "first_action_offset": 1.0,
            "parts": [p for side in sides for p in (moved(arm(side)), moved(gripper(side), limits=[[0.0, 1.0]]))],
        },
    }


def changed(description: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one key replaced, e.g. ``action.parts.0.unit``; the value ``...`` takes it away."""
    out = copy.deepcopy(dict(description))
    at: Any = out
    *way, last = [int(word) if word.isdigit() else word for word in path.split(".")]
    for word in way:
        at = at[word]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return out


def observation_of(cell: CellConfig, stamp_ns: int = STAMP_NS, seed: int = 1) -> Observation:
    """The cell at home before a picture of noise."""
    image = np.random.default_rng(seed).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    joints = {
        name: JointState(i.names, np.array(i.home), np.zeros(len(i.names)), np.zeros(len(i.names)), stamp_ns) for name, i in cell.interfaces.items()
    }
    return Observation(stamp_ns, {"front": image}, joints, "push the cans together")


def standing(request: Mapping[str, Any]) -> dict[str, Any]:
    """An answer in which everything stays where it is."""
    return {"actions": np.tile(request["observation/state"], (STEPS, 1)), "server_timing": {"infer_ms": 2.0}}


class FakeOpenpi:
    """Behaves as openpi's server: metadata first, then an answer per observation, in order; a failure is told as text, then close 1011.

    Args:
        answer: request -> answer (a dict), or raw bytes or a text to be sent as it is. May raise or wait.
        metadata: what it greets with; bytes are sent as they are.
        port: 0 takes a free one.

    Attributes:
        requests: received so far. headers: of each connection's handshake.
    """

    def __init__(self, answer: Callable[[dict], Any] = standing, metadata: Any = None, port: int = 0) -> None:
        self._answer, self._metadata = answer, {} if metadata is None else metadata
        self.requests: list[dict] = []
        self.headers: list[Mapping[str, str]] = []
        self._open: list[ServerConnection] = []
        self._server: Server = serve(self._handle, "127.0.0.1", port, compression=None, max_size=None, close_timeout=0.2)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Goes away as a killed process does: listening and connections end at once."""
        self._server.shutdown()
        for connection in self._open:
            connection.close_socket()
        self._thread.join(timeout=5.0)

    def _handle(self, connection: ServerConnection) -> None:
        self._open.append(connection)
        self.headers.append(connection.request.headers)
        with contextlib.suppress(ConnectionClosed, OSError):
            connection.send(self._metadata if isinstance(self._metadata, (bytes, str)) else encode(self._metadata))
            while True:
                request = decode(connection.recv())
                self.requests.append(request)
                try:
                    answer = self._answer(request)
                except RuntimeError as error:
                    connection.send(f"Traceback (most recent call last):\nRuntimeError: {error}\n")
                    connection.close(1011, "Internal server error. Traceback included in previous frame.")
                    return
                connection.send(answer if isinstance(answer, (bytes, str)) else encode(answer))


@contextlib.contextmanager
def running(*args: Any, **kwargs: Any) -> Iterator[FakeOpenpi]:
    """A fake server for a while."""
    server = FakeOpenpi(*args, **kwargs)
    try:
        yield server
    finally:
        server.stop()


def lerobot_description(url: str) -> dict[str, Any]:
    """The same body and eyes as ``openpi_description``, behind LeRobot's protocol: the server resizes the picture itself."""
    out = openpi_description(url)
    out.update(protocol="lerobot", name="act_tabletop", lerobot={
        "allow_pickle": "lerobot", "host": "127.0.0.1", "policy_type": "act", "checkpoint": "/models/act_tabletop", "device": "cpu",
    })
    del out["server"]["metadata"], out["action"]["key"]
    out["observation"]["pictures"] = [{
        "key": "observation.images.front", "camera": "front", "source_height": 240, "source_width": 320,
        "height": 240, "width": 320, "layout": "HWC", "resize": "none",
    }]
    out["observation"]["states"][0]["key"] = "observation.state"
    out["observation"]["instruction"]["key"] = "task"
    return out
