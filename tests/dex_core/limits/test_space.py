# SPDX-License-Identifier: Apache-2.0
"""Limits of the whole cell: it slows before a place where it must not be, stands there with both arms, and may always leave."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dex_core.config import CellConfig, load_cell
from dex_core.config.safety import Box, SafetyConfig, SafetyProfile, Zone
from dex_core.limits import JointLimits, LimitPipeline, Moment, Motion
from dex_core.limits.meetings import CellModel, meeting_of
from dex_core.limits.space import SpaceLimits
from dex_description import compose_cell_urdf

DT_S = 0.01
OF_THE_CELL = ("tool_speed", "singularity", "workspace", "collision")
LEAN, MEET = np.zeros(26), np.zeros(26)
LEAN[[1, 8]] = 1.0  # both arms lean forward and down
MEET[[0, 1, 3, 5]] = MEET[[7, 8, 10, 12]] = -1.2, 0.52, 0.84, -0.47  # they stretch and turn inwards, until the thumbs would overlap
MEET[7] = 1.2


class Cell:
    """A cell that follows its limits perfectly, and what they did."""

    def __init__(self, config: CellConfig, safety: SafetyConfig | None = None) -> None:
        self.config = config if safety is None else dataclasses.replace(config, safety=safety)
        self.limits = JointLimits.of_cell(self.config)
        self.urdf = compose_cell_urdf(config)
        self.space = SpaceLimits.of_cell(self.config, self.urdf, self.limits)
        self.pipeline = LimitPipeline(self.limits, self.space)
        self.model = CellModel(self.config, self.urdf)
        self.home = np.array([q for interface in config.interfaces.values() for q in interface.home])
        self.go_home()

    def go_home(self) -> Cell:
        self.motion, self.shares, self.changes, self.nearest = Motion.at_rest(self.home), [], {}, []
        self.space.clear()
        return self

    def go(self, goal: np.ndarray, ticks: int = 250) -> Cell:
        """Asks for ``goal`` (n,) at once, over and over."""
        for _ in range(ticks):
            command = self.pipeline.apply(goal, Moment(self.motion, self.motion.position_rad, DT_S, np.zeros(26)))
            self.motion = command.motion
            self.shares.append(command.share)
            self.changes |= {change.limit: change for change in command.changes if change.limit in OF_THE_CELL}
            self.nearest.append({meeting.parts: meeting.nearest.distance_m for meeting in self.model.meetings(self.motion.position_rad)})
        return self

    def smallest(self, *parts: str) -> float:
        return min(row[parts] for row in self.nearest)


@pytest.fixture(scope="module")
def config() -> CellConfig:
    return load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def whole(config: CellConfig) -> Cell:
    return Cell(config)


@pytest.fixture
def cell(whole: Cell) -> Cell:
    return whole.go_home()


def test_f30_two_arms_that_turn_into_each_other_slow_down_and_stand(cell: Cell):
    cell.go(cell.home + MEET)
    assert cell.changes["collision"].limit == "collision" and min(cell.shares) < 0.02
    assert min(min(row.values()) for row in cell.nearest) > 0.0, "nothing ever touched"
    zone = cell.config.safety.distances["hand-hand"]
    assert zone.stop <= cell.smallest("left_hand", "right_hand") < 0.5 * (zone.slow + zone.stop)
    assert np.abs(cell.motion.velocity_rad_s).max() < 0.02, "both arms stand"
    assert 0.02 < min(share for share in cell.shares if share > 0.02) < 0.9, "it slowed down on the way"


def test_f30_leaving_is_never_slowed(cell: Cell):
    cell.go(cell.home + MEET)
    cell.changes.clear()
    cell.go(cell.home, 150)
    assert "collision" not in cell.changes
    np.testing.assert_allclose(cell.motion.position_rad, cell.home, atol=1e-6)


def test_f30_an_arm_that_leans_onto_the_table_stands_above_it(cell: Cell):
    cell.go(cell.home + 1.6 * LEAN)
    assert "table" in cell.changes["collision"].joint and min(cell.shares) < 0.02
    for side in ("left", "right"):
        assert cell.smallest("", f"{side}_arm") > 0.0
        assert cell.smallest("", f"{side}_hand") > cell.config.safety.distances["hand-table"].stop - 0.004


@pytest.mark.parametrize("seed", range(3))
def test_f30_random_goals_never_bring_anything_together(cell: Cell, seed: int):
    """The invariant: nothing comes nearer than its ``stop`` but for what the rounding of the zone costs."""
    rng = np.random.default_rng(seed)
    arms = np.concatenate([np.ones(14), np.zeros(12)])
    for _ in range(3):
        cell.go(cell.limits.clip(cell.home + arms * rng.uniform(-1.5, 1.5, 26)), 60)
    zones = {parts: cell.config.safety.distances[meeting_of(*parts)] for parts in cell.nearest[0]}
    for parts, zone in zones.items():
        assert cell.smallest(*parts) > zone.stop - 0.25 * (zone.slow - zone.stop) - 0.004, parts


def test_a_hand_of_thick_shapes_may_have_its_own_distance_to_the_table(config: CellConfig):
    own = Zone(-0.02, -0.03)
    safety = dataclasses.replace(config.safety, profiles={"left_hand": SafetyProfile(table=own)})
    changed = dataclasses.replace(config, safety=safety)
    zones = {meeting.parts: meeting.zone for meeting in CellModel(changed, compose_cell_urdf(changed)).meetings(np.zeros(26))}
    assert zones["", "left_hand"] == own and zones["", "right_hand"] == config.safety.distances["hand-table"]


def test_a_workspace_ends_where_it_says(config: CellConfig):
    safety = SafetyConfig(workspaces={"left_arm": Box((-1.0, -1.0, -1.0), (0.45, 1.0, 1.0))}, distances={})
    cell = Cell(config, safety)
    cell.go(cell.home + MEET)
    tool = cell.model.places(cell.motion.position_rad[None]).tool_m[0, 0]
    assert cell.changes["workspace"].joint == "left_arm x" and cell.changes["workspace"].allowed == 0.45
    assert 0.42 < tool[0] <= 0.451
    cell.changes.clear()
    cell.go(cell.home, 150)
    assert "workspace" not in cell.changes


def test_a_tool_is_never_faster_than_its_profile_says(config: CellConfig):
    slow = SafetyProfile(tool_speed_m_s=0.25)
    cell = Cell(config, SafetyConfig(profiles={"left_arm": slow, "right_arm": slow}, distances={}))
    before, fastest = cell.model.places(cell.home[None]).flange_m[0], 0.0
    for _ in range(60):
        cell.go(cell.home - 0.8 * LEAN, 1)
        now = cell.model.places(cell.motion.position_rad[None]).flange_m[0]
        fastest, before = max(fastest, np.linalg.norm(now - before, axis=1).max() / DT_S), now
    assert cell.changes["tool_speed"].allowed == 0.25
    assert 0.2 < fastest <= 0.25 * 1.02


def test_a_singularity_is_approached_slowly_and_left_freely(config: CellConfig):
    """The stretched arm: the elbow's joint 4 goes to zero."""
    profile = SafetyProfile(singularity=Zone(0.15, 0.08))
    cell = Cell(config, SafetyConfig(profiles={"left_arm": profile, "right_arm": SafetyProfile()}, distances={}))
    stretched = cell.home.copy()
    stretched[[1, 3, 5]] = 0.0
    cell.go(stretched, 400)
    assert cell.changes["singularity"].joint == "left_arm" and min(cell.shares) < 0.2
    assert cell.model.singular_values(cell.motion.position_rad)[0] > 0.08
    cell.changes.clear()
    cell.go(cell.home, 150)
    assert "singularity" not in cell.changes


