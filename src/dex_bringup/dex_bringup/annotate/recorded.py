# SPDX-License-Identifier: Apache-2.0
"""Samples of a recording, in the order of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from dex_bringup.annotate.intake import Intake
from dex_core.clock import NS
from dex_core.config import CellConfig
from dex_eval.bag import Recording
from dex_eval.episode import decode, recorded_cell
from dex_perception.keypoints.assemble import USUAL, Limits
from dex_perception.keypoints.sample import Sample


class RecordedSamples:
    """One pass over a recording.

    Args:
        path: recording folder, run folder or .mcap file.
        cell: where the recording holds none, or another one is meant.
        camera, limits: see Intake. every: only each n-th picture.
        tell: called with the share of the recording that is read, now and then.

    Attributes:
        cell: the recorded one. intake: what is read. rate_hz: of the pictures that are given.

    Raises:
        BagError: nothing there, damaged, without pictures or joints.
    """

    def __init__(
        self, path: Path, cell: CellConfig | None = None, camera: str = "", limits: Limits = USUAL, every: int = 1,
        tell: Callable[[float], None] = lambda _share: None,
    ) -> None:
        self.recording = Recording(path)
        self.cell = cell or recorded_cell(self.recording)
        self.intake = Intake(self.cell, camera, limits)
        self._every, self._tell = every, tell
        self._namespace = self.recording.metadata.get("dex", {}).get("namespace", "/").rstrip("/")
        if not self.recording.counts.get(self._full(self.intake.image)) and self.recording.counts.get(self._full(self.intake.compressed)):
            self.intake.use_compressed()
        image = next(name for name in (self.intake.compressed, self.intake.image) if name in self.intake.routes)
        self.recording.require(self._full(image), *(self._full(name) for name in self.intake.routes if name.endswith("joint_states")))
        pictures = self.recording.counts[self._full(image)]
        self.rate_hz = min(max(pictures / max(self.recording.duration_s, 1e-3) / every, 1.0), 120.0)
        self._image = image

    def __iter__(self) -> Iterator[Sample]:
        """Every complete sample."""
        names = {self._full(name): name for name in self.intake.routes}
        seen, begin_ns, told = 0, self.recording.first_ns, 0.0
        now_ns = begin_ns
        for message in self.recording.messages(frozenset(names)):
            name, now_ns = names[message.topic], message.log_ns
            if name == self._image:
                seen += 1
                if (seen - 1) % self._every:
                    continue
            kind = self.intake.routes[name].kind
            self.intake.put(name, decode(message, f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"), now_ns)
            yield from self.intake.assembler.ready(now_ns)
            share = (now_ns - begin_ns) * 1e-9 / max(self.recording.duration_s, 1e-9)
            if share - told > 0.01:
                told = share
                self._tell(share)
        yield from self.intake.assembler.ready(now_ns + 3600 * NS)  # nothing more comes
        self._tell(1.0)

    def _full(self, name: str) -> str:
        return name if name.startswith("/") else f"{self._namespace}/{name}"
