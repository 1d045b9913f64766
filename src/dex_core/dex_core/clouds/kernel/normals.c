/* SPDX-License-Identifier: Apache-2.0
 * Normals of a depth picture: planes of least squares in 1 / depth over 5 x 5 samples, halves of them where the whole is no plane. */
#include "clouds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h> /* abs */

#define REACH 2              /* samples to each side */
#define SPARSE 4             /* every fourth row and column tells the picture's noise */
#define CREASE 2.0f          /* times the median variance: looks no more like a plane */
#define BETTER 0.3f          /* of the whole window's variance: what a half must fall below to replace it */
#define OPPOSITE 0.5f        /* of the opposite half's variance: the same; halves that are both planes are a curved surface */

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

/* The whole window of LANES pixels side by side. Returns zero where some sample lies on another surface; then the sums are not to be used.
 * Floats that are not negative compare as their bits do, NaN above all: a limit minus a rise is negative where the sample is off. */
static inline int whole(const picture *p, const float *at, vf near, sums *s)
{
    const dex_fit *fit = p->fit;
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
            vf rise = load(at + j * fit->step * p->stride + i * fit->step) - near;
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

/* Some samples of the window: `rise` (25), and where they count. The sums of their places are kept in bytes of two words, which they never overflow: each
 * sample adds 1, column + 2 and column^2 to the one word, row + 2, row^2 and column * row + 4 to the other. */
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

/* Writes the LANES pixels from `column` on, as far as the row goes. */
static inline void write_row(const picture *p, const plane *f, vf near, int64_t at, int count, float *normals, float *variance)
{
    int64_t size = (int64_t)p->fit->height * p->fit->width;
    float to[3][LANES], spread[LANES];
    vf x = (vf){0}, y = x, bend[4] = {x, x, x, x};
    memcpy(&x, p->x + at, (size_t)count * sizeof *p->x);
    memcpy(&y, p->y + at, (size_t)count * sizeof *p->y);
    if (p->bend)
        for (int k = 0; k < 4; k++) memcpy(bend + k, p->bend + k * size + at, (size_t)count * sizeof *p->bend);
    directions(p->fit, f, near, x, y, p->bend ? bend : NULL, to);
    store(spread, choose(f->good, f->variance, (vf){0} + NAN));
    memcpy(variance + at, spread, (size_t)count * sizeof *spread);
    for (int l = 0; l < count; l++)
        for (int axis = 0; axis < 3; axis++) normals[3 * (at + l) + axis] = to[axis][l];
}

/* First pass over one row: the whole window of every pixel, and how far it is from a plane. */
static void row_of(const picture *p, int row, float *normals, float *variance)
{
    const dex_fit *fit = p->fit;
    for (int column = 0; column < fit->width; column += LANES) {
        const float *at = p->near + (row + REACH * fit->step) * p->stride + REACH * fit->step + column;
        vf near = load(at);
        plane f;
        sums s;
        if (whole(p, at, near, &s)) f = fitted_whole(&s, near);
        else {
            vf rise[25];
            vi on[25];
#pragma GCC unroll 25
            for (int k = 0; k < 25; k++) rise[k] = load(at + (k / 5 - REACH) * fit->step * p->stride + (k % 5 - REACH) * fit->step);
            compare(fit, near, rise, on);
            some(rise, on, &s);
            f = fitted(&s, (float)fit->least);
        }
        int64_t place = (int64_t)row * fit->width + column;
        if (column + LANES <= fit->width) write_row(p, &f, near, place, LANES, normals, variance);
        else write_row(p, &f, near, place, fit->width - column, normals, variance);
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

/* The variance above which a window may hold a crease. `scratch` has room for every one that is looked at. */
static float crease_level(const dex_fit *fit, const float *variance, float *scratch)
{
    int64_t n = 0;
    for (int row = 0; row < fit->height; row += SPARSE)
        for (int column = 0; column < fit->width; column += SPARSE) {
            float v = variance[row * fit->width + column];
            if (v <= FLT_MAX) scratch[n++] = v;
        }
    float level = n ? CREASE * median(scratch, n) : 0.0f;
    return level > fit->level_floor ? level : fit->level_floor;
}

/* Second pass: the first `count` of LANES pixels, whose windows are no plane, take the half of it that is far more of one than the whole and the other half. */
static void halves(const picture *p, const int32_t *pixel, int count, const float *variance, float *normals)
{
    static const int8_t part[4][4] = {{0, 2, 0, 4}, {2, 4, 0, 4}, {0, 4, 0, 2}, {0, 4, 2, 4}}; /* first and last column, first and last row */
    const dex_fit *fit = p->fit;
    int64_t size = (int64_t)fit->height * fit->width;
    int step = fit->step;
    vf rise[25], near, best, x, y, bend[4];
    vi on[25], kept[25];
    for (int l = 0; l < LANES; l++) {
        int row = pixel[l] / fit->width, column = pixel[l] % fit->width;
        const float *at = p->near + (row + REACH * step) * p->stride + REACH * step + column;
        near[l] = *at;
        x[l] = p->x[pixel[l]];
        y[l] = p->y[pixel[l]];
        best[l] = variance[pixel[l]];
        for (int k = 0; k < 25; k++) rise[k][l] = at[(k / 5 - REACH) * step * p->stride + (k % 5 - REACH) * step];
        for (int k = 0; p->bend && k < 4; k++) bend[k][l] = p->bend[k * size + pixel[l]];
    }
    compare(fit, near, rise, on);
    best *= BETTER;
    plane chosen = {.along = (vf){0}}, half[4];
    for (int h = 0; h < 4; h++) {
        sums s;
        for (int k = 0; k < 25; k++)
            kept[k] = k % 5 >= part[h][0] && k % 5 <= part[h][1] && k / 5 >= part[h][2] && k / 5 <= part[h][3] ? on[k] : (vi){0};
        some(rise, kept, &s);
        half[h] = fitted(&s, (float)fit->least);
    }
    for (int h = 0; h < 4; h++) {
        plane f = half[h], other = half[h ^ 1];
        vi take = f.good & (f.variance < best) & (~other.good | (f.variance < OPPOSITE * other.variance));
        best = choose(take, f.variance, best);
        chosen.along = choose(take, f.along, chosen.along);
        chosen.down = choose(take, f.down, chosen.down);
        chosen.level = choose(take, f.level, chosen.level);
        chosen.good |= take;
    }
    if (!any(chosen.good)) return;
    float to[3][LANES];
    directions(fit, &chosen, near, x, y, p->bend ? bend : NULL, to);
    for (int l = 0; l < count; l++)
        for (int axis = 0; axis < 3 && chosen.good[l]; axis++) normals[3 * (int64_t)pixel[l] + axis] = to[axis][l];
}

static void creases(const picture *p, const float *variance, float level, float *normals)
{
    int32_t pixel[LANES];
    int count = 0;
    int64_t size = (int64_t)p->fit->height * p->fit->width;
    for (int64_t start = 0; start < size; start += LANES) {
        if (start + LANES <= size && !any(load(variance + start) > level)) continue;
        for (int64_t k = start; k < start + LANES && k < size; k++) {
            if (!(variance[k] > level)) continue;
            pixel[count++] = (int32_t)k;
            if (count < LANES) continue;
            halves(p, pixel, count, variance, normals);
            count = 0;
        }
    }
    if (!count) return;
    for (int l = count; l < LANES; l++) pixel[l] = pixel[0];
    halves(p, pixel, count, variance, normals);
}

/* Of a row of 1 / depth, its margins included; LANES more, so that whole vectors can be read. */
static int64_t stride_of(const dex_fit *fit) { return fit->width + 2 * REACH * fit->step + LANES; }

static int64_t near_size(const dex_fit *fit) { return (fit->height + 2 * REACH * fit->step) * stride_of(fit) + LANES; }

/* 1 / depth with a margin of NaN on every side. */
static void fill_near(const dex_fit *fit, const float *depth, float *near)
{
    int64_t stride = stride_of(fit), margin = REACH * fit->step, size = near_size(fit), done = margin * stride;
    for (int64_t k = 0; k < done; k++) near[k] = NAN;
    for (int64_t row = 0; row < fit->height; row++, done += stride) {
        const float *from = depth + row * fit->width;
        float *to = near + done + margin;
        for (int64_t k = 0; k < margin; k++) near[done + k] = NAN;
        for (int column = 0; column < fit->width; column++) {
            float d = from[column], q = 1.0f / d;
            to[column] = d > 0.0f && d <= FLT_MAX ? q : NAN;
        }
        for (int64_t k = margin + fit->width; k < stride; k++) near[done + k] = NAN;
    }
    for (; done < size; done++) near[done] = NAN;
}

int64_t dex_clouds_normals_room(const dex_fit *fit)
{
    int64_t size = (int64_t)fit->height * fit->width, looked_at = ((int64_t)fit->height / SPARSE + 1) * (fit->width / SPARSE + 1);
    return (near_size(fit) + size + looked_at) * (int64_t)sizeof(float);
}

void dex_clouds_normals(const dex_fit *fit, const float *depth, const float *x, const float *y, const float *bend, void *room, float *normals)
{
    float *near = room, *variance = near + near_size(fit), *scratch = variance + (int64_t)fit->height * fit->width;
    fill_near(fit, depth, near);
    picture p = {fit, near, x, y, bend, stride_of(fit)};
    for (int row = 0; row < fit->height; row++) row_of(&p, row, normals, variance);
    creases(&p, variance, crease_level(fit, variance, scratch), normals);
}
