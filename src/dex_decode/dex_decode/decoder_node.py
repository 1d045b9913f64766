# SPDX-License-Identifier: Apache-2.0
"""The decoder of one side: takes the slices of its hand and arm of every action chunk, in whatever space, and publishes named joints."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from dataclasses import replace

from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState as JointStateMsg

from dex_core.clock import NS, Priority
from dex_core.decode import SideDecoder
from dex_core.decode.side import DECODED
from dex_core.errors import DexError
from dex_core.policy.runtime import load_side_decoder
from dex_core.types import ActionChunk, Array, JointState, index_map
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_msgs.msg import MountedHand as MountedHandMsg
from dex_ros import names, qos
from dex_ros.convert import chunk_from_msg, chunk_to_msg, joint_state_from_msg, time_to_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.mounted import mounted_to_msg
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription

WAIT_S = 0.1


class DecoderNode(DexNode):
    """``action_chunk`` -> ``decoded_chunk`` for the hand named by the parameter ``interface`` and the arm that carries it.

    It alone knows which hand that is, and says so on ``<side>/mounted_hand``, latched, from its activation on.
    """

    realtime_priority = Priority.ACTION

    def __init__(self, **kwargs: object) -> None:
        super().__init__("decoder", **kwargs)
        self._decoder: SideDecoder | None = None
        self._inputs: dict[str, PolledSubscription[JointStateMsg]] = {}
        self._states: dict[str, JointState] = {}
        self._mounted: Publisher | None = None
        self._decoded = self._refused = 0
        self._last: tuple[str, int] = ("", 0)
        self._chunks: Publisher = self.create_publisher(ActionChunkMsg, names.DECODED_CHUNK, qos.CHUNK)
        self._input: PolledSubscription[ActionChunkMsg] = PolledSubscription(self, ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None

    def configure(self) -> None:
        """Loads the cell's latent bundle for the mounted hand, and the kinematics of hand and arm."""
        interface = self.cell.interface(self.interface_name)
        self._decoder = load_side_decoder(self.cell, interface.side)
        self._states = {}
        for name in self._decoder.parts:
            if name not in self._inputs:
                self._inputs[name] = PolledSubscription(self, JointStateMsg, names.device_states(name), qos.SENSOR)
        if self._mounted is None:
            self._mounted = self.create_publisher(MountedHandMsg, names.mounted_hand(interface.side), qos.LATCHED)
        able = " and ".join(f"{name}: {', '.join(part.spaces)}" for name, part in self._decoder.parts.items())
        without = "" if self._decoder.mounted is not None else "; no wrist poses: no grasp frame, or no arm of its own"
        self.diagnostics.set("decoder", OK, f"{interface.side}_{interface.robot.name} decodes {able}{without}")

    def activate(self) -> None:
        """Says which hand is mounted and starts the decoding thread; what came before is forgotten."""
        self._input.take_all()
        self._tell_mounted()
        self._stop.clear()
        self._worker = threading.Thread(target=self._work, name="decode", daemon=True)
        self._worker.start()

    def deactivate(self) -> None:
        """Ends the decoding thread; no chunk goes out any more."""
        self._stop.set()
        if self._worker is not None:
            self._worker.join(timeout=2.0)
            self._worker = None

    def destroy_node(self) -> None:
        """Ends the thread first."""
        self.deactivate()
        super().destroy_node()

    def _work(self) -> None:
        """Waits for chunks past the executor, which would cost each a millisecond or two."""
        try:
            while not self._stop.is_set():
                if self._input.wait(WAIT_S):
                    for message in self._input.take_all():
                        self._on_chunk(message)
        except Exception:  # a decoder without its thread is no decoder: end, so that everyone sees it
            if self.context.ok():
                self.get_logger().fatal(f"the decoding thread died:\n{traceback.format_exc()}")
                os.kill(os.getpid(), signal.SIGTERM)

    def cleanup(self) -> None:
        """Lets the bundle go, and takes back what was said of the hand."""
        self._decoder = None
        for subscription in self._inputs.values():
            subscription.destroy()
        self._inputs = {}
        if self._mounted is not None:
            self.destroy_publisher(self._mounted)
            self._mounted = None

    def _tell_mounted(self) -> None:
        assert self._decoder is not None and self._mounted is not None
        if self._decoder.mounted is not None:
            message = mounted_to_msg(self._decoder.mounted)
            message.header.stamp = time_to_msg(self.now_ns())
            self._mounted.publish(message)

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        """Decodes this side's slices; what cannot be decoded is dropped, counted and named."""
        decoder = self._decoder
        if not self.is_active or decoder is None:
            return
        message.slices = [s for s in message.slices if s.interface in decoder.parts and s.space != DECODED]
        if not message.slices:
            return  # the gate takes joint positions from the action chunk itself
        try:
            chunk = chunk_from_msg(message)
            if (chunk.goal_id, chunk.sequence) == self._last:
                raise DexError(f"chunk {chunk.sequence} came twice", code="duplicate")
            odd_before = decoder.flagged_steps + decoder.infeasible_steps
            decoded = decoder.decode(chunk, self._measured)
            assert decoded is not None  # it has a slice for this side
            out = replace(decoded, timing_ns={**chunk.timing_ns, "decoded": self.now_ns()})
        except DexError as error:
            self._refused += 1
            self.get_logger().warning(f"chunk {message.sequence} dropped [{error.code}]: {error}")
            self.diagnostics.set("decoder", ERROR, f"chunk dropped: {error}", {"code": error.code, **self._counts(decoder)})
            return
        self._last = (chunk.goal_id, chunk.sequence)
        self._chunks.publish(chunk_to_msg(out))
        self._decoded += 1
        self._tell(decoder, out, decoder.flagged_steps + decoder.infeasible_steps > odd_before)

    def _measured(self, interface: str) -> Array:
        """Where a search starts: the newest measured joints of an arm or hand.

        Raises:
            DexError: ``state_stale``, there are none or they are older than the gate allows; ``joint_names``.
        """
        message = self._inputs[interface].take_newest()
        if message is not None:
            self._states.pop(interface, None)  # the new one may be malformed: the old one does not stand in for it
            self._states[interface] = joint_state_from_msg(message)
        state = self._states.get(interface)
        if state is None:
            raise DexError(f"no joint state of {interface} yet", code="state_stale")
        age_s, allowed_s = (self.now_ns() - state.stamp_ns) / NS, self.cell.control.state_timeout_s
        if age_s > allowed_s:
            raise DexError(f"joint state of {interface} is {age_s * 1e3:.0f} ms old; at most {allowed_s * 1e3:.0f} ms is allowed", code="state_stale")
        return state.position_rad[index_map(state.names, self.cell.interface(interface).names, f"joint state of {interface}")]

    def _tell(self, decoder: SideDecoder, out: ActionChunk, odd: bool) -> None:
        worst = max((float(part.residual_m.max()) for part in out.slices if part.residual_m.size), default=0.0)
        text = "decoding" if not odd else "decoding, with steps off the latent space or out of reach"
        self.diagnostics.set("decoder", WARN if odd else OK, text, {"residual_max_m": f"{worst:.4f}", **self._counts(decoder)})

    def _counts(self, decoder: SideDecoder) -> dict[str, int]:
        return {
            "decoded": self._decoded,
            "refused": self._refused,
            "latent_steps_flagged": decoder.flagged_steps,
            "steps_out_of_reach": decoder.infeasible_steps,
        }


def main(argv: list[str] | None = None) -> int:
    """Runs the node."""
    node_parser("Decoder of one side: latents, fingertip positions and wrist poses into named joints.").parse_known_args(argv)
    return spin_main(DecoderNode, argv)


if __name__ == "__main__":
    sys.exit(main())
