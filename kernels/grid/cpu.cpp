// Multilinear interpolation in grids of several levels. Points are the lanes where positions and rows are computed, and
// where a row has one or two features (hardware gathers); wider rows are their own vectors.
//
// The order is level by level over all points, so that a level's rows stay in cache; per-point rows are therefore kept
// level-major, and transposed from and to the [P, levels * F] of the outside. What is special about a point (outside,
// NaN, past the end) is dealt with there, and the levels know only points of the unit cube.
#include "parallel.h"
#include "simd.h"

namespace {

typedef uint32_t Words __attribute__((vector_size(LANES * sizeof(uint32_t))));
constexpr int64_t BLOCK = 2048;  // points

struct Level { int64_t offset, entries, hashed, resolution[3], axes[3]; };
static_assert(sizeof(Level) == 9 * sizeof(int64_t));

template <int F> struct RowOf { typedef float Type __attribute__((vector_size(F * sizeof(float)))); };
template <> struct RowOf<1> { typedef float Type; };
template <class T> INLINE T read(const float* p) { T v; std::memcpy(&v, p, sizeof v); return v; }
template <class T> INLINE void write(float* p, T v) { std::memcpy(p, &v, sizeof v); }

int64_t padded(int64_t points) { return (points + LANES - 1) / LANES * LANES; }

// Coordinates by axis, [dims][padded points]: clamped to the unit cube, 0 where a point has a NaN or is past the end.
std::vector<float> positions(const float* x, int64_t points, int64_t dims, int64_t threads) {
    const int64_t n = padded(points);
    std::vector<float> found(dims * n);
    parallel_for(points, BLOCK, threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            const float* row = x + p * dims;
            float total = 0;
            for (int64_t k = 0; k < dims; ++k) total += std::isnan(row[k]) ? row[k] : 0.0f;
            for (int64_t k = 0; k < dims; ++k) found[k * n + p] = total == total ? std::min(std::max(row[k], 0.0f), 1.0f) : 0.0f;
        }
    });
    return found;
}

bool has_nan(const float* row, int64_t dims) {
    bool found = false;
    for (int64_t k = 0; k < dims; ++k) found |= row[k] != row[k];
    return found;
}

// The cells of sixteen points: the row of each corner (bit k of its number: the upper node of axis k), and how far the
// point is from the lower to the upper node of each axis.
template <int D> struct Cells { Words rows[1 << D]; Floats fraction[D]; };

template <int D>
INLINE Cells<D> locate(const Level& level, const float* x, int64_t n, int64_t point) {
    constexpr uint32_t PRIMES[3] = {1u, 2654435761u, 805459861u};
    Cells<D> cells;
    Words rows[1 << D] = {};
    uint32_t stride = 1;
    for (int k = 0; k < D; ++k) {
        const int last = static_cast<int>(level.resolution[k]) - 1;
        const Floats position = load(x + level.axes[k] * n + point) * static_cast<float>(last);
        Ints node = __builtin_convertvector(position, Ints);
        node = node < last ? node : node * 0 + (last - 1);
        cells.fraction[k] = position - __builtin_convertvector(node, Floats);
        const uint32_t factor = level.hashed ? PRIMES[k] : stride;
        const Words lower = (Words)node * factor, upper = lower + factor;
        for (int c = (1 << k) - 1; c >= 0; --c) {
            rows[c | 1 << k] = level.hashed ? rows[c] ^ upper : rows[c] + upper;
            rows[c] = level.hashed ? rows[c] ^ lower : rows[c] + lower;
        }
        stride *= static_cast<uint32_t>(level.resolution[k]);
    }
    for (int c = 0; c < 1 << D; ++c)
        cells.rows[c] = level.hashed ? rows[c] & static_cast<uint32_t>(level.entries - 1) : rows[c];
    return cells;
}

template <int D>
INLINE void corner_weights(const Floats* fraction, Floats* weights) {
    weights[0] = splat(1);
    for (int k = 0; k < D; ++k)
        for (int c = 0; c < 1 << k; ++c) {
            weights[c | 1 << k] = weights[c] * fraction[k];
            weights[c] = weights[c] * (1.0f - fraction[k]);
        }
}

// Sixteen rows of two features, as two vectors of eight rows each.
struct Pairs { Floats low, high; };

INLINE Pairs gather_pairs(const float* table, Words rows) {
#if defined(__AVX512F__)
    const __m512i index = (__m512i)rows;
    return {(Floats)_mm512_castpd_ps(_mm512_i32gather_pd(_mm512_castsi512_si256(index), table, 8)),
            (Floats)_mm512_castpd_ps(_mm512_i32gather_pd(_mm512_extracti64x4_epi64(index, 1), table, 8))};
#else
    float lanes[2 * LANES];
    for (int l = 0; l < LANES; ++l) std::memcpy(lanes + 2 * l, table + 2 * int64_t(rows[l]), 8);
    return {load(lanes), load(lanes + LANES)};
#endif
}

