# SPDX-License-Identifier: Apache-2.0
"""From views to the camera's pose: closed form, refinement, views that do not fit left out, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from dex_core.devices.camera import Intrinsics
from dex_core.errors import DexError
from dex_core.types import Array
from dex_perception.calibrate.board import Board
from dex_perception.calibrate.closed_form import board_of, solutions
from dex_perception.calibrate.motion import Motion, check_motion
from dex_perception.calibrate.poses import angle, distance, inverse, rotation_vector
from dex_perception.calibrate.refine import Problem, State, refine
from dex_perception.calibrate.views import View

ODD_SHARE, ODD_FLOOR_PX = 4.0, 2.0
"""A view is left out when it is this much worse than the median, and above the floor."""
MOST_LEFT_OUT, MOST_PX = 0.25, 20.0
"""More views than this left out, or a median error above, is no calibration."""


class Setup(Enum):
    """Where the camera is."""

    IN_HAND = "eye-in-hand"
    """On the flange; the board stands in the base."""
    TO_HAND = "eye-to-hand"
    """Beside the arm, fixed in the base; the board is on the flange."""

    def chain(self, pose_flange_in_base: Array) -> Array:
        """M of ``M Y = X C``: what leads from the board's carrier to the camera's."""
        return inverse(pose_flange_in_base) if self is Setup.IN_HAND else np.array(pose_flange_in_base)


@dataclass(frozen=True)
class Calibration:
    """Where the camera is, and how well that is known.

    Attributes:
        setup: eye in hand or to hand.
        camera: (4, 4) optical frame in the flange (in hand) or in the base (to hand) [m].
        board: (4, 4) board in the base (in hand) or in the flange (to hand) [m].
        error_px: root mean square over all corners used.
        floor_px: the same with every view's board placed freely: what lens and detector leave, whatever the robot says.
        views: name -> error [px] of every view used.
        left_out: name -> error [px] of views that do not fit the others.
        spread_mm, spread_deg: root mean square over views of how far the board, seen through camera and robot, is from where it stands.
        worst_mm, worst_deg: the largest of them.
        deviation_mm, deviation_deg: standard deviation of the camera's pose, by leaving out one view after the other (jackknife).
        methods: closed-form solver -> (mm, deg) from the result.
        motion: rotations that the views show.
    """

    setup: Setup
    camera: Array
    board: Array
    error_px: float
    floor_px: float
    views: dict[str, float]
    left_out: dict[str, float]
    spread_mm: float
    spread_deg: float
    worst_mm: float
    worst_deg: float
    deviation_mm: float
    deviation_deg: float
    methods: dict[str, tuple[float, float]]
    motion: Motion

    def figures(self) -> dict[str, Any]:
        """Plain numbers for a report."""
        return {
            "setup": self.setup.value, "views": len(self.views), "left_out": sorted(self.left_out), "reprojection_px": self.error_px,
            "reprojection_floor_px": self.floor_px, "consistency_mm": self.spread_mm, "consistency_deg": self.spread_deg,
            "consistency_worst_mm": self.worst_mm, "consistency_worst_deg": self.worst_deg, "deviation_mm": self.deviation_mm,
            "deviation_deg": self.deviation_deg, "largest_turn_deg": float(np.degrees(self.motion.largest_rad)),
            "spread_of_turns_deg": [float(v) for v in np.degrees(self.motion.spread_rad)],
        }


def calibrate(views: Sequence[View], board: Board, intrinsics: Intrinsics, setup: Setup) -> Calibration:
    """The camera's pose from views.

    Raises:
        DexError: ``too_few_views``, ``pure_translation``, ``parallel_axes``; ``views_disagree`` where too many views
            do not fit the rest.
    """
    motion = check_motion(np.array([v.pose_flange_in_base for v in views]))
    used, left_out = list(views), {}
    while True:
        problem = _problem(used, board, intrinsics, setup)
        state, methods = _solve(problem, used)
        errors = _errors(problem, used, state)
        if float(np.median(list(errors.values()))) > MOST_PX:
            raise _disagree(f"half of the views are more than {MOST_PX:g} px off")
        worst = max(errors, key=errors.__getitem__)
        if errors[worst] <= max(ODD_SHARE * float(np.median(list(errors.values()))), ODD_FLOOR_PX):
            break
        left_out[worst] = errors[worst]
        used = [v for v in used if v.name != worst]
        if len(left_out) > MOST_LEFT_OUT * len(views):
            raise _disagree(f"{len(left_out)} of {len(views)} views do not fit the rest ({', '.join(sorted(left_out))})")
        motion = check_motion(np.array([v.pose_flange_in_base for v in used]))
    return _report(Fit(setup, problem, state, methods, motion), used, left_out, board)


def _disagree(text: str) -> DexError:
    causes = "the board or the camera moved, pictures and robot poses do not belong together, or the set-up is the other one"
    return DexError(f"{text}: {causes}", code="views_disagree")


def _problem(views: Sequence[View], board: Board, intrinsics: Intrinsics, setup: Setup) -> Problem:
    found = [v.sighting.detection for v in views]
    return Problem(
        intrinsics, np.concatenate([board.points_m[d.ids] for d in found]), np.concatenate([d.corners_px for d in found]),
        np.repeat(np.arange(len(found)), [len(d) for d in found]), np.array([setup.chain(v.pose_flange_in_base) for v in views]),
        setup is Setup.IN_HAND,
    )


def _solve(problem: Problem, views: Sequence[View]) -> tuple[State, dict[str, tuple[float, float]]]:
    """The refined state, and how far every closed form was from it."""
    seen = np.array([v.sighting.pose_board_in_camera for v in views])
    guesses = {name: State(x, board_of(x, problem.chain, seen)) for name, x in solutions(problem.chain, seen)}
    best = min(guesses.values(), key=lambda guess: float(np.median(np.linalg.norm(problem.errors_px(guess), axis=1))))
    state = refine(problem, best)
    return state, {n: (1e3 * distance(g.camera, state.camera), float(np.degrees(angle(g.camera, state.camera)))) for n, g in guesses.items()}


def _errors(problem: Problem, views: Sequence[View], state: State) -> dict[str, float]:
    """Of every view [px], the flange taken where the robot says it is."""
    squares = np.sum(problem.errors_px(State(state.camera, state.board)) ** 2, axis=1)
    return {v.name: float(np.sqrt(squares[problem.view == i].mean())) for i, v in enumerate(views)}


class Fit(NamedTuple):
    """What ``calibrate`` found before it is put into words."""

    setup: Setup
    problem: Problem
    state: State
    methods: dict[str, tuple[float, float]]
    motion: Motion


def _report(fit: Fit, views: Sequence[View], left_out: dict[str, float], board: Board) -> Calibration:
    problem, camera, placed = fit.problem, fit.state.camera, fit.state.board
    boards = [inverse(m) @ camera @ v.sighting.pose_board_in_camera for m, v in zip(problem.chain, views, strict=True)]
    middle = np.array([*board.size_m, 0.0, 2.0]) / 2.0  # of the board, not its corner, so that a tilt does not count twice
    off_mm = 1e3 * np.array([np.linalg.norm(((b - placed) @ middle)[:3]) for b in boards])
    off_deg = np.degrees([angle(b, placed) for b in boards])
    deviation = _jackknife(problem, fit.state)
    counts = np.array([len(v.sighting.detection) for v in views])
    floors = np.array([v.sighting.error_px for v in views])
    return Calibration(
        setup=fit.setup, camera=camera, board=placed, error_px=_rms(np.linalg.norm(problem.errors_px(State(camera, placed)), axis=1)),
        floor_px=float(np.sqrt(np.sum(counts * floors**2) / counts.sum())), views=_errors(problem, views, fit.state), left_out=left_out,
        spread_mm=_rms(off_mm), spread_deg=_rms(off_deg), worst_mm=float(off_mm.max()), worst_deg=float(off_deg.max()),
        deviation_mm=deviation[0], deviation_deg=deviation[1], methods=fit.methods, motion=fit.motion,
    )


def _jackknife(problem: Problem, state: State) -> tuple[float, float]:
    """Standard deviation of the camera's position [mm] and rotation [deg]: views, not corners, are what is independent."""
    assert state.flange is not None
    count = len(problem.chain)
    starts = (State(state.camera, state.board, np.delete(state.flange, i, axis=0)) for i in range(count))
    found = [refine(problem.without(i), start).camera for i, start in enumerate(starts)]
    turns = np.array([rotation_vector(state.camera[:3, :3].T @ f[:3, :3]) for f in found])
    mm, deg = (float(np.sqrt((count - 1) / count * np.sum((v - v.mean(axis=0)) ** 2))) for v in (1e3 * np.array(found)[:, :3, 3], np.degrees(turns)))
    return mm, deg


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
