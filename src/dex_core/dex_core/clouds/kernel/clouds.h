/* SPDX-License-Identifier: Apache-2.0
 * Geometry of depth pictures. Floats, metres, row-major arrays. Every result is that of reference.py to the last bit: the same operations in the same
 * order, none fused. What is large and needed only while a function works is given to it (`room`): memory that is returned to the system and asked
 * for again costs more than the geometry. Functions that still need memory of their own return -1 without it. */
#ifndef DEX_CLOUDS_H
#define DEX_CLOUDS_H

#include <stdint.h>
#include <string.h>

#define DEX_CLOUDS_VERSION 1

/* Vectors of the machine's natural width; the compiler splits them where it has none. */
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));

static inline vf load(const float *from)
{
    vf v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline void store(float *to, vf v) { memcpy(to, &v, sizeof v); }

static inline vf absolute(vf v) { return (vf)((vi)v & 0x7fffffff); }

/* `yes` where the mask is set, `no` elsewhere. */
static inline vf choose(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

static inline int any(vi mask)
{
    int64_t bits[sizeof(vi) / 8], all = 0;
    memcpy(bits, &mask, sizeof bits);
    for (unsigned k = 0; k < sizeof bits / 8; k++) all |= bits[k];
    return all != 0;
}

/* Settings of the normals' fit, and the picture's size. */
typedef struct {
    int32_t height, width, step, least;
    float fx, fy, noise_per_m;   /* focal lengths [px]; what noise may change 1 / depth by [1/m] */
    float level_floor;           /* variance of the fit below which no crease is looked for [1/m^2] */
    float per_step;              /* 1 / step */
    float slope[3][3];           /* relative difference of 1 / depth that a sample may have, so many rows and columns away */
} dex_fit;

int32_t dex_clouds_version(void);

/* Points with positive finite depth and a ray, in the order of the picture. Colours may be NULL, and normals, which move up in place.
 * Returns how many. */
int64_t dex_clouds_unproject(const float *depth, const float *x, const float *y, const uint8_t *rgb, float *normals, int64_t n, float *points,
                             uint8_t *colours, int32_t *pixels);

/* Normals (height, width, 3) of a depth picture; `bend` (4, height, width) may be NULL. `room` has as many bytes as the function before says. */
int64_t dex_clouds_normals_room(const dex_fit *fit);
void dex_clouds_normals(const dex_fit *fit, const float *depth, const float *x, const float *y, const float *bend, void *room, float *normals);

/* Smallest and largest coordinates of n points. Returns how many of their 3 n numbers are finite; the bounds hold only where all are. */
int64_t dex_clouds_bounds(const float *points, int64_t n, float low[3], float high[3]);

/* Indices of the points inside a box, in their order; `pose` (3, 4) takes them to the box's frame and may be NULL. Returns how many. */
int64_t dex_clouds_inside(const float *points, int64_t n, const float *pose, const float low[3], const float high[3], int64_t *indices);

/* The voxel of each of n finite points, numbered by first appearance. Returns how many voxels; -1: no memory. */
int64_t dex_clouds_group(const float *points, int64_t n, double inverse_size, const float low[3], int32_t *voxel);

/* Centroids, mean colours and normals of m voxels; rgb, normals and their outputs may be NULL. `room` as above. */
int64_t dex_clouds_means_room(int64_t m);
void dex_clouds_means(const float *points, const uint8_t *rgb, const float *normals, const int32_t *voxel, int64_t n, int64_t m, void *room,
                      float *centres, uint8_t *colours, float *directions);

/* Indices of `count` points, each the farthest from those before it. */
int dex_clouds_farthest(const float *points, int64_t n, int64_t count, int64_t start, int64_t *chosen);

/* The k nearest of n points for each of q queries: indices and distances (q, k), nearest first. */
int dex_clouds_nearest(const float *queries, int64_t q, const float *points, int64_t n, int64_t k, int64_t *indices, float *distances);

#endif
