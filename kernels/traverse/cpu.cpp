// Rays through a distance grid, one at a time; blocks of rays keep their samples until all are counted.
#include <cmath>

#include "parallel.h"

namespace {

constexpr int64_t RAYS = 64;  // a block of work

struct Grid {
    const uint8_t* distances;
    int64_t cascades, size;
    float centre[3], half[3];
};

// The lattice of a ray: t at the place u, and the place of t.
struct Lattice {
    float near, step, knee, at_knee, growth;  // growth: log(1 + cone), 0 for even steps
    Lattice(float near_, float step_, float cone) : near(near_), step(step_), knee(near_), at_knee(0), growth(0) {
        if (cone > 0) {
            knee = std::max(near, step / cone);
            at_knee = (knee - near) / step;
            growth = std::log1p(cone);
        }
    }
    float position(float u) const {
        return growth == 0 || u <= at_knee ? near + u * step : knee * std::exp((u - at_knee) * growth);
    }
    float place(float t) const {
        return growth == 0 || t <= knee ? (t - near) / step : at_knee + std::log(t / knee) / growth;
    }
};

// Where a point lies: its entry, and how far along each axis the cells around it are known to be empty.
struct Cell { int entry; float low[3], high[3]; };

// Entry 255: outside of all cascades, so that only the way in is left.
Cell look_up(const Grid& grid, const float* point) {
    Cell cell{255, {}, {}};
    float away = 0;
    for (int a = 0; a < 3; ++a) away = std::max(away, std::abs((point[a] - grid.centre[a]) / grid.half[a]));
    int cascade = 0;
    float wide = 1;
    while (away > wide && cascade < grid.cascades) ++cascade, wide *= 2;
    if (!(away <= wide) || cascade >= grid.cascades) return cell;
    int64_t index[3];
    for (int a = 0; a < 3; ++a) {
        const float place = ((point[a] - grid.centre[a]) / (grid.half[a] * wide) + 1) * (0.5f * grid.size);
        index[a] = std::min<int64_t>(std::max<int64_t>(static_cast<int64_t>(place), 0), grid.size - 1);
    }
    const int64_t row = ((cascade * grid.size + index[0]) * grid.size + index[1]) * grid.size + index[2];
    cell.entry = grid.distances[row];
    for (int a = 0; a < 3; ++a) {
        const float width = 2 * grid.half[a] * wide / grid.size, origin = grid.centre[a] - grid.half[a] * wide;
        cell.low[a] = origin + std::max<int64_t>(index[a] - cell.entry + 1, 0) * width;
        cell.high[a] = origin + std::min<int64_t>(index[a] + cell.entry, grid.size) * width;
    }
    return cell;
}

// Where the ray leaves the box low .. high, from inside.
float leaving(const float* origin, const float* inverse, const float* low, const float* high) {
    float t = INFINITY;
    for (int a = 0; a < 3; ++a) {
        const float bound = inverse[a] > 0 ? high[a] : low[a];
        if (std::isfinite(inverse[a])) t = std::min(t, (bound - origin[a]) * inverse[a]);
    }
    return t;
}

struct Block { std::vector<float> t0, t1; };

// Appends the ray's samples to the block and returns their number.
int64_t walk(const Grid& grid, const float* origin, const float* direction, float near, float far, float phase, float step,
             float cone, int64_t limit, Block& block) {
    for (int a = 0; a < 3; ++a)
        if (!std::isfinite(origin[a]) || !std::isfinite(direction[a])) return 0;
    if (!std::isfinite(near) || !std::isfinite(far) || !std::isfinite(phase)) return 0;
    const Lattice lattice(near, step, cone);
    float inverse[3];
    for (int a = 0; a < 3; ++a) inverse[a] = 1.0f / direction[a];
    // The part of the ray in the widest cascade, a hair enlarged: intervals are still tested one by one.
    const float wide = std::ldexp(1.0f, static_cast<int>(grid.cascades) - 1);
    float enter = near, leave = far;
    for (int a = 0; a < 3; ++a) {
        const float low = grid.centre[a] - 1.0001f * wide * grid.half[a], high = grid.centre[a] + 1.0001f * wide * grid.half[a];
        if (direction[a] == 0) {
            if (origin[a] < low || origin[a] > high) return 0;
            continue;
        }
        const float one = (low - origin[a]) * inverse[a], two = (high - origin[a]) * inverse[a];
        enter = std::max(enter, std::min(one, two));
        leave = std::min(leave, std::max(one, two));
    }
    if (!(enter <= leave)) return 0;
    int64_t k = std::max<int64_t>(0, static_cast<int64_t>(std::floor(lattice.place(enter) - phase)) - 1), found = 0;
    while (found < limit) {
        const float t0 = lattice.position(k + phase), t1 = lattice.position(k + 1 + phase), t = 0.5f * (t0 + t1);
        if (!(t < far) || t > leave) break;
        float point[3];
        for (int a = 0; a < 3; ++a) point[a] = origin[a] + t * direction[a];
        const Cell cell = look_up(grid, point);
        if (cell.entry == 0) {
            block.t0.push_back(t0);
            block.t1.push_back(t1);
            ++found, ++k;
        } else if (cell.entry == 255) {
            ++k;
        } else {
            // The interval that holds the way out is tested again: rounding must not skip what lies behind it.
            const float out = std::min(leaving(origin, inverse, cell.low, cell.high), leave);
            k = std::max(k + 1, static_cast<int64_t>(std::floor(lattice.place(out) - phase)) - 1);
        }
    }
    return found;
}

}  // namespace

