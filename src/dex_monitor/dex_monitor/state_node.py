# SPDX-License-Identifier: Apache-2.0
"""The cell for people: robot description, frames, merged joint states, the path the newest chunk plans, and when the joints followed each chunk."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque

import numpy as np
from geometry_msgs.msg import Point, TransformStamped
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from dex_core.clock import Ticker
from dex_core.config import CellConfig
from dex_core.errors import DexError
from dex_core.latency import Motion
from dex_core.types import JointState
from dex_description import compose_cell_urdf, parse_urdf
from dex_monitor.chunk_motion import ChunkMotion, Followed
from dex_monitor.merge import StateMerger
from dex_monitor.planned_path import PlannedPath
from dex_monitor.tree import FrameTree, Transforms
from dex_msgs.msg import ActionChunk, ChunkLatency, ChunkReport
from dex_ros import convert, names, qos
from dex_ros.diagnostics import OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription

RATE_HZ = 25.0
KEPT_S, LEAST_KEPT = 0.4, 16
"""Joint states of so long wait, undecoded, for a chunk whose motion is looked for: those around its first command, whose report is on its way."""
COLOURS_RGB = {"left": (0.10, 0.45, 0.95), "right": (0.95, 0.45, 0.10)}


def camera_frames(cell: CellConfig) -> tuple[str, ...]:
    """Frames that whoever drives a camera publishes: optical ones always, and its link a node of ours, which knows where it stands.

    A camera that another package drives stands where the cell says: its link is left to this node.
    """
    optical = (f"{cell.camera_stem(name)}_color_optical_frame" for name in cell.cameras)
    return (*(f"{stem}_link" for stem in cell.camera_nodes), *optical)


class TransformMessage:
    """A TFMessage whose transforms are made once per set of frames and only refilled."""

    def __init__(self) -> None:
        self._message = TFMessage()
        self._children: tuple[str, ...] = ()

    def fill(self, transforms: Transforms, stamp_ns: int) -> TFMessage:
        """The message for these transforms; valid until the next call."""
        if transforms.children != self._children:
            self._children = transforms.children
            self._message.transforms = [TransformStamped(child_frame_id=child) for child in transforms.children]
            for message, parent in zip(self._message.transforms, transforms.parents, strict=True):
                message.header.frame_id = parent
        stamp = convert.time_to_msg(stamp_ns)
        rows = np.hstack([transforms.translation_m, transforms.rotation_xyzw]).tolist()
        for message, row in zip(self._message.transforms, rows, strict=True):
            message.header.stamp = stamp
            t, r = message.transform.translation, message.transform.rotation
            t.x, t.y, t.z, r.x, r.y, r.z, r.w = row
        return self._message


def path_markers(paths: dict[str, np.ndarray], stamp_ns: int) -> MarkerArray:
    """Interface -> (T, 3) in ``world`` [m] as one line per side."""
    markers = []
    for number, (name, path) in enumerate(paths.items()):
        marker = Marker(ns=name, id=number, type=Marker.LINE_STRIP, action=Marker.ADD)
        marker.header.frame_id = "world"
        marker.header.stamp = convert.time_to_msg(stamp_ns)
        marker.pose.orientation.w = 1.0
        marker.scale.x = 0.006
        marker.color.r, marker.color.g, marker.color.b = COLOURS_RGB[name.split("_")[0]]
        marker.color.a = 0.9
        marker.lifetime.sec = 5
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in path.tolist()]
        markers.append(marker)
    return MarkerArray(markers=markers)


def latency_message(chunk: Followed, motion: Motion, now_ns: int) -> ChunkLatency:
    """What is told of one chunk's way to the joints."""
    stamps = {**chunk.timing_ns, **({"first_motion": motion.stamp_ns} if motion.stamp_ns else {})}
    message = ChunkLatency(
        goal_id=chunk.goal_id, sequence=chunk.sequence, timing=convert.timing_to_msg(stamps), motion=int(motion.kind), joint=motion.joint,
        from_rest=motion.from_rest,
    )
    message.header.stamp = convert.time_to_msg(now_ns)
    return message


