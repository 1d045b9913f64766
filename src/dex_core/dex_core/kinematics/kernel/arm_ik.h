/* SPDX-License-Identifier: Apache-2.0
 * Inverse kinematics of one or several tool frames on one tree: Levenberg-Marquardt in the box of the joint limits,
 * bounded restarts. The Python side of this struct is arm_ik_kernel.py; both change together. */
#ifndef DEX_ARM_IK_H
#define DEX_ARM_IK_H

#include "tree.h"

#define DEX_ARM_MAX_N 32       /* actuated joints of one problem */
#define DEX_ARM_MAX_TARGETS 4
#define DEX_ARM_MAX_BEAM 64

enum { DEX_ARM_FOLLOW = 0, DEX_ARM_GUESS = 1, DEX_ARM_COLD = 2 };
enum { DEX_ARM_SOLVED = 0, DEX_ARM_LIMITS = 1, DEX_ARM_SINGULAR = 2, DEX_ARM_RESIDUAL = 3 };

typedef struct {
    const dex_tree *tree;
    int32_t n_targets, mode, max_iterations, max_restarts, n_seeds, may_change_branch, rest_stride;
    double rotation_m;       /* metres one radian of error counts for */
    double tolerance_m, tolerance_rad;
    double posture_gain;     /* share of the way to the rest posture a call takes in the null space */
    double posture_step_rad; /* and at most so far */
    double reach_rad;        /* furthest a joint goes from the previous solution when following */
    double singular;         /* manipulability below which a pose counts as near a singularity */
    const int32_t *joint;    /* (k) joint each tool is fixed to */
    const double *local;     /* (k, 12) its rotation, row-major, and position there */
    const double *lower, *upper, *weight; /* (n) */
    const double *rest;      /* (n); in a chunk step t reads it at t * rest_stride */
    const double *seed_q;    /* (n_seeds, n) */
    double *seed_pose;       /* (n_seeds, k, 12) filled by dex_arm_ik_seeds */
    const double *target;    /* (k, 16) row-major homogeneous */
    const double *start;     /* (n) */
    double *q;               /* (n) out */
    double *error;           /* (k, 2) out: m, rad */
    double *manipulability;  /* (k) out */
    int32_t *report;         /* (4) out: status, iterations, restarts, branch changed */
    double *flaw;            /* (2) out: of what is refused: index, and a target's distance from a rotation (NaN: not finite) */
} dex_arm_ik;

/* Poses of the seeds. Once, after the struct is filled. */
void dex_arm_ik_seeds(const dex_arm_ik *ik);

/* 0; 1 when a target is no pose; -1 when the start is not finite (see flaw). */
int dex_arm_ik_solve(const dex_arm_ik *ik);

/* (n_steps, k, 16) targets -> q (n_steps, n), error (n_steps, k, 2), manipulability (n_steps, k), report (n_steps, 4);
 * the first step in the mode of the struct, all others follow. 0, or 1 + the step whose target is no pose, or -1. */
int dex_arm_ik_chunk(const dex_arm_ik *ik, int n_steps);

/* Every posture that can be reached along a track without a jump: of step t as many as width (at most DEX_ARM_MAX_BEAM) that lie far apart,
 * q (n_steps, width, n), each with its parent in step t - 1, parent (n_steps, width), and how many there are, count (n_steps);
 * those of step 0 are given. Per step the joints move by push_rad to either side where the tools do not notice.
 * Returns how many steps are reached. */
int dex_arm_ik_beam(const dex_arm_ik *ik, int n_steps, int width, double push_rad, double *q, int32_t *parent, int32_t *count);

#endif
