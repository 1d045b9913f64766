# SPDX-License-Identifier: Apache-2.0
"""What a device node tells besides joint states."""

from __future__ import annotations

import numpy as np
import pytest

from dex_core.config import load_cell
from dex_core.devices.fake import FakeJointDevice
from dex_core.devices.joint_device import DeviceHealth
from dex_core.devices.sensing import TouchReading
from dex_core.errors import ShapeError
from dex_msgs.msg import MotorCurrents, Touch
from dex_ros import names, qos
from dex_ros.device_telemetry import Rate, Telemetry, diagnostic_values, touch_to_msg
from dex_ros.polling import PolledSubscription
from dex_ros.testing import ros_domain, wait_for

HAND = load_cell("xarm_bimanual").interface("left_hand")


class SkinnedHand(FakeJointDevice):
    """A fake hand with skin and currents."""

    touch_unit = "N"

    def touch(self) -> dict[str, np.ndarray]:
        return {"index_tip": np.arange(6.0).reshape(2, 3), "palm": np.array([0.5])}

    def currents(self) -> np.ndarray:
        return np.linspace(0.1, 0.6, 6)


def test_the_nodes_own_figures_stand_over_the_drivers() -> None:
    health = DeviceHealth(False, "overload", "overload", {"temperature_c": "41", "age_s": "9", "error_code": "0x20", "limit_violations": "2"})
    values = diagnostic_values(health, 49.96, 0.0213)
    assert values == {"temperature_c": "41", "age_s": "0.0213", "error_code": "0x20", "limit_violations": "2", "rate_hz": "50.0", "code": "overload"}


def test_areas_keep_their_shape_row_by_row() -> None:
    message = touch_to_msg(TouchReading("N", {"tip": np.arange(6.0).reshape(2, 3), "palm": np.array([0.5])}))
    tip, palm = message.areas
    assert (tip.name, tip.rows, tip.columns, list(tip.values)) == ("tip", 2, 3, [0, 1, 2, 3, 4, 5]) and (palm.rows, palm.columns) == (1, 1)
    with pytest.raises(ShapeError, match="'cube'"):
        touch_to_msg(TouchReading("N", {"cube": np.zeros((2, 2, 2))}))


def test_a_rate_is_counted_anew_each_time() -> None:
    rate = Rate()
    for _ in range(5):
        rate.count()
    assert rate.take_hz() > 0.0 and rate.take_hz() == 0.0


@pytest.mark.ros
def test_touch_and_currents_go_out_stamped_and_by_name() -> None:
    from rclpy.node import Node

    with ros_domain(58) as context:
        node = Node("telemetry_test", context=context)
        telemetry = Telemetry(node, HAND, SkinnedHand(HAND.names, HAND.home))
        touches = PolledSubscription(node, Touch, names.touch("left_hand"), qos.SENSOR)
        currents = PolledSubscription(node, MotorCurrents, names.motor_currents("left_hand"), qos.SENSOR)

        def heard(subscription: PolledSubscription):  # noqa: ANN202
            telemetry.publish()
            return subscription.take_newest()

        touch, current = wait_for(lambda: heard(touches), "touch"), wait_for(lambda: heard(currents), "currents")
        assert touch.unit == "N" and [area.name for area in touch.areas] == ["index_tip", "palm"]
        assert touch.header.stamp.sec > 0 and touch.header.frame_id == "left_base"
        assert tuple(current.names) == HAND.names and current.currents[5] == pytest.approx(0.6)
        telemetry.destroy()
        node.destroy_node()
