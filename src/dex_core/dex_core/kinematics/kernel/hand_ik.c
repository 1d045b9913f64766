/* SPDX-License-Identifier: Apache-2.0 */
#include "hand_ik.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define ROWS (3 * DEX_IK_TIPS)
#define COLS DEX_IK_COLUMNS

static const double ENOUGH_M = 1e-6;         /* nearer than this no search goes on */
static const double SETTLED_RAD = 1e-7;      /* a smaller step ends a search */
static const double NEAR_RAD = 1e-4;         /* and one that is drawn to the reference: the next takes it on */
static const double CREEPING = 1e-9;         /* and so does a smaller relative gain */
static const double LEAST_DAMPING = 1e-9;    /* relative to the Hessian's diagonal, as every damping */
static const double FIRST_DAMPING = 1e-6;
static const double SWITCH_M = 2e-3;         /* so much nearer, and more than twice as near, must a branch be to be changed to where none reaches */
static const double STEP_RAD = 0.5;          /* a target that nothing reaches moves a joint no further from the previous solution */
static const double NEARNESS = 1e-4;         /* [m^2/rad^2] how a seed's distance from the previous solution counts beside its tip's */
static const double APART = 0.15;            /* share of the range by which seeds differ */
enum { TRIES = 14 };

typedef struct {
    double error[ROWS];       /* sqrt(weight) * (target - tip) */
    double jacobian[ROWS * COLS];
    double cost;              /* |error|^2 */
    double total;             /* with the pull to the reference */
} place;

typedef struct {
    const dex_fingers *group;
    int n, rows, iterations, limit;
    int active[COLS];
    int wanted[DEX_IK_TIPS], n_wanted;
    double gain[DEX_IK_TIPS]; /* sqrt of the weight, the largest 1 */
    double target[DEX_IK_TIPS][3];
    double least[COLS], most[COLS];   /* the joints' limits */
    double lower[COLS], upper[COLS];  /* what the search under way keeps to */
    double base[COLS], reference[COLS];
    double enough, pull;      /* of the search under way */
    int settled;              /* the last search ended at a minimum */
    dex_pose pose;
    place places[2];
    place *at;                /* of where the last search ended */
} search;

static double square(double x) { return x * x; }

static void evaluate(search *s, const double *q, place *at)
{
    const dex_fingers *g = s->group;
    const int n = s->n;
    dex_tree_place(&g->tree, q, &s->pose);
    double cost = 0.0;
    for (int w = 0; w < s->n_wanted; ++w) {
        const int tip = s->wanted[w];
        double point[3];
        dex_tree_point(&s->pose, g->tip_joint[tip], g->tip_local + 3 * tip, point);
        dex_tree_point_jacobian(&g->tree, &s->pose, g->tip_joint[tip], point, at->jacobian + 3 * w * n);
        const double gain = s->gain[w];
        for (int i = 0; i < 3; ++i) {
            at->error[3 * w + i] = gain * (s->target[w][i] - point[i]);
            cost += square(at->error[3 * w + i]);
        }
        if (gain != 1.0)
            for (int i = 0; i < 3 * n; ++i) at->jacobian[3 * w * n + i] *= gain;
    }
    at->cost = at->total = cost;
    if (s->pull > 0.0)
        for (int c = 0; c < n; ++c) at->total += s->pull * square(q[c] - s->reference[c]);
}

