/* SPDX-License-Identifier: Apache-2.0
 * A kinematic tree with couplings: forward kinematics and Jacobians of points and frames. Doubles, metres, radians.
 * The Python side of these structs is kernel/structs.py; both change together, and ABI_VERSION with them. */
#ifndef DEX_TREE_H
#define DEX_TREE_H

#include <stdint.h>

#define DEX_ABI_VERSION 1
#define DEX_MAX_JOINTS 128 /* moving joints, followers included */

typedef struct {
    int32_t n_joints;         /* moving joints in topological order: a parent comes before its children */
    int32_t n_actuated;
    const int32_t *parent;    /* (n_joints) index of the parent joint, -1 for the root */
    const int32_t *actuated;  /* (n_joints) column of the actuated joint that drives it */
    const int32_t *prismatic; /* (n_joints) 1: slides, 0: turns */
    const double *rotation;   /* (n_joints, 9) row-major: joint frame in its parent's at zero */
    const double *offset;     /* (n_joints, 3) */
    const double *axis;       /* (n_joints, 3) unit, in the joint's frame */
    const double *coupling;   /* (n_joints, 2) multiplier and offset: q = multiplier * q_actuated + offset */
    const double *four_bar;   /* (n_joints, 8) enabled, crank, coupler, rocker, pivot x, pivot y, crank zero, result zero */
} dex_tree;

typedef struct {
    double position[DEX_MAX_JOINTS];   /* joint coordinates, followers included */
    double gain[DEX_MAX_JOINTS];       /* derivative of each with respect to its actuated joint */
    double rotation[DEX_MAX_JOINTS][9];
    double origin[DEX_MAX_JOINTS][3];
    double axis[DEX_MAX_JOINTS][3];    /* in the root frame */
} dex_pose;

/* Places every joint for actuated positions q (n_actuated). */
void dex_tree_place(const dex_tree *tree, const double *q, dex_pose *pose);

/* Point `local` of `joint` (-1: the root) in the root frame. */
void dex_tree_point(const dex_pose *pose, int joint, const double local[3], double world[3]);

/* Adds nothing, overwrites: d point / d q as (3, n_actuated) row-major. `world` is the point in the root frame. */
void dex_tree_point_jacobian(const dex_tree *tree, const dex_pose *pose, int joint, const double world[3], double *jacobian);

/* The same with the angular part below: (6, n_actuated) row-major, axes of the root frame. */
void dex_tree_frame_jacobian(const dex_tree *tree, const dex_pose *pose, int joint, const double world[3], double *jacobian);

/* Rotation of a frame fixed to `joint` with local rotation `local` (9, row-major) in the root frame. */
void dex_tree_rotation(const dex_pose *pose, int joint, const double local[9], double world[9]);

/* Driven angle of a planar four-bar and its derivative; clamped where the linkage cannot close. */
double dex_four_bar(const double *bar, double crank_rad, double *derivative);

#endif
