/* SPDX-License-Identifier: Apache-2.0 */
#include "arm_ik.h"

#include <math.h>
#include <string.h>

#define N DEX_ARM_MAX_N
#define K DEX_ARM_MAX_TARGETS
#define ROTATION_TOLERANCE 1e-5
#define ITERATION_STEP_RAD 0.5   /* furthest one joint goes in one iteration */
#define DAMPING_PER_ERROR 1e-3
#define LEAST_DAMPING 1e-10
#define FIRM 0.1                 /* damping per error where the pose cannot be had, and how many such steps */
#define FIRM_STEPS 4
#define STALLED 1e-3             /* relative decrease below which an iteration counts as stalled */
#define STALLED_AT_MOST 3

typedef struct {
    double q[N], error[K][2], residual[6 * K], cost;
    dex_pose pose;
} state;

static double dot(const double *a, const double *b, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

/* Rotation vector that turns `from` into `to`, in the axes both are given in. */
static void rotation_error(const double *to, const double *from, double out[3])
{
    double r[9];
    for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) r[3 * i + j] = dot(to + 3 * i, from + 3 * j, 3);
    const double v[3] = {0.5 * (r[7] - r[5]), 0.5 * (r[2] - r[6]), 0.5 * (r[3] - r[1])};
    const double sine = sqrt(dot(v, v, 3)), cosine = 0.5 * (r[0] + r[4] + r[8] - 1.0);
    if (sine > 1e-6 || cosine > 0.0) {
        const double scale = sine > 1e-9 ? atan2(sine, cosine) / sine : 1.0;
        for (int i = 0; i < 3; ++i) out[i] = scale * v[i];
        return;
    }
    int big = 0; /* half a turn: the axis from the largest diagonal element */
    for (int i = 1; i < 3; ++i)
        if (r[4 * i] > r[4 * big]) big = i;
    double axis[3], length;
    for (int i = 0; i < 3; ++i) axis[i] = 0.5 * (r[3 * i + big] + r[3 * big + i]) + (i == big ? 1.0 : 0.0);
    length = sqrt(dot(axis, axis, 3));
    for (int i = 0; i < 3; ++i) out[i] = M_PI * axis[i] / length;
}

static void tool_pose(const dex_arm_ik *ik, const dex_pose *pose, int k, double rotation[9], double position[3])
{
    const double *local = ik->local + 12 * k;
    dex_tree_rotation(pose, ik->joint[k], local, rotation);
    dex_tree_point(pose, ik->joint[k], local + 9, position);
}

static int solved(const dex_arm_ik *ik, const state *s)
{
    for (int k = 0; k < ik->n_targets; ++k)
        if (s->error[k][0] > ik->tolerance_m || s->error[k][1] > ik->tolerance_rad) return 0;
    return 1;
}

static void evaluate(const dex_arm_ik *ik, const double *target, state *s)
{
    dex_tree_place(ik->tree, s->q, &s->pose);
    for (int k = 0; k < ik->n_targets; ++k) {
        double rotation[9], position[3], *e = s->residual + 6 * k;
        const double *t = target + 12 * k;
        tool_pose(ik, &s->pose, k, rotation, position);
        for (int i = 0; i < 3; ++i) e[i] = t[9 + i] - position[i];
        rotation_error(t, rotation, e + 3);
        s->error[k][0] = sqrt(dot(e, e, 3));
        s->error[k][1] = sqrt(dot(e + 3, e + 3, 3));
        for (int i = 3; i < 6; ++i) e[i] *= ik->rotation_m;
    }
    s->cost = 0.5 * dot(s->residual, s->residual, 6 * ik->n_targets);
}

/* (6 k, n) with the angular rows in metres. */
static void jacobian(const dex_arm_ik *ik, const state *s, double *j)
{
    const int n = ik->tree->n_actuated;
    for (int k = 0; k < ik->n_targets; ++k) {
        double world[3], *rows = j + 6 * k * n;
        dex_tree_point(&s->pose, ik->joint[k], ik->local + 12 * k + 9, world);
        dex_tree_frame_jacobian(ik->tree, &s->pose, ik->joint[k], world, rows);
        for (int i = 3 * n; i < 6 * n; ++i) rows[i] *= ik->rotation_m;
    }
}

