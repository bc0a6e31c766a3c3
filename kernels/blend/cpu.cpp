// Compositing of dense features: a tile is 16 rows of one 16-lane vector; splats are the outer loop, rows the inner one.
#include "splat_tile.h"

namespace {

// alpha_out, median_out: null where not wanted, as by all channel groups but the first.
template <int D, bool MEDIAN>
void forward_tile(const TileView& tile, const float* features, int64_t stride, const float* background, int64_t width,
                  int64_t height, float* image, float* alpha_out, int32_t* median_out) {
    Floats transmittance[TILE], colour[TILE][D];
    Ints median[TILE];
    for (int r = 0; r < TILE; ++r) {
        transmittance[r] = splat(1);
        median[r] = Ints{} - 1;
        for (int c = 0; c < D; ++c) colour[r][c] = splat(0);
    }
    int32_t gaussian = -1;
    const float* feature = nullptr;
    composite(
        tile, 0, tile.count, transmittance,
        [&](int64_t i) { gaussian = tile.list[i], feature = features + int64_t(gaussian) * stride; },
        [&](int r, Step step, Floats before) {
            for (int c = 0; c < D; ++c) colour[r][c] += step.weight * feature[c];
            if (MEDIAN) {
                const Ints halves = (before > 0.5f) & (before - step.weight <= 0.5f);
                median[r] = halves ? Ints{} + gaussian : median[r];
            }
        },
        [](int64_t) {});
    const int64_t column0 = static_cast<int64_t>(tile.x0), row0 = static_cast<int64_t>(tile.y0);
    const int rows = std::min<int64_t>(TILE, height - row0), columns = std::min<int64_t>(TILE, width - column0);
    for (int r = 0; r < rows; ++r) {
        const Floats final = absolute(transmittance[r]);
        for (int c = 0; c < D; ++c) {
            float lanes[LANES];
            store(lanes, colour[r][c] + final * background[c]);
            float* out = image + ((row0 + r) * width + column0) * stride + c;
            for (int l = 0; l < columns; ++l) out[l * stride] = lanes[l];
        }
        if (MEDIAN) std::memcpy(median_out + (row0 + r) * width + column0, &median[r], columns * sizeof(int32_t));
        if (alpha_out) {
            float lanes[LANES];
            store(lanes, 1.0f - final);
            std::memcpy(alpha_out + (row0 + r) * width + column0, lanes, columns * sizeof(float));
        }
    }
}

struct PixelGradients {
    const float *alpha, *g_image, *g_alpha;  // g_alpha may be null
};

template <int D>
struct TileGradients {
    Floats behind[TILE];       // sum of what lies behind, earned: starts with the background's share
    Floats incoming[TILE][D];  // d loss / d image
    Floats transmittance[TILE];
};

template <int D>
void load_gradients(const TileView& tile, int64_t stride, const float* background, int64_t width, int64_t height,
                    const PixelGradients& pixels, TileGradients<D>& tg, float* g_background) {
    const int64_t column0 = static_cast<int64_t>(tile.x0), row0 = static_cast<int64_t>(tile.y0);
    const int rows = std::min<int64_t>(TILE, height - row0), columns = std::min<int64_t>(TILE, width - column0);
    Floats background_sum[D] = {};
    for (int r = 0; r < TILE; ++r) {
        float lanes[D][LANES] = {}, behind[LANES] = {}, final[LANES] = {}, start[LANES];
        // Pixels outside the picture start out stopped.
        for (int l = 0; l < LANES; ++l) start[l] = r < rows && l < columns ? 1.0f : -1.0f;
        for (int l = 0; l < columns && r < rows; ++l) {
            const int64_t pixel = (row0 + r) * width + column0 + l;
            final[l] = 1.0f - pixels.alpha[pixel];
            // d loss / d final transmittance is the background's share minus the gradient of alpha.
            if (pixels.g_alpha) behind[l] = -pixels.g_alpha[pixel];
            for (int c = 0; c < D; ++c) {
                lanes[c][l] = pixels.g_image[pixel * stride + c];
                behind[l] += background[c] * lanes[c][l];
            }
        }
        tg.transmittance[r] = load(start);
        tg.behind[r] = load(behind) * load(final);
        for (int c = 0; c < D; ++c) {
            tg.incoming[r][c] = load(lanes[c]);
            background_sum[c] += tg.incoming[r][c] * load(final);
        }
    }
    for (int c = 0; c < D; ++c) g_background[c] = sum(background_sum[c]);
}

template <int D, bool ABSOLUTE>
void backward_tile(const TileView& tile, const float* features, int64_t stride, const float* background, int64_t width,
                   int64_t height, const PixelGradients& pixels, float* geometry, float* g_features,
                   float* g_background, Scratch& scratch) {
    TileGradients<D> tg;
    load_gradients<D>(tile, stride, background, width, height, pixels, tg, g_background);
    walk_back(tile, tg.transmittance, scratch, [&](int64_t i, uint32_t rows, const Layer* layers) {
        const float* feature = features + int64_t(tile.list[i]) * stride;
        splat_gradient<D, ABSOLUTE>(tile, tile.splats[tile.list[i]], feature, D, rows, layers, tg.behind,
                                    [&](int r, int c) { return tg.incoming[r][c]; }, geometry + i * GEOMETRY,
                                    g_features + i * D);
    });
}

// Runs body<D> for the channel groups of `channels`: alpha is computed anew for each group, which is exact because
// compositing is linear in the features.
template <class Body>
void for_channel_groups(int64_t channels, const Body& body) {
    int64_t c = 0;
    while (c < channels) {
        const int64_t left = channels - c;
        if (left >= 16) body(std::integral_constant<int, 16>{}, c), c += 16;
        else if (left >= 8) body(std::integral_constant<int, 8>{}, c), c += 8;
        else if (left >= 4) body(std::integral_constant<int, 4>{}, c), c += 4;
        else if (left == 3) body(std::integral_constant<int, 3>{}, c), c += 3;
        else if (left == 2) body(std::integral_constant<int, 2>{}, c), c += 2;
        else body(std::integral_constant<int, 1>{}, c), c += 1;
    }
}

}  // namespace