def test_a_chunk_is_examined_before_its_first_step(cell: Cell):
    way = np.linspace(0.0, 1.0, 64)[:, None]
    against, remarks = cell.space.examine(cell.home + way * MEET, 0.05, cell.home, 2)
    assert against is not None and against.change.limit == "collision" and 20 < against.step < 64 and not remarks
    against, remarks = cell.space.examine(cell.home + 0.5 * way * MEET, 0.05, cell.home, 2)
    assert against is None and not remarks
    inside = cell.home + MEET
    against, _ = cell.space.examine(inside - way * MEET, 0.05, inside, 2)
    assert against is None, "the way out is a good one"


def test_a_body_has_two_arms_of_its_own():
    config = load_cell("g1")
    model = CellModel(config, compose_cell_urdf(config))
    home = np.array([q for interface in config.interfaces.values() for q in interface.home])
    assert model.arms == ("left_arm", "right_arm")
    assert {("left_arm", "right_arm"), ("body", "left_arm"), ("body", "left_hand")} <= {meeting.parts for meeting in model.meetings(home)}
    space = SpaceLimits.of_cell(config, compose_cell_urdf(config), JointLimits.of_cell(config))
    assert space.slow(Motion.at_rest(home), home + 1e-3, DT_S).share == 1.0


@pytest.mark.parametrize("one, other, name", [
    ("left_arm", "right_arm", "arm-arm"), ("left_arm", "right_hand", "arm-hand"), ("left_arm", "left_hand", "arm-own"),
    ("left_arm", "left_arm", "arm-self"), ("body", "left_arm", "arm-self"), ("body", "left_hand", "arm-hand"),
    ("", "left_hand", "hand-table"), ("", "right_arm", "arm-table"),
    ("left_hand", "right_hand", "hand-hand"), ("left_hand", "left_hand", ""),
])
def test_meetings_have_names(one: str, other: str, name: str):
    assert meeting_of(one, other) == name == meeting_of(other, one)