/* Solves (A) x = b for the symmetric (n, n) A in place; 0 where it is not positive definite. */
static int solve_positive(double *a, double *b, int n)
{
    for (int i = 0; i < n; ++i) {
        for (int j = 0; j <= i; ++j) {
            double sum = a[i * n + j];
            for (int k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
            if (i == j) {
                if (!(sum > 0.0)) return 0;
                a[i * n + i] = 1.0 / sqrt(sum);
            } else {
                a[i * n + j] = sum * a[j * n + j];
            }
        }
    }
    for (int i = 0; i < n; ++i) {
        for (int k = 0; k < i; ++k) b[i] -= a[i * n + k] * b[k];
        b[i] *= a[i * n + i];
    }
    for (int i = n - 1; i >= 0; --i) {
        for (int k = i + 1; k < n; ++k) b[i] -= a[k * n + i] * b[k];
        b[i] *= a[i * n + i];
    }
    return 1;
}

/* The damped step inside the limits: joints that would leave them are put on them and the rest solved again. 0: no step. */
static int bounded_step(
    const search *s, const double *hessian, const double *gradient, const double *q, const int *free_at_start, double damping, double *step)
{
    const int n = s->n;
    int open[COLS];
    double a[COLS * COLS], b[COLS];
    memset(step, 0, n * sizeof *step);
    int count = 0;
    for (int c = 0; c < n; ++c)
        if (free_at_start[c]) open[count++] = c;
    while (count) {
        for (int i = 0; i < count; ++i) {
            const double *row = hessian + open[i] * n;
            b[i] = gradient[open[i]];
            for (int c = 0; c < n; ++c)
                if (step[c] != 0.0) b[i] -= row[c] * step[c];
            for (int j = 0; j <= i; ++j) a[i * count + j] = row[open[j]];
            a[i * count + i] += damping * (row[open[i]] + 1e-9);
        }
        if (!solve_positive(a, b, count)) return 0;
        int left = 0, clipped = 0;
        for (int i = 0; i < count; ++i) {
            const int c = open[i];
            const double to = q[c] + b[i];
            if (to < s->lower[c] || to > s->upper[c]) {
                step[c] = (to < s->lower[c] ? s->lower[c] : s->upper[c]) - q[c];
                clipped = 1;
            } else {
                open[left] = c;
                b[left++] = b[i];
            }
        }
        count = left;
        if (!clipped) {
            for (int i = 0; i < count; ++i) step[open[i]] = b[i];
            break;
        }
    }
    return 1;
}

static void normal_equations(const search *s, const place *at, const double *q, double *hessian, double *gradient)
{
    const int n = s->n;
    for (int i = 0; i < n; ++i) {
        double sum = 0.0;
        for (int r = 0; r < s->rows; ++r) sum += at->jacobian[r * n + i] * at->error[r];
        gradient[i] = sum - s->pull * (q[i] - s->reference[i]);
        for (int j = 0; j <= i; ++j) {
            double dot = 0.0;
            for (int r = 0; r < s->rows; ++r) dot += at->jacobian[r * n + i] * at->jacobian[r * n + j];
            hessian[i * n + j] = hessian[j * n + i] = dot + (i == j ? s->pull : 0.0);
        }
    }
}

/* Levenberg-Marquardt inside the limits from q, in place; returns |error|^2 where it ended. `again`: q is where the last search ended. */
static double descend(search *s, double *q, double pull, int again)
{
    const int n = s->n;
    double hessian[COLS * COLS], gradient[COLS], step[COLS], next[COLS], damping = FIRST_DAMPING;
    int open[COLS];
    place *at = again ? s->at : &s->places[0], *then = at == &s->places[0] ? &s->places[1] : &s->places[0];
    const double still = pull > 0.0 ? NEAR_RAD : SETTLED_RAD;
    s->pull = pull, s->settled = 1;
    s->at = at;
    if (again)
        at->total = at->cost;
    else
        evaluate(s, q, at);
    for (int iteration = 0; iteration < s->limit; ++iteration) {
        if (at->cost <= s->enough && pull == 0.0) return at->cost;
        normal_equations(s, at, q, hessian, gradient);
        int any = 0;
        for (int c = 0; c < n; ++c) {
            open[c] = s->active[c] && !(q[c] <= s->lower[c] && gradient[c] < 0.0) && !(q[c] >= s->upper[c] && gradient[c] > 0.0);
            any |= open[c];
        }
        if (!any) return at->cost;
        s->iterations++;
        int accepted = 0;
        for (int attempt = 0; attempt < TRIES && !accepted; ++attempt) {
            double largest = 0.0, predicted = 0.0;
            if (bounded_step(s, hessian, gradient, q, open, damping, step)) {
                for (int i = 0; i < n; ++i) {
                    next[i] = fmin(fmax(q[i] + step[i], s->lower[i]), s->upper[i]);
                    largest = fmax(largest, fabs(step[i]));
                    double bent = 0.0;
                    for (int j = 0; j < n; ++j) bent += hessian[i * n + j] * step[j];
                    predicted += step[i] * (2.0 * gradient[i] - bent);
                }
                if (largest < still) return at->cost;
                evaluate(s, next, then);
                accepted = then->total < at->total;
            }
            if (!accepted) damping = fmax(damping * 10.0, 1e-5);
            else {
                const double gain = (at->total - then->total) / fmax(predicted, DBL_MIN);
                damping *= gain > 0.25 ? fmax(0.05, 1.0 - (2.0 * fmin(gain, 1.0) - 1.0) * square(2.0 * fmin(gain, 1.0) - 1.0)) : 10.0;
                damping = fmax(damping, LEAST_DAMPING);
            }
        }
        if (!accepted) return at->cost;
        const int creeping = at->total - then->total < CREEPING * at->total;
        memcpy(q, next, n * sizeof *q);
        then = at, at = s->at = &s->places[at == &s->places[0]];
        if (creeping) return at->cost;
    }
    s->settled = at->cost <= s->enough;
    return at->cost;
}

/* One search from q: drawn to the reference first where its solutions are many, then the target alone. */
static double approach(search *s, double *q)
{
    const int drawn = s->group->pull > 0.0;
    if (drawn) descend(s, q, s->group->pull, 0);
    return descend(s, q, 0.0, drawn);
}

typedef struct {
    double score;
    double q[COLS];
} seed;

/* Up to `ranks` samples of `block` near the target of wanted tip `w`, apart from one another; fills index and score, returns how many. */
static int nearest(const search *s, int block, int w, int ranks, const double *near_to, int *index, double *best)
{
    const dex_fingers *g = s->group;
    const int samples = g->n_samples, tip = s->wanted[w], n = s->n;
    const double *x = g->sample_tip + (size_t)(block * g->n_tips + tip) * 3 * samples, *y = x + samples, *z = y + samples;
    const double *configurations = g->sample_q + (size_t)block * samples * n;
    const double gain = square(s->gain[w]), tx = s->target[w][0], ty = s->target[w][1], tz = s->target[w][2];
    double score[DEX_IK_SAMPLES];
    for (int i = 0; i < samples; ++i) score[i] = gain * (square(x[i] - tx) + square(y[i] - ty) + square(z[i] - tz));
    if (near_to)
        for (int c = 0; c < n; ++c)
            if (g->owner[c] == tip)
                for (int i = 0; i < samples; ++i) score[i] += NEARNESS * square(configurations[i * n + c] - near_to[c]);
    int found = 0;
    while (found < ranks) {
        int least = -1;
        for (int i = 0; i < samples; ++i)
            if (score[i] < DBL_MAX && (least < 0 || score[i] < score[least])) least = i;
        if (least < 0) break;
        index[found] = least, best[found++] = score[least];
        if (found == ranks) break;
        for (int i = 0; i < samples; ++i) {
            int apart = 0;
            for (int c = 0; c < n && !apart; ++c)
                apart = g->owner[c] == tip && fabs(configurations[i * n + c] - configurations[least * n + c]) > APART * (s->upper[c] - s->lower[c]);
            if (!apart) score[i] = DBL_MAX;
        }
    }
    return found;
}

/* Starting points from the samples, the most promising first: each block's shared joints with the best sample of each finger on its own. */
static int propose(const search *s, int most, const double *near_to, seed *seeds)
{
    const dex_fingers *g = s->group;
    const int n = s->n, ranks = g->n_blocks == 1 ? most : 1;
    int total = 0;
    for (int block = 0; block < g->n_blocks && total < most; ++block) {
        int index[DEX_IK_TIPS][DEX_IK_SEEDS], there = ranks;
        double score[DEX_IK_TIPS][DEX_IK_SEEDS];
        for (int w = 0; w < s->n_wanted; ++w) {
            const int found = nearest(s, block, w, ranks, near_to, index[w], score[w]);
            if (found < there) there = found;
        }
        const double *configurations = g->sample_q + (size_t)block * g->n_samples * n;
        for (int rank = 0; rank < there && total < most; ++rank) {
            seed *new = &seeds[total++];
            new->score = 0.0;
            for (int c = 0; c < n; ++c) {
                new->q[c] = s->active[c] ? configurations[c] : s->base[c];
                if (near_to && s->active[c] && g->owner[c] < 0) new->score += NEARNESS * square(configurations[c] - near_to[c]);
            }
            for (int w = 0; w < s->n_wanted; ++w) {
                new->score += score[w][rank];
                for (int c = 0; c < n; ++c)
                    if (s->active[c] && g->owner[c] == s->wanted[w]) new->q[c] = configurations[index[w][rank] * n + c];
            }
        }
    }
    for (int i = 1; i < total; ++i) { /* a handful: insertion */
        const seed moving = seeds[i];
        int j = i;
        for (; j > 0 && seeds[j - 1].score > moving.score; --j) seeds[j] = seeds[j - 1];
        seeds[j] = moving;
    }
    return total;
}

static double furthest(const search *s, const double *a, const double *b)
{
    double most = 0.0;
    for (int c = 0; c < s->n; ++c) most = fmax(most, fabs(a[c] - b[c]));
    return most;
}

/* No previous solution: searches from one start after the other until one reaches or the same minimum is met again and again. */
static double search_everywhere(search *s, double *q, double cost, double reached)
{
    seed seeds[DEX_IK_SEEDS];
    int met = 0, settled = s->settled;
    const int count = propose(s, DEX_IK_SEEDS, NULL, seeds);
    for (int i = 0; i < count && cost > reached && !(met >= 5 && i >= 8); ++i) {
        const double other = approach(s, seeds[i].q);
        if (fabs(sqrt(other) - sqrt(cost)) < 1e-5) ++met;
        if (other < cost) {
            if (sqrt(cost) - sqrt(other) >= 1e-5) met = 1;
            cost = other, settled = s->settled;
            memcpy(q, seeds[i].q, s->n * sizeof *q);
        }
    }
    s->settled = settled;
    return cost;
}

static void confine(search *s, double reach_rad)
{
    for (int c = 0; c < s->n; ++c) {
        s->lower[c] = fmax(s->least[c], s->base[c] - reach_rad);
        s->upper[c] = fmin(s->most[c], s->base[c] + reach_rad);
    }
}

/* On from the previous solution: within a step of it, and only where that does not reach as far as it takes. */
static double follow(search *s, double *q, double reached)
{
    double further[COLS];
    confine(s, STEP_RAD);
    double cost = approach(s, q);
    confine(s, DBL_MAX);
    if (cost <= reached) return cost;
    const int settled = s->settled;
    memcpy(further, q, s->n * sizeof *q);
    const double other = approach(s, further);
    if (other <= reached) {
        memcpy(q, further, s->n * sizeof *q);
        return other;
    }
    s->settled = settled;
    return cost;
}

/* A previous solution whose branch ends here: the nearest of those that reach; none does: this one, unless another is far nearer. */
static double change_branch(search *s, double *q, double cost, const double *previous, double reached)
{
    seed seeds[DEX_IK_SEEDS];
    double least = DBL_MAX;
    int vain = 0, settled = s->settled;
    const int count = propose(s, 12, previous, seeds);
    for (int i = 0; i < count && vain < 6; ++i) {
        const double other = approach(s, seeds[i].q);
        const double jump = furthest(s, seeds[i].q, previous);
        const int reaches = other <= reached;
        const int better = reaches ? jump < least : least == DBL_MAX && other < 0.25 * cost && sqrt(other) < sqrt(cost) - SWITCH_M;
        if (better) {
            cost = other, settled = s->settled;
            if (reaches) least = jump;
            memcpy(q, seeds[i].q, s->n * sizeof *q);
            if (least < STEP_RAD) break;
        }
        vain = better ? 0 : vain + 1;
    }
    s->settled = settled;
    return cost;
}

/* Reads the group's part of the task, `step` the row of targets; 0 where none of its fingers is wanted. */
static int take(search *s, const dex_hand_ik *task, const dex_fingers *group, const double *target, const double *start)
{
    const int n = group->tree.n_actuated;
    s->group = group, s->n = n, s->n_wanted = 0, s->iterations = 0, s->limit = task->max_iterations, s->settled = 1;
    double most = 0.0;
    for (int tip = 0; tip < group->n_tips; ++tip) most = fmax(most, task->weight[group->finger[tip]]);
    for (int c = 0; c < n; ++c) {
        const int column = group->column[c];
        s->least[c] = s->lower[c] = task->lower[column], s->most[c] = s->upper[c] = task->upper[column], s->active[c] = 0;
        s->base[c] = fmin(fmax(start[column], s->lower[c]), s->upper[c]);
        s->reference[c] = task->mode == DEX_IK_PREVIOUS ? s->base[c] + task->posture * (task->rest[column] - s->base[c]) : s->base[c];
    }
    for (int tip = 0; tip < group->n_tips; ++tip) {
        const double weight = task->weight[group->finger[tip]];
        if (weight <= 0.0) continue;
        for (int c = 0; c < n; ++c) s->active[c] |= group->moves[tip * n + c];
        memcpy(s->target[s->n_wanted], target + 3 * group->finger[tip], sizeof s->target[0]);
        s->gain[s->n_wanted] = sqrt(weight / most);
        s->wanted[s->n_wanted++] = tip;
    }
    s->rows = 3 * s->n_wanted, s->enough = square(ENOUGH_M);
    return s->n_wanted;
}

/* Writes the group's joints and the distances of its tips; `cost` is that of the wanted ones. */
static void give(search *s, const double *target, const double *q, double cost, double *out, double *residual)
{
    const dex_fingers *g = s->group;
    for (int c = 0; c < s->n; ++c) out[g->column[c]] = q[c];
    if (g->n_tips == 1 && s->n_wanted == 1) {
        residual[g->finger[0]] = sqrt(cost);
        return;
    }
    dex_tree_place(&g->tree, q, &s->pose);
    for (int tip = 0; tip < g->n_tips; ++tip) {
        double point[3];
        const double *wanted = target + 3 * g->finger[tip];
        dex_tree_point(&s->pose, g->tip_joint[tip], g->tip_local + 3 * tip, point);
        residual[g->finger[tip]] = sqrt(square(wanted[0] - point[0]) + square(wanted[1] - point[1]) + square(wanted[2] - point[2]));
    }
}

static int no_nan(const double *values, int count)
{
    double sum = 0.0;
    for (int i = 0; i < count; ++i) sum += 0.0 * values[i];
    return sum == 0.0;
}

static int all_finite(const dex_hand_ik *task, int steps)
{
    return no_nan(task->target, 3 * task->n_fingers * steps) && no_nan(task->weight, task->n_fingers) && no_nan(task->start, task->n_columns);
}

static int status_of(const search *s, double cost, double reached)
{
    return cost <= reached ? DEX_IK_CONVERGED : s->settled ? DEX_IK_CLOSEST : DEX_IK_MAX_ITERATIONS;
}

static void hold(const dex_hand_ik *task, const double *start, double *q)
{
    for (int c = 0; c < task->n_columns; ++c) q[c] = fmin(fmax(start[c], task->lower[c]), task->upper[c]);
}

int dex_hand_ik_solve(dex_hand_ik *task)
{
    if (!all_finite(task, 1)) return DEX_IK_NOT_FINITE;
    const double reached = square(task->tolerance);
    search s;
    int worst = DEX_IK_CONVERGED;
    task->iterations = 0;
    hold(task, task->start, task->q);
    for (int i = 0; i < task->n_groups; ++i) {
        double q[COLS], cost = 0.0;
        const int wanted = take(&s, task, task->groups + i, task->target, task->start);
        memcpy(q, s.base, s.n * sizeof *q);
        if (wanted) {
            if (task->mode == DEX_IK_COLD) {
                seed first[1];
                if (propose(&s, 1, NULL, first)) memcpy(q, first[0].q, s.n * sizeof *q);
            }
            cost = task->mode == DEX_IK_PREVIOUS ? follow(&s, q, reached) : approach(&s, q);
            if (cost > reached)
                cost = task->mode == DEX_IK_PREVIOUS ? change_branch(&s, q, cost, s.base, reached) : search_everywhere(&s, q, cost, reached);
            const int status = status_of(&s, cost, reached);
            if (status > worst) worst = status;
            task->iterations += s.iterations;
        }
        give(&s, task->target, q, cost, task->q, task->residual);
    }
    return worst;
}

int dex_hand_ik_track(dex_hand_ik *task, int n_steps)
{
    if (!all_finite(task, n_steps)) return DEX_IK_NOT_FINITE;
    search s;
    int worst = DEX_IK_CONVERGED;
    task->iterations = 0;
    for (int t = 0; t < n_steps; ++t) hold(task, task->start, task->q + (size_t)t * task->n_columns);
    for (int i = 0; i < task->n_groups; ++i) {
        const double *start = task->start;
        for (int t = 0; t < n_steps; ++t) {
            double q[COLS], cost = 0.0, *out = task->q + (size_t)t * task->n_columns;
            const double *target = task->target + (size_t)t * 3 * task->n_fingers;
            const int wanted = take(&s, task, task->groups + i, target, start);
            memcpy(q, s.base, s.n * sizeof *q);
            if (wanted) {
                cost = follow(&s, q, square(task->tolerance));
                const int status = status_of(&s, cost, square(task->tolerance));
                if (status > worst) worst = status;
                task->iterations += s.iterations;
            }
            give(&s, target, q, cost, out, task->residual + (size_t)t * task->n_fingers);
            start = out;
        }
    }
    return worst;
}

int dex_hand_ik_branches(dex_hand_ik *task, int group, int most, double *solutions, double *residuals)
{
    if (!all_finite(task, 1)) return DEX_IK_NOT_FINITE;
    search s;
    seed seeds[DEX_IK_SEEDS];
    int found = 0;
    if (!take(&s, task, task->groups + group, task->target, task->start)) return 0;
    const int count = propose(&s, DEX_IK_SEEDS, task->mode == DEX_IK_PREVIOUS ? s.base : NULL, seeds);
    for (int i = 0; i < count && found < most; ++i) {
        const double cost = approach(&s, seeds[i].q);
        int known = 0;
        for (int k = 0; k < found && !known; ++k) known = furthest(&s, solutions + (size_t)k * s.n, seeds[i].q) < 0.1;
        if (known) continue;
        memcpy(solutions + (size_t)found * s.n, seeds[i].q, s.n * sizeof(double));
        residuals[found++] = sqrt(cost);
    }
    return found;
}
