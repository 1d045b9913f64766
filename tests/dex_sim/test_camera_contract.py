# SPDX-License-Identifier: Apache-2.0
"""The simulated camera keeps the contract of every camera, with depth and without."""
from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest

from dex_core.config import load_cell
from dex_core.contracts.camera import CameraContract
from dex_sim.camera import SimulatedCamera
from dex_sim.state_server import StateServer
from dex_sim.world import World

CELL = load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def server() -> Iterator[StateServer]:
    """A world that stands still, seen now."""
    world = World(CELL)
    with StateServer(world.model, lambda: world.snapshot(time.time_ns()), "127.0.52.2:0") as server:
        yield server


@pytest.mark.render
class TestColour(CameraContract):
    depth = False

    @pytest.fixture
    def camera(self, server: StateServer) -> Iterator[SimulatedCamera]:
        changes = {"native_wh": (320, 180), "rate_hz": 50.0, "address": server.address, "depth": self.depth}
        camera = SimulatedCamera(dataclasses.replace(CELL.cameras["front"], **changes), CELL)
        yield camera
        camera.disconnect()


@pytest.mark.render
class TestDepth(TestColour):
    depth = True
