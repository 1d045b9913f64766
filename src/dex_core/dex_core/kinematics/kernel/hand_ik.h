/* SPDX-License-Identifier: Apache-2.0
 * Inverse kinematics of fingertips. Fingers that share no actuated joint are separate small problems ("groups").
 * The Python side of these structs is hand_ik_kernel.py; both change together. Doubles, metres, radians. */
#ifndef DEX_HAND_IK_H
#define DEX_HAND_IK_H

#include "tree.h"

#define DEX_IK_TIPS 8      /* fingers of a group */
#define DEX_IK_COLUMNS 32  /* actuated joints of a group */
#define DEX_IK_SAMPLES 512 /* sampled configurations of a block */
#define DEX_IK_SEEDS 24

enum { DEX_IK_CONVERGED = 0, DEX_IK_CLOSEST = 1, DEX_IK_MAX_ITERATIONS = 2, DEX_IK_NOT_FINITE = -1 };
enum { DEX_IK_COLD = 0, DEX_IK_START = 1, DEX_IK_PREVIOUS = 2 };

typedef struct {
    dex_tree tree; /* the joints that move these tips, and no other; its columns are the group's */
    int32_t n_tips, n_blocks, n_samples;
    double pull;              /* [m^2/rad^2] to the reference, with which a search begins; 0: none */
    const int32_t *finger;    /* (n_tips) row of the hand */
    const int32_t *tip_joint; /* (n_tips) joint of `tree` */
    const double *tip_local;  /* (n_tips, 3) */
    const int32_t *column;    /* (columns) column of the hand */
    const int32_t *owner;     /* (columns) the one tip it moves, or -1: several */
    const int32_t *moves;     /* (n_tips, columns) 1: the column moves the tip */
    const double *sample_q;   /* (n_blocks, n_samples, columns); columns with several tips are the same in a block */
    const double *sample_tip; /* (n_blocks, n_tips, 3, n_samples) */
} dex_fingers;

typedef struct {
    int32_t n_groups, n_columns, n_fingers, mode, max_iterations;
    int32_t iterations; /* out */
    double tolerance;   /* a target this near counts as reached [m] */
    double posture;     /* share of the way to the rest posture that the null space is drawn at a time */
    const dex_fingers *groups;
    const double *lower, *upper, *rest; /* (n_columns) */
    const double *target;               /* (n_fingers, 3) */
    const double *weight;               /* (n_fingers), 0: not wanted */
    const double *start;                /* (n_columns) where the search starts, or the solution before this one */
    double *q;                          /* (n_columns) out */
    double *residual;                   /* (n_fingers) out: distance of each tip from its target */
} dex_hand_ik;

/* One solve. Returns the worst status of its groups, or DEX_IK_NOT_FINITE and does nothing. */
int dex_hand_ik_solve(dex_hand_ik *task);

/* n_steps targets (n_steps, n_fingers, 3) one after the other, each from the one before, without looking for other branches. The first
 * starts at `start`. `q` and `residual` are (n_steps, ...). */
int dex_hand_ik_track(dex_hand_ik *task, int n_steps);

/* Up to `most` distinct solutions of group `group` for `target`, nearest first: (most, n_columns) and their costs; returns how many. */
int dex_hand_ik_branches(dex_hand_ik *task, int group, int most, double *solutions, double *residuals);

#endif
