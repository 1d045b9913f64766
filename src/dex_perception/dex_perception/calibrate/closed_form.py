# SPDX-License-Identifier: Apache-2.0
"""Hand-eye calibration in closed form: M_i Y = X C_i over all views, solved for the camera X and the board Y.

M: the flange in the base inverted (camera on the flange) or as it is (board on the flange); C: the board in the camera.
OpenCV's solvers are asked as well where the installed cv2 has them (4.x; the Python module of 5.0 has only their constants).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import cv2
import numpy as np

from dex_core.types import Array
from dex_perception.calibrate.poses import inverse, mean_pose, nearest_rotation, rotation_vector

OPENCV_METHODS = {"tsai": "TSAI", "park": "PARK", "horaud": "HORAUD", "andreff": "ANDREFF", "daniilidis": "DANIILIDIS"}


def park(chain: Array, seen: Array) -> Array:
    """(4, 4) X after Park and Martin (1994): rotation logarithms of all pairs of views fitted, then the position.

    Args:
        chain: (n, 4, 4) M of every view.
        seen: (n, 4, 4) C of every view.
    """
    pairs = [(chain[i] @ inverse(chain[j]), seen[i] @ inverse(seen[j])) for i, j in combinations(range(len(chain)), 2)]
    logs_a, logs_b = (np.array([rotation_vector(pair[side]) for pair in pairs]) for side in (0, 1))
    out = np.eye(4)
    out[:3, :3] = nearest_rotation(logs_a.T @ logs_b)
    left = np.concatenate([a[:3, :3] - np.eye(3) for a, _ in pairs])
    right = np.concatenate([out[:3, :3] @ b[:3, 3] - a[:3, 3] for a, b in pairs])
    out[:3, 3] = np.linalg.lstsq(left, right, rcond=None)[0]
    return out


def shah(chain: Array, seen: Array) -> Array:
    """(4, 4) X after Shah (2013): both rotations from one singular value decomposition, then both positions together."""
    kronecker = sum(np.kron(c[:3, :3], m[:3, :3]) for m, c in zip(chain, seen, strict=True))  # vec(R_X) = kron(R_C, R_M) vec(R_Y)
    u, _, _ = np.linalg.svd(kronecker)
    camera = u[:, 0].reshape(3, 3).T  # vec stacks columns; R_Y, in the right vector, follows from X and all views: board_of
    out = np.eye(4)
    out[:3, :3] = nearest_rotation(np.sign(np.linalg.det(camera)) * camera)
    left = np.concatenate([np.concatenate([np.eye(3), -m[:3, :3]], axis=1) for m in chain])
    right = np.concatenate([m[:3, 3] - out[:3, :3] @ c[:3, 3] for m, c in zip(chain, seen, strict=True)])
    out[:3, 3] = np.linalg.lstsq(left, right, rcond=None)[0][:3]
    return out


def board_of(camera: Array, chain: Array, seen: Array) -> Array:
    """(4, 4) Y that fits X: the mean over all views."""
    return mean_pose([inverse(m) @ camera @ c for m, c in zip(chain, seen, strict=True)])


def solutions(chain: Array, seen: Array) -> Iterator[tuple[str, Array]]:
    """(name, X) of every solver there is; one that fails is left out."""
    yield "park", park(chain, seen)
    yield "shah", shah(chain, seen)
    solver = getattr(cv2, "calibrateHandEye", None)
    if solver is None:
        return
    flange = [inverse(m) for m in chain]
    arguments = ([f[:3, :3] for f in flange], [f[:3, 3] for f in flange], [c[:3, :3] for c in seen], [c[:3, 3] for c in seen])
    for name, constant in OPENCV_METHODS.items():
        try:
            turn, shift = solver(*arguments, method=getattr(cv2, f"CALIB_HAND_EYE_{constant}"))
        except cv2.error:
            continue
        found = np.eye(4)
        found[:3, :3], found[:3, 3] = turn, np.asarray(shift).reshape(3)
        if np.isfinite(found).all():
            yield f"opencv_{name}", found
