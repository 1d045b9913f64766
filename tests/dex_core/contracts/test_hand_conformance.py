# SPDX-License-Identifier: Apache-2.0
"""Every hand and side passes the conformance kit, and the kit finds what is wrong with a hand that is wrong."""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from dex_core.config import find_share, read_description
from dex_core.contracts.hand import CHECKS, HandCase, HandContract, main, run_check
from dex_core.contracts.hand_bodies import segment_distance_m
from dex_core.contracts.hand_case import FAILED, PASSED, REPORTED, every_hand

REFERENCE = Path(__file__).resolve().parents[4] / "shared" / "reference" / "kinematics"
MIRROR_WITHIN_M = {  # how far those are off that say so in their configuration
    "allegro": 10.5e-3, "dexh13": 6.5e-3, "inspire": 11e-3, "leap": 14e-3, "schunk_svh": 0.105,
}


@cache  # one hand for all of its checks
def loaded(name, side):
    found = (REFERENCE / f"{stem}.urdf" for stem in (f"{name}_{side}", name))
    reference = next((path for path in found if path.is_file()), None)
    return HandCase(name, side, reference, mirror_within_m=MIRROR_WITHIN_M.get(name, 0.0))


class TestEveryHand(HandContract):
    @pytest.fixture(params=every_hand(), ids="_".join)
    def case(self, request):
        return loaded(*request.param)


