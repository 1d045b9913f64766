# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt over every corner of every view: camera, board, and how wrong the robot was about its flange in each view.

What a robot says of its flange is off by more than a corner is: half a millimetre is a pixel, a corner is found to a tenth of one.
Put into pixels alone, that error bends the result: over 12 rigs of 20 views with joints off by 0.02 deg a camera on a flange came out
0.92 mm and 0.121 deg wrong (root mean square), where Shah's closed form had 0.30 mm and 0.045 deg. So each view's flange may move, at a
price: 0.25 mm and 0.035 deg.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dex_core.devices.camera import Intrinsics
from dex_core.types import Array
from dex_perception.calibrate.poses import inverse, pose, rotation_vector

ROUNDS, STEPS = 2, 25
ENOUGH, MOST_DAMPING = 1e-8, 1e8
CORNER_PX = 0.1
FLANGE_RAD, FLANGE_M = np.radians(0.05), 0.0005
"""What a robot's word on its flange is good to (one sigma); only its ratio to ``CORNER_PX`` and of one to the other counts."""
HUBER_SHARE, HUBER_FLOOR = 3.0, 3.0
"""Corners further off than so many times the median (and than so many sigma) count less: a wrong corner bends nothing."""


@dataclass(frozen=True)
class Problem:
    """All corners of all views, flat, sorted by view.

    Attributes:
        intrinsics: of the camera.
        points_m: (n, 3) of each corner in the board's frame.
        corners_px: (n, 2) where it was seen.
        view: (n,) which view it belongs to.
        chain: (v, 4, 4) M of every view, see ``closed_form``.
        in_hand: M is the flange inverted: the flange's own frame is its left side, else its right.
    """

    intrinsics: Intrinsics
    points_m: Array
    corners_px: Array
    view: Array
    chain: Array
    in_hand: bool

    def without(self, view: int) -> Problem:
        """The same with one view fewer."""
        keep = self.view != view
        numbers = self.view[keep] - (self.view[keep] > view)
        return replace(
            self, points_m=self.points_m[keep], corners_px=self.corners_px[keep], view=numbers, chain=np.delete(self.chain, view, axis=0),
        )

    def errors_px(self, state: State) -> Array:
        """(n, 2) projected minus seen. A corner behind the camera is off by the picture's width."""
        return _look(self, state).errors


@dataclass(frozen=True)
class State:
    """What is sought: camera (4, 4), board (4, 4), and (v, 4, 4) motions of each view's flange in its own frame; none: as the robot says."""

    camera: Array
    board: Array
    flange: Array | None = None

    def trusting(self, views: int) -> State:
        """The same with the flange where the robot says it is."""
        return State(self.camera, self.board, np.broadcast_to(np.eye(4), (views, 4, 4)))

    def moved(self, step: Array) -> State:
        """After a step (12 + 6 v,): what the camera sees is turned and shifted, then the board, then each flange."""
        assert self.flange is not None
        each = step[12:].reshape(-1, 6)
        return State(
            inverse(pose(step[0:3], step[3:6]) @ inverse(self.camera)), pose(step[6:9], step[9:12]) @ self.board,
            np.array([pose(s[:3], s[3:]) @ f for s, f in zip(each, self.flange, strict=True)]),
        )


@dataclass(frozen=True)
class _Seen:
    """Errors (n, 2), their derivative by place in the camera (n, 2, 3), places and (n, 3, 3) rotations they go through."""

    errors: Array
    by_place: Array
    in_camera: Array
    in_flange: Array
    by_board: Array
    turn_flange: Array
    turn_board: Array


def _look(problem: Problem, state: State) -> _Seen:
    flange = np.broadcast_to(np.eye(4), problem.chain.shape) if state.flange is None else state.flange
    to_camera = inverse(state.camera)
    left, right = (np.broadcast_to(np.eye(4), problem.chain.shape), problem.chain) if problem.in_hand else (problem.chain, np.eye(4))
    after, whole = to_camera @ left, to_camera @ left @ flange @ right  # camera <- flange, camera <- board's carrier
    carried = problem.points_m @ state.board[:3, :3].T + state.board[:3, 3]
    on_flange = _apply((flange @ right)[problem.view] if problem.in_hand else flange[problem.view], carried)
    seen = _apply(after[problem.view], on_flange)
    lens = np.asarray(problem.intrinsics.distortion or (0.0,) * 4, dtype=float)
    placed, slopes = cv2.projectPoints(seen, np.zeros(3), np.zeros(3), problem.intrinsics.matrix, lens)
    errors = placed.reshape(-1, 2) - problem.corners_px
    errors[seen[:, 2] <= 0.0] = problem.intrinsics.width
    by_place = slopes[:, 3:6].reshape(-1, 2, 3)  # with no rotation the shift is the place
    return _Seen(errors, by_place, seen, on_flange, carried, after[problem.view][:, :3, :3], whole[problem.view][:, :3, :3])


