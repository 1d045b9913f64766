# SPDX-License-Identifier: Apache-2.0
"""The scores of a latent space as tables, for the terminal and for docs/latents.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dex_bringup.bench.latents_figures import BOTH
from dex_bringup.bench.latents_measure import PAPER_UNITS
from dex_bringup.bench.report import Goal, machine
from dex_core.errors import DexError

BEGIN, END = "<!-- dex bench latents: begin -->", "<!-- dex bench latents: end -->"
Figures = Mapping[str, Any]
Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
_COLUMNS = {
    "recon_joint_e2_rad": "recon joint [1e-2 rad]", "recon_tip_e3_m": "recon tip [1e-3 m]", "pinch_direction_deg": "pinch dir [deg]",
    "pinch_distance_e3_m": "pinch dist [1e-3 m]", "random_direction_deg": "random dir [deg]", "random_distance_e3_m": "random dist [1e-3 m]",
    "continuity_joint_rad": "continuity joint [rad]", "continuity_tip_e3_m": "continuity tip [1e-3 m]",
    "interpolation_accel_e4_m": "interp accel [1e-4 m]", "interpolation_jerk_e4_m": "interp jerk [1e-4 m]",
}
_PRINTED = {"recon_joint_e2_rad": "5.476", "recon_tip_e3_m": "3.703", "random_direction_deg": "10.49"}
"""The paper's own row, as far as it is known."""


_RECONSTRUCTION = {
    "tip_mean_mm": "tip mean [mm]", "joint_mean_rad": "joint mean [rad]", "tip_rmse_mm": "tip RMSE [mm]", "joint_rmse_rad": "joint RMSE [rad]",
}
_ERRORS = ("distance_mm", "direction_deg")


def _tables(figures: Figures) -> list[Table]:
    hands = str(figures["hands"]).split(", ")
    pairs = [(a, b) for a in hands for b in hands if a != b]
    found = [_paper(figures), _hands(figures, hands)]
    found += [_pairs(figures, pairs, kind) for kind in BOTH if pairs]
    found += [_own_protocol(figures, hands)] if "own_protocol_random_distance_mm" in figures else []
    return [*found, _fingers(figures), _left(figures, hands), _decode(figures, hands)]


def _number(figures: Figures, name: str, digits: int = 3) -> str:
    value = figures.get(name)
    return "-" if value is None else f"{value:.{digits}f}"


def _digits(name: str) -> int:
    return 4 if name.endswith("_rad") else 3


def _paper(figures: Figures) -> Table:
    who = [w for w in ("ours", "ours_same_hands", "released", "released_fitted") if f"paper_{w}_recon_tip_e3_m" in figures]
    words = {"ours": "ours", "ours_same_hands": "ours, the released one's hands", "released": "released", "released_fitted": "released, axes fitted"}
    rows = [[_COLUMNS[c], *(_number(figures, f"paper_{w}_{c}") for w in who), _PRINTED.get(c, "-")] for c in PAPER_UNITS]
    title = (
        f"Columns of the paper's ablation table: {figures['samples']} samples a hand, sigma {figures['sigma']}, "
        f"{figures['interpolation_points']} points, pinch poses with a gap of {figures['pinch_gap_mm']:g} mm"
    )
    return title, ["column", *(words[w] for w in who), "paper"], rows


def _hands(figures: Figures, hands: Sequence[str]) -> Table:
    rows = []
    for hand in hands:
        row = [hand]
        for key in _RECONSTRUCTION:
            row += [_number(figures, f"{hand}_{who}_{key}", _digits(key)) for who in ("ours", "released")]
            row.append(_number(figures, f"{hand}_{key.rpartition('_')[0]}_share_of_released"))
        rows.append(row)
    header = ["hand"]
    for name in _RECONSTRUCTION.values():
        header += [name, "released", "share"]
    return "Reconstruction of uniform samples", header, rows


def _pairs(figures: Figures, pairs: Sequence[tuple[str, str]], kind: str) -> Table:
    rows = []
    for a, b in pairs:
        stem = f"{a}_to_{b}_{kind}"
        row = [f"{a} to {b}"]
        for error, unit in (("distance", "mm"), ("direction", "deg")):
            row += [_number(figures, f"{stem}_{who}_{error}_{unit}", 2) for who in ("ours", "released")]
            row.append(_number(figures, f"{stem}_{error}_share_of_released", 2))
            row += [_number(figures, f"{stem}_{who}_{error}_{unit}", 2) for who in ("oracle", "whole")]
        rows.append([*row, _number(figures, f"{stem}_reach", 2)])
    row = ["average"]
    for error, unit in (("distance", "mm"), ("direction", "deg")):
        row += [_number(figures, f"average_{kind}_{who}_{error}_{unit}", 2) for who in ("ours", "released")]
        row += ["", *(_number(figures, f"average_{kind}_{who}_{error}_{unit}", 2) for who in ("oracle", "whole"))]
    rows.append([*row, ""])
    times = ["ours by it, same pinches", *[""] * 3]
    times += [_number(figures, f"average_{kind}_distance_times_{who}", 2) for who in ("oracle", "whole")] + [""] * 3
    rows.append([*times, *(_number(figures, f"average_{kind}_direction_times_{who}", 2) for who in ("oracle", "whole")), ""])
    counts = [figures[k] for a, b in pairs if (k := f"{a}_to_{b}_{kind}_oracle_count") in figures]
    title = (
        f"Pinches of {figures['pinch_from_mm']:g} to {figures['pinch_to_mm']:g} mm among {kind} samples; oracles on "
        f"{min(counts, default=0)} to {max(counts, default=0)} of them a pair"
    )
    one = ["released", "share", "oracle", "whole"]
    return title, ["pair", "distance [mm]", *one, "direction [deg]", *one, "reach"], rows


