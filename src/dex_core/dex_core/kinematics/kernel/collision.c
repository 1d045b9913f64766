/* SPDX-License-Identifier: Apache-2.0 */
#include "collision.h"

#include <math.h>
#include <string.h>

#define SEARCHES 44 /* golden sections on a segment: 1e-9 of its length */

typedef struct {
    dex_pose pose;
    double end[DEX_COLLISION_MAX_SHAPES][2][3];
    double centre[DEX_COLLISION_MAX_LINKS][3];
    uint8_t placed[DEX_COLLISION_MAX_LINKS];
} scene;

static double dot(const double a[3], const double b[3]) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

static double clamp(double value, double low, double high) { return value < low ? low : value > high ? high : value; }

/* Nearest points of segments ab and cd. */
static void nearest_of_segments(const double *a, const double *b, const double *c, const double *d, double p[3], double r[3])
{
    double u[3], v[3], w[3];
    for (int i = 0; i < 3; ++i) u[i] = b[i] - a[i], v[i] = d[i] - c[i], w[i] = a[i] - c[i];
    const double uu = dot(u, u), vv = dot(v, v), uv = dot(u, v), uw = dot(u, w), vw = dot(v, w), tiny = 1e-14;
    double s = 0.0, t = 0.0;
    if (uu <= tiny && vv <= tiny) {
        s = t = 0.0;
    } else if (uu <= tiny) {
        t = clamp(vw / vv, 0.0, 1.0);
    } else if (vv <= tiny) {
        s = clamp(-uw / uu, 0.0, 1.0);
    } else {
        const double det = uu * vv - uv * uv;
        s = det > 1e-12 * uu * vv ? clamp((uv * vw - vv * uw) / det, 0.0, 1.0) : 0.5;
        t = (uv * s + vw) / vv;
        if (t < 0.0 || t > 1.0) {
            t = clamp(t, 0.0, 1.0);
            s = clamp((uv * t - uw) / uu, 0.0, 1.0);
        }
    }
    for (int i = 0; i < 3; ++i) p[i] = a[i] + s * u[i], r[i] = c[i] + t * v[i];
}

/* Signed distance of a point to a box, and its gradient where wanted. */
static double to_box(const double *box, const double p[3], double gradient[3])
{
    const double *rotation = box, *centre = box + 9, *half = box + 12;
    double local[3], outside[3], square = 0.0, most = -INFINITY;
    int face = 0;
    for (int i = 0; i < 3; ++i) {
        local[i] = rotation[i] * (p[0] - centre[0]) + rotation[3 + i] * (p[1] - centre[1]) + rotation[6 + i] * (p[2] - centre[2]);
        const double beyond = fabs(local[i]) - half[i];
        if (beyond > most) most = beyond, face = i;
        outside[i] = beyond > 0.0 ? beyond : 0.0;
        square += outside[i] * outside[i];
    }
    const double distance = most > 0.0 ? sqrt(square) : most;
    if (gradient) {
        double g[3] = {0.0, 0.0, 0.0};
        for (int i = 0; i < 3; ++i)
            if (most > 0.0 ? outside[i] > 0.0 : i == face) g[i] = copysign(most > 0.0 ? outside[i] / distance : 1.0, local[i]);
        for (int r = 0; r < 3; ++r) gradient[r] = dot(rotation + 3 * r, g);
    }
    return distance;
}

/* Nearest point of segment ab to a box: the distance is convex along it. */
static double segment_to_box(const double *box, const double *a, const double *b, double p[3])
{
    const double golden = 0.6180339887498949;
    double low = 0.0, high = 1.0, at[2] = {1.0 - golden, golden}, value[2];
    for (int k = 0; k < 2; ++k) {
        for (int i = 0; i < 3; ++i) p[i] = a[i] + at[k] * (b[i] - a[i]);
        value[k] = to_box(box, p, NULL);
    }
    for (int round = 0; round < SEARCHES; ++round) {
        const int k = value[0] < value[1] ? 0 : 1;
        if (k == 0)
            high = at[1], at[1] = at[0], value[1] = value[0], at[0] = high - golden * (high - low);
        else
            low = at[0], at[0] = at[1], value[0] = value[1], at[1] = low + golden * (high - low);
        for (int i = 0; i < 3; ++i) p[i] = a[i] + at[k] * (b[i] - a[i]);
        value[k] = to_box(box, p, NULL);
    }
    const double t[3] = {0.5 * (low + high), 0.0, 1.0}; /* the ends themselves: the search never reaches them */
    double best = INFINITY, at_best = 0.0;
    for (int k = 0; k < 3; ++k) {
        for (int i = 0; i < 3; ++i) p[i] = a[i] + t[k] * (b[i] - a[i]);
        const double d = to_box(box, p, NULL);
        if (d < best - 1e-15) best = d, at_best = t[k];
    }
    for (int i = 0; i < 3; ++i) p[i] = a[i] + at_best * (b[i] - a[i]);
    return best;
}

