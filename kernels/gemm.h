// A matrix product for operands that lie in the nearest caches, as the inner part of fused kernels.
#pragma once
#include <algorithm>

#include "simd.h"

// Rows and vectors of the tile of sums that stays in registers: the sums, a row of B and one broadcast must fit, and
// there must be enough independent sums to hide the latency of a multiply-add.
#if defined(__AVX512F__)
constexpr int TILE_ROWS = 8, TILE_VECTORS = 3;
#else
constexpr int TILE_ROWS = 4, TILE_VECTORS = 1;
#endif

INLINE int64_t padded(int64_t size) { return (size + LANES - 1) / LANES * LANES; }

// [count, width] to ROWS rows of padded(width); what is added is 0. gather is the way back.
template <int64_t ROWS>
INLINE void spread(const float* from, int64_t count, int64_t width, float* to) {
    const int64_t wide = padded(width);
    for (int64_t i = 0; i < ROWS; ++i) {
        const int64_t given = i < count ? width : 0;
        std::copy(from + i * width, from + i * width + given, to + i * wide);
        std::fill(to + i * wide + given, to + (i + 1) * wide, 0.0f);
    }
}

INLINE void gather(const float* from, int64_t count, int64_t width, float* to) {
    for (int64_t i = 0; i < count; ++i) std::copy(from + i * padded(width), from + i * padded(width) + width, to + i * width);
}

// Which rows, or which terms of the sums, a product takes: all of them in order, or those of a list.
struct Every {
    INLINE int64_t operator()(int64_t i) const { return i; }
};
struct Listed {
    const int32_t* list;
    INLINE int64_t operator()(int64_t i) const { return list[i]; }
};

template <int VECTORS, class Rows, class Steps, class Start, class Finish>
INLINE void gemm_tile(int64_t row, int64_t column, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                      const float* b, int64_t b_step, const Rows& which, const Steps& steps, const Start& start,
                      const Finish& finish) {
    Floats sums[TILE_ROWS][VECTORS];
    const float* left[TILE_ROWS];
    for (int r = 0; r < TILE_ROWS; ++r) {
        left[r] = a + which(row + r) * a_row;
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = start(which(row + r), column + v * LANES);
    }
    b += column;
    for (int64_t k = 0; k < depth; ++k) {
        const int64_t a_at = steps(k) * a_step, b_at = steps(k) * b_step;
        Floats right[VECTORS];
        for (int v = 0; v < VECTORS; ++v) right[v] = load(b + b_at + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < TILE_ROWS; ++r)
            for (int v = 0; v < VECTORS; ++v) sums[r][v] += right[v] * left[r][a_at];
    }
    for (int r = 0; r < TILE_ROWS; ++r)
        for (int v = 0; v < VECTORS; ++v) finish(which(row + r), column + v * LANES, sums[r][v]);
}

// start(row, column) + sum over k < depth of a[row * a_row + k * a_step] * b[k * b_step + column], given to
// finish(row, column, sums) for sixteen columns at a time. `rows` and `columns` are rounded up to whole tiles: memory
// must reach that far, what it holds there only reaches the sums of those rows and columns.
// which(i), steps(k): the row that the i-th is, and the term that the k-th is; lists of rows reach to whole tiles, too.
template <class Start, class Finish, class Rows = Every, class Steps = Every>
INLINE void gemm(int64_t rows, int64_t columns, int64_t depth, const float* a, int64_t a_row, int64_t a_step,
                 const float* b, int64_t b_step, const Start& start, const Finish& finish, const Rows& which = {},
                 const Steps& steps = {}) {
    for (int64_t column = 0; column < columns;) {
        const int64_t left = (columns - column + LANES - 1) / LANES;
        // Four are two and two: a tile of one vector is the slowest.
        const int64_t vectors = left == 4 ? std::min(TILE_VECTORS, 2) : std::min<int64_t>(TILE_VECTORS, left);
        for (int64_t row = 0; row < rows; row += TILE_ROWS) {
            if (vectors == 3)
                gemm_tile<3>(row, column, depth, a, a_row, a_step, b, b_step, which, steps, start, finish);
            else if (vectors == 2)
                gemm_tile<2>(row, column, depth, a, a_row, a_step, b, b_step, which, steps, start, finish);
            else
                gemm_tile<1>(row, column, depth, a, a_row, a_step, b, b_step, which, steps, start, finish);
        }
        column += vectors * LANES;
    }
}
