// Multilinear interpolation in grids of several levels. Points are the lanes where positions and rows are computed, and
// where a row has one or two features (hardware gathers); wider rows are their own vectors.
//
// The order is level by level over all points, so that a level's rows stay in cache; per-point rows are therefore kept
// level-major, and transposed from and to the [P, levels * F] of the outside. What is special about a point (outside,
// NaN, past the end) is dealt with there, and the levels know only points of the unit cube.
#include <memory>

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

bool has_nan(const float* row, int64_t dims) {
    bool found = false;
    for (int64_t k = 0; k < dims; ++k) found |= row[k] != row[k];
    return found;
}

// Points that are dealt with together. Their number bounds the scratch, which is reused: fresh pages cost more than
// what is done with them.
constexpr int64_t SCRATCH = 1 << 22;  // floats
typedef std::unique_ptr<float[]> Buffer;

struct Batch {
    const float* x;  // [points, dims]
    int64_t points, dims;
    const Level* levels;
    int64_t count, threads;
    int64_t n;         // points, rounded up to whole vectors
    Buffer positions;  // [dims][n], clamped to the unit cube; 0 where a point has a NaN or is past the end

    Batch(const float* x, int64_t points, int64_t dims, const Level* levels, int64_t count, int64_t threads)
        : x(x), points(points), dims(dims), levels(levels), count(count), threads(threads),
          n((points + LANES - 1) / LANES * LANES), positions(new float[dims * n]) {
        parallel_for(n, BLOCK, threads, [&](int64_t begin, int64_t end) {
            for (int64_t p = begin; p < end; ++p) {
                const bool there = valid(p);
                for (int64_t k = 0; k < dims; ++k)
                    positions[k * n + p] = there ? std::min(std::max(x[p * dims + k], 0.0f), 1.0f) : 0.0f;
            }
        });
    }
    bool valid(int64_t p) const { return p < points && !has_nan(x + p * dims, dims); }
};

// The cells of sixteen points: the row of each corner (bit k of its number: the upper node of axis k), and how far the
// point is from the lower to the upper node of each axis.
template <int D> struct Cells { Words rows[1 << D]; Floats fraction[D]; };

