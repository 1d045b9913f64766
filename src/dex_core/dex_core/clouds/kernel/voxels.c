/* SPDX-License-Identifier: Apache-2.0
 * Points to voxels: a hash table of the cells seen so far, and the means of what fell into them. */
#include "clouds.h"

#include <math.h>
#include <stdlib.h>

#define BLOCK 256
#define FIRST_SLOTS (1 << 12)

typedef struct {
    uint64_t key;  /* 21 bits an axis */
    int64_t voxel; /* below zero: free */
} slot;

static inline uint64_t hashed(uint64_t key)
{
    key *= 0x9e3779b97f4a7c15ull;
    return key ^ (key >> 32);
}

static inline slot *place(slot *slots, uint64_t mask, uint64_t key)
{
    uint64_t k = hashed(key) & mask;
    while (slots[k].voxel >= 0 && slots[k].key != key) k = (k + 1) & mask;
    return slots + k;
}

static slot *emptied(uint64_t count)
{
    slot *slots = malloc(count * sizeof *slots);
    for (uint64_t k = 0; slots && k < count; k++) slots[k].voxel = -1;
    return slots;
}

/* A table of four times the slots with the same cells; NULL without memory, and then the old one is still there. */
static slot *grown(slot *old, uint64_t count)
{
    slot *slots = emptied(4 * count);
    if (!slots) return NULL;
    for (uint64_t k = 0; k < count; k++)
        if (old[k].voxel >= 0) *place(slots, 4 * count - 1, old[k].key) = old[k];
    free(old);
    return slots;
}

static void keys_of(const float *points, int64_t n, double scale, const double first[3], uint64_t keys[BLOCK])
{
    for (int64_t k = 0; k < n; k++) {
        int64_t a = (int64_t)(floor(points[3 * k] * scale) - first[0]), b = (int64_t)(floor(points[3 * k + 1] * scale) - first[1]);
        int64_t c = (int64_t)(floor(points[3 * k + 2] * scale) - first[2]);
        keys[k] = (uint64_t)a << 42 | (uint64_t)b << 21 | (uint64_t)c;
    }
}

int64_t dex_clouds_group(const float *points, int64_t n, double inverse_size, const float low[3], int32_t *voxel)
{
    uint64_t count = FIRST_SLOTS, keys[BLOCK];
    double first[3];
    slot *slots = emptied(count), *last = NULL;
    int64_t voxels = 0;
    for (int axis = 0; axis < 3; axis++) first[axis] = floor(low[axis] * inverse_size);
    for (int64_t start = 0; slots && start < n; start += BLOCK) {
        int64_t many = n - start < BLOCK ? n - start : BLOCK;
        keys_of(points + 3 * start, many, inverse_size, first, keys);
        while (slots && 2 * (uint64_t)(voxels + many) > count) { /* so that half stays free whatever this block brings */
            slot *more = grown(slots, count);
            if (!more) free(slots);
            slots = more;
            count *= 4;
            last = NULL;
        }
        for (int64_t k = 0; slots && k < many; k++) {
            if (!last || last->key != keys[k]) last = place(slots, count - 1, keys[k]);
            if (last->voxel < 0) *last = (slot){keys[k], voxels++};
            voxel[start + k] = (int32_t)last->voxel;
        }
    }
    int done = slots != NULL;
    free(slots);
    return done ? voxels : -1;
}

/* What fell into one voxel; one cache line without the normals. */
typedef struct {
    double sum[3];
    int64_t count, colour[3];
} bin;

static void divide(const bin *bins, const double (*turns)[3], int64_t m, float *centres, uint8_t *colours, float *directions)
{
    for (int64_t v = 0; v < m; v++) {
        for (int axis = 0; axis < 3; axis++) {
            centres[3 * v + axis] = (float)(bins[v].sum[axis] / (double)bins[v].count);
            if (colours) colours[3 * v + axis] = (uint8_t)((2 * bins[v].colour[axis] + bins[v].count) / (2 * bins[v].count));
        }
        if (!directions) continue;
        const double *t = turns[v];
        double length = sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
        for (int axis = 0; axis < 3; axis++) directions[3 * v + axis] = length > 0.0 ? (float)(t[axis] / length) : NAN;
    }
}

int dex_clouds_means(const float *points, const uint8_t *rgb, const float *normals, const int32_t *voxel, int64_t n, int64_t m, float *centres,
                     uint8_t *colours, float *directions)
{
    bin *bins = calloc((size_t)(m + 1), sizeof *bins);
    double (*turns)[3] = normals ? calloc((size_t)(m + 1), sizeof *turns) : NULL;
    int done = bins && (!normals || turns) ? 0 : -1;
    for (int64_t k = 0; !done && k < n; k++) {
        bin *b = bins + voxel[k];
        const float *p = points + 3 * k;
        b->count++;
        for (int axis = 0; axis < 3; axis++) b->sum[axis] += p[axis];
        if (rgb)
            for (int axis = 0; axis < 3; axis++) b->colour[axis] += rgb[3 * k + axis];
        if (!normals) continue;
        const float *d = normals + 3 * k;
        if (isfinite(d[0]) && isfinite(d[1]) && isfinite(d[2]))
            for (int axis = 0; axis < 3; axis++) turns[voxel[k]][axis] += d[axis];
    }
    if (!done) divide(bins, (const double (*)[3])turns, m, centres, colours, directions);
    free(bins);
    free(turns);
    return done;
}
