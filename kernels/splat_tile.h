// What compositing a tile of splats is made of, for dense features (cpu.cpp) and for codes (codes.cpp) of `blend`.
//
// With the exponent in factored form, everything that depends on the column only is computed once a splat, and a row
// costs one addition and one multiply-add before the exponential. The backward pass replays the list front to back,
// so that it meets bit for bit the transmittances and stopping decisions of the forward pass, keeps alpha and
// transmittance of every row that counts, and then walks back to front: what lies behind a splat is a growing sum, without
// the cancellation of total minus front. Gradients go to one row an instance and are then summed per Gaussian in a fixed
// order: no atomics, and the same bits on any number of threads.
#pragma once
#include "parallel.h"
#include "simd.h"

constexpr int TILE = LANES;
constexpr float LOG2_ALPHA_MIN = -7.99435344f;  // log2(1/255)
constexpr float ALPHA_MAX = 0.99f;
constexpr float TRANSMITTANCE_MIN = 1e-4f;
constexpr float TO_LOG2 = 0.84932180028801904f;  // sqrt(log2(e) / 2): |A d|^2 / 2 nats = |TO_LOG2 A d|^2 bits

// What a splat needs in a tile, in one cache line half; factors are scaled by TO_LOG2. `reach` is the half-height of
// its alpha >= 1/255 region.
struct Splat { float x, y, a00, a10, a11, log2_opacity, reach, unused; };

// What a splat does to a row of pixels: alpha and weight are 0 where it adds nothing.
struct Step { Floats alpha, weight; };

// Adds a layer to a row. A stopped pixel keeps its transmittance with a minus sign.
INLINE Step advance(Floats alpha, Floats& transmittance) {
    const Floats weight = alpha * transmittance, next = transmittance - weight;
    const Mask alive = at_least(next, splat(TRANSMITTANCE_MIN));
    transmittance = choose(alive, next, from_bits(bits(transmittance) | INT32_MIN));
    return {where(alive, alpha), where(alive, weight)};
}

struct TileView {
    const Splat* splats;
    const int32_t* list;
    int64_t count;
    float x0, y0;  // position of the centre of the tile's first pixel
};

// Walks the splats [begin, end) of the list front to back until every pixel has stopped: on_splat(i), then
// on_row(row, step, before) for every row in which it shows, `before` the transmittance in front; then after_splat(i).
template <class Start, class Row, class End>
INLINE void composite(const TileView& tile, int64_t begin, int64_t end, Floats* transmittance, const Start& on_splat,
                      const Row& on_row, const End& after_splat) {
    const Floats x = lane_numbers() + tile.x0;
    for (int64_t i = begin; i < end; ++i) {
        if (i % 16 == 15) {
            Floats most = transmittance[0];
            for (int r = 1; r < TILE; ++r) most = maximum(most, transmittance[r]);
            if (!any_lane(at_least(most, splat(TRANSMITTANCE_MIN)))) break;
        }
        if (i + 4 < end) __builtin_prefetch(tile.splats + tile.list[i + 4]);
        const Splat& s = tile.splats[tile.list[i]];
        const float top = s.y - s.reach - tile.y0, bottom = s.y + s.reach - tile.y0;
        const int row_begin = top > 0 ? static_cast<int>(std::min(top, 16.0f)) : 0;
        const int row_end = bottom < TILE - 1 ? static_cast<int>(std::max(bottom, -1.0f) + 1.0f) : TILE;
        const Floats dx = x - s.x, r0 = s.a00 * dx;
        const Floats column = s.log2_opacity - r0 * r0, lean = s.a10 * dx, a11 = splat(s.a11);
        on_splat(i);
        Floats dy = splat(tile.y0 + row_begin - s.y);
        for (int r = row_begin; r < row_end; ++r, dy += 1.0f) {
            const Floats r1 = lean + a11 * dy, e = column - r1 * r1, before = transmittance[r];
            const Mask shows = at_least(e, splat(LOG2_ALPHA_MIN)) & at_least(before, splat(0));
            if (!any_lane(shows)) continue;
            const Floats alpha = where(shows, minimum(exp2_poly(e), splat(ALPHA_MAX)));
            on_row(r, advance(alpha, transmittance[r]), before);
        }
        after_splat(i);
    }
}

