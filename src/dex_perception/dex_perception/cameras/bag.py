# SPDX-License-Identifier: Apache-2.0
"""A recording is a camera: plays the pictures of an MCAP at their recorded intervals, without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dex_core.config import CameraConfig, CellConfig
from dex_core.config.strict import bounded, build, choice
from dex_core.devices.camera import CameraReport, Frame, Intrinsics, PulledCamera
from dex_core.errors import ConfigError, ConnectionLostError, DeviceError
from dex_perception.cameras import bag_decode
from dex_perception.cameras.bag_frames import FrameAssembly, RecordedFrame
from dex_perception.cameras.bag_reader import BagReader
from dex_perception.cameras.bag_topics import BagTopics, choose_topics
from dex_perception.cameras.replay import Player

FILE = "file:"


@dataclass(frozen=True)
class BagOptions:
    """``options`` of a camera with the driver ``bag``.

    Attributes:
        rate: of time. 0: no pacing; every exposure is handed out in turn, as fast as it is asked for, and none is skipped.
        loop: begins anew at the end; else the camera is gone then, and stays gone.
        stamps: ``live``: as if taken now, so that checks of age mean something; ``recorded``: as they were.
        colour_topic, depth_topic, info_topic: where the names are not those of realsense2_camera or zed-ros2-wrapper.
        pair_within_s: how far the stamps of colour and depth of one exposure may lie apart.
        noise_free: a drawn scene was recorded, where equal pictures in a row are no sign of a frozen camera.
    """

    rate: float = bounded(0.0, 100.0, default=1.0)
    loop: bool = True
    stamps: str = choice("live", "recorded", default="live")
    colour_topic: str = ""
    depth_topic: str = ""
    info_topic: str = ""
    pair_within_s: float = bounded(0.0, 1.0, default=0.005)
    noise_free: bool = False

    def __post_init__(self) -> None:
        if self.loop and self.stamps == "recorded":
            raise ConfigError("loop would send recorded stamps back in time; set loop: false or stamps: live")


class BagCamera(PulledCamera):
    """Implements dex_core.devices.camera.Camera over the pictures of a recording.

    Paced, it behaves as the device did: an exposure that nobody fetched in time gives way to the newest that is due. Unpaced (rate 0) it moves on
    only with calls that wait.

    Args:
        config: ``address`` is ``file:<path>`` or a path: a rosbag2 folder or an ``.mcap`` file; ``options`` are :class:`BagOptions`.
    """

    def __init__(self, config: CameraConfig, cell: CellConfig | None = None) -> None:
        if not config.address:
            raise ConfigError("address is empty; a bag camera needs file:<path of the recording>")
        self._path = Path(config.address.removeprefix(FILE)).expanduser()
        self._options: BagOptions = build(BagOptions, dict(config.options), "options of the bag camera")
        self._depth = config.depth
        self.noise_free = self._options.noise_free
        self.name = f"recording {self._path.name}"
        live = self._options.stamps == "live"
        self._player: Player[RecordedFrame] = Player(self.name, self._one_pass, rate=self._options.rate, loop=self._options.loop, live=live)
        self._reader: BagReader | None = None
        self._topics: BagTopics | None = None
        self._assembly: FrameAssembly | None = None
        self._lens: Intrinsics | None = None

    def connect(self) -> None:
        """Opens the recording at its beginning.

        Raises:
            DeviceError: not there, damaged, without the pictures that are wanted (says what it has), or it has ended.
            ConfigError: a topic named in ``options`` is not in it, or it has several cameras and none is named.
        """
        self.disconnect()
        reader, options = BagReader(self._path), self._options
        self._topics = choose_topics(reader.topics(), depth=self._depth, colour_topic=options.colour_topic, depth_topic=options.depth_topic,
                                     info_topic=options.info_topic)
        self._assembly = FrameAssembly(self._topics, options.pair_within_s)
        self._reader = reader
        self._lens = self._player.start().intrinsics

    def intrinsics(self) -> Intrinsics:
        """Of the exposure that was handed out last, before that of the first one. Raises ConnectionLostError."""
        if self._lens is None:
            raise ConnectionLostError(f"{self.name} is not open")
        return self._lens

    def pull(self, timeout_s: float) -> Frame | None:
        """The newest exposure that is due, else the next when it is.

        Raises:
            ConnectionLostError: not connected.
            DeviceError: ``ended``, ``bag_damaged``, or ``camera_info_mismatch``: a CameraInfo that is not of its picture.
            ShapeError: a picture is malformed or its encoding is not one of a picture or of depth.
        """
        played = self._player.take(timeout_s)
        if played is None:
            return None
        recorded = played.item
        rgb = bag_decode.picture(recorded.colour)
        depth = None if recorded.depth is None else bag_decode.depth(recorded.depth)
        self._lens = recorded.intrinsics
        size = (self._lens.height, self._lens.width)
        for what, picture in (("picture", rgb), ("depth", depth)):
            if picture is not None and picture.shape[:2] != size:
                raise DeviceError(f"a {what} of {self.name} has {picture.shape[1]} x {picture.shape[0]} pixels, its CameraInfo says "
                                  f"{size[1]} x {size[0]}", code="camera_info_mismatch")
        return Frame(rgb, depth, played.stamp_ns, played.sequence)

    def disconnect(self) -> None:
        """Closes the recording; any number of times."""
        self.forget()
        self._player.stop()
        self._lens = None

    def report(self) -> CameraReport:
        """File, topics, pace, and what was left out."""
        values = {"recording": str(self._path), "rate": f"{self._options.rate:g}", "passes": str(self._player.passes),
                  "skipped": str(self._player.skipped)}
        if self._topics is not None and self._assembly is not None:
            values |= {"colour": self._topics.colour, "depth": self._topics.depth or "none", "unpaired": str(self._assembly.unpaired)}
        cut = self._reader is not None and self._reader.truncated
        return CameraReport(values, "the end of the recording was cut off" if cut else "")

    def _one_pass(self) -> Iterator[RecordedFrame]:
        assert self._reader is not None and self._topics is not None and self._assembly is not None
        empty = True
        for frame in self._assembly.frames(self._reader.messages(self._topics.all)):
            empty = False
            yield frame
        if empty:
            depth = f", none within {self._options.pair_within_s:g} s of depth on {self._topics.depth!r} ({self._assembly.unpaired} left out)"
            raise DeviceError(f"{self.name} has no whole exposure on {self._topics.colour!r}{depth if self._topics.depth else ''} "
                              f"with a CameraInfo on {self._topics.info!r}", code="bag_empty")