/* J'J (n, n) and J' residual (n). */
static void normal_equations(const dex_arm_ik *ik, const state *s, double *h, double *g)
{
    const int n = ik->tree->n_actuated;
    double j[6 * K * N];
    jacobian(ik, s, j);
    memset(g, 0, (size_t)n * sizeof(double));
    memset(h, 0, (size_t)n * n * sizeof(double));
    for (int k = 0; k < 6 * ik->n_targets; ++k)
        for (int r = 0; r < n; ++r) {
            const double v = j[k * n + r];
            g[r] += v * s->residual[k];
            for (int c = 0; c <= r; ++c) h[r * n + c] += v * j[k * n + c];
        }
    for (int r = 0; r < n; ++r)
        for (int c = 0; c < r; ++c) h[c * n + r] = h[r * n + c];
}

/* In place; returns 0 when not positive definite. Lower triangle, leading dimension `stride`. */
static int cholesky(double *a, int m, int stride)
{
    for (int c = 0; c < m; ++c) {
        double d = a[c * stride + c];
        for (int i = 0; i < c; ++i) d -= a[c * stride + i] * a[c * stride + i];
        if (!(d > 0.0)) return 0;
        d = sqrt(d);
        a[c * stride + c] = d;
        const double inverse = 1.0 / d;
        for (int r = c + 1; r < m; ++r) {
            double v = a[r * stride + c];
            for (int i = 0; i < c; ++i) v -= a[r * stride + i] * a[c * stride + i];
            a[r * stride + c] = v * inverse;
        }
    }
    return 1;
}

static void back_substitute(const double *l, int m, int stride, double *x)
{
    for (int r = 0; r < m; ++r) {
        for (int i = 0; i < r; ++i) x[r] -= l[r * stride + i] * x[i];
        x[r] /= l[r * stride + r];
    }
    for (int r = m - 1; r >= 0; --r) {
        for (int i = r + 1; i < m; ++i) x[r] -= l[i * stride + r] * x[i];
        x[r] /= l[r * stride + r];
    }
}

/* Minimum of x'Hx/2 - g'x over low <= x <= high (low <= 0 <= high) by a primal active set. Returns 1 when joints stand at a bound. */
static int step_in_box(int n, const double *h, const double *g, const double *low, const double *high, double *x)
{
    int side[N] = {0}; /* -1 and 1: held at the lower or upper bound */
    for (int i = 0; i < n; ++i) {
        x[i] = 0.0;
        if ((low[i] >= 0.0 && g[i] < 0.0) || (high[i] <= 0.0 && g[i] > 0.0)) side[i] = g[i] < 0.0 ? -1 : 1;
    }
    for (int round = 0; round < 3 * n; ++round) {
        int free[N], m = 0;
        double a[N * N], y[N];
        for (int i = 0; i < n; ++i)
            if (!side[i]) free[m++] = i;
        for (int r = 0; r < m; ++r) {
            y[r] = g[free[r]];
            for (int i = 0; i < n; ++i)
                if (side[i]) y[r] -= h[free[r] * n + i] * x[i];
            for (int c = 0; c <= r; ++c) a[r * N + c] = h[free[r] * n + free[c]];
        }
        if (!cholesky(a, m, N)) break;
        back_substitute(a, m, N, y);
        double share = 1.0;
        int hit = -1;
        for (int r = 0; r < m; ++r) {
            const int i = free[r];
            const double bound = y[r] > x[i] ? high[i] : low[i], way = y[r] - x[i];
            if ((way > 0.0 && y[r] > bound) || (way < 0.0 && y[r] < bound)) {
                const double part = (bound - x[i]) / way;
                if (part < share) share = part < 0.0 ? 0.0 : part, hit = i;
            }
        }
        for (int r = 0; r < m; ++r) x[free[r]] += share * (y[r] - x[free[r]]);
        if (hit >= 0) {
            side[hit] = fabs(x[hit] - high[hit]) <= fabs(x[hit] - low[hit]) ? 1 : -1;
            x[hit] = side[hit] > 0 ? high[hit] : low[hit];
            continue;
        }
        int worst = -1;
        double most = 1e-14;
        for (int i = 0; i < n; ++i)
            if (side[i]) {
                const double pull = -side[i] * (g[i] - dot(h + i * n, x, n));
                if (pull > most) most = pull, worst = i;
            }
        if (worst < 0) break;
        side[worst] = 0;
    }
    int held = 0;
    for (int i = 0; i < n; ++i) held |= side[i];
    return held != 0;
}

