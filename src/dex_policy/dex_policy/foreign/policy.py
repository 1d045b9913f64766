# SPDX-License-Identifier: Apache-2.0
"""A policy that somebody else's server runs, as a Policy of this stack: our observation in its words, its numbers in ours, checked both ways."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from dex_core.config import CellConfig
from dex_core.decode.mounted import MountedHand
from dex_core.errors import ConfigError, NonFiniteError
from dex_core.policy.base import Observation, PolicySpec, Prediction
from dex_core.policy.instruction import check_instruction
from dex_core.policy.measured import MeasuredPoses
from dex_core.policy.observation import ObservationRefused
from dex_core.types import ActionChunk, ActionSlice, Array, JointState
from dex_policy.foreign.columns import Columns, columns_of, measured, range_check
from dex_policy.foreign.link import KeptLink, Link, Reply, ServerMismatch
from dex_policy.foreign.manifest import RemoteManifest
from dex_policy.foreign.pictures import prepared

if TYPE_CHECKING:
    from dex_core.chunks import Committed

WORLD = "world"


class ForeignPolicy:
    """Asks a server for chunks. One thread calls ``infer`` and ``reset``.

    A server that is away, or another one than described, makes ``health`` say so; it is tried again until ``close``. After every connection a
    made-up observation is inferred from first: the network is warm then, and its answer has the described shape.

    Args:
        manifest: the description. digest: its hash.
        cell: what it moves.
        link: speaks the server's protocol; not yet open.
        wall_clock_ns: wall-clock time [ns].

    Raises:
        ConfigError: the description names what the cell lacks, or leaves an interface of the cell out.
    """

    hand_changes = 0

    def __init__(self, manifest: RemoteManifest, digest: str, cell: CellConfig, link: Link, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._manifest, self._cell, self._wall_clock_ns = manifest, cell, wall_clock_ns
        seen, action = manifest.observation, manifest.action
        self._states = [(state, [columns_of(part, cell) for part in state.parts]) for state in seen.states]
        self._action = [columns_of(part, cell) for part in action.parts]
        ends = np.cumsum([part.width for part in action.parts])
        self._at = [slice(int(end) - part.width, int(end)) for end, part in zip(ends, action.parts, strict=True)]
        self._ranges = [range_check(part, f"{manifest.name}/{part.interface}") for part in action.parts]
        self._held: dict[str, Array] = {}
        self.spec = self._make_spec(digest)
        self._require_whole()
        self._link = KeptLink(link, self._greet, manifest.server.heartbeat_s, max(manifest.server.deadline_s, manifest.server.heartbeat_s))

    def check_instruction(self, instruction: str) -> str:
        """The trained sentence nearest to it, or itself where any will do. Raises DexError ``instruction_invalid``, ``instruction_unknown``."""
        words = self._manifest.observation.instruction
        return check_instruction(instruction, words.trained, words.min_similarity)

    def check_mounted(self, hand: MountedHand) -> None:
        """Raises ObservationRefused ``space_mismatch`` for another hand than the one whose joints are described."""
        described = self._cell.interface(f"{hand.side}_hand").robot.name
        if hand.hand != described:
            raise ObservationRefused(
                f"{hand.embodiment} is mounted; {self._manifest.name!r} moves the joints of {hand.side}_{described}", code="space_mismatch"
            )

    def reset(self) -> None:
        """Interfaces that are held are held anew, where they are then."""
        self._held = {}

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: Committed | None = None) -> Prediction:
        """The next chunk.

        Raises:
            ObservationRefused: picture, joint names, joint limits.
            DexError: ``policy_lost`` (no connection), ``policy_late`` (no answer in time), ``remote_error`` (the server failed), ``remote_mismatch``
                (another shape than described), ``remote_invalid`` (an answer that cannot be read), ``rotation``.
            NonFiniteError, LimitError: numbers that are not finite, or far outside the described limits.
        """
        del committed  # these protocols cannot condition on it
        request = self._request(observation)
        reply = self._link.ask(request, observation.stamp_ns, self._manifest.server.deadline_s)
        values = self._numbers(reply)
        flags = tuple(text for at, check in zip(self._at, self._ranges, strict=True) if check and (text := check.check(values[:, at])))
        slices = self._slices(values, observation)
        started_ns, inferred_ns = _inference_span(reply)
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            goal_id=goal_id,
            sequence=sequence,
            dt_s=self.spec.dt_s,
            first_action_offset=self.spec.first_action_offset,
            slices=slices,
            bundle_hash=self.spec.bundle_hash,
            timing_ns={"observed": observation.stamp_ns, "inference_started": started_ns, "inferred": inferred_ns},
        )
        return Prediction(
            chunk, (inferred_ns - started_ns) * 1e-6, flags, {"request_sent": reply.sent_ns, "queued": started_ns, "received": reply.received_ns}
        )

    def health(self) -> str | None:
        """None while the server is there and is the one described; else ``code: why``."""
        fault = self._link.fault
        return None if fault is None else f"{fault.code}: {fault}"

    def wait_ready(self, timeout_s: float) -> bool:
        """True once the server has answered a first time; False after ``timeout_s``."""
        return self._link.wait_ready(timeout_s)

    def close(self) -> None:
        """Ends the connection."""
        self._link.close()

    def _request(self, observation: Observation) -> dict[str, Any]:
        """The observation in the server's words."""
        seen = self._manifest.observation
        out: dict[str, Any] = {}
        for picture in seen.pictures:
            image = observation.images.get(picture.camera)
            if image is None:
                raise ObservationRefused(f"no picture of camera {picture.camera!r}; there is: {sorted(observation.images)}", code="camera_lost")
            out[picture.key] = prepared(image, picture)
        for state, parts in self._states:
            out[state.key] = np.concatenate([part.read(observation) for part in parts]).astype(state.dtype)
        out[seen.instruction.key] = observation.instruction
        return out

    def _numbers(self, reply: Reply) -> Array:
        """(chunk, columns) finite numbers. Raises ServerMismatch, NonFiniteError."""
        wanted = (self._manifest.action.chunk, self._manifest.action.columns)
        if reply.actions.shape != wanted or reply.actions.dtype.kind not in "fiu":
            found = f"{reply.actions.dtype} of shape {reply.actions.shape}"
            raise ServerMismatch(f"{self._manifest.server.url} answers with {found}; described are numbers of shape {wanted}")
        values = reply.actions.astype(np.float64)
        if not np.isfinite(values).all():
            raise NonFiniteError(f"policy {self.spec.name!r} gave {np.count_nonzero(~np.isfinite(values))} numbers that are not finite")
        return values

    def _slices(self, values: Array, observation: Observation) -> tuple[ActionSlice, ...]:
        """One slice per interface; parts of one interface side by side."""
        found: dict[str, list[tuple[Columns, Array]]] = {}
        for columns, at in zip(self._action, self._at, strict=True):
            if columns.interface:
                found.setdefault(columns.interface, []).append((columns, columns.write(values[:, at], observation)))
        for name in self._manifest.action.hold:
            interface = self._cell.interface(name)
            if name not in self._held:
                self._held[name] = measured(observation, interface, tuple(interface.robot.actuated))
        moved = tuple(
            ActionSlice(
                name, parts[0][0].space, np.concatenate([data for _, data in parts], axis=1), tuple(n for part, _ in parts for n in part.names),
                WORLD if parts[0][0].space == "wrist_pose" else "",
            )
            for name, parts in found.items()
        )
        steps = self._manifest.action.chunk
        return moved + tuple(
            ActionSlice(name, "joint_position", np.tile(q, (steps, 1)), self._cell.interface(name).names) for name, q in self._held.items()
        )

    def _greet(self, link: Link) -> None:
        """A first inference, so that the network is warm and its shape is known before a goal is taken."""
        request = self._request(self._made_up())
        self._numbers(link.ask(request, self._wall_clock_ns(), self._manifest.server.first_deadline_s))

    def _made_up(self) -> Observation:
        """The cell at rest before a picture of noise."""
        rng, now_ns = np.random.default_rng(0), self._wall_clock_ns()
        images = {name: rng.integers(0, 256, (*hw, 3), dtype=np.uint8) for name, hw in self.spec.cameras.items()}
        joints = {}
        for name, interface in self._cell.interfaces.items():
            zeros = np.zeros(len(interface.names))
            joints[name] = JointState(interface.names, np.array(interface.home), zeros, zeros, now_ns)
        words = self._manifest.observation.instruction.trained or ("do nothing",)
        observation = Observation(now_ns, images, joints, words[0])
        if not self.spec.pose_interfaces:
            return observation
        hands = {side: MountedHand.of_cell(self._cell, side) for side in {name.split("_", 1)[0] for name in self.spec.pose_interfaces}}
        return MeasuredPoses(self._cell, self.spec.pose_interfaces).complete(observation, hands)

    def _make_spec(self, digest: str) -> PolicySpec:
        manifest, action = self._manifest, self._manifest.action
        read = {part.interface: part for _, parts in self._states for part in parts if part.interface}
        written = {part.interface: part for part in self._action if part.interface}
        deltas = {part.interface for part in action.parts if part.reference not in ("", "absolute")}
        moved = (*written, *action.hold)
        poses = {name for name, part in (*read.items(), *written.items()) if part.space == "wrist_pose"}
        hands = {name.split("_", 1)[0] for name in moved if name.endswith("_hand")} | {name.split("_", 1)[0] for name in poses}
        return PolicySpec(
            name=manifest.name,
            bundle_hash=digest,
            provider=f"{manifest.protocol} at {manifest.server.url}",
            cameras={self._camera(p.camera): (p.source_height, p.source_width) for p in manifest.observation.pictures},
            joint_interfaces=tuple(sorted({*read, *deltas, *action.hold, *poses})),
            action_interfaces=moved,
            chunk=action.chunk,
            dt_s=1.0 / action.rate_hz,
            first_action_offset=action.first_action_offset,
            instructions=manifest.observation.instruction.trained,
            pose_interfaces=tuple(sorted({part.interface for _, parts in self._states for part in parts if part.space == "wrist_pose"})),
            mounted_sides=tuple(sorted(hands)),
        )

    def _camera(self, name: str) -> str:
        width, height = self._cell.cameras[self._cell.camera(name)].output_wh
        for p in self._manifest.observation.pictures:
            if p.camera == name and (p.source_width, p.source_height) != (width, height):
                raise ConfigError(f"picture {p.key!r}: source is {p.source_width} x {p.source_height}; camera {name!r} gives {width} x {height}")
        return name

    def _require_whole(self) -> None:
        """Every interface of the cell is moved or held, each of its joints once."""
        cell, where = self._cell, f"{self._manifest.name}: action"
        for name in self._manifest.action.hold:
            cell.interface(name)
        left_out = [name for name in cell.interfaces if name not in self.spec.action_interfaces]
        if left_out:
            raise ConfigError(f"{where} neither moves nor holds {left_out[0]}; the cell has {list(cell.interfaces)}")
        for name in {part.interface for part in self._action if part.interface}:
            parts = [part for part in self._action if part.interface == name]
            names = [n for part in parts for n in part.names]
            wanted = parts[0].names if parts[0].space == "wrist_pose" else cell.interface(name).names
            if sorted(names) != sorted(wanted):
                raise ConfigError(f"{where} gives {names} of {name}; each of {list(wanted)} is needed once")


def _inference_span(reply: Reply) -> tuple[int, int]:
    """When the network began and ended, on this host's clock [ns].

    The server's own time is laid in the middle of the wait: both ways are taken for equally long. Without it the whole wait counts.
    """
    wait_ns = reply.received_ns - reply.sent_ns
    infer_ns = wait_ns if reply.infer_ms is None else min(round(reply.infer_ms * 1e6), wait_ns)
    started_ns = reply.sent_ns + (wait_ns - infer_ns) // 2
    return started_ns, started_ns + infer_ns
