/* SPDX-License-Identifier: Apache-2.0
 * Normals of a depth picture: planes of least squares in 1 / depth over 5 x 5 samples, halves of them where the whole is no plane. */
#include "fit.h"

#define SPARSE 4             /* every fourth row and column tells the picture's noise */
#define CREASE 2.0f          /* times the median variance: looks no more like a plane */
#define BETTER 0.3f          /* of the whole window's variance: what a half must fall below to replace it */
#define OPPOSITE 0.5f        /* of the opposite half's variance: the same; halves that are both planes are a curved surface */

/* What a row of the picture needs: 1 / depth with a margin of NaN, and the rays. */
typedef struct {
    const dex_fit *fit;
    const float *near, *x, *y, *bend;
    int64_t stride;
} picture;

/* Writes `count` pixels, at most LANES, from place `at` of the picture on. */
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
        if (whole(fit, at, p->stride, near, &s)) f = fitted_whole(&s, near);
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

/* Second pass: the first `count` of LANES pixels, whose windows are no plane, take the half of it that is far more of one than
 * the whole and the other half. */
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
