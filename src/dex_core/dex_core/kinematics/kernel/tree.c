/* SPDX-License-Identifier: Apache-2.0 */
#include "tree.h"

#include <math.h>
#include <string.h>

double dex_four_bar(const double *bar, double crank_rad, double *derivative)
{
    const double crank = bar[1], coupler = bar[2], rocker = bar[3], angle = crank_rad + bar[6];
    const double px = crank * cos(angle), py = crank * sin(angle);
    const double dx = px - bar[4], dy = py - bar[5];
    const double square = dx * dx + dy * dy, length = sqrt(square);
    double x = (coupler * coupler - square - rocker * rocker) / (2.0 * length * rocker);
    /* derivatives with respect to the crank's angle: d(dx) = -py, d(dy) = px */
    const double d_square = 2.0 * (-dx * py + dy * px), d_length = 0.5 * d_square / length;
    const double d_direction = (dx * px + dy * py) / square;
    double d_x = -d_square / (2.0 * length * rocker) - x * d_length / length;
    if (x > 1.0 || x < -1.0) {
        x = x > 1.0 ? 1.0 : -1.0;
        d_x = 0.0;
    }
    const double root = sqrt(1.0 - x * x);
    *derivative = d_direction - 1.0 - (root > 1e-9 ? d_x / root : 0.0);
    double driven = atan2(dy, dx) + acos(x) - angle;
    if (driven < -M_PI) driven += 2.0 * M_PI;
    return driven + bar[7];
}

static void turn(const double axis[3], double angle, double out[9])
{
    const double s = sin(angle), c = cos(angle), v = 1.0 - c, x = axis[0], y = axis[1], z = axis[2];
    out[0] = c + x * x * v, out[1] = x * y * v - z * s, out[2] = x * z * v + y * s;
    out[3] = y * x * v + z * s, out[4] = c + y * y * v, out[5] = y * z * v - x * s;
    out[6] = z * x * v - y * s, out[7] = z * y * v + x * s, out[8] = c + z * z * v;
}

static void multiply(const double *a, const double *b, double *out)
{
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 3; ++c)
            out[3 * r + c] = a[3 * r] * b[c] + a[3 * r + 1] * b[3 + c] + a[3 * r + 2] * b[6 + c];
}

static void apply(const double *a, const double *v, double *out)
{
    for (int r = 0; r < 3; ++r) out[r] = a[3 * r] * v[0] + a[3 * r + 1] * v[1] + a[3 * r + 2] * v[2];
}

void dex_tree_place(const dex_tree *tree, const double *q, dex_pose *pose)
{
    for (int j = 0; j < tree->n_joints; ++j) {
        const double drive = q[tree->actuated[j]], *bar = tree->four_bar + 8 * j;
        if (bar[0] != 0.0) {
            pose->position[j] = dex_four_bar(bar, drive, &pose->gain[j]);
        } else {
            pose->gain[j] = tree->coupling[2 * j];
            pose->position[j] = pose->gain[j] * drive + tree->coupling[2 * j + 1];
        }
        const int parent = tree->parent[j];
        const double *local = tree->rotation + 9 * j, *offset = tree->offset + 3 * j;
        double frame[9];
        if (parent < 0) {
            memcpy(frame, local, sizeof frame);
            memcpy(pose->origin[j], offset, 3 * sizeof(double));
        } else {
            multiply(pose->rotation[parent], local, frame);
            apply(pose->rotation[parent], offset, pose->origin[j]);
            for (int i = 0; i < 3; ++i) pose->origin[j][i] += pose->origin[parent][i];
        }
        apply(frame, tree->axis + 3 * j, pose->axis[j]);
        if (tree->prismatic[j]) {
            memcpy(pose->rotation[j], frame, sizeof frame);
            for (int i = 0; i < 3; ++i) pose->origin[j][i] += pose->position[j] * pose->axis[j][i];
        } else {
            double spin[9];
            turn(tree->axis + 3 * j, pose->position[j], spin);
            multiply(frame, spin, pose->rotation[j]);
        }
    }
}

void dex_tree_point(const dex_pose *pose, int joint, const double local[3], double world[3])
{
    if (joint < 0) {
        memcpy(world, local, 3 * sizeof(double));
        return;
    }
    apply(pose->rotation[joint], local, world);
    for (int i = 0; i < 3; ++i) world[i] += pose->origin[joint][i];
}

void dex_tree_rotation(const dex_pose *pose, int joint, const double local[9], double world[9])
{
    if (joint < 0)
        memcpy(world, local, 9 * sizeof(double));
    else
        multiply(pose->rotation[joint], local, world);
}

static void jacobian_of(const dex_tree *tree, const dex_pose *pose, int joint, const double world[3], double *jacobian, int angular)
{
    const int n = tree->n_actuated;
    memset(jacobian, 0, (size_t)(angular ? 6 : 3) * n * sizeof(double));
    for (int j = joint; j >= 0; j = tree->parent[j]) {
        const double *a = pose->axis[j], gain = pose->gain[j];
        double *column = jacobian + tree->actuated[j];
        if (tree->prismatic[j]) {
            for (int i = 0; i < 3; ++i) column[i * n] += gain * a[i];
            continue;
        }
        const double x = world[0] - pose->origin[j][0], y = world[1] - pose->origin[j][1], z = world[2] - pose->origin[j][2];
        column[0] += gain * (a[1] * z - a[2] * y);
        column[n] += gain * (a[2] * x - a[0] * z);
        column[2 * n] += gain * (a[0] * y - a[1] * x);
        if (angular)
            for (int i = 0; i < 3; ++i) column[(3 + i) * n] += gain * a[i];
    }
}

void dex_tree_point_jacobian(const dex_tree *tree, const dex_pose *pose, int joint, const double world[3], double *jacobian)
{
    jacobian_of(tree, pose, joint, world, jacobian, 0);
}

void dex_tree_frame_jacobian(const dex_tree *tree, const dex_pose *pose, int joint, const double world[3], double *jacobian)
{
    jacobian_of(tree, pose, joint, world, jacobian, 1);
}

int dex_abi_version(void) { return DEX_ABI_VERSION; }

/* For scripts and tests: points (n_points joint indices and local positions) and their Jacobians, from Python in one call. */
void dex_points(const dex_tree *tree, const double *q, int n_points, const int32_t *joints, const double *locals, double *points, double *jacobians)
{
    dex_pose pose;
    dex_tree_place(tree, q, &pose);
    for (int k = 0; k < n_points; ++k) {
        dex_tree_point(&pose, joints[k], locals + 3 * k, points + 3 * k);
        if (jacobians) jacobian_of(tree, &pose, joints[k], points + 3 * k, jacobians + 3 * k * tree->n_actuated, 0);
    }
}
