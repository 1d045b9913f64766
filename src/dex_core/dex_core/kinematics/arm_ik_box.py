# SPDX-License-Identifier: Apache-2.0
"""A small quadratic program in a box, by a primal active set."""
from __future__ import annotations

import numpy as np

from dex_core.types import Array


def step_in_box(h: Array, g: Array, low: Array, high: Array) -> Array:
    """(n,) minimum of x'Hx/2 - g'x over low <= x <= high, where low <= 0 <= high and H (n, n) is positive definite."""
    n = len(g)
    x, side = np.zeros(n), np.where((low >= 0.0) & (g < 0.0), -1, np.where((high <= 0.0) & (g > 0.0), 1, 0))
    for _ in range(3 * n):
        free = np.flatnonzero(side == 0)
        held = np.flatnonzero(side)
        wanted = x.copy()
        if len(free):
            wanted[free] = np.linalg.solve(h[np.ix_(free, free)], g[free] - h[np.ix_(free, held)] @ x[held])
        bound = np.where(wanted > x, high, low)
        beyond = ((wanted > x) & (wanted > high)) | ((wanted < x) & (wanted < low))
        if beyond.any():
            share = np.full(n, np.inf)
            share[beyond] = np.maximum(0.0, (bound - x)[beyond] / (wanted - x)[beyond])
            hit = int(np.argmin(share))
            x = x + min(1.0, share[hit]) * (wanted - x)
            side[hit] = 1 if abs(x[hit] - high[hit]) <= abs(x[hit] - low[hit]) else -1
            x[hit] = high[hit] if side[hit] > 0 else low[hit]
            continue
        x = wanted
        pull = -side * (g - h @ x)
        worst = int(np.argmax(pull))
        if pull[worst] <= 1e-14:
            break
        side[worst] = 0
    return x
