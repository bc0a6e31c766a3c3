// Sparse combinations of dictionary rows, and cosines in coefficient space.
#include <memory>

#include "parallel.h"
#include "simd.h"

namespace {

constexpr int64_t CHUNKS = 64;         // of rows, each with its own gradient of the dictionary: no thread is waited for
constexpr int64_t SCRATCH = 1 << 24;   // floats in those gradients, at most
constexpr int POINTS = 8;              // pixels whose products with a matrix are formed together, in registers

typedef std::unique_ptr<float[]> Buffer;

int64_t up(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// [rows][columns] with rows padded by zeros to whole vectors.
Buffer padded(const float* matrix, int64_t rows, int64_t columns) {
    const int64_t width = up(columns);
    Buffer found(new float[rows * width]());
    for (int64_t i = 0; i < rows; ++i) std::copy_n(matrix + i * columns, columns, found.get() + i * width);
    return found;
}

// Sixteen columns of the products of POINTS rows [count] with a matrix.
INLINE void multiply(const float* rows, int64_t row_width, int64_t count, const float* matrix, int64_t width, Floats* found) {
    for (int p = 0; p < POINTS; ++p) found[p] = splat(0);
    for (int64_t j = 0; j < count; ++j) {
        const Floats m = load(matrix + j * width);
        for (int p = 0; p < POINTS; ++p) found[p] += rows[p * row_width + j] * m;
    }
}

// Rows [first, first + POINTS) of [count][columns] in a padded buffer; 0 past the end.
void take(const float* rows, int64_t first, int64_t count, int64_t columns, float* found) {
    const int64_t width = up(columns);
    for (int64_t p = 0; p < POINTS; ++p) {
        const bool there = first + p < count;
        if (there) std::copy_n(rows + (first + p) * columns, columns, found + p * width);
        std::fill(found + p * width + (there ? columns : 0), found + (p + 1) * width, 0.0f);
    }
}

void give(const Floats* block, int64_t column, int64_t first, int64_t count, int64_t columns, float* rows) {
    for (int64_t p = 0; p < std::min<int64_t>(POINTS, count - first); ++p)
        std::memcpy(rows + (first + p) * columns + column, block + p, std::min<int64_t>(LANES, columns - column) * sizeof(float));
}

}  // namespace

// Returns how many indices lie outside [0, L); the rows that have one are not written.
extern "C" int64_t sparse_code_forward(const int32_t* indices, const float* values, const float* dictionary, int64_t n,
                                       int64_t K, int64_t L, int64_t D, float* out, int64_t threads) {
    std::atomic<int64_t> outside{0};
    parallel_for(n, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int32_t* index = indices + i * K;
            int64_t bad = 0;
            for (int64_t k = 0; k < K; ++k) bad += index[k] < 0 || index[k] >= L;
            if (bad) {
                outside += bad;
                continue;
            }
            int64_t d = 0;
            for (; d + LANES <= D; d += LANES) {
                Floats total = splat(0);
                for (int64_t k = 0; k < K; ++k) total += values[i * K + k] * load(dictionary + index[k] * D + d);
                store(out + i * D + d, total);
            }
            for (; d < D; ++d) {
                float total = 0;
                for (int64_t k = 0; k < K; ++k) total += values[i * K + k] * dictionary[index[k] * D + d];
                out[i * D + d] = total;
            }
        }
    });
    return outside;
}

// g_dictionary may be null. The indices were checked by the forward pass.
extern "C" int64_t sparse_code_backward(const int32_t* indices, const float* values, const float* dictionary,
                                        const float* g_out, int64_t n, int64_t K, int64_t L, int64_t D, float* g_values,
                                        float* g_dictionary, int64_t threads) {
    const int64_t size = L * D, chunks = std::min(CHUNKS, std::max<int64_t>(1, SCRATCH / std::max<int64_t>(size, 1)));
    const int64_t rows = std::max<int64_t>(256, (n + chunks - 1) / chunks), used = (n + rows - 1) / rows;
    Buffer partial(g_dictionary ? new float[used * size] : nullptr);
    parallel_for_numbered(used, threads, [&](int64_t chunk, int64_t) {
        float* sums = g_dictionary ? partial.get() + chunk * size : nullptr;
        if (sums) std::fill_n(sums, size, 0.0f);
        for (int64_t i = chunk * rows; i < std::min(n, (chunk + 1) * rows); ++i) {
            const float* g = g_out + i * D;
            for (int64_t k = 0; k < K; ++k) {
                const float *row = dictionary + indices[i * K + k] * D, value = values[i * K + k];
                float* target = sums ? sums + indices[i * K + k] * D : nullptr;
                Floats product = splat(0);
                int64_t d = 0;
                for (; d + LANES <= D; d += LANES) {
                    const Floats gradient = load(g + d);
                    product += gradient * load(row + d);
                    if (target) store(target + d, load(target + d) + value * gradient);
                }
                float total = sum(product);
                for (; d < D; ++d) {
                    total += g[d] * row[d];
                    if (target) target[d] += value * g[d];
                }
                g_values[i * K + k] = total;
            }
        }
    });
    if (g_dictionary)
        parallel_for(size, 4096, threads, [&](int64_t begin, int64_t end) {
            std::fill(g_dictionary + begin, g_dictionary + end, 0.0f);
            for (int64_t chunk = 0; chunk < used; ++chunk)
                for (int64_t i = begin; i < end; ++i) g_dictionary[i] += partial[chunk * size + i];
        });
    return 0;
}