// Gradient rows of an instance: opacity (natural log), centre x, centre y, a00, a10, a11, |centre x|, |centre y|, then
// D features; offsets from the splat's centre, so that sums stay small.
constexpr int GEOMETRY = 8;

// Splats whose rows are kept at a time in the backward pass: bounds the scratch to 2 MiB a thread, however long a list.
constexpr int64_t SEGMENT = 1024;

// A row of a splat that added something, kept from the replay for the walk back.
struct Layer { Floats alpha, before; };
struct Scratch {
    std::vector<Layer> layers;
    std::vector<uint16_t> rows;         // by splat of the segment: bit r set when row r has a layer
    std::vector<Floats> transmittances;  // by segment, TILE rows at its start
};

// Walks the whole list of a tile back to front: on_splat(i, rows, layers) for every splat that added something, with the
// layers of its rows in ascending order. `transmittance` holds the tile's start.
template <class Back>
INLINE void walk_back(const TileView& tile, Floats* transmittance, Scratch& scratch, const Back& on_splat) {
    const int64_t segments = (tile.count + SEGMENT - 1) / SEGMENT;
    scratch.transmittances.resize(std::max<int64_t>(segments, 1) * TILE);
    auto nothing = [](auto...) {};
    for (int64_t k = 0; k < segments; ++k) {
        std::copy_n(transmittance, TILE, scratch.transmittances.data() + k * TILE);
        if (k + 1 < segments) composite(tile, k * SEGMENT, (k + 1) * SEGMENT, transmittance, nothing, nothing, nothing);
    }
    for (int64_t k = segments - 1; k >= 0; --k) {
        const int64_t begin = k * SEGMENT, end = std::min(tile.count, begin + SEGMENT);
        scratch.layers.resize(std::max<size_t>(scratch.layers.size(), (end - begin) * TILE));
        scratch.rows.assign(end - begin, 0);
        Layer* next = scratch.layers.data();
        std::copy_n(scratch.transmittances.data() + k * TILE, TILE, transmittance);
        uint32_t rows = 0;
        composite(
            tile, begin, end, transmittance, [&](int64_t) { rows = 0; },
            [&](int r, Step step, Floats before) {
                *next++ = {step.alpha, before};
                rows |= 1u << r;
            },
            [&](int64_t i) { scratch.rows[i - begin] = static_cast<uint16_t>(rows); });
        for (int64_t i = end - 1; i >= begin; --i) {
            rows = scratch.rows[i - begin];
            if (!rows) continue;
            next -= __builtin_popcount(rows);
            on_splat(i, rows, static_cast<const Layer*>(next));
        }
    }
}

// Gradients of one splat in a tile, of `count` <= MOST features; incoming(r, c): d loss / d what feature c adds to, a row.
template <int MOST, bool ABSOLUTE, class Incoming>
INLINE void splat_gradient(const TileView& tile, const Splat& s, const float* feature, int count, uint32_t rows,
                           const Layer* layer, Floats* behind, const Incoming& incoming, float* geometry,
                           float* g_features) {
    const Floats dx = lane_numbers() + tile.x0 - s.x, r0 = s.a00 * dx, lean = s.a10 * dx;
    Floats sum_e = splat(0), sum_r1 = splat(0), sum_r1_dy = splat(0), abs_x = splat(0), abs_y = splat(0);
    Floats g_feature[MOST] = {};
    for (; rows; rows &= rows - 1, ++layer) {
        const int r = __builtin_ctz(rows);
        const float dy = tile.y0 + r - s.y;
        const Floats r1 = lean + s.a11 * dy, alpha = layer->alpha, weight = alpha * layer->before;
        Floats earned = splat(0);
        for (int c = 0; c < count; ++c) {
            const Floats in = incoming(r, c);
            earned += in * feature[c];
            g_feature[c] += weight * in;
        }
        // alpha * d loss / d alpha; 0 where the clamp holds alpha.
        const Floats g_alpha = layer->before * earned - behind[r] / (1.0f - alpha);
        const Floats g_e = where(below(alpha, splat(ALPHA_MAX)), alpha * g_alpha), g_r1 = g_e * r1;
        behind[r] += weight * earned;
        sum_e += g_e;
        sum_r1 += g_r1;
        sum_r1_dy += g_r1 * dy;
        if (ABSOLUTE) {
            abs_x += absolute(g_e * r0 * s.a00 + g_r1 * s.a10);
            abs_y += absolute(g_r1 * s.a11);
        }
    }
    const Floats e_dx = sum_e * dx;
    geometry[0] = sum(sum_e), geometry[1] = sum(e_dx), geometry[2] = sum(sum_r1);
    geometry[3] = sum(e_dx * dx), geometry[4] = sum(sum_r1 * dx), geometry[5] = sum(sum_r1_dy);
    if (ABSOLUTE) geometry[6] = sum(abs_x), geometry[7] = sum(abs_y);
    for (int c = 0; c < count; ++c) g_features[c] = sum(g_feature[c]);
}

