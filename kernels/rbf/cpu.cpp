// A layer of Gaussian units, forward and backward, a chunk of points at a time; units are lanes, and channels where the
// gradient of the features is summed. Squared distances are sums of squared differences: their expansion into products
// would save a third of the operations but cancels for sharp units (log scale 5: errors of 1e-3 in the activation).
//
// Matrices come padded with zeros to whole vectors in their last dimension, N units, D channels, C outputs:
// centres_t, scales_t: [D, N]; centres, squares (of the scales): [N, D]; weights: [C, N]; weights_t: [N, C]; bias: [C];
// skip: [C, D]; skip_t: [D, C]. Features, activations and outputs are not padded.
#include <vector>

#include "gemm.h"
#include "parallel.h"

namespace {

constexpr int64_t CHUNK = 64;  // points, a multiple of every tile's rows
constexpr int TILE_CHANNELS = 8;

template <int VECTORS>
INLINE void activate_tile(int64_t channels, const float* x, int64_t x_row, const float* centres_t,
                          const float* scales_t, int64_t wide, float* phi) {
    Floats sums[TILE_ROWS][VECTORS] = {};
    for (int64_t d = 0; d < channels; ++d) {
        Floats centre[VECTORS], scale[VECTORS];
        for (int v = 0; v < VECTORS; ++v)
            centre[v] = load(centres_t + d * wide + v * LANES), scale[v] = load(scales_t + d * wide + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) {
                const Floats away = (centre[v] - x[r * x_row + d]) * scale[v];
                sums[r][v] += away * away;
            }
    }
    for (int r = 0; r < TILE_ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) store(phi + r * wide + v * LANES, exponential(-0.5f * sums[r][v]));
}

// x: [CHUNK, padded(channels)] to phi: [CHUNK, padded(units)]; the units that pad are 1.
void activate(int64_t count, int64_t channels, int64_t units, const float* x, const float* centres_t,
              const float* scales_t, float* phi) {
    const int64_t wide = padded(units);
    for (int64_t n = 0; n < wide;) {
        const bool two = TILE_VECTORS > 1 && n + LANES < wide;
        for (int64_t i = 0; i < count; i += TILE_ROWS) {
            const float* row = x + i * padded(channels);
            if (two)
                activate_tile<2>(channels, row, padded(channels), centres_t + n, scales_t + n, wide, phi + i * wide + n);
            else
                activate_tile<1>(channels, row, padded(channels), centres_t + n, scales_t + n, wide, phi + i * wide + n);
        }
        n += two ? 2 * LANES : LANES;
    }
}

// Adds to firsts and seconds [D, padded(N)] the sums over the chunk's points of h (x - c) and h (x - c)^2.
void add_moments(int64_t count, int64_t channels, int64_t units, const float* x, const float* h, const float* centres_t,
                 float* firsts, float* seconds) {
    const int64_t wide = padded(units), stride = padded(channels);
    for (int64_t n = 0; n < wide; n += LANES)
        for (int64_t d = 0; d < channels; d += TILE_CHANNELS) {
            const int64_t last = std::min<int64_t>(TILE_CHANNELS, channels - d);  // x's rows are padded further
            Floats centre[TILE_CHANNELS], first[TILE_CHANNELS] = {}, second[TILE_CHANNELS] = {};
            for (int64_t k = 0; k < TILE_CHANNELS; ++k) centre[k] = k < last ? load(centres_t + (d + k) * wide + n) : splat(0);
            for (int64_t i = 0; i < count; ++i) {
                const Floats weight = load(h + i * wide + n);
#pragma GCC unroll 8
                for (int k = 0; k < TILE_CHANNELS; ++k) {
                    const Floats away = x[i * stride + d + k] - centre[k], weighted = weight * away;
                    first[k] += weighted;
                    second[k] += weighted * away;
                }
            }
            for (int64_t k = 0; k < last; ++k) {
                float *a = firsts + (d + k) * wide + n, *b = seconds + (d + k) * wide + n;
                store(a, load(a) + first[k]), store(b, load(b) + second[k]);
            }
        }
}

// Takes sum over n of h s^2 (x - c) off the features' gradient [CHUNK, padded(D)].
void subtract_pulls(int64_t count, int64_t channels, int64_t units, const float* x, const float* h,
                    const float* centres, const float* squares, float* g_x) {
    const int64_t wide = padded(units), stride = padded(channels);
    for (int64_t d = 0; d < stride; d += LANES)
        for (int64_t i = 0; i < count; i += TILE_ROWS) {
            Floats here[TILE_ROWS], pull[TILE_ROWS];
            for (int r = 0; r < TILE_ROWS; ++r) here[r] = load(x + (i + r) * stride + d), pull[r] = load(g_x + (i + r) * stride + d);
            for (int64_t n = 0; n < units; ++n) {
                const Floats centre = load(centres + n * stride + d), square = load(squares + n * stride + d);
#pragma GCC unroll 8
                for (int r = 0; r < TILE_ROWS; ++r) pull[r] -= (here[r] - centre) * square * h[(i + r) * wide + n];
            }
            for (int r = 0; r < TILE_ROWS; ++r) store(g_x + (i + r) * stride + d, pull[r]);
        }
}

// sums [padded(rows), wide] += left^T right over `count` points.
void add_products(int64_t count, int64_t rows, int64_t wide, const float* left, const float* right, float* sums) {
    gemm(rows, wide, count, left, 1, padded(rows), right, wide,
         [&](int64_t m, int64_t n) { return load(sums + m * wide + n); },
         [&](int64_t m, int64_t n, Floats v) { store(sums + m * wide + n, v); });
}

}  // namespace