/* Nearest points p and r of the axes of shapes i and j, and the unit normal from j to i; returns the distance of the surfaces,
 * or infinity where that is certainly no less than `enough`. */
static double shapes_apart(const dex_collision *m, const scene *s, int i, int j, double enough, double p[3], double r[3], double normal[3])
{
    const double *a = m->shape + 15 * i, *b = m->shape + 15 * j;
    if (m->is_box[i]) {
        const double d = shapes_apart(m, s, j, i, enough, r, p, normal);
        if (d < INFINITY)
            for (int c = 0; c < 3; ++c) normal[c] = -normal[c];
        return d;
    }
    if (m->is_box[j]) {
        double middle[3], along[3];
        for (int c = 0; c < 3; ++c) {
            middle[c] = 0.5 * (s->end[i][0][c] + s->end[i][1][c]);
            along[c] = s->end[i][1][c] - middle[c];
        }
        if (to_box(b, middle, NULL) - sqrt(dot(along, along)) - a[6] >= enough) return INFINITY;
        const double d = segment_to_box(b, s->end[i][0], s->end[i][1], p);
        to_box(b, p, normal);
        for (int c = 0; c < 3; ++c) r[c] = p[c] - d * normal[c];
        return d - a[6];
    }
    nearest_of_segments(s->end[i][0], s->end[i][1], s->end[j][0], s->end[j][1], p, r);
    double length = 0.0;
    for (int c = 0; c < 3; ++c) normal[c] = p[c] - r[c];
    length = sqrt(dot(normal, normal));
    for (int c = 0; c < 3; ++c) normal[c] = length > 1e-12 ? normal[c] / length : 0.0;
    return length - a[6] - b[6];
}

static void place_link(const dex_collision *m, scene *s, int link)
{
    if (s->placed[link]) return;
    s->placed[link] = 1;
    for (int i = m->first[link]; i < m->first[link + 1]; ++i)
        if (!m->is_box[i])
            for (int e = 0; e < 2; ++e) dex_tree_point(&s->pose, m->joint[link], m->shape + 15 * i + 3 * e, s->end[i][e]);
}

typedef struct {
    double distance, p[3], r[3], normal[3];
    int link[2], shape[2];
} contact;

static void links_apart(const dex_collision *m, scene *s, int a, int b, contact *best)
{
    place_link(m, s, a);
    place_link(m, s, b);
    for (int i = m->first[a]; i < m->first[a + 1]; ++i)
        for (int j = m->first[b]; j < m->first[b + 1]; ++j) {
            double p[3], r[3], normal[3];
            if (m->is_box[i] && m->is_box[j]) continue;
            const double d = shapes_apart(m, s, i, j, best->distance, p, r, normal);
            if (d >= best->distance) continue;
            best->distance = d;
            best->link[0] = a, best->link[1] = b, best->shape[0] = i, best->shape[1] = j;
            memcpy(best->p, p, sizeof p), memcpy(best->r, r, sizeof r), memcpy(best->normal, normal, sizeof normal);
        }
}

static void place(const dex_collision *m, const double *q, scene *s)
{
    dex_tree_place(m->tree, q, &s->pose);
    memset(s->placed, 0, (size_t)m->n_links);
    for (int l = 0; l < m->n_links; ++l) dex_tree_point(&s->pose, m->joint[l], m->sphere + 4 * l, s->centre[l]);
}

/* The link's only shape where that is a box, else -1. */
static int only_box(const dex_collision *m, int link)
{
    const int i = m->first[link];
    return m->is_box[i] && m->first[link + 1] == i + 1 ? i : -1;
}

