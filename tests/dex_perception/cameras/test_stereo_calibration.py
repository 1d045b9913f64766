# SPDX-License-Identifier: Apache-2.0
"""A ZED's calibration file: every resolution, millimetres, the rotation vector, both lens layouts, and what is refused."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dex_core.errors import ConfigError
from dex_perception.cameras.stereo_calibration import SIZES, StereoCalibration, load_calibration, parse_calibration, resolutions
from dex_perception.cameras.stereo_synthetic import zed_like

spec = importlib.util.spec_from_file_location("make_conf", Path(__file__).with_name("make_conf.py"))
make_conf = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(make_conf)  # type: ignore[union-attr]
FACTORY, conf_text = make_conf.FACTORY, make_conf.conf_text


def same(one: StereoCalibration, other: StereoCalibration) -> bool:
    return one.left == other.left and one.right == other.right and np.allclose(one.rotation, other.rotation, atol=1e-12) \
        and np.allclose(one.translation_m, other.translation_m, atol=1e-12)


@pytest.mark.parametrize("name", FACTORY)
def test_every_resolution_reads_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "SN12345.conf"
    path.write_text(conf_text(), encoding="utf-8")
    calibration = load_calibration(path, SIZES[name])
    assert same(calibration, zed_like(name))
    assert calibration.baseline_m == pytest.approx(0.1201, rel=1e-4)
    assert np.linalg.det(calibration.rotation) == pytest.approx(1.0)


def test_resolutions_are_those_of_both_eyes() -> None:
    assert resolutions(conf_text()) == {name: SIZES[name] for name in FACTORY}
    assert resolutions(conf_text().replace("[RIGHT_CAM_HD]", "[OTHER]")).keys() == {"2K", "FHD", "VGA"}


def test_text_that_a_factory_wrote() -> None:
    text = "[LEFT_CAM_VGA]\r\nfx = 351.2\r\nfy=351.1\r\ncx=330\r\ncy=190\r\nk1=-0.17\r\nk2=0.03\r\n" \
           "[RIGHT_CAM_VGA]\r\nfx=350\r\nfy=350\r\ncx=331\r\ncy=189\r\nk1=-0.18\r\nk2=0.02\r\n" \
           "[STEREO]\r\nBaseline=119.9\r\nTY=0.5\r\nTZ=-0.25\r\nCV_VGA=0.01\r\nRX_VGA=0.002\r\nRZ_VGA=-0.003\r\n"
    calibration = parse_calibration(text, (672, 376))
    assert calibration.left.distortion == (-0.17, 0.03, 0.0, 0.0, 0.0), "old files have no p1, p2, k3"
    assert calibration.translation_m == pytest.approx([-0.1199, 0.0005, -0.00025])
    # A small rotation vector (rx, ry, rz) is the matrix I + [r]x.
    assert calibration.rotation == pytest.approx(np.array([[1, 0.003, 0.01], [-0.003, 1, -0.002], [-0.01, 0.002, 1]]), abs=1e-4)
    assert parse_calibration(text.replace("RX_VGA", "RX").replace("TY=", "TY_VGA="), (672, 376)).translation_m[1] == pytest.approx(0.0005)


def test_the_lens_of_newer_files_stands_once_in_openCVs_order() -> None:
    lens = "\n".join(f"{key}={value}" for key, value in dict(k1=1, k2=2, k3=3, k4=4, k5=5, k6=6, p1=7, p2=8).items())
    text = conf_text(("HD",)) + f"\n[LEFT_DISTO]\n{lens}\n"
    calibration = parse_calibration(text, SIZES["HD"])
    assert calibration.left.distortion == (1.0, 2.0, 7.0, 8.0, 3.0, 4.0, 5.0, 6.0)
    assert calibration.right == zed_like("HD").right


@pytest.mark.parametrize("change, message", [
    (("Baseline=120.1", "Baseline=0.1201"), "Baseline is 0.1201; it is in mm"),
    (("Baseline=", "Base="), r"\[STEREO\] Baseline is missing"),
    (("CV_HD=", "CX_HD="), r"\[STEREO\] CV_HD is missing"),
    (("[STEREO]", "[STEREA]"), r"section \[STEREO\] is missing"),
    (("[RIGHT_CAM_HD]\nfx=", "[RIGHT_CAM_HD]\nfx=nan#"), "fx is"),
    (("[RIGHT_CAM_HD]\nfx=", "[RIGHT_CAM_HD]\nfx=-"), "not those of a picture of 1280x720"),
    (("[LEFT_CAM_HD]\nfx", "[LEFT_CAM_HD]\nfx=1\nfx"), "already exists"),
    (("[LEFT_CAM_HD]", "fx=1\n[LEFT_CAM_HD]"), "not a ZED calibration"),
    (("[LEFT_CAM_HD]", "[LEFT_CAM_4K]"), "no calibration for 1280x720 pixels of one eye; the file has: none"),
])
def test_what_cannot_be_right_is_refused(change: tuple[str, str], message: str) -> None:
    text = conf_text(("HD",))
    assert change[0] in text
    with pytest.raises(ConfigError, match=message):
        parse_calibration(text.replace(*change, 1), SIZES["HD"])


def test_a_file_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SN1.conf: .*No such file.*SN<serial>.conf"):
        load_calibration(tmp_path / "SN1.conf", (1280, 720))
    path = tmp_path / "SN2.conf"
    path.write_text(conf_text(("VGA",)))
    with pytest.raises(ConfigError, match="SN2.conf: there is no calibration for 1280x720 .* the file has: VGA 672x376"):
        load_calibration(path, (1280, 720))
    path.write_bytes(b"\xff\xfe" * 10)
    with pytest.raises(ConfigError, match="SN2.conf"):
        load_calibration(path, (1280, 720))
    path.write_bytes(b"#" * 70_000)
    with pytest.raises(ConfigError, match="at most 65536"):
        load_calibration(path, (1280, 720))


def test_a_calibration_is_not_to_be_changed() -> None:
    calibration = parse_calibration(conf_text(("HD",)), SIZES["HD"])
    with pytest.raises(ValueError, match="read-only"):
        calibration.rotation[0, 0] = 2.0
