# SPDX-License-Identifier: Apache-2.0
"""Faults of one node: pictures that are none, a model that fails, and a consumer that is slower than its producer."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from dex_bringup.fault.play import Seen, Stage, Unexpected, expect
from dex_core.clock import NS
from dex_core.decode import MountedHand
from dex_core.devices.camera import Frame
from dex_core.errors import DexError
from dex_core.policy import Observation, ObservationBuilder, PolicySpec
from dex_core.types import JointState
from dex_perception.frame_watch import FrameWatch

START_NS = 1_700_000_000 * NS
PERIOD_NS = NS // 20
MESSAGES = 1000
GROWTH_KIB = 4096


def bad_pictures(stage: Stage) -> Seen:
    """F17: black, frozen, repeated, late and future pictures; a cut one and another encoding."""
    from dex_ros.convert import image_from_msg, image_to_msg

    rng = np.random.default_rng(0)
    live = [rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(8)]
    seen = {}
    for how in ("blank", "frozen", "repeated", "late", "future"):
        watch, stamp = FrameWatch(), START_NS
        for k in range(8):
            stamp += PERIOD_NS
            picture = np.zeros_like(live[0]) if how == "blank" and k == 7 else live[0] if how == "frozen" else live[k]
            sequence, now = (6 if how == "repeated" and k == 7 else k), stamp
            now += {"late": 5 * NS, "future": -5 * NS}.get(how, 0) if k == 7 else 0
            verdict = watch.judge(Frame(picture, None, stamp, sequence), picture, now)
        expect(verdict == how, f"{how} picture was judged {verdict!r}")
        seen[how] = watch.refused[how]
    message = image_to_msg(live[0], START_NS, "camera")
    for what, change in {"cut": ("data", message.data[:1000]), "other encoding": ("encoding", "16UC1"), "no width": ("width", 0)}.items():
        before = getattr(message, change[0])
        setattr(message, *change)
        try:
            image_from_msg(message)
        except DexError as error:
            seen[what] = error.code
        else:
            raise Unexpected(f"a picture with {what} was read")
        setattr(message, change[0], before)
    return Seen("detected: " + ", ".join(f"{how} ({value})" for how, value in seen.items()))


def model_fails(stage: Stage) -> Seen:
    """F39: the runtime of the shipped model raises in mid-goal, as a device without memory does."""
    from dex_core.policy.runtime import load_policy, mounted_hands
    from dex_policy.serving import PolicyServer

    policy, bundle = load_policy(stage.cell)
    server, stamps = PolicyServer(policy, stage.cell.policy), iter(range(START_NS, START_NS + 10**6))
    for hand in mounted_hands(stage.cell, bundle).values():
        server.note_mounted(hand)
    session = bundle.sessions["policy"]

    def look() -> bool:
        stamp_ns = next(stamps)
        return server.due(stamp_ns) and server.step(_home(stage, policy.spec, server.mounted, stamp_ns), stamp_ns, stamp_ns) is not None

    def fail(*_arguments: object) -> None:
        raise MemoryError("out of device memory")

    whole = session._session  # type: ignore[attr-defined]

    server.begin("first", policy.spec.instructions[0])
    expect(look(), f"no chunk before the fault: {server.status()}")
    session._session = SimpleNamespace(run=fail)  # type: ignore[attr-defined] # onnxruntime itself, beneath what names its errors
    server.end("first")
    server.begin("second", policy.spec.instructions[0])
    expect(not look() and server.status().reason == "model_failed", f"a model that raised made {server.status()}")
    server.end("second")
    try:
        server.begin("third", policy.spec.instructions[0])
    except DexError as error:
        refused = error.code
    else:
        raise Unexpected("a goal was taken by a server whose model failed")
    session._session = whole  # type: ignore[attr-defined]
    server.recover()
    server.begin("fourth", policy.spec.instructions[0])
    expect(look(), f"no chunk after the model works again: {server.status()}")
    return Seen(f"told as model_failed, the next goal refused [{refused}]; chunks again after it was activated anew")


def _home(stage: Stage, spec: PolicySpec, mounted: Mapping[str, MountedHand], stamp_ns: int) -> Observation:
    """The cell at home, a picture of noise."""
    rng, builder = np.random.default_rng(stamp_ns), ObservationBuilder(stage.cell, spec)
    builder.mounted = mounted
    for camera, (height, width) in spec.cameras.items():
        builder.add_picture(camera, stamp_ns, lambda size=(height, width, 3): rng.integers(0, 255, size, dtype=np.uint8))
    for name in spec.joint_interfaces:
        i = stage.cell.interface(name)
        zero = np.zeros(len(i.names))
        builder.add_state(name, stamp_ns, lambda i=i, zero=zero: JointState(i.names, np.array(i.home), zero, zero, stamp_ns))
    return builder.build(stamp_ns)


def slow_consumer(stage: Stage) -> Seen:
    """F22: a polled subscription whose owner sleeps while the gate sends 1000 commands."""
    from dex_msgs.msg import JointCommand
    from dex_ros import names, qos
    from dex_ros.polling import PolledSubscription
    from dex_ros.testing import wait_for

    with _own_nodes() as (talker, listener):
        publisher = talker.create_publisher(JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        subscription: PolledSubscription[JointCommand] = PolledSubscription(listener, JointCommand, names.JOINT_COMMAND, qos.COMMAND)
        wait_for(lambda: publisher.get_subscription_count() == 1, "the subscription")
        message = JointCommand(names=list(stage.cell.joint_names), positions=[0.0] * len(stage.cell.joint_names))
        before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for sequence in range(1, MESSAGES + 1):
            message.sequence = sequence
            publisher.publish(message)
        taken: list[int] = []
        wait_for(lambda: _take(subscription, taken) and taken[-1] == MESSAGES, "the newest command")
        grew_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
        subscription.destroy()
    expect(len(taken) < MESSAGES // 2 and grew_kib < GROWTH_KIB, f"{len(taken)} messages were kept, memory grew by {grew_kib} KiB")
    return Seen(f"newest of {MESSAGES} taken, {len(taken)} in all; memory grew by {grew_kib} KiB")


def _take(subscription: object, taken: list[int]) -> bool:
    message = subscription.take()  # type: ignore[attr-defined]
    if message is not None:
        taken.append(message.sequence)
    return bool(taken)


@contextmanager
def _own_nodes() -> Iterator[tuple[object, object]]:
    """Two nodes in a namespace of their own."""
    import rclpy
    from rclpy.context import Context
    from rclpy.signals import SignalHandlerOptions

    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    nodes = [rclpy.create_node(name, namespace="fault_f22", context=context, enable_rosout=False) for name in ("talker", "listener")]
    try:
        yield nodes[0], nodes[1]
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown(context=context)
