# SPDX-License-Identifier: Apache-2.0
"""dex show: what the browser is given moves as forward kinematics says, and pictures show all of the subject without a screen."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import viser
import zstandard
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from dex_bringup.cli import main
from dex_bringup.show.picture import PAPER, outline, parse_size, picture, portrait
from dex_bringup.show.posture import POSES
from dex_bringup.show.subject import Subject, family, find_subject
from dex_bringup.show.viewer import Viewer, _quaternion
from dex_core.config.load import names_in
from dex_core.errors import ConfigError
from dex_description.forward import link_poses, transform
from dex_description.urdf import Origin

HANDS = names_in("hands")


@pytest.fixture(scope="module")
def viewer() -> Iterator[Viewer]:
    shown = Viewer(find_subject("xarm_bimanual", overrides={"left_hand": "ability", "right_hand": "svh"}), port=18_231)
    yield shown
    shown.close()


def shown_poses(viewer: Viewer) -> dict[str, np.ndarray]:
    """Link -> (4, 4) pose in the root, multiplied out of the nodes a browser is told about."""
    poses = {viewer.subject.description.root: np.eye(4)}
    for joint in _parents_first(viewer.subject):
        node = viewer.nodes[joint.child]
        w, x, y, z = node.wxyz
        local = np.eye(4)
        local[:3, :3] = [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
        local[:3, 3] = node.position
        poses[joint.child] = poses[joint.parent] @ local
    return poses


def _parents_first(subject: Subject) -> list:
    found, waiting = [], [subject.description.root]
    while waiting:
        below = subject.description.joints_below(waiting.pop())
        found += below
        waiting += [joint.child for joint in below]
    return found


def assert_shown(viewer: Viewer, positions: dict[str, float]) -> None:
    shown = shown_poses(viewer)
    for link, pose in link_poses(viewer.subject.description, positions).items():
        assert np.allclose(shown[link], pose, atol=1e-6), link


def test_the_page_is_served(viewer: Viewer) -> None:
    with urllib.request.urlopen(viewer.url, timeout=10) as page:
        text = page.read()
        assert page.status == 200 and b"<html" in text.lower() and len(text) > 1000


def test_there_is_a_slider_for_each_actuated_joint_and_no_other(viewer: Viewer) -> None:
    assert set(viewer.sliders) == set(viewer.subject.description.actuated)
    for name, slider in viewer.sliders.items():
        low, high = viewer.subject.ranges[name]
        assert (slider.min, slider.max) == (low, high) and low <= slider.value <= high


def test_a_slider_moves_its_joint_and_what_is_coupled(viewer: Viewer) -> None:
    viewer.set(viewer.subject.pose("home"))
    positions = dict(viewer.subject.pose("home"))
    for name, share in (("left_index_q1", 0.7), ("right_hand_Finger_Spread", 0.4), ("right_joint4", 0.6), ("left_thumb_q1", 0.2)):
        low, high = viewer.subject.ranges[name]
        positions[name] = viewer.sliders[name].value = low + share * (high - low)
        assert_shown(viewer, positions)


@pytest.mark.parametrize("pose", POSES)
def test_poses_move_sliders_and_nodes(viewer: Viewer, pose: str) -> None:
    wanted = viewer.subject.pose(pose)
    viewer.set(wanted)
    assert {name: slider.value for name, slider in viewer.sliders.items()} == pytest.approx(wanted)
    assert_shown(viewer, wanted)


def test_a_browser_moves_a_slider_presses_a_button_and_is_told(viewer: Viewer) -> None:
    """What a browser does, over the socket it uses."""
    viewer.set(viewer.subject.pose("home"))
    joint = viewer.subject.description.joint("right_joint4")
    low, high = viewer.subject.ranges[joint.name]
    address = viewer.url.replace("http", "ws")
    with connect(address, subprotocols=[f"viser-v{viser.__version__}"], max_size=None) as browser:  # type: ignore[list-item]
        _hears(browser, "right_link7")  # the whole scene, at first
        _looks(browser)
        _sends(browser, viewer.sliders[joint.name], low + 0.25 * (high - low))
        _soon_shown(viewer, {**viewer.subject.pose("home"), joint.name: low + 0.25 * (high - low)})
        _sends(browser, viewer.buttons["close"], True)
        _soon_shown(viewer, viewer.subject.pose("closed"))


def _soon_shown(viewer: Viewer, positions: dict[str, float]) -> None:
    wanted, deadline = link_poses(viewer.subject.description, positions), time.monotonic() + 5.0
    while time.monotonic() < deadline and not all(np.allclose(pose, wanted[link], atol=1e-6) for link, pose in shown_poses(viewer).items()):
        time.sleep(0.01)
    assert_shown(viewer, positions)


def _sends(browser: ClientConnection, handle: object, value: object) -> None:
    browser.send(msgspec.msgpack.encode({"type": "GuiUpdateMessage", "uuid": handle._impl.uuid, "updates": {"value": value}}))


def _looks(browser: ClientConnection) -> None:
    """A browser counts once it has said where it looks from."""
    pose = {"wxyz": (1.0, 0.0, 0.0, 0.0), "position": (1.0, 0.0, 0.0), "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, 0.0, 1.0)}
    lens = {"fov": 1.0, "near": 0.1, "far": 10.0, "image_height": 60, "image_width": 80}
    browser.send(msgspec.msgpack.encode({"type": "ViewerCameraMessage", **pose, **lens}))


def _hears(browser: ClientConnection, link: str) -> None:
    """Reads on until a message names the node of ``link``."""
    deadline = time.monotonic() + 10.0
    while link.encode() not in zstandard.ZstdDecompressor().decompressobj().decompress(browser.recv(timeout=deadline - time.monotonic())[16:]):
        pass


def test_an_unknown_joint_is_refused(viewer: Viewer) -> None:
    with pytest.raises(ConfigError, match="no joint 'tail'"):
        viewer.set({"tail": 0.0})


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1.0, np.pi - 1e-9, np.pi, -2.0])
def test_quaternions_turn_as_their_matrix_does(angle: float) -> None:
    for rpy in ((angle, 0.0, 0.0), (0.0, 0.5 * angle, 0.3), (0.2, 0.0, angle)):
        matrix = transform(Origin(rpy_rad=rpy))
        w, *v = _quaternion(matrix)
        for p in np.eye(3):
            turned = p + 2.0 * np.cross(v, np.cross(v, p) + w * p)
            assert np.allclose(turned, matrix[:3, :3] @ p, atol=1e-9)


@pytest.mark.parametrize("side", ("left", "right"))
@pytest.mark.parametrize("name", HANDS)
def test_every_hand_opens_and_closes_inside_its_limits(name: str, side: str) -> None:
    subject = find_subject(name, side)
    for pose in POSES:
        for joint, position in subject.pose(pose).items():
            low, high = subject.ranges[joint]
            assert low <= position <= high
    moved = {joint for joint, position in subject.pose("closed").items() if position != subject.pose("open")[joint]}
    for finger in subject.parts[0].robot.fingers.values():
        assert moved & set(finger.joints), f"{finger.tip} does not close"


@pytest.mark.parametrize("name", HANDS)
def test_left_and_right_close_alike(name: str) -> None:
    """The same joints take part on both sides; which end closes may differ."""
    parts = [{j for j, e in find_subject(name, side).parts[0].ends.items() if e.open_rad != e.closed_rad} for side in ("left", "right")]
    assert parts[0] == parts[1]


def test_names_aliases_and_cells_are_found(tmp_path: Path) -> None:
    assert find_subject("paxini").name == "dexh13"
    assert [part.label for part in find_subject("g1").parts] == ["body", "left_hand", "right_hand"]
    assert [part.label for part in find_subject("g1", alone=True).parts] == ["g1"]
    assert {subject.name for subject in family()} == set(HANDS)


@pytest.mark.parametrize(("words", "part"), [
    (["claw", "--png", "x.png"], "nothing is called 'claw'; hands: "), (["leap", "hand:=ability", "--png", "x.png"], "is for a cell"),
    (["xarm_bimanual", "hnad:=leap", "--png", "x.png"], "'hnad' is not known"), (["leap", "--png", "x.png", "--size", "9x9"], "each 64 to 4096"),
])
def test_wrong_words_say_what_is_right(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", *words]) == 2
    assert part in capsys.readouterr().err


def test_several_need_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["leap", "ability"], ["--family"], []):
        with pytest.raises(SystemExit):
            main(["show", *words])
        assert "--png FILE" in capsys.readouterr().err
    assert parse_size("640x480") == (640, 480)


def of_paper(image: Image.Image) -> np.ndarray:
    """(height, width) whether a pixel is paper, shadow included: grey and no darker than the shadow."""
    pixels = np.asarray(image, dtype=float)
    return (np.ptp(pixels, axis=2) < 8.0) & (pixels.mean(axis=2) > 255.0 * 0.4 * min(PAPER))


@pytest.mark.render
@pytest.mark.parametrize("name", ["inspire", "leap", "g1"])
def test_a_picture_shows_all_of_it(name: str) -> None:
    image = picture(find_subject(name), "half", (320, 240))
    assert image.size == (320, 240)
    pixels = np.asarray(image, dtype=float)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert np.abs(edge - 255.0 * np.array(PAPER)).max() < 255.0 * 0.5, "something touches the edge"
    rows, columns = np.nonzero(~of_paper(image))
    assert rows.max() - rows.min() > 0.5 * 240 or columns.max() - columns.min() > 0.5 * 320, "it is too small"


@pytest.mark.render
def test_a_picture_is_the_same_every_time_and_differs_by_pose() -> None:
    one, again, other = (np.asarray(picture(find_subject("ability"), pose, (160, 120))) for pose in ("open", "open", "closed"))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.render
def test_several_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = portrait(family()[:3], "half", tile_wh=(96, 96))
    assert sheet.size[0] == 3 * 96
    assert main(["show", "leap", "--side", "left", "--size", "96x64", "--png", str(tmp_path / "new" / "leap.png")]) == 0
    assert Image.open(tmp_path / "new" / "leap.png").size == (96, 64) and "leap (left)" in capsys.readouterr().out


def test_the_outline_holds_every_link() -> None:
    subject = find_subject("shadow")
    points = outline(subject, subject.pose("home"))
    assert points[:, 2].max() - points[:, 2].min() > 0.4
