// Squared distances axis by axis: after each pass they are those along the axes so far.
//
// Along a line the least of f(j) + (i - j)^2 is looked for outwards from i, for sixteen neighbouring cells at once, until
// (i - j)^2 alone exceeds what was found. That is quadratic in the distance and not in the length of the line; near
// surfaces it beats the linear lower envelope (Felzenszwalb and Huttenlocher 2012), whose steps do not vectorise.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace {

// `line`: n vectors. Writes the transformed ones to `out`.
void transform(const Floats* line, Floats* out, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        Floats best = line[i];
        const int64_t inner = std::min(i, n - 1 - i), outer = std::max(i, n - 1 - i);
        // Until the offset alone exceeds what every lane has found; first to both sides, then to the longer one.
        int64_t j = 1;
        for (; j <= inner && any_lane(below(splat(float(j) * float(j)), best)); ++j)
            best = minimum(best, minimum(line[i - j], line[i + j]) + float(j) * float(j));
        const int64_t side = i > n - 1 - i ? -1 : 1;
        for (; j > inner && j <= outer && any_lane(below(splat(float(j) * float(j)), best)); ++j)
            best = minimum(best, line[i + side * j] + float(j) * float(j));
        out[i] = best;
    }
}

// One row of cells: distances to the occupied ones, by two sweeps.
void row_pass(const uint8_t* occupied, float* out, int64_t n) {
    float away = INFINITY;
    for (int64_t i = 0; i < n; ++i) out[i] = away = occupied[i] ? 0 : away + 1;
    away = INFINITY;
    for (int64_t i = n - 1; i >= 0; --i) {
        away = occupied[i] ? 0 : away + 1;
        const float least = std::min(out[i], away);
        out[i] = least * least;
    }
}

// Transforms the lines of `count` cells at distance `stride`, in place: `width` neighbouring columns from each of `outer`
// places `pitch` apart.
void pass(float* cells, int64_t outer, int64_t pitch, int64_t width, int64_t count, int64_t stride, int64_t threads) {
    const int64_t groups = (width + LANES - 1) / LANES;
    parallel_for(outer * groups, 1, threads, [&](int64_t item, int64_t) {
        std::vector<Floats> line(count), out(count);
        const int64_t column = item % groups * LANES, lanes = std::min<int64_t>(LANES, width - column);
        float* first = cells + item / groups * pitch + column;
        for (int64_t i = 0; i < count; ++i) {
            float values[LANES];
            std::fill_n(values, LANES, 0.0f);
            std::copy_n(first + i * stride, lanes, values);
            line[i] = load(values);
        }
        transform(line.data(), out.data(), count);
        for (int64_t i = 0; i < count; ++i) {
            float values[LANES];
            store(values, out[i]);
            std::copy_n(values, lanes, first + i * stride);
        }
    });
}

}  // namespace

extern "C" int64_t distance_squared(const uint8_t* occupied, int64_t depth, int64_t height, int64_t width, float* out,
                                    int64_t threads) {
    parallel_for(depth * height, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) row_pass(occupied + r * width, out + r * width, width);
    });
    pass(out, depth, height * width, width, height, width, threads);
    pass(out, 1, 0, height * width, depth, height * width, threads);
    return 0;
}