@pytest.fixture
def spoiled(tmp_path, monkeypatch):
    """A copy of a right hand under the same name, spoiled by two functions: of its configuration and of its URDF."""

    def make(name, configuration=lambda data: None, urdf=lambda robot: None):
        data = yaml.safe_load(find_share("config", "hands", f"{name}.yaml").read_text())
        for side in ("left", "right"):
            robot = ElementTree.fromstring(read_description(data["urdf"], side))
            urdf(robot)
            path = tmp_path / "urdf" / data["urdf"].format(side=side)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(ElementTree.tostring(robot))
        data.setdefault("palm", {side: {"link": data["root_link"]} for side in ("left", "right")})
        configuration(data)
        (tmp_path / "config" / "hands").mkdir(parents=True)
        (tmp_path / "config" / "hands" / f"{name}.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        monkeypatch.setenv("DEX_SHARE_PATH", str(tmp_path))
        return HandCase(name, "right")

    return make


def joint_of(robot, name):
    return next(j for j in robot.findall("joint") if j.get("name") == name)


def test_a_hand_that_is_right_passes_every_check(spoiled):
    case = spoiled("inspire", lambda data: data["sources"].update(conformance_mirror_symmetry="known"))
    assert {name: run_check(name, case).status for name in CHECKS if name != "equals reference"}.keys() == CHECKS.keys() - {"equals reference"}
    assert all(run_check(name, case).status in (PASSED, REPORTED) for name in CHECKS if name != "equals reference")


def turn_index(robot):
    axis = joint_of(robot, "index_proximal_joint").find("axis")
    axis.set("xyz", "0 0 -1")


def wide_follower(robot):
    joint_of(robot, "index_intermediate_joint").find("limit").set("upper", "0.5")


def degrees(data):
    data["limits"]["index_proximal_joint"]["upper_rad"] = 84.0


def no_way_back(data):
    data["hardware"]["index_proximal_joint"]["at_upper"] = 1000.0


def wrong_finger(data):
    data["fingers"]["index"]["joints"] = ["middle_proximal_joint"]


def palm_upside_down(data):
    for side in ("left", "right"):
        data["palm"][side] = {"link": data["root_link"], "rpy_rad": [3.14159265, 0.0, 0.0]}


def other_hand(data):
    data["palm"]["right"] = {"link": data["root_link"], "rpy_rad": [0.0, 0.0, 3.14159265]}


@pytest.mark.parametrize("check, configuration, urdf, words", [
    ("closes to the palm", None, turn_index, "index_proximal_joint moves the index's tip away"),
    ("coupling closure", None, wide_follower, "index_intermediate_joint"),
    ("radians", degrees, None, "84.0"),
    ("limits", degrees, None, "index_proximal_joint"),
    ("hardware round trip", no_way_back, None, "cannot be turned back"),
    ("fingers consistent", wrong_finger, None, "index_tip"),
    ("palm frame", palm_upside_down, None, "not +Z"),
    ("palm frame", other_hand, None, "thumb"),
    ("closes to the palm", other_hand, None, "away from +X"),
])
def test_what_is_wrong_is_found_and_named(spoiled, check, configuration, urdf, words):
    case = spoiled("inspire", configuration or (lambda data: None), urdf or (lambda robot: None))
    outcome = run_check(check, case)
    assert outcome.status == FAILED
    assert words in outcome.detail


def test_another_geometry_is_not_the_published_one(spoiled, tmp_path):
    published = tmp_path / "published.urdf"
    published.write_text(read_description("hands/inspire_{side}.urdf", "right"))
    assert run_check("equals reference", HandCase("inspire", "right", published)).status == PASSED
    spoiled("inspire", urdf=lambda robot: joint_of(robot, "middle_proximal_joint").find("origin").set("xyz", "0 -0.1371 -0.013"))
    outcome = run_check("equals reference", HandCase("inspire", "right", published))
    assert outcome.status == FAILED
    assert "middle" in outcome.detail


def test_a_missing_published_description_is_said_not_passed_over(tmp_path):
    outcome = run_check("equals reference", HandCase("inspire", "right", tmp_path / "nothing.urdf"))
    assert outcome.status == "skip" and "nothing.urdf" in outcome.detail


def test_an_asymmetry_needs_a_reason_and_stays_within_it(spoiled):
    case = spoiled("inspire", lambda data: data["sources"].pop("conformance_mirror_symmetry"))
    assert run_check("mirror symmetry", case).status == FAILED
    assert run_check("mirror symmetry", HandCase("inspire", "right", None, {"mirror symmetry": "said"}, 1e-3)).status == FAILED
    assert run_check("mirror symmetry", HandCase("inspire", "right", None, {"mirror symmetry": "said"}, 11e-3)).status == REPORTED


def test_the_command_says_by_its_exit_code_what_it_found(spoiled, capsys):
    spoiled("inspire", lambda data: data["sources"].update(conformance_mirror_symmetry="known"))
    assert main(["inspire", "--side", "right"]) == 0
    assert "fingers consistent" in capsys.readouterr().out


def test_the_command_fails_with_a_bad_hand(spoiled, capsys):
    spoiled("inspire", wrong_finger)
    assert main(["inspire", "--side", "right"]) == 1
    assert main(["no_such_hand"]) == 2
    assert "no_such_hand" in capsys.readouterr().err


def test_an_arm_is_no_hand(capsys):
    assert main(["xarm7"]) == 2
    assert "arm" in capsys.readouterr().err


def test_distance_of_segments():
    line = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert segment_distance_m(line, line + [0.0, 0.2, 0.0]) == pytest.approx(0.2)
    assert segment_distance_m(line, np.array([[0.5, -1.0, 0.3], [0.5, 1.0, 0.3]])) == pytest.approx(0.3)
    assert segment_distance_m(line, np.array([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])) == pytest.approx(1.0)
    rng = np.random.default_rng(3)
    for one, two in rng.normal(size=(20, 2, 2, 3)):
        shares = np.linspace(0.0, 1.0, 101)
        points = [s[0] + shares[:, None] * (s[1] - s[0]) for s in (one, two)]
        sampled = np.linalg.norm(points[0][:, None] - points[1][None], axis=2).min()
        assert segment_distance_m(one, two) == pytest.approx(sampled, abs=0.02)
        assert segment_distance_m(one, two) <= sampled + 1e-12
