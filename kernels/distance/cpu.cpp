// Squared distances axis by axis: after each pass they are those along the axes so far.
//
// A pass finds, for every place x of a line, the least of f(y) + (x - y)^2. The y of the least one never decreases with x,
// so the places are divided: those computed before, to both sides of x, bound where x has to look. That takes n log n
// steps a line instead of the lower envelope's n (Felzenszwalb and Huttenlocher 2012), but steps that sixteen neighbouring
// lines take together, each looking where any of them has to. Where all sixteen have nothing, no one looks.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace {

// Sixteen neighbouring lines of `count` places.
struct Lines {
    std::vector<Floats> values;        // squared distances at those places where any line has a finite one
    std::vector<int64_t> places;
    // By place: the first of `values` that is not before it, and between which ones the sixteen least lie.
    std::vector<int64_t> next, first, last;
    explicit Lines(int64_t count) : values(count), places(count), next(count), first(count), last(count) {}
};

// The least at place x, looked for among values lo ... hi, outwards from x until the offset alone exceeds what every line
// has found. BOUND: remember where it lay.
template <bool BOUND>
INLINE Floats least_at(Lines& lines, int64_t x, int64_t lo, int64_t hi) {
    Floats best = splat(INFINITY), at = splat(0);
    const auto consider = [&](int64_t j) {
        const float away = float(lines.places[j] - x), offset = away * away;
        if (!any_lane(below(splat(offset), best))) return false;
        const Floats squared = lines.values[j] + offset;
        if (BOUND) at = choose(below(squared, best), splat(float(j)), at);
        best = minimum(squared, best);
        return true;
    };
    int64_t right = std::max(lines.next[x], lo), left = std::min(lines.next[x] - 1, hi);
    for (bool more = true; more;) {
        more = right <= hi && consider(right);
        right += more;
        if (left >= lo && consider(left)) --left, more = true;
    }
    if (BOUND) {
        const Mask found = below(best, splat(INFINITY));  // a line may have nothing at all, and bounds nothing
        lines.first[x] = int64_t(least(choose(found, at, splat(INFINITY))));
        lines.last[x] = int64_t(-least(choose(found, -at, splat(INFINITY))));
    }
    return best;
}

// Calls write(x, squared distances) for every place of lines of which `finite` values were gathered.
template <class Write>
void transform(Lines& lines, int64_t count, int64_t finite, Write write) {
    int64_t step = 1;
    while (2 * step <= count) step *= 2;
    for (; step > 0; step /= 2)
        for (int64_t x = step - 1; x < count; x += 2 * step) {
            const int64_t lo = x >= step ? lines.first[x - step] : 0;
            const int64_t hi = x + step < count ? lines.last[x + step] : finite - 1;
            write(x, step > 1 ? least_at<true>(lines, x, lo, hi) : least_at<false>(lines, x, lo, hi));
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
    if (count < 2) return;
    const int64_t groups = (width + LANES - 1) / LANES;
    parallel_for(outer * groups, 8, threads, [&](int64_t begin, int64_t end) {
        Lines lines(count);
        for (int64_t item = begin; item < end; ++item) {
            const int64_t column = item % groups * LANES, lanes = std::min<int64_t>(LANES, width - column);
            float* first = cells + item / groups * pitch + column;
            int64_t finite = 0;
            for (int64_t x = 0; x < count; ++x) {
                if (lanes == LANES) {
                    lines.values[finite] = load(first + x * stride);
                } else {
                    lines.values[finite] = splat(INFINITY);
                    std::memcpy(&lines.values[finite], first + x * stride, lanes * sizeof(float));
                }
                lines.places[finite] = x;
                lines.next[x] = finite;
                finite += any_lane(below(lines.values[finite], splat(INFINITY)));
            }
            if (finite == 0) continue;  // as it was
            transform(lines, count, finite, [&](int64_t x, Floats squared) {
                if (lanes == LANES) store(first + x * stride, squared);
                else std::memcpy(first + x * stride, &squared, lanes * sizeof(float));
            });
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
