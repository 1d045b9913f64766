/* SPDX-License-Identifier: Apache-2.0
 * Exact nearest neighbours by a balanced k-d tree with leaves of one vector or two. */
#include "clouds.h"

#include <float.h>
#include <stdlib.h>

#define LEAF 16
#define SLACK 0.999999f /* a bound summed in another order may be an ulp too large: never prune for that */

/* Node k has children 2 k + 1 and 2 k + 2; its points are a range, halved at each level, so ranges need not be stored. */
typedef struct {
    int32_t axis; /* below zero: a leaf */
    float split;
} node;

typedef struct {
    const float *points;
    node *nodes;
    int32_t *order;     /* (n) points, leaf by leaf */
    float *x, *y, *z;   /* (n + LANES) their coordinates in that order */
} tree;

/* The best k so far, nearest first; the lower index among equals. */
typedef struct {
    const tree *t;
    float query[3], *distance;
    int64_t *index, k, found;
} search;

static inline int before(const float *p, int axis, int32_t a, int32_t b)
{
    float u = p[3 * (int64_t)a + axis], v = p[3 * (int64_t)b + axis];
    return u < v || (u == v && a < b);
}

/* Reorders so that `wanted` is where sorting along the axis would put it, smaller ones before, larger ones after. */
static void select_at(const float *p, int axis, int32_t *order, int64_t low, int64_t high, int64_t wanted)
{
    while (low < high) {
        int32_t pivot = order[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (before(p, axis, order[i], pivot)) i++;
            while (before(p, axis, pivot, order[j])) j--;
            if (i <= j) {
                int32_t swapped = order[i];
                order[i++] = order[j];
                order[j--] = swapped;
            }
        }
        if (wanted <= j) high = j;
        else if (wanted >= i) low = i;
        else return;
    }
}

static int widest(const float *p, const int32_t *order, int64_t first, int64_t end)
{
    int best = 0;
    float most = -1.0f;
    for (int axis = 0; axis < 3; axis++) {
        float low = FLT_MAX, high = -FLT_MAX;
        for (int64_t k = first; k < end; k++) {
            float v = p[3 * (int64_t)order[k] + axis];
            low = v < low ? v : low;
            high = v > high ? v : high;
        }
        if (high - low > most) {
            most = high - low;
            best = axis;
        }
    }
    return best;
}

static void grow(tree *t, int64_t at, int64_t first, int64_t end)
{
    if (end - first <= LEAF) {
        t->nodes[at].axis = -1;
        return;
    }
    int axis = widest(t->points, t->order, first, end);
    int64_t middle = first + (end - first) / 2;
    select_at(t->points, axis, t->order, first, end - 1, middle);
    t->nodes[at] = (node){axis, t->points[3 * (int64_t)t->order[middle] + axis]};
    grow(t, 2 * at + 1, first, middle);
    grow(t, 2 * at + 2, middle, end);
}

static void offer(search *s, float distance, int64_t index)
{
    int64_t place = s->found < s->k ? s->found++ : s->k - 1;
    while (place && (s->distance[place - 1] > distance || (s->distance[place - 1] == distance && s->index[place - 1] > index))) {
        s->distance[place] = s->distance[place - 1];
        s->index[place] = s->index[place - 1];
        place--;
    }
    s->distance[place] = distance;
    s->index[place] = index;
}

static void leaf(search *s, int64_t first, int64_t end)
{
    const tree *t = s->t;
    for (int64_t k = first; k < end; k += LANES) {
        vf dx = s->query[0] - load(t->x + k), dy = s->query[1] - load(t->y + k), dz = s->query[2] - load(t->z + k);
        vf squared = dx * dx + dy * dy + dz * dz;
        if (s->found == s->k && !any(squared <= s->distance[s->k - 1])) continue;
        for (int l = 0; l < LANES && k + l < end; l++) {
            int64_t index = t->order[k + l], last = s->k - 1;
            if (s->found < s->k || squared[l] < s->distance[last] || (squared[l] == s->distance[last] && index < s->index[last]))
                offer(s, squared[l], index);
        }
    }
}

/* `apart` is the offset of the query from the node's cell along each axis; `bound` the sum of its squares. */
static void visit(search *s, int64_t at, int64_t first, int64_t end, float apart[3], float bound)
{
    const node *here = s->t->nodes + at;
    if (here->axis < 0) {
        leaf(s, first, end);
        return;
    }
    int axis = here->axis;
    int64_t middle = first + (end - first) / 2;
    float offset = s->query[axis] - here->split, kept = apart[axis];
    int right = offset > 0.0f;
    visit(s, 2 * at + 1 + right, right ? middle : first, right ? end : middle, apart, bound);
    float other = bound - kept * kept + offset * offset;
    if (s->found == s->k && other * SLACK > s->distance[s->k - 1]) return;
    apart[axis] = offset;
    visit(s, 2 * at + 2 - right, right ? first : middle, right ? middle : end, apart, other);
    apart[axis] = kept;
}

static int planted(tree *t, const float *points, int64_t n)
{
    int64_t nodes = 1, size = n + LANES;
    for (int64_t most = n; most > LEAF; most = most - most / 2) nodes = 2 * nodes + 1;
    t->points = points;
    t->nodes = malloc((size_t)nodes * sizeof *t->nodes);
    t->order = malloc((size_t)size * sizeof *t->order);
    t->x = malloc((size_t)(3 * size) * sizeof *t->x);
    if (!t->nodes || !t->order || !t->x) return 0;
    t->y = t->x + size;
    t->z = t->y + size;
    for (int64_t k = 0; k < n; k++) t->order[k] = (int32_t)k;
    grow(t, 0, 0, n);
    for (int64_t k = 0; k < n; k++) {
        const float *p = points + 3 * (int64_t)t->order[k];
        t->x[k] = p[0];
        t->y[k] = p[1];
        t->z[k] = p[2];
    }
    for (int64_t k = n; k < size; k++) t->x[k] = t->y[k] = t->z[k] = 0.0f;
    return 1;
}

int dex_clouds_nearest(const float *queries, int64_t q, const float *points, int64_t n, int64_t k, int64_t *indices, float *distances)
{
    tree t = {0};
    int done = planted(&t, points, n) ? 0 : -1;
    for (int64_t row = 0; !done && row < q; row++) {
        const float *p = queries + 3 * row;
        search s = {&t, {p[0], p[1], p[2]}, distances + row * k, indices + row * k, k, 0};
        float apart[3] = {0.0f, 0.0f, 0.0f};
        visit(&s, 0, 0, n, apart, 0.0f);
        for (int64_t place = 0; place < k; place++) s.distance[place] = __builtin_sqrtf(s.distance[place]);
    }
    free(t.nodes);
    free(t.order);
    free(t.x);
    return done;
}
