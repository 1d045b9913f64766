/* SPDX-License-Identifier: Apache-2.0
 * Normals of a depth picture: planes of least squares in 1 / depth over 5 x 5 samples, halves of them where the whole is no plane. */
#include "clouds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define REACH 2              /* samples to each side */
#define SPARSE 4             /* every fourth row and column tells the picture's noise */
#define CREASE 2.0f          /* times the median variance: looks no more like a plane */
#define BETTER 0.3f          /* of the whole window's variance: what a half must fall below to replace it */

/* Sums over the samples of one window: their number, columns and rows, and the rises of 1 / depth over the pixel's own. */
typedef struct {
    vf n, i, j, ii, ij, jj, r, ir, jr, rr;
} sums;

/* The plane over (column, row) in samples, relative to the pixel's 1 / depth; `good` where there is one. */
typedef struct {
    vf along, down, level, variance;
    vi good;
} plane;

/* What a row of the picture needs: 1 / depth with a margin of NaN, and the rays. */
typedef struct {
    const dex_fit *fit;
    const float *near, *x, *y, *bend;
    int64_t stride;
} picture;

static inline plane fitted(const sums *s, float least)
{
    vf a = s->n * s->ii - s->i * s->i, b = s->n * s->ij - s->i * s->j, c = s->n * s->jj - s->j * s->j; /* whole numbers, exact */
    vf p = s->n * s->ir - s->i * s->r, q = s->n * s->jr - s->j * s->r, determinant = a * c - b * b;
    plane f;
    f.along = (p * c - q * b) / determinant;
    f.down = (q * a - p * b) / determinant;
    f.level = (s->r - f.along * s->i - f.down * s->j) / s->n;
    vf rest = s->rr - f.along * s->ir - f.down * s->jr - f.level * s->r;
    f.variance = choose(rest > 0.0f, rest, (vf){0}) / (s->n - 3.0f);
    f.good = (s->n >= least) & (determinant > 0.0f);
    return f;
}

/* Writes the normals of LANES pixels, those of `wanted` only. `pixel` holds their places in the picture. */
static inline void write(const picture *p, const plane *f, vf near, const int32_t *pixel, vi wanted, float *normals)
{
    const dex_fit *fit = p->fit;
    int64_t size = (int64_t)fit->height * fit->width;
    vf along = f->along / (float)fit->step, down = f->down / (float)fit->step, level = near + f->level, x, y, sx, sy;
    for (int l = 0; l < LANES; l++) {
        x[l] = p->x[pixel[l]];
        y[l] = p->y[pixel[l]];
    }
    if (p->bend) {
        vf m[4];
        for (int k = 0; k < 4; k++)
            for (int l = 0; l < LANES; l++) m[k][l] = p->bend[k * size + pixel[l]];
        sx = m[0] * along + m[1] * down;
        sy = m[2] * along + m[3] * down;
    } else {
        sx = along * fit->fx;
        sy = down * fit->fy;
    }
    vf sz = level - sx * x - sy * y, square = sx * sx + sy * sy + sz * sz, length, nothing = (vf){0} + NAN;
    for (int l = 0; l < LANES; l++) length[l] = sqrtf(square[l]);
    vi good = f->good & (level > 0.0f) & (square > 0.0f) & (square <= FLT_MAX);
    vf ox = choose(good, -sx / length, nothing), oy = choose(good, -sy / length, nothing), oz = choose(good, -sz / length, nothing);
    for (int l = 0; l < LANES; l++)
        if (wanted[l]) {
            float *out = normals + 3 * (int64_t)pixel[l];
            out[0] = ox[l];
            out[1] = oy[l];
            out[2] = oz[l];
        }
}

/* The whole window, all samples on one surface: the sums of places are constants. Returns zero where some sample is not. */
static inline int whole(const picture *p, const float *at, vf near, sums *s)
{
    const float *slope = p->fit->slope;
    int step = p->fit->step;
    vi off = (vi){0};
    s->r = s->ir = s->jr = s->rr = (vf){0};
    for (int j = -REACH; j <= REACH; j++) {
        vf row = (vf){0}, moment = (vf){0};
        for (int i = -REACH; i <= REACH; i++) {
            vf rise = load(at + j * step * p->stride + i * step) - near;
            off |= ~(absolute(rise) <= near * *slope++ + p->fit->noise_per_m);
            row += rise;
            moment += (float)i * rise;
            s->rr += rise * rise;
        }
        s->r += row;
        s->ir += moment;
        s->jr += (float)j * row;
    }
    s->n = (vf){0} + 25.0f;
    s->ii = s->jj = (vf){0} + 50.0f;
    s->i = s->j = s->ij = (vf){0};
    return !any(off);
}