extern "C" int64_t blend_forward(const float* centres, const float* factors, const float* opacities,
                                 const float* extents, const float* features, const float* background,
                                 const int32_t* list, const int64_t* starts, int64_t n, int64_t channels, int64_t width,
                                 int64_t height, float* image, float* alpha, int32_t* median,
                                 int64_t threads) {
    const auto splats = pack(centres, factors, opacities, extents, n, threads);
    const int64_t columns = (width + TILE - 1) / TILE, rows = (height + TILE - 1) / TILE;
    parallel_for(columns * rows, 1, threads, [&](int64_t begin, int64_t) {
        const TileView tile = view_tile(splats, list, starts, columns, begin);
        for_channel_groups(channels, [&](auto d, int64_t c) {
            const bool first = c == 0;
            auto run = [&](auto wanted) {
                forward_tile<d(), decltype(wanted)::value>(tile, features + c, channels, background + c, width, height,
                                                           image + c, first ? alpha : nullptr, median);
            };
            first && median ? run(std::true_type{}) : run(std::false_type{});
        });
    });
    return 0;
}

// `instances` is scratch of [M, GEOMETRY + 16] floats, zeroed by this function where a list is cut short.
extern "C" int64_t blend_backward(const float* centres, const float* factors, const float* opacities,
                                  const float* extents, const float* features, const float* background,
                                  const int32_t* list, const int64_t* starts, const int32_t* slots,
                                  const int64_t* slot_starts, int64_t n, int64_t channels, int64_t width,
                                  int64_t height, const float* alpha, const float* g_image,
                                  const float* g_alpha, float* instances, float* g_centres, float* g_factors,
                                  float* g_opacities, float* g_features, float* g_background, float* absolute_gradients,
                                  int64_t threads) {
    const auto splats = pack(centres, factors, opacities, extents, n, threads);
    const int64_t columns = (width + TILE - 1) / TILE, rows = (height + TILE - 1) / TILE, tiles = columns * rows;
    const int64_t total = starts[tiles];
    float* feature_rows = instances + total * GEOMETRY;
    const Slots lists{slots, slot_starts};
    const GeometryGradients out{g_centres, g_factors, g_opacities, absolute_gradients};
    std::vector<float> background_rows(tiles * 16);
    for_channel_groups(channels, [&](auto d, int64_t c) {
        constexpr int D = d();
        std::vector<Scratch> scratches(threads);
        parallel_for_numbered(tiles, threads, [&](int64_t t, int64_t thread) {
            const TileView tile = view_tile(splats, list, starts, columns, t);
            float* geometry = instances + starts[t] * GEOMETRY;
            std::fill_n(geometry, tile.count * GEOMETRY, 0.0f);
            std::fill_n(feature_rows + starts[t] * D, tile.count * D, 0.0f);
            auto run = [&](auto absolute) {
                backward_tile<D, decltype(absolute)::value>(
                    tile, features + c, channels, background + c, width, height,
                    {alpha, g_image + c, c == 0 ? g_alpha : nullptr}, geometry, feature_rows + starts[t] * D,
                    background_rows.data() + t * D, scratches[thread]);
            };
            absolute_gradients ? run(std::true_type{}) : run(std::false_type{});
        });
        for (int k = 0; k < D; ++k) {
            double share = 0;
            for (int64_t t = 0; t < tiles; ++t) share += background_rows[t * D + k];
            g_background[c + k] = static_cast<float>(share);
        }
        parallel_for(n, 1024, threads, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                sum_geometry(lists, instances, factors, opacities, i, c == 0, out);
                sum_features(lists, feature_rows, D, D, i, g_features + i * channels + c);
            }
        });
    });
    return 0;
}
