// Tile overlap lists: depth-sort the visible Gaussians once, then a stable counting sort by tile.
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "parallel.h"

namespace {

constexpr int TILE = 16;
constexpr int64_t AHEAD = 16;  // Gaussians between asking for one's attributes and using them

// Visible Gaussians ordered by depth, ties by index: a radix sort on the bits of the (positive) depths.
std::vector<int32_t> depth_order(const float* depths, const float* extents, int64_t n) {
    std::vector<uint64_t> keys, other;
    keys.reserve(n);
    for (int64_t i = 0; i < n; ++i) {
        if (!(extents[2 * i] > 0)) continue;
        uint32_t bits;
        std::memcpy(&bits, depths + i, 4);
        keys.push_back(uint64_t(bits) << 32 | uint32_t(i));
    }
    other.resize(keys.size());
    for (int shift = 32; shift < 64; shift += 8) {
        int64_t count[257] = {0};
        for (uint64_t key : keys) ++count[(key >> shift & 255) + 1];
        for (int b = 0; b < 256; ++b) count[b + 1] += count[b];
        for (uint64_t key : keys) other[count[key >> shift & 255]++] = key;
        keys.swap(other);
    }
    std::vector<int32_t> order(keys.size());
    for (size_t i = 0; i < keys.size(); ++i) order[i] = int32_t(keys[i] & 0xffffffff);
    return order;
}

// Calls visit(first tile, count) for each run of tiles in a row of tiles where the ellipse |A d|^2 <= tau may cover a
// pixel centre.
// Inside a strip of rows the ellipse reaches furthest right at the height of its rightmost point, or at the nearest
// edge of the strip: two evaluations bound the run of tiles.
template <class Visit>
void for_each_run(const float* centre, const float* factor, const float* extent, int columns, int rows, Visit visit) {
    constexpr float MARGIN = 0.01f;  // pixels, against rounding
    const float a00 = factor[0], a10 = factor[1], a11 = factor[2];
    const float hx = extent[0], hy = extent[1];
    const float reach = hx * a00, tau = reach * reach;
    const float norm2 = a00 * a00 + a10 * a10, lean = a10 * a11, flat = a00 * a11;
    const float rightmost = -a10 * hx / a11;
    const float low = centre[1] - hy - MARGIN, high = centre[1] + hy + MARGIN;
    const int row0 = std::max(0.0f, std::floor(std::ceil(low - 0.5f) / TILE));
    const int row1 = std::min<float>(rows - 1, std::floor(std::floor(high - 0.5f) / TILE));
    for (int row = row0; row <= row1; ++row) {
        const float y0 = std::max(row * TILE + 0.5f - centre[1] - MARGIN, -hy);
        const float y1 = std::min(row * TILE + TILE - 0.5f - centre[1] + MARGIN, hy);
        if (y0 > y1) continue;
        auto edge = [&](float y, float sign) {
            const float inside = std::max(0.0f, tau * norm2 - flat * flat * y * y);
            return (-lean * y + sign * std::sqrt(inside)) / norm2;
        };
        const float right = std::min(hx, edge(std::min(std::max(rightmost, y0), y1), 1.0f));
        const float left = std::max(-hx, edge(std::min(std::max(-rightmost, y0), y1), -1.0f));
        // The needle's edges lose digits in proportion to its length.
        const float margin = MARGIN + 1e-4f * (hx + hy);
        const float x0 = centre[0] + std::max(left - margin, -hx - MARGIN);
        const float x1 = centre[0] + std::min(right + margin, hx + MARGIN);
        const int column0 = std::max(0.0f, std::floor(std::ceil(x0 - 0.5f) / TILE));
        const int column1 = std::min<float>(columns - 1, std::floor(std::floor(x1 - 0.5f) / TILE));
        if (column0 <= column1) visit(int32_t(row * columns + column0), int32_t(column1 - column0 + 1));
    }
}

struct Run { int32_t gaussian, tile, count; };

struct Job {
    std::vector<std::vector<Run>> runs;  // of each block of Gaussians, in depth order
    std::vector<int64_t> offsets;        // [blocks, tiles]: where a block's next instance of a tile goes
};

}  // namespace

