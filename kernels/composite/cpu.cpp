// Compositing along packed samples: exponentials for sixteen samples of a ray at a time, then the recurrence along the
// ray in scalars, whose additions over channels vectorise. A ray's numbers stay in the first-level cache meanwhile.
#include "parallel.h"
#include "simd.h"

namespace {

constexpr float DENSITY_MAX = 3.4028234663852886e38f;
constexpr int64_t RAYS = 64;  // handed out together

struct Samples {
    const float *density, *values, *t0, *t1, *scale;
    const int64_t* start;
};

// Sixteen samples: 1 - exp(-density * length) without cancellation, and exp(-density * length) itself.
struct Opacity { Floats density, length, opaque, clear, scale, alpha, keep; };

INLINE Opacity opacity(const Samples& s, int64_t i, int count) {
    Opacity o;
    o.density = load_some(s.density + i, count);
    o.density = select(o.density > DENSITY_MAX, splat(DENSITY_MAX), o.density);
    o.length = load_some(s.t1 + i, count) - load_some(s.t0 + i, count);
    o.scale = s.scale ? load_some(s.scale + i, count) : splat(1);
    const Floats x = o.density * o.length;
    o.clear = exponential(-x);
    Floats p = splat(1.0f / 7);
    for (float n = 6; n >= 1; --n) p = (1.0f - x * p) * (1.0f / n);
    o.opaque = select(absolute(x) < 0.35f, x * p, 1.0f - o.clear);
    o.alpha = o.scale * o.opaque;
    o.keep = (1.0f - o.scale) + o.scale * o.clear;
    return o;
}

// C is the number of channels where it is known to the compiler, else 0.
template <int C>
void forward(const Samples& s, int64_t ray, int64_t channels, float threshold, float* values, float* opacity_out,
             float* depth, float* weights, float* transmittance) {
    if (C) channels = C;
    const int64_t begin = s.start[ray], end = s.start[ray + 1];
    float T = 1, total = 0, along = 0, local[C ? C : 1] = {};
    float* sum = C ? local : values + ray * channels;
    std::fill(sum, sum + channels, 0.0f);
    int64_t i = begin;
    for (; i < end && !(T < threshold); i += LANES) {
        const int count = static_cast<int>(std::min<int64_t>(LANES, end - i));
        const Opacity o = opacity(s, i, count);
        float alpha[LANES], keep[LANES];
        store(alpha, o.alpha), store(keep, o.keep);
        for (int l = 0; l < count; ++l) {
            const bool counts = !(T < threshold);
            const float w = counts ? T * alpha[l] : 0.0f;
            weights[i + l] = w;
            transmittance[i + l] = counts ? T : 0.0f;
            T = counts ? T * keep[l] : T;
            total += w;
            along += w * (0.5f * (s.t0[i + l] + s.t1[i + l]));
            const float* row = s.values + (i + l) * channels;
            for (int64_t c = 0; c < channels; ++c) sum[c] += w * row[c];
        }
    }
    for (i = std::min(i, end); i < end; ++i) weights[i] = transmittance[i] = 0;
    if (C) std::memcpy(values + ray * channels, local, channels * sizeof(float));
    opacity_out[ray] = total, depth[ray] = along;
}

struct Incoming { const float *values, *opacity, *depth, *weights; };
struct Outgoing { float *density, *values, *t0, *t1, *scale; };

template <int C>
void backward(const Samples& s, int64_t ray, int64_t channels, float threshold, const float* transmittance,
              const Incoming& in, const Outgoing& out) {
    if (C) channels = C;
    const int64_t begin = s.start[ray], end = s.start[ray + 1];
    const float* g = in.values + ray * channels;
    float behind = 0;  // A_i
    for (int64_t last = end; last > begin; last -= LANES) {
        const int64_t first = std::max(begin, last - LANES);
        const int count = static_cast<int>(last - first);
        const Opacity o = opacity(s, first, count);
        const Floats T = load_some(transmittance + first, count);
        const Floats w = T * o.alpha;
        float weight[LANES], alpha[LANES], keep[LANES], worth[LANES], difference[LANES] = {};
        store(weight, w), store(alpha, o.alpha), store(keep, o.keep);
        for (int l = 0; l < count; ++l) {
            const float* row = s.values + (first + l) * channels;
            float* g_row = out.values + (first + l) * channels;
            float e = in.opacity[ray] + in.depth[ray] * (0.5f * (s.t0[first + l] + s.t1[first + l]));
            if (in.weights) e += in.weights[first + l];
            for (int64_t c = 0; c < channels; ++c) e += g[c] * row[c], g_row[c] = weight[l] * g[c];
            worth[l] = e;
        }
        for (int l = count - 1; l >= 0; --l) {
            if (transmittance[first + l] < threshold) continue;  // did not count
            difference[l] = worth[l] - behind;
            behind = alpha[l] * worth[l] + keep[l] * behind;
        }
        const Floats g_alpha = T * load(difference), g_thickness = g_alpha * o.scale * o.clear;
        const Floats half = 0.5f * in.depth[ray] * w, slope = g_thickness * o.density;
        const Floats cut = load_some(s.density + first, count);
        store_some(out.density + first, select(cut > DENSITY_MAX, splat(0), g_thickness * o.length), count);
        store_some(out.t0 + first, half - slope, count);
        store_some(out.t1 + first, half + slope, count);
        if (out.scale) store_some(out.scale + first, g_alpha * o.opaque, count);
    }
}

}  // namespace

extern "C" int64_t composite_forward(const float* density, const float* values, const float* t0, const float* t1,
                                     const float* scale, const int64_t* start, int64_t rays, int64_t samples,
                                     int64_t channels, float threshold, float* out, float* opacity_out, float* depth,
                                     float* weights, float* transmittance, int64_t threads) {
    const Samples s{density, values, t0, t1, scale, start};
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        const auto run = channels == 1 ? forward<1> : channels == 3 ? forward<3> : channels == 4 ? forward<4>
                       : channels == 16 ? forward<16> : forward<0>;
        for (int64_t r = begin; r < end; ++r)
            run(s, r, channels, threshold, out, opacity_out, depth, weights, transmittance);
    });
    std::fill(weights + start[rays], weights + samples, 0.0f);
    return 0;
}

// g_weights and out_scale may be null; `transmittance` is the forward pass's, 0 where a sample did not count.
extern "C" int64_t composite_backward(const float* density, const float* values, const float* t0, const float* t1,
                                      const float* scale, const int64_t* start, int64_t rays, int64_t samples,
                                      int64_t channels, float threshold, const float* transmittance,
                                      const float* g_values, const float* g_opacity, const float* g_depth,
                                      const float* g_weights, float* out_density, float* out_values, float* out_t0,
                                      float* out_t1, float* out_scale, int64_t threads) {
    const Samples s{density, values, t0, t1, scale, start};
    const Incoming in{g_values, g_opacity, g_depth, g_weights};
    const Outgoing out{out_density, out_values, out_t0, out_t1, out_scale};
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        const auto run = channels == 1 ? backward<1> : channels == 3 ? backward<3> : channels == 4 ? backward<4>
                       : channels == 16 ? backward<16> : backward<0>;
        for (int64_t r = begin; r < end; ++r) run(s, r, channels, threshold, transmittance, in, out);
    });
    const int64_t used = start[rays];
    for (float* p : {out_density, out_t0, out_t1, out_scale})
        if (p) std::fill(p + used, p + samples, 0.0f);
    std::fill(out_values + used * channels, out_values + samples * channels, 0.0f);
    return 0;
}
