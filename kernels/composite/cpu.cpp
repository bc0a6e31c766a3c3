// Compositing ray by ray: alphas sixteen samples at a time, then a walk along the ray, which is a chain of products.
//
// Backward walks from the last sample to the first with A, what lies behind a sample divided by the transmittance after
// it: dL/dalpha_i = T_i (e_i - A_i) and A_{i-1} = alpha_i e_i + (1 - alpha_i) A_i, where e_i = dL/dweight_i. There is no
// division, so alpha = 1 needs no care.
#include "parallel.h"
#include "simd.h"

namespace {

constexpr int64_t RAYS = 64;  // a block of work

// 1 - e^-x with a small relative error for small x too.
INLINE Floats one_minus_exp(Floats x) {
    Floats p = splat(1.0f / 5040);
    p = p * x - 1.0f / 720;
    p = p * x + 1.0f / 120;
    p = p * x - 1.0f / 24;
    p = p * x + 1.0f / 6;
    p = p * x - 0.5f;
    p = p * x + 1.0f;
    return select(x < 0.4f, p * x, 1.0f - exponential(-x));
}

// Opacities 1 - e^-tau of `count` samples.
void opacities(const float* density, const float* t0, const float* t1, int64_t count, float* result) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(result + i, one_minus_exp(load(density + i) * (load(t1 + i) - load(t0 + i))));
    if (i == count) return;
    float d[LANES] = {}, a[LANES] = {}, b[LANES] = {}, out[LANES];
    std::copy(density + i, density + count, d);
    std::copy(t0 + i, t0 + count, a);
    std::copy(t1 + i, t1 + count, b);
    store(out, one_minus_exp(load(d) * (load(b) - load(a))));
    std::copy(out, out + (count - i), result + i);
}

// to += factor * from
INLINE void add_scaled(float* to, const float* from, float factor, int64_t channels) {
    int64_t c = 0;
    for (; c + LANES <= channels; c += LANES) store(to + c, load(to + c) + factor * load(from + c));
    for (; c < channels; ++c) to[c] += factor * from[c];
}

INLINE float dot(const float* a, const float* b, int64_t channels) {
    float total = 0;
    int64_t c = 0;
    if (channels >= LANES) {
        Floats sums = splat(0);
        for (; c + LANES <= channels; c += LANES) sums += load(a + c) * load(b + c);
        total = sum(sums);
    }
    for (; c < channels; ++c) total += a[c] * b[c];
    return total;
}

// The gradients of one ray's outputs.
struct Incoming { const float* values; float opacity, depth; const float* weights; };

}  // namespace

// `live`: [R] samples of each ray before it stopped. `transmittance`: [S], of live samples only.
extern "C" int64_t composite_forward(const float* density, const float* values, const float* t0, const float* t1,
                                     const int64_t* ray_start, const float* scale, float threshold, int64_t rays,
                                     int64_t samples, int64_t channels, float* out_values, float* opacity, float* depth,
                                     float* weights, float* transmittance, int32_t* live, int64_t threads) {
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> alpha;
        for (int64_t r = begin; r < end; ++r) {
            const int64_t first = ray_start[r], count = ray_start[r + 1] - first;
            if (alpha.size() < static_cast<size_t>(count)) alpha.resize(count);
            opacities(density + first, t0 + first, t1 + first, count, alpha.data());
            float* sums = out_values + r * channels;
            std::fill_n(sums, channels, 0.0f);
            float through = 1, covered = 0, distance = 0;
            int64_t i = 0;
            for (; i < count; ++i) {
                if (threshold > 0 && !(through >= threshold)) break;
                const int64_t s = first + i;
                const float a = scale ? alpha[i] * scale[s] : alpha[i], weight = a * through;
                weights[s] = weight;
                transmittance[s] = through;
                covered += weight;
                distance += weight * (0.5f * (t0[s] + t1[s]));
                add_scaled(sums, values + s * channels, weight, channels);
                through -= weight;
            }
            live[r] = static_cast<int32_t>(i);
            std::fill(weights + first + i, weights + first + count, 0.0f);
            opacity[r] = covered;
            depth[r] = distance;
        }
    });
    const int64_t used = rays ? ray_start[rays] : 0;
    std::fill(weights + used, weights + samples, 0.0f);
    return 0;
}

// Any of g_t0, g_t1, g_scale may be null.
extern "C" int64_t composite_backward(const float* density, const float* values, const float* t0, const float* t1,
                                      const int64_t* ray_start, const float* scale, const float* weights,
                                      const float* transmittance, const int32_t* live, int64_t rays, int64_t samples,
                                      int64_t channels, const float* g_out_values, const float* g_opacity,
                                      const float* g_depth, const float* g_weights, float* g_density, float* g_values,
                                      float* g_t0, float* g_t1, float* g_scale, int64_t threads) {
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        std::vector<float> opaque;
        for (int64_t r = begin; r < end; ++r) {
            const int64_t first = ray_start[r], count = ray_start[r + 1] - first, last = first + live[r];
            const Incoming in = {g_out_values + r * channels, g_opacity[r], g_depth[r], g_weights};
            if (opaque.size() < static_cast<size_t>(count)) opaque.resize(count);
            opacities(density + first, t0 + first, t1 + first, live[r], opaque.data());
            float behind = 0;
            for (int64_t s = last - 1; s >= first; --s) {
                const float o = opaque[s - first], factor = scale ? scale[s] : 1.0f, alpha = o * factor;
                const float middle = 0.5f * (t0[s] + t1[s]), length = t1[s] - t0[s], weight = weights[s];
                const float earned =
                    in.weights[s] + in.opacity + in.depth * middle + dot(in.values, values + s * channels, channels);
                const float g_alpha = transmittance[s] * (earned - behind);
                behind += alpha * (earned - behind);
                const float g_tau = g_alpha * factor * (1.0f - o);
                g_density[s] = g_tau * length;
                const float g_length = g_tau * density[s], g_middle = 0.5f * in.depth * weight;
                if (g_t0) g_t0[s] = g_middle - g_length;
                if (g_t1) g_t1[s] = g_middle + g_length;
                if (g_scale) g_scale[s] = g_alpha * o;
                for (int64_t c = 0; c < channels; ++c) g_values[s * channels + c] = weight * in.values[c];
            }
            for (float* target : {g_density, g_t0, g_t1, g_scale})
                if (target) std::fill(target + last, target + first + count, 0.0f);
            std::fill(g_values + last * channels, g_values + (first + count) * channels, 0.0f);
        }
    });
    const int64_t used = rays ? ray_start[rays] : 0;
    for (float* target : {g_density, g_t0, g_t1, g_scale})
        if (target) std::fill(target + used, target + samples, 0.0f);
    std::fill(g_values + used * channels, g_values + samples * channels, 0.0f);
    return 0;
}