template <int D>
INLINE Cells<D> locate(const Batch& batch, const Level& level, int64_t point) {
    constexpr uint32_t PRIMES[3] = {1u, 2654435761u, 805459861u};
    Cells<D> cells;
    Words rows[1 << D] = {};
    uint32_t stride = 1;
    for (int k = 0; k < D; ++k) {
        const int last = static_cast<int>(level.resolution[k]) - 1;
        const Floats position = load(batch.positions.get() + level.axes[k] * batch.n + point) * static_cast<float>(last);
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

// Derivatives by the fractions of what interpolates `values` at the corners: one axis after the other is collapsed.
template <int D, class Value, class Fraction>
INLINE void slopes(Value* values, const Fraction* fraction, Value* found) {
    Value slope[D][1 << D];
    for (int k = 0, n = 1 << (D - 1); k < D; ++k, n /= 2)
        for (int c = 0; c < n; ++c) {
            for (int j = 0; j < k; ++j) slope[j][c] = slope[j][2 * c] + fraction[k] * (slope[j][2 * c + 1] - slope[j][2 * c]);
            slope[k][c] = values[2 * c + 1] - values[2 * c];
            values[c] = values[2 * c] + fraction[k] * slope[k][c];
        }
    for (int k = 0; k < D; ++k) found[k] = slope[k][0];
}

// The pairs of lanes added up: sixteen sums of two features.
INLINE Floats add_pairs(Pairs v) {
    const Ints even = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
    return __builtin_shuffle(v.low, v.high, even) + __builtin_shuffle(v.low, v.high, even + 1);
}

template <int F>
INLINE float dot(const float* a, const float* b) {
    float products[F];
    for (int f = 0; f < F; ++f) products[f] = a[f] * b[f];
    for (int width = F / 2; width > 0; width /= 2)
        for (int f = 0; f < width; ++f) products[f] += products[f + width];
    return products[0];
}

// Gradients by the fractions, of features with gradients `g` [LANES][F].
template <int D, int F>
INLINE void fraction_gradients(const Cells<D>& cells, const float* table, const float* g, Floats* found) {
    constexpr int CORNERS = 1 << D;
    if constexpr (F <= 2) {
        Floats products[CORNERS];
        for (int c = 0; c < CORNERS; ++c) {
            if constexpr (F == 1) {
                products[c] = load(g) * gather(table, cells.rows[c]);
            } else {
                const Pairs row = gather_pairs(table, cells.rows[c]);
                products[c] = add_pairs({row.low * load(g), row.high * load(g + LANES)});
            }
        }
        slopes<D>(products, cells.fraction, found);
    } else {
        using Row = typename RowOf<F>::Type;
        float lanes[D][LANES];
        for (int l = 0; l < LANES; ++l) {
            Row values[CORNERS], slope[D];
            float fraction[D];
            for (int c = 0; c < CORNERS; ++c) values[c] = read<Row>(table + int64_t(cells.rows[c][l]) * F);
            for (int k = 0; k < D; ++k) fraction[k] = cells.fraction[k][l];
            slopes<D>(values, fraction, slope);
            for (int k = 0; k < D; ++k) lanes[k][l] = dot<F>(reinterpret_cast<const float*>(slope + k), g + l * F);
        }
        for (int k = 0; k < D; ++k) found[k] = load(lanes[k]);
    }
}

template <int D, int F>
void forward(const Batch& batch, const float* table, float* out) {
    const int64_t n = batch.n, blocks = (n + BLOCK - 1) / BLOCK;
    Buffer found(new float[batch.count * n * F]);
    parallel_for_numbered(batch.count * blocks, batch.threads, [&](int64_t item, int64_t) {
        const Level& level = batch.levels[item / blocks];
        const int64_t begin = item % blocks * BLOCK, end = std::min(n, begin + BLOCK);
        for (int64_t i = begin; i < end; i += LANES)
            interpolate<D, F>(locate<D>(batch, level, i), table + level.offset * F, found.get() + (item / blocks * n + i) * F);
    });
    parallel_for(batch.points, 256, batch.threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            float* row = out + p * batch.count * F;
            for (int64_t l = 0; l < batch.count; ++l) std::memcpy(row + l * F, found.get() + (l * n + p) * F, F * sizeof(float));
            if (!batch.valid(p)) std::fill_n(row, batch.count * F, NAN);
        }
    });
}

// Gradients of the features, [levels][n][F]: 0 for the points that are not valid.
template <int F>
Buffer level_major(const Batch& batch, const float* g_out) {
    Buffer found(new float[batch.count * batch.n * F]);
    parallel_for(batch.n, 256, batch.threads, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
            static const float none[F] = {};
            const bool valid = batch.valid(p);
            const float* row = valid ? g_out + p * batch.count * F : none;
            for (int64_t l = 0; l < batch.count; ++l)
                std::memcpy(found.get() + (l * batch.n + p) * F, row + (valid ? l * F : 0), F * sizeof(float));
        }
    });
    return found;
}

// Adds the gradients g [n][F] of the features to the rows [begin, end) of a level, in the order of the points.
template <int D, int F>
void scatter(const Batch& batch, const Level& level, const float* g, int64_t begin, int64_t end, float* g_table) {
    using Row = typename RowOf<F>::Type;
    const uint32_t first = static_cast<uint32_t>(begin), count = static_cast<uint32_t>(end - begin);
    float* rows = g_table + (level.offset + begin) * F;
    for (int64_t i = 0; i < batch.n; i += LANES) {
        const Cells<D> cells = locate<D>(batch, level, i);
        Floats weights[1 << D];
        corner_weights<D>(cells.fraction, weights);
        for (int l = 0; l < LANES; ++l) {
            const Row gradient = read<Row>(g + (i + l) * F);
            for (int c = 0; c < 1 << D; ++c) {
                const uint32_t row = cells.rows[c][l] - first;
                if (row >= count) continue;
                float* target = rows + int64_t(row) * F;
                write(target, read<Row>(target) + weights[c][l] * gradient);
            }
        }
    }
}

