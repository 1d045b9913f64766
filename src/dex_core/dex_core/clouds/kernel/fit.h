/* SPDX-License-Identifier: Apache-2.0
 * The plane of least squares in 1 / depth around LANES pixels at once, and its normal. */
#ifndef DEX_CLOUDS_FIT_H
#define DEX_CLOUDS_FIT_H

#include "clouds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h> /* abs */

#define REACH 2 /* samples to each side */

/* Sums over the samples of one window: their number, columns and rows, and the rises of 1 / depth over the pixel's own. */
typedef struct {
    vf n, i, j, ii, ij, jj, r, ir, jr, rr;
} sums;

/* The plane over (column, row) in samples, relative to the pixel's 1 / depth; `good` where there is one. */
typedef struct {
    vf along, down, level, variance;
    vi good;
} plane;

static inline plane fitted(const sums *s, float least)
{
    vf a = s->n * s->ii - s->i * s->i, b = s->n * s->ij - s->i * s->j, c = s->n * s->jj - s->j * s->j; /* whole numbers, exact */
    vf p = s->n * s->ir - s->i * s->r, q = s->n * s->jr - s->j * s->r, determinant = a * c - b * b, inverse = 1.0f / determinant;
    plane f;
    f.along = (p * c - q * b) * inverse;
    f.down = (q * a - p * b) * inverse;
    f.level = (s->r - f.along * s->i - f.down * s->j) * (1.0f / s->n);
    vf rest = s->rr - f.along * s->ir - f.down * s->jr - f.level * s->r;
    f.variance = choose(rest > 0.0f, rest, (vf){0}) * (1.0f / (s->n - 3.0f));
    f.good = (s->n >= least) & (determinant > 0.0f);
    return f;
}

/* The same where all 25 samples count: what depends on their places alone is constant. None where the pixel itself has no depth. */
static inline plane fitted_whole(const sums *s, vf near)
{
    const float n = 25.0f, square = 50.0f, inverse = 1.0f / (n * square * n * square);
    plane f;
    f.along = n * s->ir * (n * square) * inverse;
    f.down = n * s->jr * (n * square) * inverse;
    f.level = s->r * (1.0f / n);
    vf rest = s->rr - f.along * s->ir - f.down * s->jr - f.level * s->r;
    f.variance = choose(rest > 0.0f, rest, (vf){0}) * (1.0f / (n - 3.0f));
    f.good = near > 0.0f;
    return f;
}

static inline vf roots(vf v)
{
    float each[LANES];
    store(each, v);
    for (int l = 0; l < LANES; l++) each[l] = sqrtf(each[l]);
    return load(each);
}

/* Unit normals of LANES pixels, component by component; NaN where there is none. x, y: their rays; bend: their bends, or NULL. */
static inline void directions(const dex_fit *fit, const plane *f, vf near, vf x, vf y, const vf *bend, float to[3][LANES])
{
    vf along = f->along * fit->per_step, down = f->down * fit->per_step, level = near + f->level;
    vf sx = bend ? bend[0] * along + bend[1] * down : along * fit->fx, sy = bend ? bend[2] * along + bend[3] * down : down * fit->fy;
    vf sz = level - sx * x - sy * y, square = sx * sx + sy * sy + sz * sz, shrink = -1.0f / roots(square), nothing = (vf){0} + NAN;
    vi good = f->good & (level > 0.0f) & (square > 0.0f) & (square <= FLT_MAX);
    store(to[0], choose(good, sx * shrink, nothing));
    store(to[1], choose(good, sy * shrink, nothing));
    store(to[2], choose(good, sz * shrink, nothing));
}

/* The rises of one row of samples, column by column, into its sums. */
static inline vf row_sum(const vf d[5]) { return (d[0] + d[4]) + (d[1] + d[3]) + d[2]; }
static inline vf row_moment(const vf d[5]) { return 2.0f * (d[4] - d[0]) + (d[3] - d[1]); }
static inline vf row_square(const vf d[5]) { return (d[0] * d[0] + d[4] * d[4]) + (d[1] * d[1] + d[3] * d[3]) + d[2] * d[2]; }

static inline void gather_rows(const vf sum[5], const vf moment[5], const vf square[5], sums *s)
{
    s->r = row_sum(sum);
    s->ir = row_sum(moment);
    s->jr = row_moment(sum);
    s->rr = row_sum(square);
}

/* The whole window of LANES pixels side by side; `at` is the first one's 1 / depth, `stride` from row to row. Returns zero where some sample lies on
 * another surface; then the sums are not to be used.
 * Floats that are not negative compare as their bits do, NaN above all: a limit minus a rise is negative where the sample is off. */
static inline int whole(const dex_fit *fit, const float *at, int64_t stride, vf near, sums *s)
{
    vi off = (vi){0}, limit[3][3];
    vf sum[5], moment[5], square[5];
#pragma GCC unroll 3
    for (int j = 0; j < 3; j++)
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) limit[j][i] = (vi)(near * fit->slope[j][i] + fit->noise_per_m);
#pragma GCC unroll 5
    for (int j = -REACH; j <= REACH; j++) {
        vf d[5];
#pragma GCC unroll 5
        for (int i = -REACH; i <= REACH; i++) {
            vf rise = load(at + j * fit->step * stride + i * fit->step) - near;
            off |= limit[j < 0 ? -j : j][i < 0 ? -i : i] - (vi)absolute(rise);
            d[i + REACH] = rise;
        }
        sum[j + REACH] = row_sum(d);
        moment[j + REACH] = row_moment(d);
        square[j + REACH] = row_square(d);
    }
    gather_rows(sum, moment, square, s);
    return !any(off < 0);
}

/* Some samples of the window: `rise` (25), and where they count. The sums of their places are kept in bytes of two words, which they never overflow:
 * each sample adds 1, column + 2 and column^2 to the one word, row + 2, row^2 and column * row + 4 to the other. */
static inline void some(const vf rise[25], const vi on[25], sums *s)
{
    vi columns = (vi){0}, rows = (vi){0};
    vf sum[5], moment[5], square[5];
#pragma GCC unroll 5
    for (int j = 0; j < 5; j++) {
        vf d[5];
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) {
            int x = i - REACH, y = j - REACH, k = 5 * j + i;
            d[i] = (vf)((vi)rise[k] & on[k]);
            columns += on[k] & (1 | (x + 2) << 8 | (x * x) << 16);
            rows += on[k] & ((y + 2) | (y * y) << 8 | (x * y + 4) << 16);
        }
        sum[j] = row_sum(d);
        moment[j] = row_moment(d);
        square[j] = row_square(d);
    }
    gather_rows(sum, moment, square, s);
    vi n = columns & 255;
    s->n = __builtin_convertvector(n, vf);
    s->i = __builtin_convertvector((columns >> 8 & 255) - 2 * n, vf);
    s->ii = __builtin_convertvector(columns >> 16, vf);
    s->j = __builtin_convertvector((rows & 255) - 2 * n, vf);
    s->jj = __builtin_convertvector(rows >> 8 & 255, vf);
    s->ij = __builtin_convertvector((rows >> 16) - 4 * n, vf);
}

static inline void compare(const dex_fit *fit, vf near, vf rise[25], vi on[25])
{
#pragma GCC unroll 25
    for (int k = 0; k < 25; k++) {
        rise[k] -= near;
        on[k] = absolute(rise[k]) <= near * fit->slope[abs(k / 5 - REACH)][abs(k % 5 - REACH)] + fit->noise_per_m;
    }
}

#endif