/* One local search from given->q inside low..high; ends at a solution, where it stalls, or after the iterations. Returns iterations.
 * The first iteration also moves by `pull` (n) [rad] as far as the tools do not notice; NULL: it does not.
 * `firmness` damps by the error itself, not its square: slower, and steady where the error cannot vanish. */
static int descend(const dex_arm_ik *ik, const double *target, const double *low, const double *high, const double *pull,
                   double firmness, int iterations, state *given)
{
    const int n = ik->tree->n_actuated;
    double h[N * N], g[N], step[N], left[N], right[N];
    double caution = 1.0;
    int stalled = 0, fresh = 1, used = 0;
    state other, *s = given, *next = &other;
    for (int i = 0; i < n; ++i) s->q[i] = fmin(fmax(s->q[i], low[i]), high[i]);
    evaluate(ik, target, s);
    for (; used < iterations; ++used) {
        const int posture = used == 0 && pull;
        if (!posture && solved(ik, s)) break;
        if (fresh) normal_equations(ik, s, h, g);
        const double damping = caution * DAMPING_PER_ERROR * s->cost + firmness * sqrt(2.0 * s->cost) + LEAST_DAMPING;
        double hd[N * N], gd[N];
        memcpy(hd, h, (size_t)n * n * sizeof(double));
        for (int i = 0; i < n; ++i) {
            const double d = (posture ? fmax(damping, 1e-8) : damping) * ik->weight[i];
            hd[i * n + i] += d;
            gd[i] = g[i] + (posture ? d * pull[i] : 0.0);
            left[i] = fmax(low[i] - s->q[i], -ITERATION_STEP_RAD);
            right[i] = fmin(high[i] - s->q[i], ITERATION_STEP_RAD);
        }
        step_in_box(n, hd, gd, left, right, step);
        for (int i = 0; i < n; ++i) next->q[i] = fmin(fmax(s->q[i] + step[i], low[i]), high[i]);
        evaluate(ik, target, next);
        if (next->cost < s->cost || posture) {
            stalled = next->cost > (1.0 - STALLED) * s->cost && !posture ? stalled + 1 : 0;
            state *const swap = s;
            s = next, next = swap;
            caution = fmax(caution * 0.2, 1e-3);
            fresh = 1;
        } else {
            caution = caution * 8.0;
            fresh = 0;
            ++stalled;
        }
        if (stalled >= STALLED_AT_MOST) {
            ++used;
            break;
        }
    }
    if (s != given) memcpy(given, s, sizeof *s);
    return used;
}

/* Towards the rest posture. */
static const double *rest_pull(const dex_arm_ik *ik, const double *q, double gain, double most, double *pull)
{
    for (int i = 0; i < ik->tree->n_actuated; ++i) pull[i] = fmin(fmax(gain * (ik->rest[i] - q[i]), -most), most);
    return gain > 0.0 ? pull : NULL;
}

/* Rotation of `pose` (16, row-major homogeneous) made orthonormal to the last digit, and its position: (12). Returns how far off it was. */
static double clean_pose(const double *pose, double out[12])
{
    double r[9], off = 0.0;
    for (int i = 0; i < 3; ++i) {
        for (int c = 0; c < 3; ++c) r[3 * i + c] = pose[4 * i + c];
        out[9 + i] = pose[4 * i + 3];
    }
    for (int i = 0; i < 16; ++i)
        if (!isfinite(pose[i])) return NAN;
    double gram[9];
    for (int i = 0; i < 3; ++i)
        for (int c = 0; c < 3; ++c) {
            gram[3 * i + c] = r[i] * r[c] + r[3 + i] * r[3 + c] + r[6 + i] * r[6 + c];
            off = fmax(off, fabs(gram[3 * i + c] - (i == c)));
        }
    const double det = r[0] * (r[4] * r[8] - r[5] * r[7]) - r[1] * (r[3] * r[8] - r[5] * r[6]) + r[2] * (r[3] * r[7] - r[4] * r[6]);
    off = fmax(off, fabs(det - 1.0));
    for (int i = 0; i < 3; ++i) off = fmax(off, fabs(pose[12 + i]));
    off = fmax(off, fabs(pose[15] - 1.0));
    for (int i = 0; i < 3; ++i)
        for (int c = 0; c < 3; ++c)
            out[3 * i + c] = 1.5 * r[3 * i + c] - 0.5 * (r[3 * i] * gram[c] + r[3 * i + 1] * gram[3 + c] + r[3 * i + 2] * gram[6 + c]);
    return off;
}