def _fingers(figures: Figures) -> Table:
    rows = [
        [f"thumb - {finger}", *(_number(figures, f"thumb_{finger}_{who}_{e}", 2) for e in _ERRORS for who in ("ours", "released"))]
        for finger in ("index", "middle", "ring", "little")
    ]
    return "By finger, pinched samples, mean over pairs of hands", ["fingers", "distance [mm]", "released", "direction [deg]", "released"], rows


def _own_protocol(figures: Figures, hands: Sequence[str]) -> Table:
    rows = [
        [hand, *(_number(figures, f"own_protocol_{hand}_{key}", _digits(key)) for key in _RECONSTRUCTION)]
        for hand in hands if f"own_protocol_{hand}_tip_mean_mm" in figures
    ]
    for key, word in (("distance_mm", "distance [mm]"), ("direction_deg", "direction [deg]")):
        ends = (_number(figures, f"own_protocol_pinch_{key}_{end}", 2) for end in ("least", "most"))
        rows.append([f"pairs, {word}", f"random {_number(figures, f'own_protocol_random_{key}', 2)}", f"pinches {' to '.join(ends)}", "", ""])
    return "The released space in its own protocol: its limits, all joints free, nothing clamped", ["hand", *_RECONSTRUCTION.values()], rows


def _left(figures: Figures, hands: Sequence[str]) -> Table:
    rows = [[hand, *(_number(figures, f"left_{hand}_ours_{key}", _digits(key)) for key in _RECONSTRUCTION)] for hand in hands]
    for kind in BOTH:
        rows.append([f"pairs, {kind}", *(_number(figures, f"left_average_{kind}_ours_{e}") for e in _ERRORS), "", ""])
    return (
        "Left hands, ours (last rows: pinches, mean over ordered pairs, distance [mm] and direction [deg])",
        ["hand", *_RECONSTRUCTION.values()], rows,
    )


def _decode(figures: Figures, hands: Sequence[str]) -> Table:
    rows = [
        [hand, _number(figures, f"{hand}_decode_two_hands_ms"), _number(figures, f"{hand}_onnxruntime_two_hands_ms")]
        for hand in hands if f"{hand}_decode_two_hands_ms" in figures
    ]
    return "64 steps of two hands on one core, median", ["hands", "LatentDecoder [ms]", "decoder graphs alone [ms]"], rows


def _bundles(figures: Figures) -> list[str]:
    return [f"{who} {figures[f'{who}_bundle']}, hash {figures[f'{who}_hash'][:16]}" for who in ("ours", "released") if f"{who}_bundle" in figures]


def text(figures: Figures, goals: Sequence[Goal]) -> str:
    """All tables for a terminal, then the goals."""
    lines = [f"latents on {machine()['cpu']}, {machine()['cores']} cores"]
    lines += [f"  {name}" for name in _bundles(figures)]
    for title, header, rows in _tables(figures):
        lines += ["", title]
        widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]
        lines += [
            "  " + "  ".join(f"{cell:<{w}}" if i == 0 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            for row in (header, *rows)
        ]
    lines += ["", "Goals"]
    return "\n".join([*lines, *(f"  {'met   ' if g.met(figures) else 'MISSED'} {g}: {_plain(figures.get(g.figure))}" for g in goals)])


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def markdown(figures: Figures, goals: Sequence[Goal]) -> str:
    """The same for a page."""
    parts = [f"Measured on {machine()['cpu']}, {machine()['cores']} cores: {'; '.join(_bundles(figures))}."]
    for title, header, rows in _tables(figures):
        table = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
        parts.append("\n".join([f"**{title}**", "", *table]))
    missed = [f"- {g}: {_plain(figures.get(g.figure))}" for g in goals if not g.met(figures)]
    parts.append(f"{len(goals) - len(missed)} of {len(goals)} goals met." + ("\n\nMissed:\n\n" + "\n".join(missed) if missed else ""))
    return "\n\n".join(parts)


def check_page(path: Path) -> tuple[str, str]:
    """What stands before and after the markers of a page. Raises DexError where the page or a marker is missing."""
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise DexError(f"{path}: needs one line {BEGIN} and after it one line {END}; the tables go between", code="config_invalid")
    return page.split(BEGIN)[0], page.split(END)[1]


def write_markdown(path: Path, figures: Figures, goals: Sequence[Goal]) -> None:
    """Replaces what stands between the markers of a page. Raises DexError where the page or a marker is missing."""
    head, tail = check_page(path)
    path.write_text(f"{head}{BEGIN}\n\n{markdown(figures, goals)}\n\n{END}{tail}", encoding="utf-8")
