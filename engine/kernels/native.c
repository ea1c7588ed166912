/* The network's layers on one core, in float32: what `native.py` binds and tests hold to the torch forms.
 *
 * Between a short canvas and the processor stands mostly the calling of a hundred small operations per layer, so here
 * all layers are one call. Every element of a product is summed by itself, from the first term to the last, whatever
 * stands beside it: a row's result does not depend on the rows that it came with.
 *
 * Reference: transformers `DiffusionGemmaTextDecoderLayer`, as in `network.py`.
 *
 * Rows are contiguous. A weight [n, k] is packed as panels of 16 of its rows, [n / 16][k][16], padded with zeros.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX__)
#define LANES 8
#define ROWS 6 /* of a tile: 12 of 16 registers hold sums */
#else
#define LANES 4
#define ROWS 2
#endif
#define VERSION 1 /* of what `native.py` and this exchange: structures, layouts, calls */
#define PANEL 16
#define WIDTH (PANEL / LANES)
#define CHUNK 128 /* rows that pass through half a layer together, so that they stay in the processor's cache */
#define inlined static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    int64_t hidden, heads, kv_heads, head_dim, has_value, width, n_experts, top_k, expert_width;
    float eps;
    const float *input_norm, *qkv, *q_norm, *k_norm, *out, *post_attention_norm;
    const float *dense_norm, *gate_up, *down, *post_dense_norm;
    const float *router_scale, *router, *per_expert_scale;
    const float *experts_norm, *experts_gate_up, *experts_down, *post_experts_norm, *post_norm;
} Layer;

