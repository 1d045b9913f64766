# SPDX-License-Identifier: Apache-2.0
"""The guard looks at every fourth latent and speaks for its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dex_core.bundle import load_bundle
from dex_core.bundle.testing import write_latent_fixture
from dex_core.config import load_cell
from dex_core.decode import LatentDecoder
from dex_core.errors import NonFiniteError

CELL = load_cell("xarm_bimanual")


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> LatentDecoder:
    folder = tmp_path_factory.mktemp("space") / "hands"
    write_latent_fixture(Path(folder), CELL)
    return LatentDecoder(load_bundle(folder), "left_inspire")


def on_the_space(latent: LatentDecoder, count: int) -> np.ndarray:
    return latent.encode(np.random.default_rng(count).uniform(latent.lower_rad, latent.upper_rad, (count, len(latent.joints))))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 8, 63, 64, 65])
def test_every_latent_is_within_two_steps_of_a_guarded_one(latent: LatentDecoder, count: int) -> None:
    z = on_the_space(latent, count)
    guarded = sorted({*range(0, count, 4), count - 1})
    for row in range(count):
        off = z.copy()
        off[row] += 1.0
        flagged = np.flatnonzero(latent.decode(off).flagged)
        if row in guarded:
            assert row in flagged and np.abs(flagged - row).max() <= 2
        else:
            assert not flagged.size and min(abs(row - g) for g in guarded) <= 2


def test_the_others_have_the_figures_of_the_nearest(latent: LatentDecoder) -> None:
    z = on_the_space(latent, 64) + 0.3 * np.random.default_rng(1).standard_normal((64, latent.dim))
    decoded = latent.decode(z)
    alone = np.array([latent.decode(row[None]).residual[0] for row in z])
    np.testing.assert_allclose(decoded.residual[::4], alone[::4], rtol=1e-4)
    np.testing.assert_array_equal(decoded.residual[[1, 2, 3, 5, 61, 62]], decoded.residual[[0, 0, 4, 4, 60, 63]])
    assert decoded.residual[63] == pytest.approx(alone[63], rel=1e-4)


def test_a_chunk_off_the_space_is_flagged_in_every_step(latent: LatentDecoder) -> None:
    z = on_the_space(latent, 64)
    assert not latent.decode(z).flagged.any() and latent.decode(z + 1.0).flagged.all()


def test_postures_are_those_of_each_latent_alone(latent: LatentDecoder) -> None:
    z = on_the_space(latent, 64)
    decoded = latent.decode(z)
    assert decoded.position_rad.dtype == decoded.residual.dtype == np.float64
    np.testing.assert_allclose(decoded.position_rad, np.concatenate([latent.decode(row[None]).position_rad for row in z]), atol=1e-6)


def test_what_float32_cannot_hold_is_refused(latent: LatentDecoder) -> None:
    with pytest.raises(NonFiniteError), np.errstate(over="ignore"):
        latent.decode(np.full((2, latent.dim), 1e300))