template <int D, int F>
void backward_table(const Batch& batch, const float* g, float* g_table) {
    // Each row is summed in the order of the points whatever the slabs are, so their number may follow the threads'.
    const int64_t slabs = batch.threads == 1 ? 1 : (2 * batch.threads + batch.count - 1) / batch.count;
    parallel_for_numbered(batch.count * slabs, batch.threads, [&](int64_t item, int64_t) {
        const int64_t l = item / slabs, slab = item % slabs;
        const Level& level = batch.levels[l];
        scatter<D, F>(batch, level, g + l * batch.n * F, level.entries * slab / slabs, level.entries * (slab + 1) / slabs, g_table);
    });
}

template <int D, int F>
void backward_x(const Batch& batch, const float* table, const float* g, float* g_x) {
    const int64_t n = batch.n, dims = batch.dims;
    Buffer sums(new float[dims * n]);
    std::fill_n(sums.get(), dims * n, 0.0f);
    for (int64_t l = 0; l < batch.count; ++l)
        parallel_for(n, BLOCK, batch.threads, [&](int64_t begin, int64_t end) {
            const Level& level = batch.levels[l];
            for (int64_t i = begin; i < end; i += LANES) {
                const Cells<D> cells = locate<D>(batch, level, i);
                Floats slope[D];
                fraction_gradients<D, F>(cells, table + level.offset * F, g + (l * n + i) * F, slope);
                for (int k = 0; k < D; ++k) {
                    float* target = sums.get() + level.axes[k] * n + i;
                    store(target, load(target) + slope[k] * static_cast<float>(level.resolution[k] - 1));
                }
            }
        });
    for (int64_t p = 0; p < batch.points; ++p)
        for (int64_t k = 0; k < dims; ++k) {
            const float at = batch.x[p * dims + k];
            g_x[p * dims + k] = at >= 0.0f && at <= 1.0f ? sums[k * n + p] : 0.0f;
        }
}

// Runs body(D, F, first point, points) for each batch.
template <class Body>
void for_batches(int64_t points, int64_t axes, int64_t count, int64_t F, const Body& body) {
    const int64_t most = std::max<int64_t>(BLOCK, SCRATCH / (count * F) / BLOCK * BLOCK);
    auto with_axes = [&](auto d) {
        auto with_features = [&](auto f) {
            for (int64_t p = 0; p < points; p += most) body(d, f, p, std::min(most, points - p));
        };
        if (F == 1) with_features(std::integral_constant<int, 1>{});
        else if (F == 2) with_features(std::integral_constant<int, 2>{});
        else if (F == 4) with_features(std::integral_constant<int, 4>{});
        else if (F == 8) with_features(std::integral_constant<int, 8>{});
        else with_features(std::integral_constant<int, 16>{});
    };
    axes == 2 ? with_axes(std::integral_constant<int, 2>{}) : with_axes(std::integral_constant<int, 3>{});
}

}  // namespace

// x: [points, dims]. table: [rows, F]. levels: [count], each with `axes` axes. out: [points, count * F].
extern "C" int64_t grid_forward(const float* x, const float* table, const Level* levels, int64_t points, int64_t dims,
                                int64_t axes, int64_t count, int64_t F, float* out, int64_t threads) {
    for_batches(points, axes, count, F, [&](auto d, auto f, int64_t p, int64_t batch_points) {
        const Batch batch(x + p * dims, batch_points, dims, levels, count, threads);
        forward<d(), f()>(batch, table, out + p * count * F);
    });
    return 0;
}

// g_table [rows, F] and g_x [points, dims] may each be null.
extern "C" int64_t grid_backward(const float* x, const float* table, const Level* levels, const float* g_out,
                                 int64_t points, int64_t dims, int64_t axes, int64_t count, int64_t F, int64_t rows,
                                 float* g_table, float* g_x, int64_t threads) {
    if (g_table)
        parallel_for(rows * F, 1 << 16, threads, [&](int64_t begin, int64_t end) { std::fill(g_table + begin, g_table + end, 0.0f); });
    for_batches(points, axes, count, F, [&](auto d, auto f, int64_t p, int64_t batch_points) {
        const Batch batch(x + p * dims, batch_points, dims, levels, count, threads);
        const Buffer g = level_major<f()>(batch, g_out + p * count * F);
        if (g_table) backward_table<d(), f()>(batch, g.get(), g_table);
        if (g_x) backward_x<d(), f()>(batch, table, g.get(), g_x + p * dims);
    });
    return 0;
}
