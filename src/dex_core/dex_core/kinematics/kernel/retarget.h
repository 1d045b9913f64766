/* SPDX-License-Identifier: Apache-2.0
 * Vectors between points of a hand as weighted least squares with limits, by Levenberg-Marquardt. Doubles, metres, radians.
 * The Python side of the struct is dex_core/retarget/compiled.py; both change together. */
#ifndef DEX_RETARGET_H
#define DEX_RETARGET_H

#include "tree.h"

#define DEX_RETARGET_MOST 64 /* joints, points and vectors each; checked in Python */

typedef struct {
    const dex_tree *tree;
    int32_t points, vectors, max_iterations, bound_passes;
    int32_t iterations, settled; /* out */
    double step_tolerance, cost_tolerance, min_damping, max_damping;
    double cost;              /* out: sum w |x_head - x_tail - target|^2 + sum hold (q - anchor)^2 */
    const int32_t *joints;    /* (points) moving joint that carries it, -1: the root */
    const double *locals;     /* (points, 3) */
    const int32_t *pairs;     /* (vectors, 2) head and tail; tail -1: the root's origin */
    const int32_t *free;      /* (n) 0: stays where it starts */
    const double *lower, *upper;
    const double *targets;    /* (vectors, 3) */
    const double *weights;    /* (vectors) */
    const double *anchor, *hold;
    double *q;                /* (n) in: start; out: solution, inside the limits */
    double *reached;          /* (points, 3) out: the points there, root frame */
} dex_retarget;

/* At most max_iterations steps of at most a few dozen trials each; finite input gives finite output. */
void dex_retarget_solve(dex_retarget *task);

#endif