// Counts the samples: ray_start [R + 1] and a job for traverse_emit. Returns their number.
extern "C" int64_t traverse_count(const float* origins, const float* directions, const float* near, const float* far,
                                  const float* phases, int64_t rays, const uint8_t* distances, int64_t cascades,
                                  int64_t size, const float* box, float step, float cone, int64_t limit,
                                  int64_t* ray_start, int64_t* job, int64_t threads) {
    Grid grid{distances, cascades, size, {}, {}};
    for (int a = 0; a < 3; ++a) grid.centre[a] = 0.5f * (box[a] + box[3 + a]), grid.half[a] = 0.5f * (box[3 + a] - box[a]);
    const int64_t blocks = (rays + RAYS - 1) / RAYS;
    auto* kept = new std::vector<Block>(blocks);
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        Block& block = (*kept)[begin / RAYS];
        for (int64_t r = begin; r < end; ++r)
            ray_start[r + 1] = walk(grid, origins + 3 * r, directions + 3 * r, near[r], far[r], phases[r], step, cone,
                                    limit, block);
    });
    ray_start[0] = 0;
    for (int64_t r = 0; r < rays; ++r) ray_start[r + 1] += ray_start[r];
    *job = reinterpret_cast<int64_t>(kept);
    return ray_start[rays];
}

// Writes the samples that fit into `capacity` rows, zeros behind them, cuts ray_start, and frees the job.
extern "C" int64_t traverse_emit(int64_t job, int64_t rays, int64_t capacity, int64_t* ray_start, float* t0, float* t1,
                                 int32_t* ray, int64_t threads) {
    auto& blocks = *reinterpret_cast<std::vector<Block>*>(job);
    parallel_for(rays, RAYS, threads, [&](int64_t begin, int64_t end) {
        const Block& block = blocks[begin / RAYS];
        const int64_t first = ray_start[begin];
        for (int64_t r = begin; r < end; ++r)
            for (int64_t s = ray_start[r]; s < std::min(ray_start[r + 1], capacity); ++s)
                t0[s] = block.t0[s - first], t1[s] = block.t1[s - first], ray[s] = static_cast<int32_t>(r);
    });
    for (int64_t r = 0; r <= rays; ++r) ray_start[r] = std::min(ray_start[r], capacity);
    std::fill(t0 + ray_start[rays], t0 + capacity, 0.0f);
    std::fill(t1 + ray_start[rays], t1 + capacity, 0.0f);
    std::fill(ray + ray_start[rays], ray + capacity, 0);
    delete &blocks;
    return 0;
}
