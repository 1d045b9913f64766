# SPDX-License-Identifier: Apache-2.0
"""The few QoS profiles of the stack, each with the reason it exists."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, reliability: ReliabilityPolicy, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=reliability, durability=durability)


SENSOR = _profile(1, ReliabilityPolicy.BEST_EFFORT)
"""Pictures and joint states: only the newest matters, a lost one is replaced by the next."""

STREAM = _profile(32, ReliabilityPolicy.BEST_EFFORT)
"""Pictures and joint states that are matched by time: the one measured nearest to a stamp may not be the newest."""

HEARTBEAT = _profile(50, ReliabilityPolicy.BEST_EFFORT)
"""One topic for all nodes, so the queue holds one from each."""

COMMAND = _profile(1, ReliabilityPolicy.RELIABLE)
"""The command stream: newest wins, nothing is queued."""

COMMAND_FOLLOWER = _profile(1, ReliabilityPolicy.BEST_EFFORT)
"""A driver's end of the command stream, which matches ``COMMAND``: the next command replaces a lost one within one period, and a receipt
for each would wake two threads in every driver and one in the gate."""

CHUNK = _profile(4, ReliabilityPolicy.RELIABLE)
"""Action chunks: rare and large, none may be lost."""

REPORT = _profile(10, ReliabilityPolicy.RELIABLE)
"""Reports and diagnostics."""

LATCHED = _profile(1, ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
"""Mode, manifest, description: a late joiner gets the newest at once."""