// Each lane twice: a weight for both features of its row.
INLINE Pairs twice(Floats v) {
    return {__builtin_shuffle(v, Ints{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7}),
            __builtin_shuffle(v, Ints{8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15})};
}

INLINE Floats gather(const float* table, Words rows) {
#if defined(__AVX512F__)
    return (Floats)_mm512_i32gather_ps((__m512i)rows, table, 4);
#else
    float lanes[LANES];
    for (int l = 0; l < LANES; ++l) lanes[l] = table[rows[l]];
    return load(lanes);
#endif
}

template <int D, int F>
INLINE void interpolate(const Cells<D>& cells, const float* table, float* out) {
    constexpr int CORNERS = 1 << D;
    Floats weights[CORNERS];
    corner_weights<D>(cells.fraction, weights);
    if constexpr (F == 1) {
        Floats total = splat(0);
        for (int c = 0; c < CORNERS; ++c) total += weights[c] * gather(table, cells.rows[c]);
        store(out, total);
    } else if constexpr (F == 2) {
        Floats low = splat(0), high = splat(0);
        for (int c = 0; c < CORNERS; ++c) {
            const Pairs row = gather_pairs(table, cells.rows[c]), weight = twice(weights[c]);
            low += weight.low * row.low, high += weight.high * row.high;
        }
        store(out, low), store(out + LANES, high);
    } else {
        using Row = typename RowOf<F>::Type;
        for (int l = 0; l < LANES; ++l) {
            Row total = {};
            for (int c = 0; c < CORNERS; ++c) total += weights[c][l] * read<Row>(table + int64_t(cells.rows[c][l]) * F);
            write(out + l * F, total);
        }
    }
}

// Products of the corners' rows with the gradients `g` [LANES][F] of the features.
template <int D, int F>
INLINE void corner_products(const Cells<D>& cells, const float* table, const float* g, Floats* products) {
    constexpr int CORNERS = 1 << D;
    if constexpr (F == 1) {
        for (int c = 0; c < CORNERS; ++c) products[c] = load(g) * gather(table, cells.rows[c]);
    } else {
        float lanes[CORNERS][LANES];
        for (int l = 0; l < LANES; ++l)
            for (int c = 0; c < CORNERS; ++c) {
                const float* row = table + int64_t(cells.rows[c][l]) * F;
                float total = 0;
                for (int f = 0; f < F; ++f) total += row[f] * g[l * F + f];
                lanes[c][l] = total;
            }
        for (int c = 0; c < CORNERS; ++c) products[c] = load(lanes[c]);
    }
}

// Derivatives by the fractions of what interpolates `values` at the corners: one axis after the other is collapsed.
template <int D>
INLINE void slopes(Floats* values, const Floats* fraction, Floats* found) {
    Floats slope[D][1 << D];
    for (int k = 0, n = 1 << (D - 1); k < D; ++k, n /= 2)
        for (int c = 0; c < n; ++c) {
            for (int j = 0; j < k; ++j) slope[j][c] = slope[j][2 * c] + fraction[k] * (slope[j][2 * c + 1] - slope[j][2 * c]);
            slope[k][c] = values[2 * c + 1] - values[2 * c];
            values[c] = values[2 * c] + fraction[k] * slope[k][c];
        }
    for (int k = 0; k < D; ++k) found[k] = slope[k][0];
}

// Adds the gradients g [n][F] of the features to rows [begin, begin + count) of a level, in the order of the points.
template <int D, int F>
void scatter(const Level& level, const float* x, int64_t n, const float* g, uint32_t begin, uint32_t count, float* g_table) {
    using Row = typename RowOf<F>::Type;
    for (int64_t i = 0; i < n; i += LANES) {
        const Cells<D> cells = locate<D>(level, x, n, i);
        Floats weights[1 << D];
        corner_weights<D>(cells.fraction, weights);
        for (int l = 0; l < LANES; ++l) {
            const Row gradient = read<Row>(g + (i + l) * F);
            for (int c = 0; c < 1 << D; ++c) {
                const uint32_t row = cells.rows[c][l] - begin;
                if (row >= count) continue;
                float* target = g_table + int64_t(row) * F;
                write(target, read<Row>(target) + weights[c][l] * gradient);
            }
        }
    }
}

// Gradients of the features, level-major and 0 where there are none: NaN points, and those past the end.
std::vector<float> gradients(const float* x, const float* g_out, int64_t points, int64_t dims, int64_t levels, int64_t F,
                             int64_t threads) {
    const int64_t n = padded(points);
    std::vector<float> found(levels * n * F);
    parallel_for(points, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            if (has_nan(x + p * dims, dims)) continue;
            for (int64_t l = 0; l < levels; ++l) std::copy_n(g_out + (p * levels + l) * F, F, found.data() + (l * n + p) * F);
        }
    });
    return found;
}

