// Compositing of sparse codes: a splat adds its K values to K of the L channels of a tile, which stays in the cache.
#include "splat_tile.h"

namespace {

constexpr int MOST_CODES = 32;

struct Codes {
    const int32_t* indices;
    const float* values;
    int64_t per_splat, entries;
};

// Copies the [L] rows of a tile's pixels in the picture [H, W, L] to planes[entry][row] or, with BACK, the other way.
template <bool BACK>
void exchange(const TileView& tile, int64_t entries, int64_t width, int64_t height, float* picture, Floats* planes) {
    const int64_t column0 = static_cast<int64_t>(tile.x0), row0 = static_cast<int64_t>(tile.y0);
    const int rows = std::min<int64_t>(TILE, height - row0), columns = std::min<int64_t>(TILE, width - column0);
    float* flat = reinterpret_cast<float*>(planes);
    for (int r = 0; r < rows; ++r)
        for (int l = 0; l < columns; ++l) {
            float* pixel = picture + ((row0 + r) * width + column0 + l) * entries;
            for (int64_t e = 0; e < entries; ++e) {
                float& here = flat[(e * TILE + r) * LANES + l];
                BACK ? void(pixel[e] = here) : void(here = pixel[e]);
            }
        }
}

void forward_tile(const TileView& tile, const Codes& codes, int64_t width, int64_t height, float* image,
                  float* alpha_out, std::vector<Floats>& planes) {
    Floats transmittance[TILE];
    for (auto& row : transmittance) row = splat(1);
    planes.assign(codes.entries * TILE, splat(0));
    const int32_t* index = nullptr;
    const float* value = nullptr;
    composite(
        tile, 0, tile.count, transmittance,
        [&](int64_t i) {
            index = codes.indices + tile.list[i] * codes.per_splat;
            value = codes.values + tile.list[i] * codes.per_splat;
        },
        [&](int r, Step step, Floats) {
            for (int64_t k = 0; k < codes.per_splat; ++k) planes[int64_t(index[k]) * TILE + r] += step.weight * value[k];
        },
        [](int64_t) {});
    exchange<true>(tile, codes.entries, width, height, image, planes.data());
    const int64_t column0 = static_cast<int64_t>(tile.x0), row0 = static_cast<int64_t>(tile.y0);
    const int rows = std::min<int64_t>(TILE, height - row0), columns = std::min<int64_t>(TILE, width - column0);
    for (int r = 0; r < rows; ++r) {
        float lanes[LANES];
        store(lanes, 1.0f - absolute(transmittance[r]));
        std::memcpy(alpha_out + (row0 + r) * width + column0, lanes, columns * sizeof(float));
    }
}

// geometry, g_values: rows of the tile's instances.
void backward_tile(const TileView& tile, const Codes& codes, int64_t width, int64_t height, const float* alpha,
                   const float* g_image, const float* g_alpha, float* geometry, float* g_values,
                   std::vector<Floats>& planes, Scratch& scratch) {
    Floats transmittance[TILE], behind[TILE];
    const int64_t column0 = static_cast<int64_t>(tile.x0), row0 = static_cast<int64_t>(tile.y0);
    const int rows = std::min<int64_t>(TILE, height - row0), columns = std::min<int64_t>(TILE, width - column0);
    for (int r = 0; r < TILE; ++r) {
        // Pixels outside the picture start out stopped; behind all splats there is nothing but the gradient of alpha.
        float start[LANES], last[LANES] = {};
        for (int l = 0; l < LANES; ++l) {
            const bool inside = r < rows && l < columns;
            const int64_t pixel = (row0 + r) * width + column0 + l;
            start[l] = inside ? 1.0f : -1.0f;
            if (inside) last[l] = -g_alpha[pixel] * (1.0f - alpha[pixel]);
        }
        transmittance[r] = load(start), behind[r] = load(last);
    }
    planes.assign(codes.entries * TILE, splat(0));
    exchange<false>(tile, codes.entries, width, height, const_cast<float*>(g_image), planes.data());
    walk_back(tile, transmittance, scratch, [&](int64_t i, uint32_t some, const Layer* layers) {
        const int32_t* index = codes.indices + tile.list[i] * codes.per_splat;
        splat_gradient<MOST_CODES, false>(
            tile, tile.splats[tile.list[i]], codes.values + tile.list[i] * codes.per_splat,
            static_cast<int>(codes.per_splat), some, layers, behind,
            [&](int r, int k) { return planes[int64_t(index[k]) * TILE + r]; }, geometry + i * GEOMETRY,
            g_values + i * codes.per_splat);
    });
}

}  // namespace

extern "C" int64_t codes_forward(const float* centres, const float* factors, const float* opacities,
                                 const float* extents, const int32_t* indices, const float* values, int64_t n,
                                 int64_t per_splat, int64_t entries, const int32_t* list, const int64_t* starts,
                                 int64_t width, int64_t height, float* image, float* alpha, int64_t threads) {
    const auto splats = pack(centres, factors, opacities, extents, n, threads);
    const Codes codes{indices, values, per_splat, entries};
    const int64_t columns = (width + TILE - 1) / TILE, rows = (height + TILE - 1) / TILE;
    std::vector<std::vector<Floats>> planes(threads);
    parallel_for_numbered(columns * rows, threads, [&](int64_t t, int64_t thread) {
        forward_tile(view_tile(splats, list, starts, columns, t), codes, width, height, image, alpha, planes[thread]);
    });
    return 0;
}

// `instances` is scratch of [M, GEOMETRY + K] floats.
extern "C" int64_t codes_backward(const float* centres, const float* factors, const float* opacities,
                                  const float* extents, const int32_t* indices, const float* values, int64_t n,
                                  int64_t per_splat, int64_t entries, const int32_t* list, const int64_t* starts,
                                  const int32_t* slots, const int64_t* slot_starts, int64_t width, int64_t height,
                                  const float* alpha, const float* g_image, const float* g_alpha, float* instances,
                                  float* g_centres, float* g_factors, float* g_opacities, float* g_values,
                                  int64_t threads) {
    const auto splats = pack(centres, factors, opacities, extents, n, threads);
    const Codes codes{indices, values, per_splat, entries};
    const int64_t columns = (width + TILE - 1) / TILE, tiles = columns * ((height + TILE - 1) / TILE);
    float* value_rows = instances + starts[tiles] * GEOMETRY;
    std::vector<std::vector<Floats>> planes(threads);
    std::vector<Scratch> scratches(threads);
    parallel_for_numbered(tiles, threads, [&](int64_t t, int64_t thread) {
        const TileView tile = view_tile(splats, list, starts, columns, t);
        float *geometry = instances + starts[t] * GEOMETRY, *rows = value_rows + starts[t] * per_splat;
        std::fill_n(geometry, tile.count * GEOMETRY, 0.0f);
        std::fill_n(rows, tile.count * per_splat, 0.0f);
        backward_tile(tile, codes, width, height, alpha, g_image, g_alpha, geometry, rows, planes[thread],
                      scratches[thread]);
    });
    const Slots lists{slots, slot_starts};
    const GeometryGradients out{g_centres, g_factors, g_opacities, nullptr};
    parallel_for(n, 1024, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            sum_geometry(lists, instances, factors, opacities, i, true, out);
            sum_features(lists, value_rows, per_splat, static_cast<int>(per_splat), i, g_values + i * per_splat);
        }
    });
    return 0;
}
