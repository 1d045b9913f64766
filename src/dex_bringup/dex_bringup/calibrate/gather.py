# SPDX-License-Identifier: Apache-2.0
"""Views for a calibration: from a folder, from a recording, or from a running cell with a person moving the arm."""

from __future__ import annotations

import select
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState

from dex_bringup.calibrate.carrier import Carrier
from dex_bringup.calibrate.pairs import Pair, Pairing, Topics, pairs_of_recording
from dex_bringup.calibrate.stillness import Stillness
from dex_bringup.client import CellClient
from dex_core.devices.camera import Intrinsics
from dex_core.errors import DeadlineError, DexError
from dex_perception.calibrate import Board, Collector, Verdict
from dex_perception.calibrate.session import FILE, Session, SessionWriter, as_matrix, read_gray
from dex_ros import qos

Say = Callable[[str], None]
SILENT_S = 10.0
LOOK_PERIOD_S = 0.2
MOST_VIEWS = 40


@dataclass
class Gathered:
    """What came together.

    Attributes:
        collector: the views, the board and the lens. refused: code of refusal -> how often.
    """

    collector: Collector
    refused: Counter[str] = field(default_factory=Counter)

    def offer(self, name: str, gray: NDArray[np.uint8], joints: dict[str, float] | None, carrier: Carrier) -> Verdict:
        """Judges a picture with the joints it was taken at; None: the arm moved."""
        if joints is None:
            seen = self.collector.look(gray)
            verdict = Verdict("moving", f"the arm moves; {seen.text}", seen.sighting)
        else:
            verdict = self.collector.offer(name, gray, carrier.pose_in_world(joints))
        if not verdict.taken:
            self.refused[verdict.code] += 1
        return verdict


def from_folder(folder: Path, carrier: Carrier, say: Say) -> Gathered:
    """Every pair of a session. Raises ConfigError."""
    session = Session.read(folder)
    gathered = Gathered(Collector(Board.parse(session.board), session.intrinsics))
    for pair in session.pairs:
        pose = as_matrix(pair.flange) if pair.flange is not None else carrier.pose_in_world(pair.joints_rad)
        verdict = gathered.collector.offer(Path(pair.picture).stem, read_gray(folder / pair.picture), pose)
        if not verdict.taken:
            gathered.refused[verdict.code] += 1
        say(f"{pair.picture}: {verdict.text}")
    return gathered


def from_recording(path: Path, topics: Topics, carrier: Carrier, board: Board, say: Say) -> Gathered:
    """The pictures of a recording in which the arm stood still. Raises BagError, or DexError ``no_pictures``."""
    gathered: Gathered | None = None
    for intrinsics, pair in pairs_of_recording(path, topics, Stillness(carrier.joints)):
        gathered = gathered or Gathered(Collector(board, intrinsics))
        name = f"{len(gathered.collector.views) + 1:04d}"
        verdict = gathered.offer(name, pair.gray, pair.joints_rad, carrier)
        if verdict.taken:
            say(f"{name} at {pair.stamp_ns * 1e-9:.2f} s: {verdict.text}")
    if gathered is None:
        raise DexError(f"{path}: no picture of {topics.image!r} has joint states of {topics.states!r} around it", code="no_pictures")
    return gathered


def from_cell(topics: Topics, carrier: Carrier, board: Board, folder: Path, namespace: str, say: Say) -> Gathered:
    """Watches a running cell until the views cover enough, or Enter is pressed; every view is kept in ``folder``.

    Raises:
        DeadlineError: camera or arm is silent.
    """
    pairing = Pairing(Stillness(carrier.joints))
    with CellClient(namespace) as client:
        client.node.create_subscription(CameraInfo, topics.info, pairing.info, qos.SENSOR)
        client.node.create_subscription(Image, topics.image, pairing.picture, qos.SENSOR)
        client.node.create_subscription(JointState, topics.states, pairing.states, qos.SENSOR)
        client.spin_until(lambda: pairing.intrinsics is not None, f"topic {topics.info!r}", SILENT_S)
        assert pairing.intrinsics is not None
        watch = _Watch(pairing.intrinsics, board, carrier, folder, say)
        say(f"Move the arm and let it rest; views go to {folder}. Enter: calibrate with what there is. Ctrl-C: stop.")
        while not watch.done:
            client.pause(LOOK_PERIOD_S / 4)
            watch.take(list(pairing.pairs()), topics)
    return watch.gathered


class _Watch:
    """What a person sees while collecting."""

    def __init__(self, intrinsics: Intrinsics, board: Board, carrier: Carrier, folder: Path, say: Say) -> None:
        self.gathered = Gathered(Collector(board, intrinsics))
        self._writer = SessionWriter(folder, board, intrinsics)
        self._carrier, self._say = carrier, say
        self._last_s, self._said = time.monotonic(), ""

    @property
    def done(self) -> bool:
        """Enough was seen, or a person says so."""
        coverage = self.gathered.collector.coverage()
        pressed = sys.stdin.isatty() and bool(select.select([sys.stdin], [], [], 0.0)[0])
        if pressed:
            sys.stdin.readline()
            if not coverage.enough:
                self._say(f"not enough yet: {'; '.join(coverage.missing)}")
        return coverage.good or coverage.views >= MOST_VIEWS or (pressed and coverage.enough)

    def take(self, pairs: list[Pair], topics: Topics) -> None:
        """Judges the newest pair."""
        now_s = time.monotonic()
        if not pairs:
            if now_s - self._last_s > SILENT_S:
                raise DeadlineError(f"topic {topics.image!r} or {topics.states!r}", SILENT_S, "no picture with joint states around it")
            return
        self._last_s, pair = now_s, pairs[-1]
        name = f"{len(self.gathered.collector.views) + 1:04d}"
        verdict = self.gathered.offer(name, pair.gray, pair.joints_rad, self._carrier)
        if verdict.taken:
            self._writer.add(name, pair.gray, self.gathered.collector.views[-1].pose_flange_in_base)
            missing = self.gathered.collector.coverage().missing
            self._say(f"{name} taken: {verdict.text}. " + (f"Next: {missing[0]}" if missing else "Enough."))
        elif verdict.code != self._said:
            self._say(verdict.text)
        self._said = verdict.code


def is_session(path: Path) -> bool:
    """Whether a path is a folder that collecting wrote."""
    return (path / FILE).is_file()
