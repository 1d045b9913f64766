/* SPDX-License-Identifier: Apache-2.0
 * Depth pictures to points. */
#include "clouds.h"

#include <float.h>

int32_t dex_clouds_version(void) { return DEX_CLOUDS_VERSION; }

static inline int seen(float depth, float x) { return depth > 0.0f && depth <= FLT_MAX && x == x; }

int64_t dex_clouds_unproject(const float *depth, const float *x, const float *y, const uint8_t *rgb, float *normals, int64_t n, float *points,
                             uint8_t *colours, int32_t *pixels)
{
    int64_t count = 0;
    for (int64_t first = 0, end; first < n; first = end) {
        while (first < n && !seen(depth[first], x[first])) first++;
        for (end = first; end < n && seen(depth[end], x[end]); end++) {}
        int64_t run = end - first;
        float *restrict p = points + 3 * count;
        for (int64_t k = 0; k < run; k++) {
            float z = depth[first + k];
            p[3 * k] = x[first + k] * z;
            p[3 * k + 1] = y[first + k] * z;
            p[3 * k + 2] = z;
        }
        for (int64_t k = 0; k < run; k++) pixels[count + k] = (int32_t)(first + k);
        if (rgb) memcpy(colours + 3 * count, rgb + 3 * first, (size_t)(3 * run));
        if (normals && count < first) memmove(normals + 3 * count, normals + 3 * first, (size_t)(3 * run) * sizeof *normals);
        count += run;
    }
    return count;
}

int64_t dex_clouds_bounds(const float *points, int64_t n, float low[3], float high[3])
{
    vf least[3], most[3];
    vi finite[3];
    int64_t total = 3 * n, place = 0, count = 0;
    for (int k = 0; k < 3; k++) {
        least[k] = (vf){0} + FLT_MAX;
        most[k] = (vf){0} - FLT_MAX;
        finite[k] = (vi){0};
    }
    for (int axis = 0; axis < 3; axis++) {
        low[axis] = FLT_MAX;
        high[axis] = -FLT_MAX;
    }
    for (; place + 3 * LANES <= total; place += 3 * LANES) /* lane l of vector k holds axis (k * LANES + l) % 3, always */
        for (int k = 0; k < 3; k++) {
            vf v = load(points + place + k * LANES);
            finite[k] -= absolute(v) <= FLT_MAX;
            least[k] = choose(v < least[k], v, least[k]);
            most[k] = choose(v > most[k], v, most[k]);
        }
    for (int k = 0; k < 3 * LANES; k++) {
        int axis = k % 3;
        count += finite[k / LANES][k % LANES];
        if (least[k / LANES][k % LANES] < low[axis]) low[axis] = least[k / LANES][k % LANES];
        if (most[k / LANES][k % LANES] > high[axis]) high[axis] = most[k / LANES][k % LANES];
    }
    for (; place < total; place++) {
        float v = points[place];
        count += v >= -FLT_MAX && v <= FLT_MAX;
        if (v < low[place % 3]) low[place % 3] = v;
        if (v > high[place % 3]) high[place % 3] = v;
    }
    return count;
}

int64_t dex_clouds_inside(const float *points, int64_t n, const float *pose, const float low[3], const float high[3], int64_t *indices)
{
    static const float same[12] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
    const float *t = pose ? pose : same;
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) {
        float px = points[3 * k], py = points[3 * k + 1], pz = points[3 * k + 2], x = px, y = py, z = pz;
        if (pose) {
            x = t[0] * px + t[1] * py + t[2] * pz + t[3];
            y = t[4] * px + t[5] * py + t[6] * pz + t[7];
            z = t[8] * px + t[9] * py + t[10] * pz + t[11];
        }
        indices[count] = k;
        count += (x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]) & (z >= low[2]) & (z <= high[2]);
    }
    return count;
}