// The lists by Gaussian, and where the gradients of its geometry go. absolute may be null.
struct Slots { const int32_t* slots; const int64_t* starts; };
struct GeometryGradients { float *centres, *factors, *opacities, *absolute; };

// Sums the geometry rows of Gaussian i's instances in the order of its slots; adds to what is there unless `first`.
INLINE void sum_geometry(const Slots& slots, const float* instances, const float* factors, const float* opacities,
                         int64_t i, bool first, const GeometryGradients& out) {
    float geometry[GEOMETRY] = {};
    for (int64_t s = slots.starts[i]; s < slots.starts[i + 1]; ++s)
        for (int k = 0; k < GEOMETRY; ++k) geometry[k] += instances[slots.slots[s] * int64_t(GEOMETRY) + k];
    // r1 was summed in scaled units; e = ln o - (r0^2 + r1^2) / 2.
    const float* a = factors + 3 * i;
    const float r1 = geometry[2] / TO_LOG2, r1_dx = geometry[4] / TO_LOG2, r1_dy = geometry[5] / TO_LOG2;
    const float gradient[6] = {opacities[i] > 0 ? geometry[0] / opacities[i] : 0.0f,
                               a[0] * a[0] * geometry[1] + a[1] * r1, a[2] * r1, -a[0] * geometry[3],
                               -r1_dx, -r1_dy};
    float* targets[6] = {out.opacities + i, out.centres + 2 * i, out.centres + 2 * i + 1, out.factors + 3 * i,
                         out.factors + 3 * i + 1, out.factors + 3 * i + 2};
    for (int k = 0; k < 6; ++k) *targets[k] = first ? gradient[k] : *targets[k] + gradient[k];
    if (out.absolute)
        for (int k = 0; k < 2; ++k) out.absolute[2 * i + k] += geometry[6 + k] / (TO_LOG2 * TO_LOG2);
}

// Sums `count` features of Gaussian i's instances, in rows of `stride` floats, in the order of its slots.
INLINE void sum_features(const Slots& slots, const float* rows, int64_t stride, int count, int64_t i, float* out) {
    float total[32] = {};
    for (int64_t s = slots.starts[i]; s < slots.starts[i + 1]; ++s)
        for (int k = 0; k < count; ++k) total[k] += rows[slots.slots[s] * stride + k];
    std::copy_n(total, count, out);
}

inline std::vector<Splat> pack(const float* centres, const float* factors, const float* opacities, const float* extents,
                        int64_t n, int64_t threads) {
    std::vector<Splat> splats(n);
    parallel_for(n, 4096, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const float* a = factors + 3 * i;
            splats[i] = {centres[2 * i], centres[2 * i + 1], TO_LOG2 * a[0], TO_LOG2 * a[1], TO_LOG2 * a[2],
                         opacities[i] > 0 ? std::log2(opacities[i]) : -100.0f, extents[2 * i + 1] + 0.01f, 0.0f};
        }
    });
    return splats;
}

inline TileView view_tile(const std::vector<Splat>& splats, const int32_t* list, const int64_t* starts, int64_t columns,
                   int64_t t) {
    return {splats.data(), list + starts[t], starts[t + 1] - starts[t], (t % columns) * TILE + 0.5f,
            (t / columns) * TILE + 0.5f};
}