// First call: counts. Returns the number of instances and an opaque job for `tile_emit`, which fills the lists.
extern "C" int64_t tile_count(const float* centres, const float* factors, const float* depths, const float* extents,
                              int64_t n, int64_t columns, int64_t rows, int64_t* starts, int64_t* slot_starts,
                              int64_t* job_out, int64_t threads) {
    auto job = std::make_unique<Job>();
    const std::vector<int32_t> order = depth_order(depths, extents, n);
    const int64_t tiles = columns * rows, visible = order.size();
    const int64_t block = std::max<int64_t>(512, (visible + 15) / 16), blocks = (visible + block - 1) / block;
    job->runs.resize(blocks);
    job->offsets.assign(std::max<int64_t>(blocks, 1) * tiles, 0);
    std::memset(slot_starts, 0, (n + 1) * sizeof(int64_t));
    parallel_for(visible, block, threads, [&](int64_t begin, int64_t end) {
        int64_t* histogram = job->offsets.data() + begin / block * tiles;
        std::vector<Run>& runs = job->runs[begin / block];
        runs.reserve(2 * (end - begin));
        for (int64_t i = begin; i < end; ++i) {
            const int32_t g = order[i];
            const int64_t soon = order[std::min(i + AHEAD, end - 1)];  // depth order is random in memory
            __builtin_prefetch(centres + 2 * soon), __builtin_prefetch(factors + 3 * soon);
            __builtin_prefetch(extents + 2 * soon), __builtin_prefetch(slot_starts + soon + 1, 1);
            int64_t total = 0;
            for_each_run(centres + 2 * int64_t(g), factors + 3 * int64_t(g), extents + 2 * int64_t(g), columns, rows,
                         [&](int32_t tile, int32_t count) {
                             runs.push_back({g, tile, count});
                             for (int32_t t = tile; t < tile + count; ++t) ++histogram[t];
                             total += count;
                         });
            slot_starts[g + 1] = total;
        }
    });
    std::partial_sum(slot_starts, slot_starts + n + 1, slot_starts);
    int64_t total = 0;
    for (int64_t t = 0; t < tiles; ++t) {
        starts[t] = total;
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t count = job->offsets[b * tiles + t];
            job->offsets[b * tiles + t] = total;
            total += count;
        }
    }
    starts[tiles] = total;
    *job_out = reinterpret_cast<int64_t>(job.release());
    return total;
}

extern "C" int64_t tile_emit(int64_t tiles, int64_t job_handle, const int64_t* slot_starts, int32_t* gaussians,
                             int32_t* slots, int64_t threads) {
    std::unique_ptr<Job> job(reinterpret_cast<Job*>(job_handle));
    if (gaussians == nullptr) return 0;  // the caller gave up: only free the job
    parallel_for(job->runs.size(), 1, threads, [&](int64_t b, int64_t) {
        int64_t* offsets = job->offsets.data() + b * tiles;
        int32_t previous = -1;
        int64_t slot = 0;
        const std::vector<Run>& runs = job->runs[b];
        for (size_t i = 0; i < runs.size(); ++i) {
            const Run run = runs[i];
            __builtin_prefetch(slot_starts + runs[std::min(i + 2 * AHEAD, runs.size() - 1)].gaussian);
            __builtin_prefetch(slots + slot_starts[runs[std::min(i + AHEAD, runs.size() - 1)].gaussian], 1);
            if (run.gaussian != previous) slot = slot_starts[previous = run.gaussian];
            for (int32_t t = run.tile; t < run.tile + run.count; ++t) {
                const int64_t position = offsets[t]++;
                gaussians[position] = run.gaussian;
                slots[slot++] = int32_t(position);
            }
        }
    });
    return 0;
}
