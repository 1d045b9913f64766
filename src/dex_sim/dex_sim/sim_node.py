# SPDX-License-Identifier: Apache-2.0
"""The simulated cell as a node: the world and its device simulators, the judge's verdict, and a reset by seed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterDescriptor
from visualization_msgs.msg import Marker, MarkerArray

from dex_core.clock import Priority
from dex_core.errors import DexError
from dex_msgs.msg import TaskState
from dex_msgs.srv import InjectFault, ResetCell
from dex_ros import convert, names, qos
from dex_ros.diagnostics import ERROR, OK
from dex_ros.node import DexNode, node_parser, spin_main
from dex_sim.cell import SimCell
from dex_sim.fault_device import DeviceFaults
from dex_sim.xarm_controller_statistics import ServoStatistics

JUDGE_HZ = 20.0
REPEAT_EVERY = 2  # an unchanged verdict is published at JUDGE_HZ / REPEAT_EVERY
MARKERS_EVERY = 4
DIAGNOSE_EVERY = 20
SERVO_PERIOD_S, PAUSE_S = 0.01, 0.3
CAN_RGB = (0.80, 0.12, 0.10)
TABLE_RGB = (0.65, 0.58, 0.50)
TABLE_SIZE_M = (1.2, 1.6, 0.04)


class SimNode(DexNode):
    """Active: the world steps at real time and the devices answer. The policy never hears from this node.

    Parameter ``faults``: interfaces, joined by commas, whose simulators ``sim/inject_fault`` may fault; empty: there is no such service.
    """

    def __init__(self, **kwargs: object) -> None:
        super().__init__("sim", **kwargs)
        self._sim: SimCell | None = None
        self._round = 0
        self._said: tuple[int, bool] | None = None
        self._task_state = self.create_publisher(TaskState, names.TASK_STATE, qos.LATCHED)
        self._markers = self.create_publisher(MarkerArray, names.SCENE_MARKERS, qos.REPORT)
        self._service = self.create_service(ResetCell, names.SIM_RESET, self._reset)
        self._timer = self.create_timer(1.0 / JUDGE_HZ, self._judge, autostart=False)
        self.declare_parameter("faults", "", ParameterDescriptor(read_only=True))
        faulted = tuple(name for name in self.get_parameter("faults").value.split(",") if name)
        self._faults = DeviceFaults(self._simulators, faulted)
        if faulted:
            self._injector = self.create_service(InjectFault, names.SIM_INJECT, self._on_inject)

    def configure(self) -> None:
        """Builds the world and opens every simulated device."""
        if not self.cell.simulated:
            raise DexError("the cell is not simulated; sim_node has nothing to do", code="config_invalid")
        self._sim = SimCell(self.cell)

    def activate(self) -> None:
        """Starts time; after a pause with a new world, since its devices were closed."""
        if self._sim is None:
            self._sim = SimCell(self.cell)
        self._sim.start()
        self._timer.reset()

    def deactivate(self) -> None:
        """Stops time and closes the devices."""
        self._timer.cancel()
        self._close()

    def cleanup(self) -> None:
        """Forgets the world."""
        self._close()

    def _simulators(self) -> dict[str, Any]:
        return {} if self._sim is None else {**self._sim.arms, **self._sim.hands}

    def _on_inject(self, request: InjectFault.Request, response: InjectFault.Response) -> InjectFault.Response:
        try:
            response.message = self._faults.inject(request.component, request.type, request.amount)
            response.success = True
            self.get_logger().warning(response.message)
        except DexError as error:
            response.message = str(error)
        return response

    def _close(self) -> None:
        self._faults.close()
        if self._sim is not None:
            sim, self._sim = self._sim, None
            sim.close()

    def _reset(self, request: ResetCell.Request, response: ResetCell.Response) -> ResetCell.Response:
        if self._sim is None or not self.is_active:
            response.success, response.message = False, "the simulation is not active"
            return response
        try:
            response.epoch = int(self._sim.reset(int(request.seed), str(request.task)))
            response.success, response.message = True, f"{self._sim.world.task.name}, seed {request.seed}"
            self._judge()
        except DexError as error:
            response.success, response.message = False, str(error)
        return response

    def _judge(self) -> None:
        sim = self._sim
        if sim is None:
            return
        self._round += 1
        world = sim.world
        verdict = world.judge()
        said = (world.epoch, verdict.success)
        if said != self._said or self._round % REPEAT_EVERY == 0:
            self._said = said
            message = TaskState(
                task=world.task.name, epoch=world.epoch, seed=world.seed, success=verdict.success, progress=verdict.progress, detail=verdict.detail,
            )
            message.header.stamp = convert.time_to_msg(self.now_ns())
            self._task_state.publish(message)
        if self._round % MARKERS_EVERY == 0:
            self._markers.publish(self._scene(sim))
        if self._round % DIAGNOSE_EVERY == 0:
            self._diagnose(sim)

    def _diagnose(self, sim: SimCell) -> None:
        failure = sim.failure
        self.heartbeat.reason = "sim_failed" if failure else ""
        self.diagnostics.set("simulation", ERROR if failure else OK, failure or "stepping", _figures(sim))

    def _scene(self, sim: SimCell) -> MarkerArray:
        world, stamp = sim.world, convert.time_to_msg(self.now_ns())
        markers = [_marker(0, "table", Marker.CUBE, (TABLE_SIZE_M[0] / 2, 0.0, -TABLE_SIZE_M[2] / 2, 1.0, 0.0, 0.0, 0.0), TABLE_SIZE_M, TABLE_RGB)]
        for number, (name, pose) in enumerate(world.object_poses().items(), start=1):
            thing = world.task.objects[name]
            kind, rgb = (Marker.SPHERE, thing.rgb) if thing.kind == "fruit" else (Marker.CYLINDER, CAN_RGB if thing.kind == "can" else thing.rgb)
            markers.append(_marker(number, name, kind, tuple(float(v) for v in pose), thing.size_m, rgb))
        for marker in markers:
            marker.header.stamp = stamp
        return MarkerArray(markers=markers)


def _figures(sim: SimCell) -> dict[str, object]:
    """Pace of the physics and, per arm, the servo stream as the controller received it (``left_arm.late``...)."""
    pace = sim.pace()
    figures: dict[str, object] = {
        "real_time_factor": f"{pace.factor:.4f}", "steps": pace.steps, "steps_dropped": pace.dropped, "late_max_ms": f"{pace.late_max_s * 1e3:.1f}",
    }
    for name, arm in sim.arms.items():
        statistics = getattr(arm, "servo_statistics", None)  # of a controller that times its servo stream
        if statistics is not None:
            figures.update({f"{name}.{key}": value for key, value in _servo_figures(statistics).items()})
    return figures


def _servo_figures(statistics: ServoStatistics) -> dict[str, object]:
    """The servo stream at one controller; silences beyond ``PAUSE_S`` lie between goals and are counted, not timed."""
    intervals = statistics.intervals_s()
    timed = intervals[intervals < PAUSE_S]
    figures: dict[str, object] = {"received": statistics.received, "refused": statistics.refused, "pauses": int(len(intervals) - len(timed))}
    if len(timed):
        error_ms = np.abs(timed - SERVO_PERIOD_S) * 1e3
        figures["period_error_p99_ms"] = f"{np.percentile(error_ms, 99):.3f}"
        figures["interval_max_ms"] = f"{timed.max() * 1e3:.2f}"
        figures["late"] = int((timed > 2 * SERVO_PERIOD_S).sum())
    return figures


def _marker(number: int, name: str, kind: int, pose: tuple[float, ...], size_m: tuple[float, ...], rgb: tuple[float, ...]) -> Marker:
    """A marker in ``world``; ``pose`` is position [m] and quaternion w, x, y, z."""
    marker = Marker(ns=name, id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id = "world"
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = pose[:3]
    q = marker.pose.orientation
    q.w, q.x, q.y, q.z = pose[3:]
    marker.scale.x, marker.scale.y, marker.scale.z = size_m
    marker.color.r, marker.color.g, marker.color.b = rgb
    marker.color.a = 1.0
    return marker


def main() -> int:
    """Entry of the executable."""
    node_parser("Simulates the cell: MuJoCo world, xArm controllers, Inspire hands, judge and reset.").parse_known_args(sys.argv[1:])
    return spin_main(SimNode, realtime_priority=Priority.CONTROL_PROCESS)


if __name__ == "__main__":
    raise SystemExit(main())
