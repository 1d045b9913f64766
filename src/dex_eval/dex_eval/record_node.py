# SPDX-License-Identifier: Apache-2.0
"""Records every topic of the cell to MCAP; when the disk refuses it says so and the robot goes on unaffected."""

from __future__ import annotations

import hashlib
import importlib
import threading
import time
from pathlib import Path
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from dex_core.bundle import find_bundle
from dex_core.errors import ConfigError, DexError
from dex_eval.bag_writer import BagWriter, Qos
from dex_eval.topics import RecordedTopic, topics_of
from dex_ros.diagnostics import ERROR, OK
from dex_ros.node import DexNode, spin_main
from dex_ros.polling import PolledSubscription

POLL_PERIOD_S = 0.05
FLUSH_PERIOD_S = 0.5
DEFAULT_DEPTH = 10  # discovery does not tell the depth; rosbag2 plays with ten
_DURATION_MAX_NS = 2**63 - 1


class RawSubscription(PolledSubscription[Any]):
    """Serialized messages with the time they were sent, past the executor."""

    def take_stamped(self) -> tuple[bytes, int] | None:
        """(message, source time [ns]), or None at once."""
        handle = self._subscription.handle
        with handle:
            taken = handle.take_message(self._subscription.msg_type, True)
        return None if taken is None else (taken[0], int(taken[1]["source_timestamp"]) or time.time_ns())


def subscription_qos(topic: RecordedTopic) -> QoSProfile:
    """What the recorder asks for; never more than the publishers offer."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=topic.depth,
        reliability=ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE,
    )


def offered_qos(profile: QoSProfile) -> Qos:
    """A publisher's profile under rosbag2's field names."""
    def duration(value: Duration) -> dict[str, int]:
        nanoseconds = min(value.nanoseconds, _DURATION_MAX_NS) or _DURATION_MAX_NS
        return {"sec": nanoseconds // 10**9, "nsec": nanoseconds % 10**9}

    history = "keep_all" if profile.history == HistoryPolicy.KEEP_ALL else "keep_last"
    return {
        "history": history, "depth": int(profile.depth) or DEFAULT_DEPTH, "reliability": profile.reliability.name.lower(),
        "durability": profile.durability.name.lower(), "deadline": duration(profile.deadline), "lifespan": duration(profile.lifespan),
        "liveliness": "automatic", "liveliness_lease_duration": duration(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": False,
    }


class RecordNode(DexNode):
    """Parameters besides the common ones: ``folder``, where the recording ``bag`` (or ``bag-2``...) is made."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self.declare_parameter("folder", "")
        self._writer: BagWriter | None = None
        self._subscriptions_of: dict[RecordedTopic, RawSubscription] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def configure(self) -> None:
        """Makes the file with the cell and the manifests in it, and subscribes."""
        folder = self.get_parameter("folder").value
        if not folder:
            raise ConfigError("node recorder: parameter folder is empty; give the folder to record into")
        attachments = self._attachments()
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in attachments.items()}
        facts = {"cell": self.cell.name, "simulated": str(self.cell.simulated).lower(), "namespace": self.get_namespace(),
                 "bundle": self.cell.policy.bundle, "latent_bundle": self.cell.policy.latent_bundle,
                 **{f"sha256 {name}": digest for name, digest in digests.items()}}
        self._writer = BagWriter(_free_name(Path(folder)), attachments, {"dex": facts})
        for topic in topics_of(self.cell):
            package, _, name = topic.type_name.split("/")
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
            self._subscriptions_of[topic] = RawSubscription(self, message_type, topic.name, subscription_qos(topic), raw=True)

    def _attachments(self) -> dict[str, bytes]:
        found = {"cell.yaml": Path(self.get_parameter("cell_file").value).read_bytes()}
        for bundle in (self.cell.policy.bundle, self.cell.policy.latent_bundle):
            try:
                folder = find_bundle(bundle)
                found[f"{folder.name}/manifest.yaml"] = (folder / "manifest.yaml").read_bytes()
            except (ConfigError, OSError) as error:  # the policy node refuses to start then; what happens is worth recording
                self.get_logger().warning(f"recording without the manifest of {bundle!r}: {error}")
        return found

    def activate(self) -> None:
        """Starts recording."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def deactivate(self) -> None:
        """Records what is still queued and pauses."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=3.0)
            self._thread = None

    def cleanup(self) -> None:
        """Closes the recording; it is whole then."""
        for subscription in self._subscriptions_of.values():
            subscription.destroy()
        self._subscriptions_of.clear()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()

    def _run(self) -> None:
        try:
            flushed_s = time.monotonic()
            while not self._stop.wait(POLL_PERIOD_S):
                self._take_all()
                if time.monotonic() - flushed_s > FLUSH_PERIOD_S:
                    flushed_s = time.monotonic()
                    self._flush()
            self._take_all()
            self._flush()
        except DexError as error:
            self._fail(error)

    def _flush(self) -> None:
        assert self._writer is not None
        self._writer.flush()
        self.diagnostics.set("recording", OK, "recording", {"file": self._writer.path, "messages": self._writer.message_count})

    def _fail(self, error: DexError) -> None:
        self.get_logger().error(f"[{error.code}] {error}; nothing more is recorded, the robot goes on")
        self.heartbeat.reason = error.code
        self.diagnostics.set("recording", ERROR, str(error), {"code": error.code})
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _take_all(self) -> None:
        writer = self._writer
        assert writer is not None
        for topic, subscription in self._subscriptions_of.items():
            while (taken := subscription.take_stamped()) is not None:
                data, sent_ns = taken
                name = subscription.topic
                if not writer.has_topic(name):
                    offered = [offered_qos(info.qos_profile) for info in self.get_publishers_info_by_topic(name)]
                    writer.add_topic(name, topic.type_name, offered or [offered_qos(subscription_qos(topic))])
                writer.write(name, data, sent_ns, sent_ns)


def _free_name(folder: Path) -> Path:
    """``bag``, or ``bag-2``, ``bag-3``... when a recorder was started again in the same run."""
    names = [folder / "bag"] + [folder / f"bag-{number}" for number in range(2, 1000)]
    return next((name for name in names if not name.exists()), names[-1])


def main() -> int:
    """Entry of the executable."""
    return spin_main(RecordNode)


if __name__ == "__main__":
    raise SystemExit(main())
