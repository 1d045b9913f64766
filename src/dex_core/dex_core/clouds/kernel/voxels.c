/* SPDX-License-Identifier: Apache-2.0
 * Points to voxels, and the means of what fell into them. Cells are kept in blocks of 4 x 4 x 4, and blocks in a hash table: neighbours in a picture
 * are mostly neighbours in a block, so the table is seldom asked. */
#include "clouds.h"

#include <math.h>
#include <stdlib.h>

#define BATCH 256
#define FIRST_BLOCKS (1 << 10)
#define MET (1 << 10)

typedef struct {
    uint64_t *keys;      /* (slots) */
    int32_t *blocks;     /* (slots) below zero: free */
    uint64_t slots;      /* a power of two, at least twice the blocks */
    int32_t (*cells)[64];/* (room) the voxel of each cell of each block, below zero: none yet */
    int64_t count, room;
} table;

static inline uint64_t slot_of(const table *t, uint64_t key)
{
    uint64_t mixed = key * 0x9e3779b97f4a7c15ull, k = (mixed ^ mixed >> 32) & (t->slots - 1);
    while (t->blocks[k] >= 0 && t->keys[k] != key) k = (k + 1) & (t->slots - 1);
    return k;
}

/* Makes room for twice the blocks. Returns zero without memory; the table is then only fit to be freed. */
static int grown(table *t)
{
    table old = *t;
    t->room = old.room ? 2 * old.room : FIRST_BLOCKS;
    t->slots = 2 * (uint64_t)t->room;
    t->keys = malloc(t->slots * sizeof *t->keys);
    t->blocks = malloc(t->slots * sizeof *t->blocks);
    void *cells = realloc(old.cells, (size_t)t->room * sizeof *t->cells);
    if (cells) t->cells = cells;
    int done = t->keys && t->blocks && cells;
    if (done) {
        memset(t->blocks, 0xff, t->slots * sizeof *t->blocks);
        for (uint64_t k = 0; k < old.slots; k++) {
            if (old.blocks[k] < 0) continue;
            uint64_t place = slot_of(t, old.keys[k]);
            t->keys[place] = old.keys[k];
            t->blocks[place] = old.blocks[k];
        }
    }
    free(old.keys);
    free(old.blocks);
    return done;
}

/* The cells of the block with this key, new where it is; NULL without memory. */
static int32_t *cells_of(table *t, uint64_t key)
{
    if (t->count == t->room && !grown(t)) return NULL;
    uint64_t k = slot_of(t, key);
    if (t->blocks[k] < 0) {
        t->keys[k] = key;
        t->blocks[k] = (int32_t)t->count++;
        memset(t->cells[t->blocks[k]], 0xff, sizeof *t->cells);
    }
    return t->cells[t->blocks[k]];
}

/* Blocks met lately, asked before the table. */
typedef struct {
    uint64_t key;
    int32_t *cells;
} recent;

/* The cell along its axis; whoever calls sees to it that it fits. In this form loops of it become vectors, with floor() they do not. */
static inline int32_t cell_of(float value, double scale)
{
    double v = value * scale;
    int32_t cut = (int32_t)v;
    return cut - (v < cut);
}

/* Cells of 3 n numbers along their axes, counted from the lowest. */
static void places_of(const float *restrict points, int64_t n, double scale, const int32_t *restrict first, int32_t *restrict place)
{
    for (int64_t k = 0; k < 3 * n; k++) place[k] = cell_of(points[k], scale) - first[k];
}

int64_t dex_clouds_group(const float *points, int64_t n, double inverse_size, const float low[3], int32_t *voxel)
{
    table t = {0};
    recent met[MET];
    int32_t place[3 * BATCH], first[3 * BATCH];
    int64_t voxels = 0;
    for (int k = 0; k < 3 * BATCH; k++) first[k] = cell_of(low[k % 3], inverse_size);
    for (int k = 0; k < MET; k++) met[k] = (recent){UINT64_MAX, NULL};
    for (int64_t start = 0; start < n && voxels >= 0; start += BATCH) {
        int64_t many = n - start < BATCH ? n - start : BATCH;
        places_of(points + 3 * start, many, inverse_size, first, place);
        for (int64_t k = 0; k < many; k++) {
            uint32_t a = (uint32_t)place[3 * k], b = (uint32_t)place[3 * k + 1], c = (uint32_t)place[3 * k + 2];
            uint64_t key = (uint64_t)(a >> 2) << 42 | (uint64_t)(b >> 2) << 21 | c >> 2; /* 21 bits an axis are enough */
            recent *hit = met + (((a >> 2) + 37 * (b >> 2) + 149 * (c >> 2)) & (MET - 1)); /* a row side by side, rows and layers apart */
            if (hit->key != key) {
                const void *before = t.cells;
                *hit = (recent){key, cells_of(&t, key)};
                if (!hit->cells) {
                    voxels = -1;
                    break;
                }
                for (int m = 0; t.cells != before && m < MET; m++) /* the cells have moved */
                    if (met + m != hit) met[m].key = UINT64_MAX;
            }
            int32_t *cell = hit->cells + ((a & 3) << 4 | (b & 3) << 2 | (c & 3)), known = *cell;
            int32_t unseen = known >> 31; /* all bits or none; no branch, for there is no telling which way it would go */
            known = (known & ~unseen) | ((int32_t)voxels & unseen);
            voxels -= unseen;
            *cell = known;
            voxel[start + k] = known;
        }
    }
    free(t.keys);
    free(t.blocks);
    free(t.cells);
    return voxels;
}

/* What fell into one voxel. Colours have room for 16 million points. */
typedef struct {
    double sum[3];
    uint32_t count, colour[3];
} bin;

static void divide(const bin *bins, const double (*turns)[3], int64_t m, float *centres, uint8_t *colours, float *directions)
{
    for (int64_t v = 0; v < m; v++) {
        uint64_t count = bins[v].count;
        for (int axis = 0; axis < 3; axis++) {
            centres[3 * v + axis] = (float)(bins[v].sum[axis] / (double)count);
            if (colours) colours[3 * v + axis] = (uint8_t)((2 * (uint64_t)bins[v].colour[axis] + count) / (2 * count));
        }
        if (!directions) continue;
        const double *t = turns[v];
        double length = sqrt(t[0] * t[0] + t[1] * t[1] + t[2] * t[2]);
        for (int axis = 0; axis < 3; axis++) directions[3 * v + axis] = length > 0.0 ? (float)(t[axis] / length) : NAN;
    }
}

int64_t dex_clouds_means_room(int64_t m) { return m * (int64_t)(sizeof(bin) + sizeof(double[3])); }

void dex_clouds_means(const float *points, const uint8_t *rgb, const float *normals, const int32_t *voxel, int64_t n, int64_t m, void *room,
                      float *centres, uint8_t *colours, float *directions)
{
    bin *bins = room;
    double (*turns)[3] = (double (*)[3])(bins + m);
    memset(bins, 0, (size_t)m * sizeof *bins);
    if (normals) memset(turns, 0, (size_t)m * sizeof *turns);
    for (int64_t k = 0; k < n; k++) {
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
    divide(bins, (const double (*)[3])turns, m, centres, colours, directions);
}