static double manipulability(const dex_arm_ik *ik, const state *s, int k)
{
    const int n = ik->tree->n_actuated;
    double world[3], j[6 * N], a[36], product = 1.0;
    dex_tree_point(&s->pose, ik->joint[k], ik->local + 12 * k + 9, world);
    dex_tree_frame_jacobian(ik->tree, &s->pose, ik->joint[k], world, j);
    for (int r = 0; r < 6; ++r)
        for (int c = 0; c <= r; ++c) a[6 * r + c] = dot(j + r * n, j + c * n, n);
    if (!cholesky(a, 6, 6)) return 0.0;
    for (int i = 0; i < 6; ++i) product *= a[7 * i];
    return product;
}

/* Indices of the `wanted` seeds with the nearest poses, nearest first. */
static int nearest_seeds(const dex_arm_ik *ik, const double *target, const double *near, int wanted, int32_t *index)
{
    const int n = ik->tree->n_actuated, width = 12 * ik->n_targets;
    double score[64];
    int count = 0;
    for (int m = 0; m < ik->n_seeds; ++m) {
        double d = 0.0;
        for (int k = 0; k < ik->n_targets; ++k) {
            const double *t = target + 12 * k, *p = ik->seed_pose + m * width + 12 * k;
            const double x = t[9] - p[9], y = t[10] - p[10], z = t[11] - p[11];
            d += x * x + y * y + z * z + ik->rotation_m * ik->rotation_m * (3.0 - dot(t, p, 9));
        }
        if (near)
            for (int i = 0; i < n; ++i) d += 0.01 * (near[i] - ik->seed_q[m * n + i]) * (near[i] - ik->seed_q[m * n + i]);
        if (count == wanted && d >= score[count - 1]) continue;
        int place = count < wanted ? count++ : count - 1;
        for (; place > 0 && score[place - 1] > d; --place) score[place] = score[place - 1], index[place] = index[place - 1];
        score[place] = d, index[place] = m;
    }
    return count;
}

