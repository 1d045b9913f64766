# SPDX-License-Identifier: Apache-2.0
"""How much of what was missing a completion puts right, by family; through onnxruntime, as it will run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dex_core.clouds import chamfer_m, f_score, nearest
from dex_learn.completion.data import SPEC, Pairs

DEFINITIONS = {
    "chamfer_mm": "mean distance to the nearest point of the other cloud, averaged over both directions, against 2048 samples of the outer surface",
    "partial": "of the seen points alone (512, strays taken out)", "ratio": "chamfer of the completed cloud over that of the seen points, both means",
    "f_score_10mm": "harmonic mean of the shares of both clouds within 10 mm of the other",
    "normals_deg": "median angle between a completed point's normal and that of the nearest surface sample", "outwards": "share of them below 90 deg",
    "unseen": "families never trained on, and trained families with measures never trained on",
}
NEAR_M = 0.01
Run = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""(SEEN, 3) in the tabletop frame -> completed points (M, 3) and unit normals (M, 3)."""


def score(run: Run, pairs: Pairs, limit: int | None = None) -> dict[str, Any]:
    """Figures over all pairs, over the families never trained on, and by family.

    Args:
        run: the network. limit: so many pairs at most.
    """
    rows = [_row(run, pairs, i) for i in range(min(len(pairs), limit or len(pairs)))]
    families = {name: _mean([r for r in rows if r["name"] == name]) for name in sorted({r["name"] for r in rows})}
    return {"all": _mean(rows), "new_families": _mean([r for r in rows if not r["trained"]]), "families": families}


def _row(run: Run, pairs: Pairs, index: int) -> dict[str, Any]:
    seen, whole = pairs.seen[index], pairs.whole[index]
    cloud, normals = run(seen)
    match = nearest(cloud, whole).indices[:, 0]
    cosine = np.einsum("ni,ni->n", normals, pairs.normals[index][match])
    unit = SPEC.unit_m
    return {
        "name": str(pairs.names[index]), "trained": bool(pairs.trained[index]), "partial_mm": 1e3 * unit * chamfer_m(seen, whole),
        "chamfer_mm": 1e3 * unit * chamfer_m(cloud, whole),
        "partial_f": f_score(seen, whole, NEAR_M / unit), "f": f_score(cloud, whole, NEAR_M / unit),
        "angle": float(np.degrees(np.median(np.arccos(np.clip(cosine, -1.0, 1.0))))), "outwards": float((cosine > 0.0).mean()),
    }


def _mean(rows: list[Mapping[str, Any]]) -> dict[str, float]:
    if not rows:
        return {"count": 0}
    keys = ("partial_mm", "chamfer_mm", "partial_f", "f", "angle", "outwards")
    mean = {key: float(np.mean([r[key] for r in rows])) for key in keys}
    return {
        "count": len(rows),
        "partial_chamfer_mm": mean["partial_mm"], "chamfer_mm": mean["chamfer_mm"], "ratio": mean["chamfer_mm"] / mean["partial_mm"],
        "partial_f_score_10mm": mean["partial_f"], "f_score_10mm": mean["f"], "normals_deg": mean["angle"], "outwards": mean["outwards"],
    }