def refine(problem: Problem, start: State) -> State:
    """The state that explains the corners best at the least price, from a good first guess."""
    state = start if start.flange is not None else start.trusting(len(problem.chain))
    for _ in range(ROUNDS):
        size = np.linalg.norm(problem.errors_px(state), axis=1) / CORNER_PX
        state = _descend(problem, state, max(HUBER_SHARE * float(np.median(size)), HUBER_FLOOR))
    return state


def _descend(problem: Problem, state: State, knee: float) -> State:
    """Levenberg-Marquardt on Huber's cost with a given knee [sigma]."""
    damping, (cost, weights) = 1e-4, _cost(problem, state, knee)
    for _ in range(STEPS):
        normal, gradient = _linearised(problem, state, weights)
        step = -np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
        trial = state.moved(step)
        trial_cost, trial_weights = _cost(problem, trial, knee)
        if trial_cost < cost:
            gained = cost - trial_cost
            state, cost, weights, damping = trial, trial_cost, trial_weights, damping * 0.2
            if gained < ENOUGH * cost:
                break
        else:
            damping *= 10.0
            if damping > MOST_DAMPING:
                break
    return state


def _linearised(problem: Problem, state: State, weights: Array) -> tuple[Array, Array]:
    """Normal matrix (12 + 6 v, 12 + 6 v) and gradient of the cost."""
    seen, count = _look(problem, state), len(problem.chain)
    shared = seen.by_place @ np.concatenate([_turn_and_shift(seen.in_camera), seen.turn_board @ _turn_and_shift(seen.by_board)], axis=2)
    own = seen.by_place @ seen.turn_flange @ _turn_and_shift(seen.in_flange)
    slopes = np.zeros((len(problem.view), 2, 12 + 6 * count))
    slopes[:, :, :12] = shared
    for view in range(count):
        rows = problem.view == view
        slopes[rows, :, 12 + 6 * view : 18 + 6 * view] = own[rows]
    flat, errors = slopes.reshape(-1, slopes.shape[2]) / CORNER_PX, seen.errors.reshape(-1) / CORNER_PX
    weighted = flat * np.repeat(weights, 2)[:, None]
    normal, gradient = weighted.T @ flat, weighted.T @ errors
    price = np.tile(1.0 / np.square([FLANGE_RAD] * 3 + [FLANGE_M] * 3), count)
    normal[range(12, len(normal)), range(12, len(normal))] += price
    gradient[12:] += price * _as_vectors(state).reshape(-1)
    return normal, gradient


def _cost(problem: Problem, state: State, knee: float) -> tuple[float, Array]:
    """Huber's cost of the corners and the price of the flanges' motion; the weight of every corner."""
    size = np.linalg.norm(problem.errors_px(state), axis=1) / CORNER_PX
    weights = np.minimum(1.0, knee / np.maximum(size, 1e-12))
    price = np.sum(np.square(_as_vectors(state) / ([FLANGE_RAD] * 3 + [FLANGE_M] * 3)))
    return float(np.sum(np.where(size <= knee, 0.5 * size**2, knee * (size - 0.5 * knee))) + 0.5 * price), weights


def _as_vectors(state: State) -> Array:
    """(v, 6) rotation vectors and shifts of the flanges."""
    assert state.flange is not None
    return np.array([[*rotation_vector(f), *f[:3, 3]] for f in state.flange])


def _apply(poses: Array, points: Array) -> Array:
    return np.einsum("nij,nj->ni", poses[:, :3, :3], points) + poses[:, :3, 3]


def _turn_and_shift(v: Array) -> Array:
    """(n, 3, 6) derivative of places v by a small turn and shift of all of them: [-v x, 1]."""
    out = np.zeros((len(v), 3, 6))
    out[:, 0, 1], out[:, 0, 2], out[:, 1, 2] = v[:, 2], -v[:, 1], v[:, 0]
    out[:, :, :3] -= out[:, :, :3].transpose(0, 2, 1)
    out[:, :, 3:] = np.eye(3)
    return out