/* The samples of the window from columns i0 to i1 and rows j0 to j1 that lie on the pixel's surface. `rise` (25) and their masks. */
static inline void some(const vf rise[25], const vi on[25], int i0, int i1, int j0, int j1, sums *s)
{
    vi n = (vi){0}, mi = n, mj = n, mii = n, mij = n, mjj = n;
    s->r = s->ir = s->jr = s->rr = (vf){0};
    for (int j = j0; j <= j1; j++) {
        vf row = (vf){0}, moment = (vf){0};
        vi rn = (vi){0}, ri = rn, rii = rn;
        for (int i = i0; i <= i1; i++) {
            int k = (j + REACH) * 5 + i + REACH;
            vf d = (vf)((vi)rise[k] & on[k]);
            row += d;
            moment += (float)i * d;
            s->rr += d * d;
            rn -= on[k];
            ri -= i * on[k];
            rii -= i * i * on[k];
        }
        s->r += row;
        s->ir += moment;
        s->jr += (float)j * row;
        n += rn;
        mi += ri;
        mj += j * rn;
        mii += rii;
        mij += j * ri;
        mjj += j * j * rn;
    }
    s->n = __builtin_convertvector(n, vf);
    s->i = __builtin_convertvector(mi, vf);
    s->j = __builtin_convertvector(mj, vf);
    s->ii = __builtin_convertvector(mii, vf);
    s->ij = __builtin_convertvector(mij, vf);
    s->jj = __builtin_convertvector(mjj, vf);
}

static inline void compare(const picture *p, vf near, vf rise[25], vi on[25])
{
    for (int k = 0; k < 25; k++) {
        rise[k] -= near;
        on[k] = absolute(rise[k]) <= near * p->fit->slope[k] + p->fit->noise_per_m;
    }
}

/* First pass over one row: the whole window of every pixel, and how far it is from a plane. */
static void row_of(const picture *p, int row, float *normals, float *variance)
{
    const dex_fit *fit = p->fit;
    int step = fit->step;
    for (int column = 0; column < fit->width; column += LANES) {
        const float *at = p->near + (row + REACH * step) * p->stride + REACH * step + column;
        vf near = load(at);
        sums s;
        if (!any(near > 0.0f)) s.n = s.i = s.j = s.ii = s.ij = s.jj = s.r = s.ir = s.jr = s.rr = (vf){0};
        else if (!whole(p, at, near, &s)) {
            vf rise[25];
            vi on[25];
            for (int k = 0; k < 25; k++) rise[k] = load(at + (k / 5 - REACH) * step * p->stride + (k % 5 - REACH) * step);
            compare(p, near, rise, on);
            some(rise, on, -REACH, REACH, -REACH, REACH, &s);
        }
        plane f = fitted(&s, (float)fit->least);
        int32_t pixel[LANES];
        vi inside;
        for (int l = 0; l < LANES; l++) {
            inside[l] = column + l < fit->width ? -1 : 0;
            pixel[l] = row * fit->width + (inside[l] ? column + l : fit->width - 1);
        }
        write(p, &f, near, pixel, inside, normals);
        vf spread = choose(f.good, f.variance, (vf){0} + NAN);
        for (int l = 0; l < LANES && column + l < fit->width; l++) variance[row * fit->width + column + l] = spread[l];
    }
}

/* The lower median of n > 0 numbers; they are reordered. */
static float median(float *values, int64_t n)
{
    int64_t low = 0, high = n - 1, wanted = (n - 1) / 2;
    while (low < high) {
        float pivot = values[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (values[i] < pivot) i++;
            while (values[j] > pivot) j--;
            if (i <= j) {
                float swapped = values[i];
                values[i++] = values[j];
                values[j--] = swapped;
            }
        }
        if (wanted <= j) high = j;
        else if (wanted >= i) low = i;
        else break;
    }
    return values[wanted];
}

