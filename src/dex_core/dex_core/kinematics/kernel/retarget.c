/* SPDX-License-Identifier: Apache-2.0 */
#include "retarget.h"

#include <math.h>
#include <string.h>

#define MOST DEX_RETARGET_MOST

typedef struct {
    dex_pose pose;
    double points[MOST][3];
    double jacobians[MOST][3 * MOST];
    double hessian[MOST * MOST], gradient[MOST];
} work_space;

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static void error_of(const dex_retarget *t, const work_space *w, int v, double error[3])
{
    const int head = t->pairs[2 * v], tail = t->pairs[2 * v + 1];
    for (int i = 0; i < 3; ++i) error[i] = w->points[head][i] - (tail < 0 ? 0.0 : w->points[tail][i]) - t->targets[3 * v + i];
}

static double cost_at(const dex_retarget *t, work_space *w, const double *q)
{
    dex_tree_place(t->tree, q, &w->pose);
    for (int p = 0; p < t->points; ++p) dex_tree_point(&w->pose, t->joints[p], t->locals + 3 * p, w->points[p]);
    double cost = 0.0, error[3];
    for (int v = 0; v < t->vectors; ++v) {
        error_of(t, w, v, error);
        cost += t->weights[v] * (error[0] * error[0] + error[1] * error[1] + error[2] * error[2]);
    }
    for (int j = 0; j < t->tree->n_actuated; ++j) cost += t->hold[j] * (q[j] - t->anchor[j]) * (q[j] - t->anchor[j]);
    return cost;
}

/* Half the gradient and half the Gauss-Newton Hessian (n, n) at the pose that cost_at left. */
static void model_at(const dex_retarget *t, work_space *w, const double *q)
{
    const int n = t->tree->n_actuated;
    for (int p = 0; p < t->points; ++p) dex_tree_point_jacobian(t->tree, &w->pose, t->joints[p], w->points[p], w->jacobians[p]);
    memset(w->hessian, 0, (size_t)n * n * sizeof(double));
    for (int j = 0; j < n; ++j) {
        w->gradient[j] = t->hold[j] * (q[j] - t->anchor[j]);
        w->hessian[j * n + j] = t->hold[j];
    }
    for (int v = 0; v < t->vectors; ++v) {
        const double *head = w->jacobians[t->pairs[2 * v]], weight = t->weights[v];
        const double *tail = t->pairs[2 * v + 1] < 0 ? NULL : w->jacobians[t->pairs[2 * v + 1]];
        double column[MOST][3], error[3];
        int moving[MOST], count = 0;
        error_of(t, w, v, error);
        for (int j = 0; j < n; ++j) {
            if (!t->free[j]) continue;
            double *c = column[count], size = 0.0;
            for (int i = 0; i < 3; ++i) c[i] = head[i * n + j] - (tail ? tail[i * n + j] : 0.0), size += fabs(c[i]);
            if (size > 0.0) moving[count++] = j;
        }
        for (int a = 0; a < count; ++a) {
            const double *ca = column[a];
            w->gradient[moving[a]] += weight * (ca[0] * error[0] + ca[1] * error[1] + ca[2] * error[2]);
            for (int b = 0; b <= a; ++b)
                w->hessian[moving[a] * n + moving[b]] += weight * (ca[0] * column[b][0] + ca[1] * column[b][1] + ca[2] * column[b][2]);
        }
    }
    for (int a = 0; a < n; ++a)
        for (int b = 0; b < a; ++b) w->hessian[b * n + a] = w->hessian[a * n + b];
}

/* Solves the symmetric positive definite (k, k) system in place; 0 when it is not positive definite. */
static int solve_in_place(double *a, double *x, int k)
{
    for (int i = 0; i < k; ++i) {
        for (int j = 0; j <= i; ++j) {
            double sum = a[i * k + j];
            for (int m = 0; m < j; ++m) sum -= a[i * k + m] * a[j * k + m];
            if (i == j) {
                if (!(sum > 0.0)) return 0;
                a[i * k + i] = sqrt(sum);
            } else {
                a[i * k + j] = sum / a[j * k + j];
            }
        }
    }
    for (int i = 0; i < k; ++i) {
        for (int m = 0; m < i; ++m) x[i] -= a[i * k + m] * x[m];
        x[i] /= a[i * k + i];
    }
    for (int i = k - 1; i >= 0; --i) {
        for (int m = i + 1; m < k; ++m) x[i] -= a[m * k + i] * x[m];
        x[i] /= a[i * k + i];
    }
    return 1;
}

