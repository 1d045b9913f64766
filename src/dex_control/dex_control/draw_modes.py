# SPDX-License-Identifier: Apache-2.0
"""Draws the modes of the gate and the moves between them, from the table that the gate obeys: ``python -m dex_control.draw_modes FILE``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dex_core.safety import MOVES, Mode

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = {
    Mode.IDLE: (0.0, 3.0), Mode.ARMED: (4.4, 3.0), Mode.RUNNING: (8.8, 3.0), Mode.HOLDING: (13.2, 3.0), Mode.STOPPED: (4.4, -1.0),
    Mode.FAULT: (10.0, -1.0),
}
COLOURS = {
    Mode.IDLE: "#dfe7ee", Mode.ARMED: "#fff3c4", Mode.RUNNING: "#cfead0", Mode.HOLDING: "#ffe0b8", Mode.STOPPED: "#f6c6c0", Mode.FAULT: "#eba59c",
}
WORDS = {
    Mode.IDLE: "no targets are sent", Mode.ARMED: "holds; everyone is watched", Mode.RUNNING: "follows accepted chunks",
    Mode.HOLDING: "brakes, holds what is measured", Mode.STOPPED: "brakes, then STOP; latched", Mode.FAULT: "brakes, then STOP; latched",
}
PLAIN = {"stop": "#d07a00", "fault": "#b01515", "reset": "#2a62b0"}
"""What is so frequent that a colour says it."""
BENDS = {
    (Mode.ARMED, Mode.HOLDING): -0.28, (Mode.HOLDING, Mode.ARMED): 0.5, (Mode.HOLDING, Mode.IDLE): 0.42, (Mode.STOPPED, Mode.IDLE): -0.15,
    (Mode.FAULT, Mode.IDLE): -0.55,
}
"""How much an arrow is bent; the others are straight."""
HALF = (1.75, 0.45)
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}


def table() -> str:
    """The moves as a table of Markdown: a row per mode it leaves, a column per mode it enters."""
    rows = ["| from \\ to | " + " | ".join(mode.name for mode in PLACES) + " |", "|---" * (len(PLACES) + 1) + "|"]
    rows += [f"| **{before.name}** | " + " | ".join(MOVES[before].get(after, "") for after in PLACES) + " |" for before in PLACES]
    return "\n".join(rows)


def draw(path: Path) -> int:
    """Writes the picture; returns how many moves it shows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(12.0, 6.4))
    axes.set_xlim(-2.2, 15.6)
    axes.set_ylim(-3.4, 6.6)
    for mode in PLACES:
        _box(axes, mode)
    moves = [(before, after, cause) for before, row in MOVES.items() for after, cause in row.items()]
    for before, after, cause in moves:
        bend = BENDS.get((before, after), 0.0)
        middle = _middle(before, after, bend)
        axes.annotate("", _edge(after, middle), _edge(before, middle), zorder=4, arrowprops={
            "arrowstyle": "-|>", "color": PLAIN.get(cause, "#444444"), "connectionstyle": f"arc3,rad={bend}", "linewidth": 1.3,
        })
        if cause not in PLAIN:
            axes.text(middle[0], middle[1] + (0.0 if bend else 0.75), cause, ha="center", va="center", fontsize=8, zorder=5, bbox=WHITE)
    for cause, colour in PLAIN.items():
        axes.plot([], [], color=colour, label=cause)
    axes.legend(loc="lower right", frameon=False)
    axes.axis("off")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)
    return len(moves)


def _box(axes: Axes, mode: Mode) -> None:
    from matplotlib.patches import Rectangle

    (x, y), (wide, high) = PLACES[mode], HALF
    axes.add_patch(Rectangle((x - wide, y - high), 2.0 * wide, 2.0 * high, facecolor=COLOURS[mode], edgecolor="#444444", zorder=3))
    axes.text(x, y, f"{mode.name}\n{WORDS[mode]}", ha="center", va="center", fontsize=8, zorder=4)


def _middle(before: Mode, after: Mode, bend: float) -> tuple[float, float]:
    """Where a bent arrow is in the middle of its way."""
    (x0, y0), (x1, y1) = PLACES[before], PLACES[after]
    return (x0 + x1) / 2.0 + 0.5 * bend * (y1 - y0), (y0 + y1) / 2.0 - 0.5 * bend * (x1 - x0)


def _edge(mode: Mode, toward: tuple[float, float]) -> tuple[float, float]:
    """Where a mode's box ends on the way from its middle to ``toward``."""
    (x, y), (wide, high) = PLACES[mode], HALF
    dx, dy = toward[0] - x, toward[1] - y
    share = min(wide / max(abs(dx), 1e-9), high / max(abs(dy), 1e-9))
    return x + share * dx, y + share * dy


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the picture, or prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="PNG to write; without it the table is printed")
    file = parser.parse_args(argv).file
    if file is None:
        print(table())  # noqa: T201 - what was asked for
    else:
        draw(file)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
