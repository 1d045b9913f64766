/* SPDX-License-Identifier: Apache-2.0
 * Farthest-point sampling: one pass over the points for each that is chosen. */
#include "clouds.h"

#include <float.h>
#include <stdlib.h>

/* Shortens each distance by the newly chosen point's and finds the largest; the lowest index among equals. */
static int64_t pass(const float *x, const float *y, const float *z, float *nearest, int64_t padded, int64_t chosen)
{
    vf cx = (vf){0} + x[chosen], cy = (vf){0} + y[chosen], cz = (vf){0} + z[chosen], most = (vf){0} - FLT_MAX;
    vi place = (vi){0}, at = (vi){0};
    for (int l = 0; l < LANES; l++) at[l] = l;
    nearest[chosen] = -1.0f;
    for (int64_t k = 0; k < padded; k += LANES, at += LANES) {
        vf dx = load(x + k) - cx, dy = load(y + k) - cy, dz = load(z + k) - cz, known = load(nearest + k);
        vf squared = dx * dx + dy * dy + dz * dz;
        known = choose(squared < known, squared, known);
        store(nearest + k, known);
        vi more = known > most;
        most = choose(more, known, most);
        place = (at & more) | (place & ~more);
    }
    int best = 0;
    for (int l = 1; l < LANES; l++)
        if (most[l] > most[best] || (most[l] == most[best] && place[l] < place[best])) best = l;
    return place[best];
}

int dex_clouds_farthest(const float *points, int64_t n, int64_t count, int64_t start, int64_t *chosen)
{
    int64_t padded = (n + LANES - 1) / LANES * LANES;
    float *memory = malloc((size_t)(4 * padded + 1) * sizeof *memory);
    if (!memory) return -1;
    float *nearest = memory + 3 * padded;
    for (int64_t k = 0; k < padded; k++) {
        for (int axis = 0; axis < 3; axis++) memory[axis * padded + k] = k < n ? points[3 * k + axis] : 0.0f;
        nearest[k] = k < n ? FLT_MAX : -2.0f; /* below all that may be chosen */
    }
    for (int64_t k = 0; k < count; k++) {
        chosen[k] = start;
        start = pass(memory, memory + padded, memory + 2 * padded, nearest, padded, start);
    }
    free(memory);
    return 0;
}