extern "C" int64_t rbf_activations(const float* features, int64_t points, int64_t channels, int64_t units,
                                   const float* centres_t, const float* scales_t, float* phi, int64_t threads) {
    parallel_for(points, CHUNK, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> x(CHUNK * padded(channels)), values(CHUNK * padded(units));
        spread<CHUNK>(features + begin * channels, end - begin, channels, x.data());
        activate(end - begin, channels, units, x.data(), centres_t, scales_t, values.data());
        gather(values.data(), end - begin, units, phi + begin * units);
    });
    return 0;
}

// skip_t may be null.
extern "C" int64_t rbf_forward(const float* features, int64_t points, int64_t channels, int64_t units, int64_t outputs,
                               const float* centres_t, const float* scales_t, const float* weights_t, const float* bias,
                               const float* skip_t, float* y, int64_t threads) {
    const int64_t wide = padded(outputs);
    parallel_for(points, CHUNK, threads, [&](int64_t begin, int64_t end) {
        const int64_t count = end - begin;
        std::vector<float> x(CHUNK * padded(channels)), phi(CHUNK * padded(units)), sums(CHUNK * wide);
        spread<CHUNK>(features + begin * channels, count, channels, x.data());
        activate(count, channels, units, x.data(), centres_t, scales_t, phi.data());
        const auto put = [&](int64_t m, int64_t n, Floats v) { store(sums.data() + m * wide + n, v); };
        gemm(count, outputs, units, phi.data(), padded(units), 1, weights_t, wide,
             [&](int64_t, int64_t n) { return load(bias + n); }, put);
        if (skip_t)
            gemm(count, outputs, channels, x.data(), padded(channels), 1, skip_t, wide,
                 [&](int64_t m, int64_t n) { return load(sums.data() + m * wide + n); }, put);
        gather(sums.data(), count, outputs, y + begin * outputs);
    });
    return 0;
}

// Gradients of the parameters as sums over each slab of `slab` points, [slabs, S], zero before: of the weights
// [padded(C), padded(N)], the first and the second moments (add_moments) [D, padded(N)] each, the skip weights
// [padded(C), padded(D)] if there are any, and the bias [padded(C)]. g_features may be null.
extern "C" int64_t rbf_backward(const float* features, int64_t points, int64_t channels, int64_t units, int64_t outputs,
                                const float* centres_t, const float* scales_t, const float* centres,
                                const float* squares, const float* weights, const float* skip, const float* g_y,
                                int64_t slab, float* sums, float* g_features, int64_t threads) {
    const int64_t wide_n = padded(units), wide_d = padded(channels), wide_c = padded(outputs);
    const int64_t size = wide_c * wide_n + 2 * channels * wide_n + (skip ? wide_c * wide_d : 0) + wide_c;
    parallel_for(points, slab, threads, [&](int64_t slab_begin, int64_t slab_end) {
        std::vector<float> x(CHUNK * wide_d), phi(CHUNK * wide_n), h(CHUNK * wide_n), g(CHUNK * wide_c), g_x(CHUNK * wide_d);
        float* g_weights = sums + slab_begin / slab * size;
        float *firsts = g_weights + wide_c * wide_n, *seconds = firsts + channels * wide_n;
        float *g_skip = seconds + channels * wide_n, *g_bias = g_skip + (skip ? wide_c * wide_d : 0);
        for (int64_t begin = slab_begin; begin < slab_end; begin += CHUNK) {
            const int64_t count = std::min(CHUNK, slab_end - begin);
            spread<CHUNK>(features + begin * channels, count, channels, x.data());
            spread<CHUNK>(g_y + begin * outputs, count, outputs, g.data());
            activate(count, channels, units, x.data(), centres_t, scales_t, phi.data());
            gemm(count, units, outputs, g.data(), wide_c, 1, weights, wide_n, [](int64_t, int64_t) { return splat(0); },
                 [&](int64_t m, int64_t n, Floats v) {
                     store(h.data() + m * wide_n + n, v * load(phi.data() + m * wide_n + n));
                 });
            add_products(count, outputs, wide_n, g.data(), phi.data(), g_weights);
            add_moments(count, channels, units, x.data(), h.data(), centres_t, firsts, seconds);
            if (skip) add_products(count, outputs, wide_d, g.data(), x.data(), g_skip);
            for (int64_t i = 0; i < count; ++i)
                for (int64_t n = 0; n < wide_c; n += LANES) store(g_bias + n, load(g_bias + n) + load(g.data() + i * wide_c + n));
            if (!g_features) continue;
            std::fill(g_x.begin(), g_x.end(), 0.0f);
            if (skip)
                gemm(count, channels, outputs, g.data(), wide_c, 1, skip, wide_d, [](int64_t, int64_t) { return splat(0); },
                     [&](int64_t m, int64_t n, Floats v) { store(g_x.data() + m * wide_d + n, v); });
            subtract_pulls(count, channels, units, x.data(), h.data(), centres, squares, g_x.data());
            gather(g_x.data(), count, channels, g_features + begin * channels);
        }
    });
    return 0;
}
