# SPDX-License-Identifier: Apache-2.0
"""Figures of the episodes of ``dex bench chunking``: one row per schedule, latency and kind of latency; as a table and as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dex_bringup.bench.chunking_cell import Episode, Setting
from dex_bringup.bench.report import percentile
from dex_core.errors import ConfigError

Row = dict[str, Any]
SEAM_FIGURES = ("position_jump_rad", "velocity_step_rad_s", "jerk_rad_s3")
LATE = ("late", "incomplete")
PANELS = (
    ("velocity_step_rad_s_mean", "velocity step at seams [rad/s], mean", "log"), ("success_rate", "success", "linear"),
    ("time_p50_s", "time to success [s], median", "linear"), ("rest_share", "share of the time at rest", "linear"),
)


def row_of(setting: Setting, episodes: Sequence[Episode]) -> Row:
    """Figures of one setting's episodes; seams of all episodes together."""
    row: Row = {"schedule": setting.schedule, "latency_ms": round(1e3 * setting.latency_s), "spikes": setting.spikes, "episodes": len(episodes)}
    times = [e.time_s for e in episodes if e.success]
    row |= {"successes": len(times), "success_rate": len(times) / len(episodes), "time_p50_s": percentile(times, 50.0)}
    for prefix, seams in (("", [s for e in episodes for s in e.seams]), ("plan_", [s for e in episodes for s in e.plan_seams])):
        row[f"{prefix}seams"] = len(seams)
        for name in SEAM_FIGURES:
            values = [getattr(seam, name) for seam in seams]
            row[f"{prefix}{name}_mean"] = float(np.mean(values)) if values else float("nan")
            row[f"{prefix}{name}_p95"] = percentile(values, 95.0)
    refused = sum((Counter(e.refused) for e in episodes), Counter())
    row["peak_acceleration_rad_s2"] = max(e.peak_acceleration_rad_s2 for e in episodes)
    row["rest_share"] = float(np.mean([e.rest_share for e in episodes]))
    row |= {"chunks": sum(e.chunks for e in episodes), "chunks_late": sum(refused[reason] for reason in LATE), "chunks_refused": dict(refused)}
    row["given_up"] = dict(Counter(e.ended.split(":")[0] for e in episodes if e.ended))
    return row


def compared(rows: Sequence[Row], schedule: str, latency_ms: int, baseline: str = "synchronous") -> dict[str, float]:
    """What a schedule's seams are of the baseline's at the same latency without spikes, and by how much it succeeds more often; nothing without
    both."""
    found = {r["schedule"]: r for r in rows if r["latency_ms"] == latency_ms and not r["spikes"]}
    if schedule not in found or baseline not in found:
        return {}
    ours, theirs = found[schedule], found[baseline]
    figures = {f"{schedule}_velocity_step_ratio": "velocity_step_rad_s_mean", f"{schedule}_velocity_step_p95_ratio": "velocity_step_rad_s_p95"}
    ratios = {name: ours[key] / theirs[key] if theirs[key] else float("nan") for name, key in figures.items()}
    return {**ratios, f"{schedule}_success_gain": ours["success_rate"] - theirs["success_rate"]}


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    heads = ("schedule", "latency", "success", "time p50", "velocity step mean", "p95", "jump mean", "jerk mean", "peak acc.", "at rest", "late")
    heads += ("given up",)
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for r in rows:
        latency = f"{r['latency_ms']} ms" + (" + spikes" if r["spikes"] else "")
        numbers = (r["velocity_step_rad_s_mean"], r["velocity_step_rad_s_p95"], r["position_jump_rad_mean"], r["jerk_rad_s3_mean"])
        cells = [r["schedule"], latency, f"{r['successes']}/{r['episodes']}", f"{r['time_p50_s']:.1f} s", *(f"{n:.3g}" for n in numbers)]
        cells += [f"{r['peak_acceleration_rad_s2']:.1f}", f"{r['rest_share']:.2f}", f"{r['chunks_late']}/{r['chunks']}"]
        cells.append(", ".join(f"{count} {reason}" for reason, count in r["given_up"].items()))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Writes the picture: four panels over latency, a colour per schedule, dashed with spikes. Raises ConfigError when it cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11.0, 7.5), constrained_layout=True)
    for axis, (key, label, scale) in zip(axes.flat, PANELS, strict=True):
        for number, schedule in enumerate(dict.fromkeys(r["schedule"] for r in rows)):
            for spikes in (False, True):
                own = sorted((r["latency_ms"], r[key]) for r in rows if r["schedule"] == schedule and r["spikes"] == spikes)
                if own:
                    style = {"ls": "--", "alpha": 0.6} if spikes else {"label": schedule}
                    axis.plot(*zip(*own, strict=True), marker="o", color=f"C{number}", ms=4, lw=1.2, **style)
        axis.set(xlabel="latency [ms]", ylabel=label, yscale=scale)
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error
    finally:
        pyplot.close(figure)


def plain(episodes: Mapping[str, Episode]) -> dict[str, Any]:
    """Episodes by seed, as JSON takes them."""
    return {seed: {**e.__dict__, "seams": [list(s) for s in e.seams], "plan_seams": [list(s) for s in e.plan_seams]} for seed, e in episodes.items()}
