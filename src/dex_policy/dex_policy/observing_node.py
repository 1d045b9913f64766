# SPDX-License-Identifier: Apache-2.0
"""The policy node's eyes and ears: subscriptions to what a policy looks at, read by the inferring thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from dex_core.config import CellConfig
from dex_core.decode import MountedHand
from dex_core.errors import ConfigError, DexError
from dex_core.policy import Observation, ObservationBuilder, ObservationRefused, PolicySpec
from dex_msgs.msg import MountedHand as MountedHandMsg
from dex_ros import names, qos
from dex_ros.convert import image_from_msg, joint_state_from_msg, time_from_msg
from dex_ros.mounted import mounted_from_msg
from dex_ros.node import DexNode
from dex_ros.polling import PolledSubscription


class Observing:
    """Cameras, joint states and mounted hands of one policy. One thread, once it is made.

    Args:
        node: owner of the subscriptions.
        cell: for topics and for what its cameras publish.
        spec: which streams the policy needs.

    Raises:
        ConfigError: the policy looks at no camera, or at something that the cell does not have.
    """

    def __init__(self, node: DexNode, cell: CellConfig, spec: PolicySpec) -> None:
        if not spec.cameras:
            raise ConfigError(f"policy {spec.name!r} looks at no camera; an observation is made around a picture of one of {list(cell.cameras)}")
        self._builder = ObservationBuilder(cell, spec)
        topics = {camera: names.of_camera(names.IMAGE, cell.camera_scope(camera)) for camera in spec.cameras}
        self._first = next(iter(topics))
        alone = {self._first} if spec.history == 1 else set()  # of the first camera the newest picture is enough
        self._cameras = {
            camera: PolledSubscription(node, Image, topic, qos.SENSOR if camera in alone else qos.STREAM) for camera, topic in topics.items()
        }
        self._states = {name: PolledSubscription(node, JointState, names.device_states(name), qos.STREAM) for name in spec.joint_interfaces}
        self._hands = {side: PolledSubscription(node, MountedHandMsg, names.mounted_hand(side), qos.LATCHED) for side in spec.mounted_sides}
        self.first_topic = topics[self._first]
        self.seen_ns = 0
        """When the first camera's newest picture came, monotonic [ns]."""

    def take(self, timeout_s: float) -> int | None:
        """Waits for a picture of the first camera and takes all there is; the stamp of its newest picture, None where no new one came."""
        self._take_states()
        newest = None
        if self._cameras[self._first].wait(timeout_s):
            for message in self._cameras[self._first].take_all():
                newest = self._add_picture(self._first, message)
            self.seen_ns = time.monotonic_ns()
        for camera, subscription in self._cameras.items():
            if camera != self._first:
                for message in subscription.take_all():
                    self._add_picture(camera, message)
        return newest

    def mounted(self) -> Iterator[MountedHand]:
        """Hands that were told since the last call. Raises ObservationRefused ``hand_unknown`` for one that cannot be."""
        for side, subscription in self._hands.items():
            message = subscription.take_newest()
            if message is None:
                continue
            try:
                yield mounted_from_msg(message)
            except DexError as error:
                raise ObservationRefused(f"mounted hand of the {side} side: {error}", code="hand_unknown") from error

    def build(self, stamp_ns: int, mounted: Mapping[str, MountedHand]) -> Observation:
        """The observation around the picture of this stamp; see ObservationBuilder."""
        self._take_states()
        self._builder.mounted = mounted
        return self._builder.build(stamp_ns)

    def destroy(self) -> None:
        """Ends the subscriptions."""
        for subscription in (*self._cameras.values(), *self._states.values(), *self._hands.values()):
            subscription.destroy()

    def _add_picture(self, camera: str, message: Image) -> int:
        stamp_ns = time_from_msg(message.header.stamp)
        self._builder.add_picture(camera, stamp_ns, partial(_pixels, message))
        return stamp_ns

    def _take_states(self) -> None:
        for interface, subscription in self._states.items():
            for message in subscription.take_all():
                self._builder.add_state(interface, time_from_msg(message.header.stamp), partial(joint_state_from_msg, message))


def _pixels(message: Image) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image_from_msg(message))
