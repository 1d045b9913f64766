# SPDX-License-Identifier: Apache-2.0
"""The decoder of one hand: takes its slice of every action chunk, in whatever space, and publishes named joints."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from dataclasses import replace

import numpy as np
from dex_core.clock import Priority
from dex_core.decode import FingertipSolver, SliceDecoder
from dex_core.errors import DexError, JointNameError
from dex_core.kinematics import HandKinematics
from dex_core.policy.runtime import load_latent_decoder
from dex_core.types import ActionChunk, Array, index_map
from dex_ros.convert import chunk_from_msg, chunk_to_msg, joint_state_from_msg
from dex_ros.diagnostics import ERROR, OK, WARN
from dex_ros.node import DexNode, node_parser, spin_main
from dex_ros.polling import PolledSubscription
from rclpy.publisher import Publisher
from sensor_msgs.msg import JointState

from dex_description import interface_urdf
from dex_msgs.msg import ActionChunk as ActionChunkMsg
from dex_ros import names, qos

WAIT_S = 0.1


class DecoderNode(DexNode):
    """``action_chunk`` -> ``decoded_chunk`` for the hand named by the parameter ``interface``."""

    realtime_priority = Priority.PICTURE_TO_ACTION

    def __init__(self, **kwargs: object) -> None:
        super().__init__("decoder", **kwargs)
        self._decoder: SliceDecoder | None = None
        self._state: PolledSubscription[JointState] | None = None
        self._measured: Array | None = None
        self._decoded = self._refused = 0
        self._last: tuple[str, int] = ("", 0)
        self._chunks: Publisher = self.create_publisher(ActionChunkMsg, names.DECODED_CHUNK, qos.CHUNK)
        self._input: PolledSubscription[ActionChunkMsg] = PolledSubscription(self, ActionChunkMsg, names.ACTION_CHUNK, qos.CHUNK)
        self._stop = threading.Event()
        self._worker: threading.Thread | None = None

    def configure(self) -> None:
        """Loads the cell's latent bundle for the mounted hand, and the hand's kinematics."""
        name = self.interface_name
        interface = self.cell.interface(name)
        latent = load_latent_decoder(self.cell, name)
        kinematics = HandKinematics(interface.robot, interface_urdf(interface))
        limits = {j: interface.robot.limits[j] for j in kinematics.names}
        fingertip = FingertipSolver(kinematics, [m.lower_rad for m in limits.values()], [m.upper_rad for m in limits.values()])
        self._decoder = SliceDecoder(name, interface, latent, fingertip)
        self._measured = None
        if self._state is None:
            self._state = PolledSubscription(self, JointState, names.device_states(name), qos.SENSOR)
        self.diagnostics.set("decoder", OK, f"{latent.embodiment}: latent of {latent.dim}, fingertips of {len(fingertip.fingers)} fingers")

    def activate(self) -> None:
        """Starts the decoding thread; what came before is forgotten."""
        self._input.take_all()
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
        """Lets the bundle go."""
        self._decoder = None
        if self._state is not None:
            self._state.destroy()
            self._state = None

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        """Decodes this hand's slice; what cannot be decoded is dropped, counted and named."""
        decoder = self._decoder
        if not self.is_active or decoder is None:
            return
        part = next((s for s in message.slices if s.interface == decoder.interface_name), None)
        if part is None or part.space == "joint_position":
            return  # the gate takes joint positions from the action chunk itself
        message.slices = [part]
        try:
            chunk = chunk_from_msg(message)
            if (chunk.goal_id, chunk.sequence) == self._last:
                raise DexError(f"chunk {chunk.sequence} came twice", code="duplicate")
            odd_before = decoder.flagged_steps + decoder.infeasible_steps
            out = self._decode(decoder, chunk)
        except DexError as error:
            self._refused += 1
            self.get_logger().warning(f"chunk {message.sequence} dropped [{error.code}]: {error}")
            self.diagnostics.set("decoder", ERROR, f"chunk dropped: {error}", {"code": error.code, **self._counts(decoder)})
            return
        self._last = (chunk.goal_id, chunk.sequence)
        self._chunks.publish(chunk_to_msg(out))
        self._decoded += 1
        self._tell(decoder, out, decoder.flagged_steps + decoder.infeasible_steps > odd_before)

    def _decode(self, decoder: SliceDecoder, chunk: ActionChunk) -> ActionChunk:
        decoded = decoder.decode(chunk.slices[0], self._measured_joints(decoder, chunk.slices[0].space))
        return replace(chunk, slices=(decoded,), timing_ns={**chunk.timing_ns, "decoded": self.now_ns()})

    def _measured_joints(self, decoder: SliceDecoder, space: str) -> Array:
        """Where a search starts: the measured joints. Raises DexError ``state_stale`` where a search needs them and there are none."""
        message = self._state.take_newest() if self._state is not None and space == "fingertip_position" else None
        if message is not None:
            state = joint_state_from_msg(message)
            try:
                order = index_map(state.names, decoder.interface.names, f"joint state of {decoder.interface_name}")
            except JointNameError:
                self._measured = None
                raise
            self._measured = state.position_rad[order]
        if self._measured is None:
            if space == "fingertip_position":
                raise DexError(f"no joint state of {decoder.interface_name} yet", code="state_stale")
            return np.array(decoder.interface.home)  # only a search needs a start
        return self._measured

    def _tell(self, decoder: SliceDecoder, out: ActionChunk, odd: bool) -> None:
        residual = out.slices[0].residual_m
        worst = float(residual.max()) if residual.size else 0.0
        text = "decoding" if not odd else "decoding, with steps off the latent space or out of reach"
        self.diagnostics.set("decoder", WARN if odd else OK, text, {"residual_max_m": f"{worst:.4f}", **self._counts(decoder)})

    def _counts(self, decoder: SliceDecoder) -> dict[str, int]:
        return {
            "decoded": self._decoded,
            "refused": self._refused,
            "latent_steps_flagged": decoder.flagged_steps,
            "fingertip_steps_infeasible": decoder.infeasible_steps,
        }


def main(argv: list[str] | None = None) -> int:
    """Runs the node."""
    node_parser("Decoder of one hand: latents or fingertip positions into named joints.").parse_known_args(argv)
    return spin_main(DecoderNode, argv)


if __name__ == "__main__":
    sys.exit(main())
