// SSIM map and its gradient, on interleaved rows: a row of W pixels with C channels is one vector of W * C floats, and
// a horizontal tap is a step of C floats. Per output row, the vertical filter forms the five moments straight from
// the input rows, the horizontal one reads them from L1: nothing is recomputed and no full-size moment is stored.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace {

constexpr int RADIUS = 5;
constexpr float C1 = 0.01f * 0.01f, C2 = 0.03f * 0.03f;

struct Window {
    float w[2 * RADIUS + 1];
    Window() {
        double total = 0, g[2 * RADIUS + 1];
        for (int k = -RADIUS; k <= RADIUS; ++k) total += g[k + RADIUS] = std::exp(-k * k / (2 * 1.5 * 1.5));
        for (int k = 0; k <= 2 * RADIUS; ++k) w[k] = static_cast<float>(g[k] / total);
    }
};
const Window WINDOW;

struct Size { int64_t height, row, channels; };  // row = width * channels

// One padded row a quantity: `margin` zeros, the row, and zeros again up to a whole vector and the taps.
template <int N>
struct Lines {
    int64_t margin, length;
    std::vector<float> data;
    explicit Lines(const Size& s) : margin(RADIUS * s.channels), length(s.row + 2 * margin + 2 * LANES), data(N * length) {}
    float* line(int q) { return data.data() + q * length + margin; }
    INLINE Floats horizontal(int q, int64_t i, int64_t channels) {
        const float* p = line(q) + i;
        Floats total = WINDOW.w[RADIUS] * load(p);
        for (int k = 1; k <= RADIUS; ++k) total += WINDOW.w[RADIUS + k] * (load(p - k * channels) + load(p + k * channels));
        return total;
    }
};

// Vertical filter of row y: for each vector of the row, accumulate(weight, row offset, totals) over the taps inside.
template <int N, class Accumulate>
INLINE void vertical(const Size& s, int64_t y, Lines<N>& lines, const Accumulate& accumulate) {
    const int64_t first = std::max<int64_t>(0, y - RADIUS), last = std::min(s.height - 1, y + RADIUS);
    for (int64_t i = 0; i < s.row; i += LANES) {
        Floats totals[N] = {};
        for (int64_t v = first; v <= last; ++v)
            accumulate(WINDOW.w[v - y + RADIUS], v * s.row + i, s.row - i, totals);
        for (int q = 0; q < N; ++q) store_some(lines.line(q) + i, totals[q], s.row - i);
    }
}

}  // namespace

// map, and when `partials` is not null the derivatives of the map with respect to E[x], E[xx], E[xy] (three maps).
extern "C" int64_t ssim_forward(const float* x, const float* y, int64_t height, int64_t width, int64_t channels,
                                float* map, float* partials, int64_t threads) {
    const Size s{height, width * channels, channels};
    const int64_t plane = height * s.row;
    parallel_for(height, 8, threads, [&](int64_t begin, int64_t end) {
        Lines<5> lines(s);
        for (int64_t row = begin; row < end; ++row) {
            vertical(s, row, lines, [&](float w, int64_t at, int64_t left, Floats* totals) {
                const Floats a = load_some(x + at, left), b = load_some(y + at, left), wa = w * a, wb = w * b;
                totals[0] += wa, totals[1] += wb, totals[2] += wa * a, totals[3] += wb * b, totals[4] += wa * b;
            });
            for (int64_t i = 0; i < s.row; i += LANES) {
                Floats m[5];
                for (int q = 0; q < 5; ++q) m[q] = lines.horizontal(q, i, channels);
                const Floats mu_x = m[0], mu_y = m[1], xx = mu_x * mu_x, yy = mu_y * mu_y, xy = mu_x * mu_y;
                const Floats a1 = 2.0f * xy + C1, a2 = 2.0f * (m[4] - xy) + C2;
                const Floats b1 = xx + yy + C1, b2 = (m[2] - xx) + (m[3] - yy) + C2;
                const Floats luminance = a1 / b1, value = luminance * (a2 / b2);
                const int64_t at = row * s.row + i, left = s.row - i;
                store_some(map + at, value, left);
                if (!partials) continue;
                const Floats inverse1 = 1.0f / b1, inverse2 = 1.0f / b2;
                const Floats d_xx = -value * inverse2, d_xy = 2.0f * luminance * inverse2;
                const Floats d_mu =
                    2.0f * (mu_y * (a2 - a1) * inverse1 * inverse2 - mu_x * value * (inverse1 - inverse2));
                store_some(partials + at, d_mu, left);
                store_some(partials + plane + at, d_xx, left);
                store_some(partials + 2 * plane + at, d_xy, left);
            }
        }
    });
    return 0;
}

extern "C" int64_t ssim_backward(const float* x, const float* y, const float* partials, const float* g_map,
                                 int64_t height, int64_t width, int64_t channels, float* g_x, int64_t threads) {
    const Size s{height, width * channels, channels};
    const int64_t plane = height * s.row;
    parallel_for(height, 8, threads, [&](int64_t begin, int64_t end) {
        Lines<3> lines(s);
        for (int64_t row = begin; row < end; ++row) {
            vertical(s, row, lines, [&](float w, int64_t at, int64_t left, Floats* totals) {
                const Floats g = w * load_some(g_map + at, left);
                for (int q = 0; q < 3; ++q) totals[q] += g * load_some(partials + q * plane + at, left);
            });
            for (int64_t i = 0; i < s.row; i += LANES) {
                const int64_t at = row * s.row + i, left = s.row - i;
                const Floats a = load_some(x + at, left), b = load_some(y + at, left);
                store_some(g_x + at,
                           lines.horizontal(0, i, channels) + 2.0f * a * lines.horizontal(1, i, channels) +
                               b * lines.horizontal(2, i, channels),
                           left);
            }
        }
    });
    return 0;
}