/* The variance above which a window may hold a crease. `scratch` takes a sixteenth of the picture, rounded up. */
static float crease_level(const dex_fit *fit, const float *variance, float *scratch)
{
    int64_t n = 0;
    for (int row = 0; row < fit->height; row += SPARSE)
        for (int column = 0; column < fit->width; column += SPARSE) {
            float v = variance[row * fit->width + column];
            if (v == v) scratch[n++] = v;
        }
    float level = n ? CREASE * median(scratch, n) : 0.0f;
    return level > fit->level_floor ? level : fit->level_floor;
}

/* Second pass: LANES pixels whose window is no plane take the half of it that is far more of one. */
static void halves(const picture *p, const int32_t *pixel, int count, const float *variance, float *normals)
{
    static const int8_t part[4][4] = {{-REACH, 0, -REACH, REACH}, {0, REACH, -REACH, REACH}, {-REACH, REACH, -REACH, 0}, {-REACH, REACH, 0, REACH}};
    const dex_fit *fit = p->fit;
    int step = fit->step;
    vf rise[25], near, best;
    vi on[25], taken = (vi){0};
    for (int l = 0; l < LANES; l++) {
        int row = pixel[l] / fit->width, column = pixel[l] % fit->width;
        const float *at = p->near + (row + REACH * step) * p->stride + REACH * step + column;
        near[l] = *at;
        best[l] = variance[pixel[l]];
        for (int k = 0; k < 25; k++) rise[k][l] = at[(k / 5 - REACH) * step * p->stride + (k % 5 - REACH) * step];
    }
    compare(p, near, rise, on);
    best *= BETTER;
    plane chosen = {.along = (vf){0}};
    for (int h = 0; h < 4; h++) {
        sums s;
        some(rise, on, part[h][0], part[h][1], part[h][2], part[h][3], &s);
        plane f = fitted(&s, (float)fit->least);
        vi take = f.good & (f.variance < best);
        best = choose(take, f.variance, best);
        chosen.along = choose(take, f.along, chosen.along);
        chosen.down = choose(take, f.down, chosen.down);
        chosen.level = choose(take, f.level, chosen.level);
        taken |= take;
    }
    for (int l = count; l < LANES; l++) taken[l] = 0;
    chosen.good = taken;
    if (any(taken)) write(p, &chosen, near, pixel, taken, normals);
}

static void creases(const picture *p, const float *variance, float level, float *normals)
{
    int32_t pixel[LANES];
    int count = 0;
    int64_t size = (int64_t)p->fit->height * p->fit->width;
    for (int64_t k = 0; k < size; k++) {
        if (!(variance[k] > level)) continue;
        pixel[count++] = (int32_t)k;
        if (count < LANES) continue;
        halves(p, pixel, count, variance, normals);
        count = 0;
    }
    if (!count) return;
    for (int l = count; l < LANES; l++) pixel[l] = pixel[0];
    halves(p, pixel, count, variance, normals);
}

/* 1 / depth with a margin of NaN on every side; LANES more at the end, so that whole vectors can be read. */
static float *nearness(const dex_fit *fit, const float *depth, int64_t stride)
{
    int64_t margin = REACH * fit->step, size = (fit->height + 2 * margin) * stride + LANES;
    float *near = malloc((size_t)size * sizeof *near);
    if (!near) return NULL;
    for (int64_t k = 0; k < size; k++) near[k] = NAN;
    for (int64_t row = 0; row < fit->height; row++) {
        const float *from = depth + row * fit->width;
        float *to = near + (row + margin) * stride + margin;
        for (int column = 0; column < fit->width; column++) {
            float d = from[column], q = 1.0f / d;
            to[column] = d > 0.0f && d <= FLT_MAX ? q : NAN;
        }
    }
    return near;
}

int dex_clouds_normals(const dex_fit *fit, const float *depth, const float *x, const float *y, const float *bend, float *normals)
{
    int64_t stride = fit->width + 2 * REACH * fit->step + LANES, size = (int64_t)fit->height * fit->width;
    float *near = nearness(fit, depth, stride), *variance = malloc((size_t)(2 * size + 1) * sizeof *variance);
    if (near && variance) {
        picture p = {fit, near, x, y, bend, stride};
        for (int row = 0; row < fit->height; row++) row_of(&p, row, normals, variance);
        creases(&p, variance, crease_level(fit, variance, variance + size), normals);
    }
    int done = near && variance ? 0 : -1;
    free(near);
    free(variance);
    return done;
}
