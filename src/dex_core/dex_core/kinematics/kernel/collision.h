/* SPDX-License-Identifier: Apache-2.0
 * Distances between capsules fixed to the links of a tree, and between them and boxes that stand still, with gradients.
 * The Python side of this struct is collision_kernel.py; both change together. */
#ifndef DEX_COLLISION_H
#define DEX_COLLISION_H

#include "tree.h"

#define DEX_COLLISION_MAX_SHAPES 1024
#define DEX_COLLISION_MAX_LINKS 256

typedef struct {
    const dex_tree *tree;
    int32_t n_shapes, n_links, n_pairs, n_classes;
    const int32_t *joint;    /* (n_links) joint the link is fixed to, -1: the root */
    const int32_t *first;    /* (n_links + 1) its shapes are first[l] to first[l + 1] - 1 */
    const double *sphere;    /* (n_links, 4) centre in the joint's frame and radius: encloses its shapes */
    const int32_t *is_box;   /* (n_shapes) 0: capsule, 1: box of a link that stands still */
    const double *shape;     /* (n_shapes, 15) capsule: ends a and b in the joint's frame, radius; box: rotation (9), centre, half sizes */
    const int32_t *pair;     /* (n_pairs, 3) two links and the class they count to */
    double *bound;           /* (n_pairs) room for the broad phase */
    const double *q;         /* (n_actuated) */
    double *distance;        /* (n_classes) out: m, negative where shapes overlap; infinite for a class without pairs */
    int32_t *nearest;        /* (n_classes, 2) out: the two links */
    double *point;           /* (n_classes, 2, 3) out: nearest points of the two surfaces in the root frame */
    double *gradient;        /* (n_classes, n_actuated) out: m per rad */
} dex_collision;

/* Smallest distance of each class and its gradient at q. */
void dex_collision_query(const dex_collision *model);

/* The same for n_steps postures q (n_steps, n_actuated), class 0 alone, without gradients: distance (n_steps), nearest (n_steps, 2). */
void dex_collision_chunk(const dex_collision *model, int n_steps);

/* Distance of every pair at q, (n_pairs) into bound. */
void dex_collision_pairs(const dex_collision *model);

#endif