/* No more than the distance of two links. */
static double at_least(const dex_collision *m, const scene *s, int a, int b)
{
    const int box_a = only_box(m, a), box_b = only_box(m, b);
    if (box_b >= 0) return to_box(m->shape + 15 * box_b, s->centre[a], NULL) - m->sphere[4 * a + 3];
    if (box_a >= 0) return to_box(m->shape + 15 * box_a, s->centre[b], NULL) - m->sphere[4 * b + 3];
    const double *x = s->centre[a], *y = s->centre[b], u = x[0] - y[0], v = x[1] - y[1], w = x[2] - y[2];
    return sqrt(u * u + v * v + w * w) - m->sphere[4 * a + 3] - m->sphere[4 * b + 3];
}

/* Smallest distance of each class: the pair whose spheres are nearest first, then those whose spheres are nearer than the best so far. */
static void narrow(const dex_collision *m, scene *s, contact *best)
{
    int likely[64];
    const int classes = m->n_classes < 64 ? m->n_classes : 64;
    for (int c = 0; c < classes; ++c) best[c].distance = INFINITY, best[c].link[0] = best[c].link[1] = -1, likely[c] = -1;
    for (int p = 0; p < m->n_pairs; ++p) {
        const int32_t a = m->pair[3 * p], b = m->pair[3 * p + 1], c = m->pair[3 * p + 2];
        m->bound[p] = at_least(m, s, a, b);
        if (likely[c] < 0 || m->bound[p] < m->bound[likely[c]]) likely[c] = p;
    }
    for (int c = 0; c < classes; ++c)
        if (likely[c] >= 0) links_apart(m, s, m->pair[3 * likely[c]], m->pair[3 * likely[c] + 1], best + c);
    for (int p = 0; p < m->n_pairs; ++p) {
        contact *b = best + m->pair[3 * p + 2];
        if (m->bound[p] < b->distance) links_apart(m, s, m->pair[3 * p], m->pair[3 * p + 1], b);
    }
}

static void add_gradient(const dex_collision *m, const scene *s, int joint, const double world[3], const double normal[3], double sign,
                         double *gradient)
{
    for (int j = joint; j >= 0; j = m->tree->parent[j]) {
        const double *a = s->pose.axis[j], *o = s->pose.origin[j], gain = sign * s->pose.gain[j];
        const double x = world[0] - o[0], y = world[1] - o[1], z = world[2] - o[2];
        const double v[3] = {a[1] * z - a[2] * y, a[2] * x - a[0] * z, a[0] * y - a[1] * x};
        gradient[m->tree->actuated[j]] += gain * (m->tree->prismatic[j] ? dot(a, normal) : dot(v, normal));
    }
}

void dex_collision_query(const dex_collision *m)
{
    scene s;
    contact best[64];
    const int n = m->tree->n_actuated;
    place(m, m->q, &s);
    narrow(m, &s, best);
    memset(m->gradient, 0, (size_t)m->n_classes * n * sizeof(double));
    for (int c = 0; c < m->n_classes; ++c) {
        const contact *b = best + c;
        m->distance[c] = b->distance;
        for (int side = 0; side < 2; ++side) {
            m->nearest[2 * c + side] = b->link[side];
            if (b->link[0] < 0) continue;
            const double *axis = side ? b->r : b->p, sign = side ? -1.0 : 1.0;
            const double radius = m->is_box[b->shape[side]] ? 0.0 : m->shape[15 * b->shape[side] + 6];
            for (int i = 0; i < 3; ++i) m->point[6 * c + 3 * side + i] = axis[i] - sign * radius * b->normal[i];
            add_gradient(m, &s, m->joint[b->link[side]], axis, b->normal, sign, m->gradient + c * n);
        }
    }
}

void dex_collision_chunk(const dex_collision *m, int n_steps)
{
    scene s;
    contact best[64];
    for (int t = 0; t < n_steps; ++t) {
        place(m, m->q + (size_t)t * m->tree->n_actuated, &s);
        narrow(m, &s, best);
        m->distance[t] = best[0].distance;
        m->nearest[2 * t] = best[0].link[0], m->nearest[2 * t + 1] = best[0].link[1];
    }
}

void dex_collision_pairs(const dex_collision *m)
{
    scene s;
    place(m, m->q, &s);
    for (int p = 0; p < m->n_pairs; ++p) {
        contact best = {.distance = INFINITY};
        links_apart(m, &s, m->pair[3 * p], m->pair[3 * p + 1], &best);
        m->bound[p] = best.distance;
    }
}