class StateNode(DexNode):
    """Reads the joint states, the chunks and their reports in a thread of its own, at 25 Hz."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__("state", **kwargs)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._refused = 0
        self._problem = ""

    def configure(self) -> None:
        """Composes the description and its frames."""
        urdf = compose_cell_urdf(self.cell)
        self._tree = FrameTree(parse_urdf(urdf), leave_out=camera_frames(self.cell))
        self._merger = StateMerger(self.cell)
        self._path = PlannedPath(self.cell)
        self._motion = ChunkMotion(self.cell)
        self._description = String(data=urdf)
        self._outputs = {
            "description": self.create_publisher(String, names.ROBOT_DESCRIPTION, qos.LATCHED),
            "tf": self.create_publisher(TFMessage, "/tf", qos.REPORT),
            "tf_static": self.create_publisher(TFMessage, "/tf_static", qos.LATCHED),
            "joints": self.create_publisher(JointStateMsg, names.JOINT_STATES, qos.REPORT),
            "path": self.create_publisher(MarkerArray, names.PLANNED_CHUNK, qos.REPORT),
            "latency": self.create_publisher(ChunkLatency, names.CHUNK_LATENCY, qos.REPORT),
        }
        self._states = {
            name: PolledSubscription(self, JointStateMsg, names.device_states(name), qos.STREAM, raw=True) for name in self.cell.interfaces
        }
        self._kept: dict[str, deque[bytes]] = {
            name: deque(maxlen=max(LEAST_KEPT, round(KEPT_S * i.rate_hz))) for name, i in self.cell.interfaces.items()
        }
        self._chunks = PolledSubscription(self, ActionChunk, names.ACTION_CHUNK, qos.CHUNK)
        self._decoded = PolledSubscription(self, ActionChunk, names.DECODED_CHUNK, qos.CHUNK)
        self._chunk_reports = PolledSubscription(self, ChunkReport, names.CHUNK_REPORT, qos.REPORT)
        self._timer = self.create_timer(1.0, self._report)

    def activate(self) -> None:
        """Publishes what does not move once, then starts the thread."""
        self._outputs["description"].publish(self._description)
        self._outputs["tf_static"].publish(TransformMessage().fill(self._tree.fixed, self.now_ns()))
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Stops the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)
            self._thread = None

    def cleanup(self) -> None:
        """Releases topics."""
        for subscription in (*self._states.values(), self._chunks, self._decoded, self._chunk_reports):
            subscription.destroy()
        for publisher in self._outputs.values():
            self.destroy_publisher(publisher)
        self.destroy_timer(self._timer)

    def _run(self) -> None:
        ticker, transforms = Ticker(RATE_HZ), TransformMessage()
        while not self._stop.is_set():
            ticker.wait()
            try:
                self._take_states()
                self._publish_states(transforms)
                self._take_chunks()
                self._publish_latency()
            except (InvalidHandle, _rclpy.RCLError):
                return  # the context is gone: the process is ending

    def _take_states(self) -> None:
        for name, subscription in self._states.items():
            messages = subscription.take_all()
            if not messages:
                continue
            self._kept[name].extend(messages)
            state = self._state(messages[-1])
            try:
                if state is not None:
                    self._merger.put(name, state, time.monotonic_ns())
            except DexError as error:
                self._refuse(error)

    def _state(self, message: bytes) -> JointState | None:
        """One joint state; None, counted, where it is malformed."""
        try:
            return convert.joint_state_from_msg(deserialize_message(message, JointStateMsg))
        except DexError as error:
            self._refuse(error)
            return None

    def _publish_states(self, transforms: TransformMessage) -> None:
        state: JointState | None = self._merger.merged(time.monotonic_ns())
        if state is None:
            return
        self._outputs["joints"].publish(convert.joint_state_to_msg(state))
        moving = self._tree.moving(dict(zip(state.names, state.position_rad.tolist(), strict=True)))
        self._outputs["tf"].publish(transforms.fill(moving, state.stamp_ns))

    def _take_chunks(self) -> None:
        """What is planned, of the policy's own chunks and of their decoded parts; the newest of the policy is drawn."""
        paths: dict[str, np.ndarray] = {}
        for subscription in (self._chunks, self._decoded):
            for message in subscription.take_all():
                try:
                    chunk = convert.chunk_from_msg(message)
                    self._motion.planned(chunk)
                    paths = self._path.of_chunk(chunk) if subscription is self._chunks else paths
                except DexError as error:
                    self._refuse(error)
        if paths:
            self._outputs["path"].publish(path_markers(paths, self.now_ns()))

    def _publish_latency(self) -> None:
        """Measurements are decoded while a chunk waits for its motion, and only then."""
        for report in self._chunk_reports.take_all():
            if report.accepted:
                self._motion.followed(Followed(report.goal_id, report.sequence, convert.timing_from_msg(report.timing)))
        if not self._motion.waiting:
            return
        for name, messages in self._kept.items():
            while messages:
                state = self._state(messages.popleft())
                if state is not None:
                    self._motion.measured(name, state)
        for chunk, motion in self._motion.done(self.now_ns()):
            self._outputs["latency"].publish(latency_message(chunk, motion, self.now_ns()))

    def _refuse(self, error: DexError) -> None:
        self._refused += 1
        self._problem = str(error)

    def _report(self) -> None:
        missing = self._merger.missing(time.monotonic_ns())
        values = {"missing": " ".join(missing), "refused": self._refused, "last_refusal": self._problem}
        if missing:
            self.diagnostics.set("joint states", WARN, f"no fresh joint states from {', '.join(missing)}", values)
        else:
            self.diagnostics.set("joint states", OK, "all interfaces report", values)


def main() -> int:
    """Executable ``state_node``."""
    node_parser("Publishes robot_description, TF, merged joint states and the planned path.").parse_known_args()
    return spin_main(StateNode)


if __name__ == "__main__":
    sys.exit(main())