inlined vec load(const float *p) { return *(const vec *)p; }
inlined void store(float *p, vec v) { *(vec *)p = v; }
inlined vec splat(float x) { return x - (vec){0}; }
inlined vec either(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

inlined float sum(vec v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}

/* e^x, zero up to -87, NaN of NaN; Cephes' expf: the exponent apart, a polynomial for the rest. */
inlined vec exponential(vec x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    ivec nothing = x <= -87.0f;
    x = either(nothing, splat(-87.0f), x);
    x = either(x > 88.0f, splat(88.0f), x);
    vec shifted = x * 1.44269504f + magic;
    vec n = shifted - magic;
    x = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec y = splat(1.9875691500e-4f);
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    ivec scale = ((ivec)shifted - (ivec)splat(magic) + 127) << 23;
    return (vec)((ivec)(y * (vec)scale) & ~nothing);
}

/* y[m][panels * 16] (+)= x[m][k] @ b, where column c of panel p at step i is b[p * stride + i * ldb + c]. */
inlined void tile(const float *x, size_t ldx, size_t k, const float *b, size_t ldb, size_t stride, float *y, size_t ldy,
                  int add, const int m, const int panels) {
    vec sums[ROWS][4 * WIDTH];
    for (int i = 0; i < m; i++)
        for (int j = 0; j < panels * WIDTH; j++) {
            vec old = {0};
            sums[i][j] = add ? load(y + i * ldy + j * LANES) : old;
        }
    for (size_t step = 0; step < k; step++) {
#pragma GCC unroll 16
        for (int i = 0; i < m; i++) {
            float factor = x[i * ldx + step];
#pragma GCC unroll 16
            for (int j = 0; j < panels * WIDTH; j++)
                sums[i][j] += factor * load(b + (j / WIDTH) * stride + step * ldb + (j % WIDTH) * LANES);
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < panels * WIDTH; j++) store(y + i * ldy + j * LANES, sums[i][j]);
}

#define CASE(rows, panels) \
    case 4 * rows + panels: tile(x, ldx, k, b, ldb, stride, y, ldy, add, rows, panels); break;

/* As `tile`, m from 1 to ROWS: few rows take several panels at once, to keep enough sums going. */
static void strip(const float *x, size_t ldx, size_t m, size_t k, const float *b, size_t ldb, size_t stride,
                  size_t panels, float *y, size_t ldy, int add) {
    size_t at_once = m == 1 ? 4 : m <= 3 && ROWS >= 3 ? 2 : 1;
    for (; panels; panels -= at_once, b += at_once * stride, y += at_once * PANEL) {
        if (panels < at_once) at_once = 1;
        switch (4 * m + at_once) {
            CASE(1, 4) CASE(1, 1) CASE(2, 1)
#if ROWS >= 6
            CASE(2, 2) CASE(3, 2) CASE(3, 1) CASE(4, 1) CASE(5, 1) CASE(6, 1)
#endif
        }
    }
}

/* y[rows][n] = x[rows][k] @ packed^T; y has room for n rounded up to whole panels. Each is used for all rows before the
 * next is read. */
static void linear(const float *x, size_t rows, size_t k, const float *packed, size_t n, float *y) {
    size_t panels = (n + PANEL - 1) / PANEL, ldy = panels * PANEL, stride = k * PANEL;
    size_t blocks = (rows + ROWS - 1) / ROWS, at_once = blocks > 1 ? 1 : panels;
    for (size_t panel = 0; panel < panels; panel += at_once)
        for (size_t block = 0; block < blocks; block++) {
            size_t start = block * rows / blocks, m = (block + 1) * rows / blocks - start;
            strip(x + start * k, k, m, k, packed + panel * stride, PANEL, stride, at_once,
                  y + start * ldy + panel * PANEL, ldy, 0);
        }
}

inlined float inverse_rms(const float *x, size_t n, float eps) {
    vec squares = {0};
    for (size_t i = 0; i < n; i += LANES) squares += load(x + i) * load(x + i);
    return 1.0f / sqrtf(sum(squares) / n + eps);
}

/* y = x normed * weight (NULL: without). x and y may be one. */
inlined void norm(const float *x, const float *weight, size_t n, float eps, float *y) {
    float inverse = inverse_rms(x, n, eps);
    for (size_t i = 0; i < n; i += LANES) {
        vec scaled = load(x + i) * inverse;
        if (weight) scaled *= load(weight + i);
        store(y + i, scaled);
    }
}

/* h[rows][n] = gelu_tanh(gate) * up * weight of the row, gate_up: [rows][2 * n], gate first. weights NULL: all one. */
static void gated(const float *gate_up, const float *weights, size_t rows, size_t n, float *h) {
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < n; i += LANES) {
            vec gate = load(gate_up + row * 2 * n + i), up = load(gate_up + row * 2 * n + n + i);
            vec inner = 0.7978845608f * (gate + 0.044715f * gate * gate * gate);
            vec y = gate / (1.0f + exponential(-2.0f * inner)) * up;
            if (weights) y *= weights[row];
            store(h + row * n + i, y);
        }
}

/* Keys and values [batch, kv, n, dim] of n tokens, a head's rows contiguous. batch, head: strides in floats; batch 0:
 * one for all. */
typedef struct {
    float *k, *v;
    int64_t n, batch, head;
} Keys;

/* x [batch * length, hidden] -> q [batch, heads, length, dim] and, behind the n tokens of `to`, their keys and values;
 * q and k turned by the angles of their positions: cosines, sines [length, dim]. scratch: of CHUNK rows what is normed,
 * q, k and v. */
static void project(const Layer *l, const float *x, size_t batch, size_t length, const float *cosines,
                    const float *sines, float *q, const Keys *to, float *scratch) {
    size_t dim = l->head_dim, half = dim / 2, kv = l->kv_heads, heads = l->heads + (1 + l->has_value) * kv;
    float *normed = scratch, *projected = scratch + CHUNK * l->hidden;
    for (size_t first = 0; first < batch * length; first += CHUNK) {
        size_t rows = batch * length - first < CHUNK ? batch * length - first : CHUNK;
        for (size_t row = 0; row < rows; row++)
            norm(x + (first + row) * l->hidden, l->input_norm, l->hidden, l->eps, normed + row * l->hidden);
        linear(normed, rows, l->hidden, l->qkv, heads * dim, projected);
        for (size_t row = 0; row < rows; row++) {
            size_t b = (first + row) / length, t = (first + row) % length;
            size_t at = b * to->batch + (to->n + t) * dim;
            float *own = projected + row * heads * dim, *values = own + (l->heads + (l->has_value ? kv : 0)) * dim;
            for (size_t g = 0; g < kv; g++) /* first: they may be the keys, before those are normed and turned */
                norm(values + g * dim, NULL, dim, l->eps, to->v + at + g * to->head);
            for (size_t h = 0; h < l->heads + kv; h++) {
                int is_key = h >= (size_t)l->heads;
                const float *c = cosines + t * dim, *s = sines + t * dim;
                float *one = own + h * dim;
                float *query = q + ((b * l->heads + h) * length + t) * dim;
                float *turned = is_key ? to->k + at + (h - l->heads) * to->head : query;
                norm(one, is_key ? l->k_norm : l->q_norm, dim, l->eps, one);
                for (size_t i = 0; i < half; i += LANES) {
                    vec low = load(one + i), high = load(one + half + i);
                    store(turned + i, low * load(c + i) - high * load(s + i));
                    store(turned + half + i, high * load(c + half + i) + low * load(s + half + i));
                }
            }
        }
    }
}

/* Keys [n][dim] as columns `from` and on of the panels. */
static void pack_keys(const float *k, size_t n, size_t dim, size_t from, float *packed) {
    for (size_t key = 0; key < n; key++) {
        float *to = packed + (from + key) / PANEL * PANEL * dim + (from + key) % PANEL;
        for (size_t i = 0; i < dim; i++) to[i * PANEL] = k[key * dim + i];
    }
}

/* A row's scores from `first` up to `last` as shares of 1; zeros before and behind, up to `wide`. */
static void softmax(float *row, size_t first, size_t last, size_t wide) {
    float highest = -INFINITY;
    for (size_t j = 0; j < first; j++) row[j] = -INFINITY;
    for (size_t j = last; j < wide; j++) row[j] = -INFINITY;
    for (size_t j = first; j < last; j++) highest = row[j] > highest ? row[j] : highest;
    vec total = {0};
    for (size_t j = 0; j < wide; j += LANES) {
        vec share = exponential(load(row + j) - highest);
        store(row + j, share);
        total += share;
    }
    float inverse = 1.0f / sum(total);
    for (size_t j = 0; j < wide; j += LANES) store(row + j, load(row + j) * inverse);
}

/* Softmax(q @ [past k; own k]^T) @ [past v; own v]: q [batch, heads, length, dim] -> out [batch, length, heads, dim].
 * causal: the queries are the last of the keys; each sees itself and those before it, `window` in all (0: any number).
 * Else each sees everything. scratch: keys rounded up to whole panels, times dim + ROWS, and ROWS * dim. */
static void attend(const Layer *l, const float *q, size_t batch, size_t length, const Keys *past, const Keys *own,
                   int causal, size_t window, float *out, float *scratch) {
    size_t dim = l->head_dim, shared = l->heads / l->kv_heads, keys = past->n + own->n;
    size_t panels = (keys + PANEL - 1) / PANEL, rows = shared * length, blocks = (rows + ROWS - 1) / ROWS;
    float *packed = scratch, *scores = packed + panels * PANEL * dim, *mixed = scores + ROWS * panels * PANEL;
    memset(packed + (panels - 1) * PANEL * dim, 0, PANEL * dim * sizeof(float)); /* it may not be full */
    for (size_t b = 0; b < batch; b++)
        for (size_t g = 0; g < (size_t)l->kv_heads; g++) {
            size_t at = b * past->batch + g * past->head, own_at = b * own->batch + g * own->head;
            const float *queries = q + (b * l->heads + g * shared) * length * dim;
            pack_keys(past->k + at, past->n, dim, 0, packed);
            if (own->n) pack_keys(own->k + own_at, own->n, dim, past->n, packed);
            for (size_t block = 0; block < blocks; block++) {
                size_t start = block * rows / blocks, m = (block + 1) * rows / blocks - start, most = 0;
                size_t first[ROWS], last[ROWS];
                for (size_t i = 0; i < m; i++) {
                    last[i] = causal ? keys - length + (start + i) % length + 1 : keys;
                    first[i] = window && last[i] > window ? last[i] - window : 0;
                    most = last[i] > most ? last[i] : most;
                }
                size_t used = (most + PANEL - 1) / PANEL, wide = used * PANEL, behind = causal ? 0 : own->n;
                strip(queries + start * dim, dim, m, dim, packed, PANEL, dim * PANEL, used, scores, wide, 0);
                for (size_t i = 0; i < m; i++) softmax(scores + i * wide, first[i], last[i], wide);
                strip(scores, wide, m, most - behind, past->v + at, dim, PANEL, dim / PANEL, mixed, dim, 0);
                strip(scores + most - behind, wide, m, behind, own->v + own_at, dim, PANEL, dim / PANEL, mixed, dim, 1);
                for (size_t i = 0; i < m; i++) {
                    size_t h = g * shared + (start + i) / length, t = (start + i) % length;
                    memcpy(out + ((b * length + t) * l->heads + h) * dim, mixed + i * dim, dim * sizeof(float));
                }
            }
        }
}

/* The weights of a row's top_k experts, zero for the others: of equal ones the first. */
static void route(const Layer *l, const float *normed, float *scores, float *weights) {
    float highest = -INFINITY, total = 0;
    linear(normed, 1, l->hidden, l->router, l->n_experts, scores);
    for (int64_t e = 0; e < l->n_experts; e++) highest = scores[e] > highest ? scores[e] : highest;
    for (int64_t e = 0; e < l->n_experts; e += LANES) {
        store(scores + e, exponential(load(scores + e) - highest));
        store(weights + e, (vec){0});
    }
    for (int64_t chosen = 0; chosen < l->top_k; chosen++) {
        int64_t best = -1;
        for (int64_t e = 0; e < l->n_experts; e++)
            if (!weights[e] && (best < 0 || scores[e] > scores[best])) best = e;
        weights[best] = scores[best];
        total += scores[best];
    }
    for (int64_t e = 0; e < l->n_experts; e++) weights[e] *= l->per_expert_scale[e] / total;
}

/* What stands behind a layer's attention: x = (r + norm(norm(mlp(r)) + norm(experts(r)))) * scalar, where r = x +
 * norm(attended @ out^T). x [n, hidden]; attended [n, heads * dim]. scratch: `midspan_scratch`. */
static void finish(const Layer *l, float *x, const float *attended, size_t n, float scalar, float *scratch) {
    size_t hidden = l->hidden, wide = l->width > l->expert_width ? l->width : l->expert_width;
    size_t routes = (l->n_experts + PANEL - 1) / PANEL * PANEL;
    float *residual = scratch, *unit = residual + CHUNK * hidden, *input = unit + CHUNK * hidden;
    float *dense = input + CHUNK * hidden, *routed = dense + CHUNK * hidden, *result = routed + CHUNK * hidden;
    float *gate_up = result + CHUNK * hidden, *h = gate_up + CHUNK * 2 * wide, *weights = h + CHUNK * wide;
    float *scores = weights + CHUNK * routes;
    for (size_t first = 0; first < n; first += CHUNK) {
        size_t rows = n - first < CHUNK ? n - first : CHUNK;
        linear(attended + first * l->heads * l->head_dim, rows, l->heads * l->head_dim, l->out, hidden, result);
        for (size_t row = 0; row < rows; row++) {
            float *r = residual + row * hidden, *u = unit + row * hidden, *o = result + row * hidden;
            norm(o, l->post_attention_norm, hidden, l->eps, o);
            for (size_t i = 0; i < hidden; i += LANES) store(r + i, load(x + (first + row) * hidden + i) + load(o + i));
            norm(r, NULL, hidden, l->eps, u);
            for (size_t i = 0; i < hidden; i += LANES) store(o + i, load(u + i) * load(l->router_scale + i));
            route(l, o, scores, weights + row * routes);
            for (size_t i = 0; i < hidden; i += LANES) {
                store(input + row * hidden + i, load(u + i) * load(l->dense_norm + i));
                store(routed + row * hidden + i, (vec){0});
            }
        }
        linear(input, rows, hidden, l->gate_up, 2 * l->width, gate_up);
        gated(gate_up, NULL, rows, l->width, h);
        linear(h, rows, l->width, l->down, hidden, dense);
        for (int64_t e = 0; e < l->n_experts; e++) {
            size_t its[CHUNK], m = 0;
            float factors[CHUNK];
            for (size_t row = 0; row < rows; row++) {
                if (!weights[row * routes + e]) continue;
                for (size_t i = 0; i < hidden; i += LANES)
                    store(input + m * hidden + i, load(unit + row * hidden + i) * load(l->experts_norm + i));
                factors[m] = weights[row * routes + e];
                its[m++] = row;
            }
            if (!m) continue;
            size_t width = l->expert_width;
            linear(input, m, hidden, l->experts_gate_up + e * 2 * width * hidden, 2 * width, gate_up);
            gated(gate_up, factors, m, width, h);
            linear(h, m, width, l->experts_down + e * width * hidden, hidden, result);
            for (size_t i = 0; i < m; i++) {
                float *to = routed + its[i] * hidden, *from = result + i * hidden;
                for (size_t j = 0; j < hidden; j += LANES) store(to + j, load(to + j) + load(from + j));
            }
        }
        for (size_t row = 0; row < rows; row++) {
            float *d = dense + row * hidden, *e = routed + row * hidden, *r = residual + row * hidden;
            norm(d, l->post_dense_norm, hidden, l->eps, d);
            norm(e, l->post_experts_norm, hidden, l->eps, e);
            for (size_t i = 0; i < hidden; i += LANES) store(d + i, load(d + i) + load(e + i));
            norm(d, l->post_norm, hidden, l->eps, d);
            for (size_t i = 0; i < hidden; i += LANES)
                store(x + (first + row) * hidden + i, (load(r + i) + load(d + i)) * scalar);
        }
    }
}

/* A layer where it is used. past: what the cache holds, in a causal pass with room for `length` tokens more; window: as
 * in `attend`; cosines, sines [length, dim]; scalar: what the layer's result is multiplied by. */
typedef struct {
    const Layer *layer;
    Keys past;
    int64_t window;
    const float *cosines, *sines;
    float scalar;
} Stage;

int64_t midspan_version(void) { return VERSION; }

/* Floats of scratch that a pass needs through layers of at most this one's size, over `keys` keys. */
int64_t midspan_scratch(const Layer *l, int64_t rows, int64_t keys) {
    int64_t wide = l->width > l->expert_width ? l->width : l->expert_width;
    int64_t routes = (l->n_experts + PANEL - 1) / PANEL * PANEL, heads = (l->heads + 2 * l->kv_heads) * l->head_dim;
    int64_t project = CHUNK * (l->hidden + heads), finish = CHUNK * (6 * l->hidden + 3 * wide + routes) + routes;
    int64_t attend = (keys + PANEL) * (l->head_dim + ROWS) + ROWS * l->head_dim;
    int64_t most = project > attend ? project : attend;
    return rows * (heads + l->heads * l->head_dim) + (most > finish ? most : finish);
}

/* x [batch * length, hidden] through all layers and the last norm, in place. causal: the tokens join those of the
 * cache; else they see those and each other, and the cache stays as it is. */
void midspan_pass(const Stage *stages, int64_t n_layers, float *x, int64_t batch, int64_t length, int64_t causal,
                  const float *last_norm, float *scratch) {
    size_t rows = batch * length;
    for (int64_t i = 0; i < n_layers; i++) {
        const Stage *stage = stages + i;
        const Layer *l = stage->layer;
        size_t size = l->head_dim * length, n_keys = rows * l->kv_heads * l->head_dim;
        float *q = scratch, *attended = q + rows * l->heads * l->head_dim;
        float *k = attended + rows * l->heads * l->head_dim, *rest = k + 2 * n_keys;
        Keys own = {k, k + n_keys, 0, l->kv_heads * size, size}, all = stage->past;
        project(l, x, batch, length, stage->cosines, stage->sines, q, causal ? &all : &own, rest);
        if (causal)
            all.n += length;
        else
            own.n = length;
        attend(l, q, batch, length, &all, &own, causal, causal ? stage->window : 0, attended, rest);
        finish(l, x, attended, rows, stage->scalar, rest);
    }
    for (size_t row = 0; row < rows; row++) {
        size_t hidden = stages->layer->hidden;
        norm(x + row * hidden, last_norm, hidden, stages->layer->eps, x + row * hidden);
    }
}

/* logits[n][vocab] = cap * tanh(hidden @ packed^T / cap); vocab is a multiple of 16. */
void midspan_head(const float *hidden, int64_t n, int64_t k, const float *packed, int64_t vocab, float cap,
                  float *logits) {
    linear(hidden, n, k, packed, vocab, logits);
    for (int64_t i = 0; i < n * vocab; i += LANES) {
        vec doubled = load(logits + i) * (2.0f / cap);
        store(logits + i, cap - 2.0f * cap / (1.0f + exponential(doubled)));
    }
}
