# SPDX-License-Identifier: Apache-2.0
"""A ZED's calibration file for tests, written from the camera that it describes."""
from __future__ import annotations

import cv2

from dex_perception.cameras.stereo_synthetic import zed_like

FACTORY = ("2K", "FHD", "HD", "VGA")


def conf_text(names: tuple[str, ...] = FACTORY) -> str:
    """What a ZED of those resolutions would have in its file."""
    lines = []
    for name in names:
        calibration = zed_like(name)
        for side, camera in (("LEFT", calibration.left), ("RIGHT", calibration.right)):
            k1, k2, p1, p2, k3 = camera.distortion
            lines += [f"[{side}_CAM_{name}]", f"fx={camera.fx!r}", f"fy={camera.fy!r}", f"cx={camera.cx!r}", f"cy={camera.cy!r}"]
            lines += [f"k1={k1!r}", f"k2={k2!r}", f"p1={p1!r}", f"p2={p2!r}", f"k3={k3!r}"]
    calibration = zed_like(names[0])
    vector, t_mm = cv2.Rodrigues(calibration.rotation)[0].ravel().tolist(), (calibration.translation_m * 1e3).tolist()
    lines += ["[STEREO]", f"Baseline={-t_mm[0]!r}", f"TY={t_mm[1]!r}", f"TZ={t_mm[2]!r}"]
    lines += [f"{key}_{name}={value!r}" for key, value in zip(("RX", "CV", "RZ"), vector, strict=True) for name in names]
    return "\n".join([*lines, "[MISC]", "Sensor_ID=0", ""])
