# SPDX-License-Identifier: Apache-2.0
"""Puts together what a recording holds apart: a colour picture, the depth of the same exposure, and the lens as it was then."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dex_core.clock import NS
from dex_core.devices.camera import Intrinsics
from dex_core.errors import DeviceError
from dex_perception.cameras import bag_decode
from dex_perception.cameras.bag_reader import BagMessage
from dex_perception.cameras.bag_topics import BagTopics

WAITS = 4
"""A picture waits for its own CameraInfo until so many later pictures are there; then it takes the newest."""
MOST_WAITING = 64


@dataclass(frozen=True)
class RecordedFrame:
    """One exposure, pictures still serialized: who skips it has not paid for it. ``stamp_ns``: as recorded."""

    stamp_ns: int
    colour: BagMessage
    depth: BagMessage | None
    intrinsics: Intrinsics


class FrameAssembly:
    """Turns messages into frames, in the order of the colour pictures.

    Args:
        topics: which message is what.
        pair_within_s: how far the stamps of a colour and a depth picture of one exposure may lie apart.

    Attributes:
        unpaired: pictures left out because the other half of their exposure is not in the recording.
    """

    def __init__(self, topics: BagTopics, pair_within_s: float) -> None:
        self._topics, self._within_ns = topics, round(pair_within_s * NS)
        self.unpaired = 0
        self._colours: deque[BagMessage] = deque()
        self._depths: deque[BagMessage] = deque()
        self._whole: deque[tuple[BagMessage, BagMessage | None]] = deque()
        self._lenses: deque[tuple[int, Intrinsics]] = deque(maxlen=MOST_WAITING)
        self._known: dict[bytes, Intrinsics] = {}

    def frames(self, messages: Iterable[BagMessage]) -> Iterator[RecordedFrame]:
        """Frames of the messages. Raises DeviceError: ``topic_missing``: pictures come, but no CameraInfo; ShapeError: a CameraInfo is unusable."""
        for message in messages:
            self._take(message)
            while self._whole and self._lens_is_there():
                yield self._made()
        while self._whole and self._lenses:
            yield self._made()
        self.unpaired += len(self._colours) + len(self._depths)
        self._colours.clear()
        self._depths.clear()

    def _take(self, message: BagMessage) -> None:
        if message.topic == self._topics.info:
            self._lenses.append((message.stamp_ns, self._lens(message)))
        elif not self._topics.depth:
            self._whole.append((message, None))
        else:
            (self._colours if message.topic == self._topics.colour else self._depths).append(message)
            self._pair()

    def _pair(self) -> None:
        """Stamps grow within a topic, so the earlier of two that do not match has missed its partner."""
        while self._colours and self._depths:
            apart_ns = self._colours[0].stamp_ns - self._depths[0].stamp_ns
            if abs(apart_ns) <= self._within_ns:
                self._whole.append((self._colours.popleft(), self._depths.popleft()))
            else:
                (self._depths if apart_ns > 0 else self._colours).popleft()
                self.unpaired += 1
        for waiting in (self._colours, self._depths):
            if len(waiting) > MOST_WAITING:
                waiting.popleft()
                self.unpaired += 1

    def _lens_is_there(self) -> bool:
        stamp_ns = self._whole[0][0].stamp_ns
        if len(self._whole) > MOST_WAITING and not self._lenses:
            raise DeviceError(f"{MOST_WAITING} pictures on {self._topics.colour!r} came before the first CameraInfo on {self._topics.info!r}",
                              code="topic_missing")
        return bool(self._lenses) and (len(self._whole) > WAITS or any(lens_ns == stamp_ns for lens_ns, _ in self._lenses))

    def _made(self) -> RecordedFrame:
        colour, depth = self._whole.popleft()
        lens = next((lens for lens_ns, lens in self._lenses if lens_ns == colour.stamp_ns), None)
        return RecordedFrame(colour.stamp_ns, colour, depth, lens or self._lenses[-1][1])

    def _lens(self, message: BagMessage) -> Intrinsics:
        """Decoded once for all messages that differ in nothing but their stamp."""
        content = message.data[12:]  # behind the encapsulation and the stamp
        if content not in self._known:
            if len(self._known) >= MOST_WAITING:
                self._known.clear()  # a lens that changes with every picture must not fill the memory
            self._known[content] = bag_decode.intrinsics(message, self._topics.rectified)
        return self._known[content]