// Runs body<D, F>.
template <class Body>
void for_sizes(int64_t axes, int64_t F, const Body& body) {
    auto with_axes = [&](auto d) {
        if (F == 1) body(d, std::integral_constant<int, 1>{});
        else if (F == 2) body(d, std::integral_constant<int, 2>{});
        else if (F == 4) body(d, std::integral_constant<int, 4>{});
        else if (F == 8) body(d, std::integral_constant<int, 8>{});
        else body(d, std::integral_constant<int, 16>{});
    };
    axes == 2 ? with_axes(std::integral_constant<int, 2>{}) : with_axes(std::integral_constant<int, 3>{});
}

}  // namespace

// x: [points, dims]. table: [rows, F]. levels: [count, 9], each with `axes` axes. out: [points, count * F].
extern "C" int64_t grid_forward(const float* x, const float* table, const Level* levels, int64_t points, int64_t dims,
                                int64_t axes, int64_t count, int64_t F, float* out, int64_t threads) {
    const int64_t n = padded(points), blocks = (n + BLOCK - 1) / BLOCK;
    const auto position = positions(x, points, dims, threads);
    std::vector<float> found(count * n * F);
    for_sizes(axes, F, [&](auto d, auto f) {
        parallel_for_numbered(count * blocks, threads, [&](int64_t item, int64_t) {
            const Level& level = levels[item / blocks];
            const float* rows = table + level.offset * F;
            const int64_t begin = item % blocks * BLOCK, end = std::min(n, begin + BLOCK);
            for (int64_t i = begin; i < end; i += LANES)
                interpolate<d(), f()>(locate<d()>(level, position.data(), n, i), rows, found.data() + (item / blocks * n + i) * F);
        });
    });
    parallel_for(points, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            float* row = out + p * count * F;
            for (int64_t l = 0; l < count; ++l) std::copy_n(found.data() + (l * n + p) * F, F, row + l * F);
            if (has_nan(x + p * dims, dims)) std::fill_n(row, count * F, NAN);
        }
    });
    return 0;
}

// g_table (rows of no gradient are zeroed) and g_x may each be null.
extern "C" int64_t grid_backward(const float* x, const float* table, const Level* levels, const float* g_out,
                                 int64_t points, int64_t dims, int64_t axes, int64_t count, int64_t F, float* g_table,
                                 float* g_x, int64_t threads) {
    const int64_t n = padded(points);
    const auto position = positions(x, points, dims, threads);
    const auto g = gradients(x, g_out, points, dims, count, F, threads);
    // Each row is summed in the order of the points whatever the slabs are, so their number may follow the threads'.
    const int64_t slabs = threads == 1 ? 1 : (2 * threads + count - 1) / count;
    if (g_table) for_sizes(axes, F, [&](auto d, auto f) {
        parallel_for_numbered(count * slabs, threads, [&](int64_t item, int64_t) {
            const Level& level = levels[item / slabs];
            const int64_t begin = level.entries * (item % slabs) / slabs, end = level.entries * (item % slabs + 1) / slabs;
            float* rows = g_table + (level.offset + begin) * F;
            std::fill_n(rows, (end - begin) * F, 0.0f);
            scatter<d(), f()>(level, position.data(), n, g.data() + item / slabs * n * F, begin, end - begin, rows);
        });
    });
    if (!g_x) return 0;
    std::vector<float> sums(dims * n);
    for_sizes(axes, F, [&](auto d, auto f) {
        for (int64_t l = 0; l < count; ++l)
            parallel_for(n, BLOCK, threads, [&](int64_t begin, int64_t end) {
                const Level& level = levels[l];
                for (int64_t i = begin; i < end; i += LANES) {
                    const Cells<d()> cells = locate<d()>(level, position.data(), n, i);
                    Floats products[1 << d()], found[d()];
                    corner_products<d(), f()>(cells, table + level.offset * F, g.data() + (l * n + i) * F, products);
                    slopes<d()>(products, cells.fraction, found);
                    for (int k = 0; k < d(); ++k) {
                        float* target = sums.data() + level.axes[k] * n + i;
                        store(target, load(target) + found[k] * static_cast<float>(level.resolution[k] - 1));
                    }
                }
            });
    });
    parallel_for(points, BLOCK, threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p)
            for (int64_t k = 0; k < dims; ++k) {
                const float at = x[p * dims + k];
                g_x[p * dims + k] = at >= 0.0f && at <= 1.0f ? sums[k * n + p] : 0.0f;
            }
    });
    return 0;
}