static double distance(const double *a, const double *b, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* Self motion towards the rest posture, as long as the pose is kept. */
static void settle(const dex_arm_ik *ik, const double *target, int rounds, state *s)
{
    state trial;
    for (int round = 0; round < rounds; ++round) {
        memcpy(trial.q, s->q, sizeof trial.q);
        double pull[N];
        descend(ik, target, ik->lower, ik->upper, rest_pull(ik, s->q, 0.5, 0.3, pull), 0.0, ik->max_iterations, &trial);
        const int n = ik->tree->n_actuated;
        if (!solved(ik, &trial) || distance(trial.q, ik->rest, n) >= 0.999 * distance(s->q, ik->rest, n)) return;
        memcpy(s, &trial, sizeof trial);
    }
}

/* Searches nearby, inside the box around the previous solution. */
static int search_near(const dex_arm_ik *ik, const double *target, const double *low, const double *high, const double *from, int tries, state *s)
{
    const int n = ik->tree->n_actuated;
    state trial;
    for (int m = 0; m < tries && m < ik->n_seeds; ++m) {
        for (int i = 0; i < n; ++i) {
            const double unit = 2.0 * (ik->seed_q[m * n + i] - ik->lower[i]) / (ik->upper[i] - ik->lower[i]) - 1.0;
            trial.q[i] = from[i] + 0.5 * ik->reach_rad * unit;
        }
        ik->report[1] += descend(ik, target, low, high, NULL, 0.0, ik->max_iterations, &trial);
        ik->report[2] += 1;
        if (solved(ik, &trial)) {
            memcpy(s, &trial, sizeof trial);
            return 1;
        }
    }
    return 0;
}

/* Searches from the seeds whose tool is nearest the target; keeps the best of those that solve it, else the nearest. */
static int search_everywhere(const dex_arm_ik *ik, const double *target, const double *near, int tries, state *s)
{
    const int n = ik->tree->n_actuated;
    int32_t index[64];
    const int count = nearest_seeds(ik, target, near, tries < 64 ? tries : 64, index), enough = near ? 1 : 3;
    int found = 0;
    double best = INFINITY;
    state trial;
    for (int m = 0; m < count && found < enough; ++m) {
        memcpy(trial.q, ik->seed_q + (size_t)index[m] * n, (size_t)n * sizeof(double));
        ik->report[1] += descend(ik, target, ik->lower, ik->upper, NULL, 0.0, ik->max_iterations, &trial);
        ik->report[2] += 1;
        const int hit = solved(ik, &trial);
        const double value = hit ? distance(trial.q, near ? near : ik->rest, n) : trial.cost;
        if ((hit && !found) || (hit == (found > 0) && value < best)) {
            best = value;
            memcpy(s, &trial, sizeof trial);
        }
        found += hit;
    }
    return found > 0;
}

static int at_bound(const dex_arm_ik *ik, const state *s)
{
    for (int i = 0; i < ik->tree->n_actuated; ++i)
        if (s->q[i] <= ik->lower[i] + 1e-9 || s->q[i] >= ik->upper[i] - 1e-9) return 1;
    return 0;
}

static void conclude(const dex_arm_ik *ik, const state *s, double *q, double *error, double *measure, int32_t *report)
{
    memcpy(q, s->q, (size_t)ik->tree->n_actuated * sizeof(double));
    double least = INFINITY;
    for (int k = 0; k < ik->n_targets; ++k) {
        error[2 * k] = s->error[k][0], error[2 * k + 1] = s->error[k][1];
        measure[k] = manipulability(ik, s, k);
        least = fmin(least, measure[k]);
    }
    report[0] = solved(ik, s) ? DEX_ARM_SOLVED : at_bound(ik, s) ? DEX_ARM_LIMITS : least < ik->singular ? DEX_ARM_SINGULAR : DEX_ARM_RESIDUAL;
}

/* A pose that cannot be had: a few firmly damped steps from the previous posture, so that the joints move no faster than the target. */
static void damp(const dex_arm_ik *ik, const double *target, const double *low, const double *high, const double *from, state *s)
{
    memcpy(s->q, from, (size_t)ik->tree->n_actuated * sizeof(double));
    ik->report[1] += descend(ik, target, low, high, NULL, FIRM, FIRM_STEPS, s);
}

static void solve_one(const dex_arm_ik *ik, const double *target, int mode, const double *start, state *s)
{
    const int n = ik->tree->n_actuated;
    double low[N], high[N];
    ik->report[1] = ik->report[2] = ik->report[3] = 0;
    if (mode == DEX_ARM_COLD) {
        if (search_everywhere(ik, target, NULL, 2 * ik->max_restarts, s)) settle(ik, target, 6, s);
        return;
    }
    for (int i = 0; i < n; ++i) {
        s->q[i] = fmin(fmax(start[i], ik->lower[i]), ik->upper[i]);
        low[i] = mode == DEX_ARM_FOLLOW ? fmax(ik->lower[i], s->q[i] - ik->reach_rad) : ik->lower[i];
        high[i] = mode == DEX_ARM_FOLLOW ? fmin(ik->upper[i], s->q[i] + ik->reach_rad) : ik->upper[i];
    }
    double from[N], pull[N];
    memcpy(from, s->q, sizeof from);
    const double gain = mode == DEX_ARM_FOLLOW ? ik->posture_gain : 0.0;
    ik->report[1] = descend(ik, target, low, high, rest_pull(ik, from, gain, ik->posture_step_rad, pull), 0.0, ik->max_iterations, s);
    if (solved(ik, s)) return;
    if (mode == DEX_ARM_FOLLOW) {
        if (search_near(ik, target, low, high, from, ik->max_restarts / 8, s)) return;
        if (!ik->may_change_branch) {
            damp(ik, target, low, high, from, s);
            return;
        }
    }
    state other;
    const int found = search_everywhere(ik, target, from, ik->max_restarts, &other)
                      || search_everywhere(ik, target, NULL, 2 * ik->max_restarts, &other);
    if (found || (mode != DEX_ARM_FOLLOW && other.cost < s->cost)) {
        memcpy(s, &other, sizeof other);
        ik->report[3] = mode == DEX_ARM_FOLLOW;
    } else if (mode == DEX_ARM_FOLLOW) {
        damp(ik, target, low, high, from, s);
    }
}

void dex_arm_ik_seeds(const dex_arm_ik *ik)
{
    dex_pose pose;
    for (int m = 0; m < ik->n_seeds; ++m) {
        dex_tree_place(ik->tree, ik->seed_q + (size_t)m * ik->tree->n_actuated, &pose);
        for (int k = 0; k < ik->n_targets; ++k) {
            double *out = ik->seed_pose + 12 * ((size_t)m * ik->n_targets + k);
            tool_pose(ik, &pose, k, out, out + 9);
        }
    }
}

/* Of `count` postures (count, n) keeps `width` that lie far apart: their indices, the first one always. */
static int spread(const double *q, int n, int count, int width, int32_t *kept)
{
    double gap[3 * DEX_ARM_MAX_BEAM];
    int m = 0, next = 0;
    for (int i = 0; i < count; ++i) gap[i] = INFINITY;
    while (m < width && m < count) { /* at most width rounds */
        kept[m++] = next;
        int far = 0;
        for (int i = 0; i < count; ++i) {
            gap[i] = fmin(gap[i], distance(q + i * n, q + next * n, n));
            if (gap[i] > gap[far]) far = i;
        }
        if (gap[far] < 1e-4) break;
        next = far;
    }
    return m;
}

int dex_arm_ik_beam(const dex_arm_ik *ik, int n_steps, int width, double push_rad, double *q, int32_t *parent, int32_t *count)
{
    const int n = ik->tree->n_actuated, k_all = ik->n_targets;
    const double box = fmin(ik->reach_rad, fmax(0.5 * ik->reach_rad, 1.25 * push_rad));
    double tried[3 * DEX_ARM_MAX_BEAM * N];
    int32_t from[3 * DEX_ARM_MAX_BEAM], kept[DEX_ARM_MAX_BEAM];
    state s;
    for (int t = 1; t < n_steps; ++t) {
        const double *seed = ik->seed_q + (size_t)(1 + t % (ik->n_seeds - 1)) * n, *before = q + (size_t)(t - 1) * width * n;
        double target[12 * K];
        for (int k = 0; k < k_all; ++k)
            if (!(clean_pose(ik->target + 16 * ((size_t)t * k_all + k), target + 12 * k) <= ROTATION_TOLERANCE)) return t;
        int found = 0;
        for (int p = 0; p < count[t - 1]; ++p)
            for (int way = 0; way < 3; ++way) {
                double low[N], high[N], pull[N];
                for (int i = 0; i < n; ++i) {
                    const double unit = 2.0 * (seed[i] - ik->lower[i]) / (ik->upper[i] - ik->lower[i]) - 1.0;
                    s.q[i] = before[p * n + i];
                    low[i] = fmax(ik->lower[i], s.q[i] - box);
                    high[i] = fmin(ik->upper[i], s.q[i] + box);
                    pull[i] = (way == 0 ? 0.0 : way == 1 ? 1.0 : -1.0) * push_rad * (unit < 0.0 ? -1.0 : 1.0);
                }
                descend(ik, target, low, high, way ? pull : NULL, 0.0, ik->max_iterations, &s);
                if (!solved(ik, &s)) continue;
                memcpy(tried + found * n, s.q, (size_t)n * sizeof(double));
                from[found++] = p;
            }
        count[t] = spread(tried, n, found, width, kept);
        if (!found) return t;
        for (int m = 0; m < count[t]; ++m) {
            memcpy(q + ((size_t)t * width + m) * n, tried + kept[m] * n, (size_t)n * sizeof(double));
            parent[t * width + m] = from[kept[m]];
        }
    }
    return n_steps;
}

int dex_arm_ik_solve(const dex_arm_ik *ik) { return dex_arm_ik_chunk(ik, 1); }

int dex_arm_ik_chunk(const dex_arm_ik *ik, int n_steps)
{
    const int n = ik->tree->n_actuated, k_all = ik->n_targets;
    const double *start = ik->start;
    state s;
    if (ik->mode != DEX_ARM_COLD)
        for (int i = 0; i < n; ++i)
            if (!isfinite(start[i])) {
                ik->flaw[0] = i, ik->flaw[1] = start[i];
                return -1;
            }
    for (int t = 0; t < n_steps; ++t) {
        double target[12 * K];
        for (int k = 0; k < k_all; ++k) {
            const double off = clean_pose(ik->target + 16 * ((size_t)t * k_all + k), target + 12 * k);
            if (!(off <= ROTATION_TOLERANCE)) {
                ik->flaw[0] = t * k_all + k, ik->flaw[1] = off;
                return 1 + t;
            }
        }
        dex_arm_ik step = *ik;
        step.report = ik->report + 4 * t;
        step.rest = ik->rest + (size_t)t * ik->rest_stride;
        solve_one(&step, target, t == 0 ? ik->mode : DEX_ARM_FOLLOW, start, &s);
        conclude(&step, &s, ik->q + (size_t)t * n, ik->error + 2 * (size_t)t * k_all, ik->manipulability + (size_t)t * k_all, step.report);
        start = ik->q + (size_t)t * n;
    }
    return 0;
}