/* A damped step; joints it would take out of the limits go to them, and the others are solved for again. */
static int bounded_step(const dex_retarget *t, const work_space *w, const double *q, double damping, const int *movable, double *step)
{
    const int n = t->tree->n_actuated;
    int inside[MOST];
    memcpy(inside, movable, sizeof(int) * (size_t)n);
    memset(step, 0, sizeof(double) * (size_t)n);
    for (int pass = 0; pass < t->bound_passes; ++pass) {
        double matrix[MOST * MOST], right[MOST];
        int rows[MOST], k = 0;
        for (int j = 0; j < n; ++j)
            if (inside[j]) rows[k++] = j;
        if (k == 0) return 1;
        for (int a = 0; a < k; ++a) {
            const double *row = w->hessian + rows[a] * n;
            right[a] = -w->gradient[rows[a]];
            for (int j = 0; j < n; ++j)
                if (movable[j] && !inside[j]) right[a] -= row[j] * step[j];
            for (int b = 0; b < k; ++b) matrix[a * k + b] = row[rows[b]];
            matrix[a * k + a] += damping * (row[rows[a]] + 1e-12);
        }
        if (!solve_in_place(matrix, right, k)) return 0;
        int out = 0;
        for (int a = 0; a < k; ++a) {
            const int j = rows[a];
            const double low = t->lower[j] - q[j], high = t->upper[j] - q[j];
            step[j] = clamp(right[a], low, high);
            if (step[j] != right[a]) inside[j] = 0, out = 1;
            else step[j] = right[a];
        }
        if (!out) return 1;
    }
    return 1;
}

void dex_retarget_solve(dex_retarget *t)
{
    const int n = t->tree->n_actuated;
    work_space w;
    double damping = t->min_damping, *q = t->q;
    for (int j = 0; j < n; ++j) q[j] = clamp(q[j], t->lower[j], t->upper[j]);
    double cost = cost_at(t, &w, q);
    t->settled = 0;
    for (t->iterations = 0; t->iterations < t->max_iterations && !t->settled; ++t->iterations) {
        model_at(t, &w, q);
        int movable[MOST], any = 0;
        for (int j = 0; j < n; ++j) {
            const double g = w.gradient[j];
            movable[j] = t->free[j] && !(q[j] <= t->lower[j] && g > 0.0) && !(q[j] >= t->upper[j] && g < 0.0);
            any |= movable[j];
        }
        double moved = 0.0, lowered = 0.0;
        while (any && damping < t->max_damping) {
            double step[MOST], q_new[MOST];
            if (bounded_step(t, &w, q, damping, movable, step)) {
                for (int j = 0; j < n; ++j) q_new[j] = clamp(q[j] + step[j], t->lower[j], t->upper[j]);
                const double cost_new = cost_at(t, &w, q_new);
                if (cost_new < cost) {
                    double predicted = 0.0;
                    for (int j = 0; j < n; ++j) {
                        step[j] = q_new[j] - q[j];
                        moved = fmax(moved, fabs(step[j]));
                    }
                    for (int j = 0; j < n; ++j) {
                        predicted -= 2.0 * step[j] * w.gradient[j];
                        for (int i = 0; i < n; ++i) predicted -= step[j] * w.hessian[j * n + i] * step[i];
                    }
                    lowered = cost - cost_new;
                    /* far from any target the true curvature is larger than the model's: a poor gain asks for more damping */
                    const double gain = fmin(lowered / fmax(predicted, 1e-300), 1.0), centred = 2.0 * gain - 1.0;
                    damping = fmax(damping * (gain > 0.25 ? fmax(0.1, 1.0 - centred * centred * centred) : 10.0), t->min_damping);
                    memcpy(q, q_new, sizeof(double) * (size_t)n);
                    cost = cost_new;
                    break;
                }
            }
            damping *= 10.0;
        }
        t->settled = moved < t->step_tolerance || lowered < t->cost_tolerance * cost;
    }
    t->cost = cost_at(t, &w, q);
    memcpy(t->reached, w.points, sizeof(double) * 3 * (size_t)t->points);
}