// codes [n, L], gram [L, L] (symmetric), products [L, Q]: cosines [n, Q] and the inverse lengths [n] of the features.
extern "C" int64_t similarity_forward(const float* codes, const float* gram, const float* products, int64_t n, int64_t L,
                                      int64_t Q, float* cosines, float* inverse, int64_t threads) {
    const int64_t width = up(L), query_width = up(Q);
    const Buffer half = padded(gram, L, L), queries = padded(products, L, Q);
    // The upper half counts twice, the lower not at all.
    for (int64_t i = 0; i < L; ++i)
        for (int64_t j = 0; j < L; ++j) half[i * width + j] *= j < i ? 0.0f : j == i ? 1.0f : 2.0f;
    parallel_for((n + POINTS - 1) / POINTS, 64, threads, [&](int64_t begin, int64_t end) {
        const Buffer w(new float[POINTS * width]);
        for (int64_t first = begin * POINTS; first < std::min(n, end * POINTS); first += POINTS) {
            take(codes, first, n, L, w.get());
            Floats block[POINTS], length2[POINTS], scale[POINTS];
            for (int p = 0; p < POINTS; ++p) length2[p] = splat(0);
            for (int64_t c = 0; c < width; c += LANES) {
                multiply(w.get(), width, std::min(L, c + LANES), half.get() + c, width, block);
                for (int p = 0; p < POINTS; ++p) length2[p] += block[p] * load(w.get() + p * width + c);
            }
            for (int p = 0; p < POINTS; ++p) {
                const float total = sum(length2[p]), inverted = total > 0 ? 1.0f / std::sqrt(total) : total == total ? 0.0f : total;
                scale[p] = splat(inverted);
                if (first + p < n) inverse[first + p] = inverted;
            }
            for (int64_t q = 0; q < query_width; q += LANES) {
                multiply(w.get(), width, L, queries.get() + q, query_width, block);
                for (int p = 0; p < POINTS; ++p) block[p] *= scale[p];
                give(block, q, first, n, Q, cosines);
            }
        }
    });
    return 0;
}

// transposed [Q, L]: the products. g_codes = g / length . transposed - (g . cosines) / length^2 codes . gram
extern "C" int64_t similarity_backward(const float* codes, const float* gram, const float* transposed,
                                       const float* cosines, const float* inverse, const float* g, int64_t n, int64_t L,
                                       int64_t Q, float* g_codes, int64_t threads) {
    const int64_t width = up(L), query_width = up(Q);
    const Buffer full = padded(gram, L, L), queries = padded(transposed, Q, L);
    parallel_for((n + POINTS - 1) / POINTS, 64, threads, [&](int64_t begin, int64_t end) {
        const Buffer w(new float[POINTS * width]), incoming(new float[POINTS * query_width]);
        for (int64_t first = begin * POINTS; first < std::min(n, end * POINTS); first += POINTS) {
            take(codes, first, n, L, w.get());
            take(g, first, n, Q, incoming.get());
            Floats along[POINTS], block[POINTS], across[POINTS];
            for (int64_t p = 0; p < POINTS; ++p) {
                const bool there = first + p < n;
                const float length = there ? inverse[first + p] : 0.0f;
                float* row = incoming.get() + p * query_width;
                float total = 0;
                for (int64_t q = 0; q < Q && there; ++q) {
                    total += row[q] * cosines[(first + p) * Q + q];
                    row[q] *= length;
                }
                along[p] = splat(total * length * length);
            }
            for (int64_t c = 0; c < width; c += LANES) {
                multiply(w.get(), width, L, full.get() + c, width, block);
                multiply(incoming.get(), query_width, Q, queries.get() + c, width, across);
                for (int p = 0; p < POINTS; ++p) block[p] = across[p] - along[p] * block[p];
                give(block, c, first, n, L, g_codes);
            }
        }
    });
    return 0;
}
