// Traversal with a ray in each of sixteen lanes: every turn of the loop looks one cell up and leaves it, or the empty
// cube around it, in one leap. What is found are runs of lattice samples; the first pass counts them, the second, which
// repeats the same arithmetic, writes them.
#include "parallel.h"
#include "simd.h"

namespace {

constexpr float FAR_AWAY = 1e30f;
constexpr float MARGIN = 1.0f / 256;  // cells: leaps end so much before a face, beyond what rounding can move it
constexpr float LAST = 1073741824.0f;  // 2^30, end of the lattice
constexpr int64_t GROUPS = 8;

struct Grid {
    const uint8_t* distances;
    const float* box;
    int64_t cascades, cells;
    float step, cone;
    int64_t limit;
};

INLINE Ints whole(Floats v) { return __builtin_convertvector(v, Ints); }
INLINE Floats real(Ints v) { return __builtin_convertvector(v, Floats); }
INLINE Floats floor_of(Floats v) { const Floats t = real(whole(v)); return select(t > v, t - 1.0f, t); }

// log2 of positive normal floats to a few units of rounding: exponent, and the series of artanh about 1.
INLINE Floats log2_series(Floats x) {
    const Ints shift = (bits(x) - 0x3f3504f3) >> 23;  // mantissa in [sqrt(1/2), sqrt(2))
    const Floats m = from_bits(bits(x) - (shift << 23)), z = (m - 1.0f) / (m + 1.0f), zz = z * z;
    Floats p = splat(0.32059890f);
    p = p * zz + 0.41219859f;
    p = p * zz + 0.57707802f;
    p = p * zz + 0.96179669f;
    p = p * zz + 2.88539008f;
    return real(shift) + z * p;
}

// A ray's lattice: t(k + phase), and back. Linear up to a, geometric up to b, then linear.
template <bool CONE>
struct Lattice {
    float step, inverse_step, cone, rate, longest;
    Floats near, phase, a, at_a, b, at_b;

    INLINE Lattice(const Grid& g, float longest, Floats near, Floats phase)
        
        : step(g.step), inverse_step(1 / g.step), cone(g.cone), longest(longest), near(near), phase(phase) {
        if (!CONE) return;
        rate = std::log2(1 + cone);
        a = maximum(near, splat(step / cone));
        b = maximum(a, splat(longest / cone));
        at_a = (a - near) / step;
        at_b = at_a + log2_series(b / a) / rate;
    }
    INLINE Floats t(Floats k) const {
        const Floats p = k + phase, linear = near + p * step;
        if (!CONE) return linear;
        const Floats growing = a * exp2_poly((minimum(p, at_b) - at_a) * rate);
        return select(p < at_a, linear, growing + maximum(p - at_b, splat(0)) * longest);
    }
    INLINE Floats length(Floats t) const {
        return CONE ? minimum(maximum(cone * t, splat(step)), splat(longest)) : splat(step);
    }
    // A k such that the midpoints of all samples before it lie before t.
    INLINE Floats first_from(Floats t) const {
        Floats p = (t - near) * inverse_step;
        if (CONE) {
            const Floats growing = at_a + log2_series(maximum(minimum(t, b), a) / a) / rate;
            p = select(t > a, growing + maximum(t - b, splat(0)) / longest, p);
        }
        p = p - phase - (0.5f + 0.25f * cone);  // an arithmetic midpoint lies a little behind the lattice's own
        p = minimum(maximum(p, splat(0)), splat(LAST));
        const Floats down = real(whole(p));
        return select(down < p, down + 1.0f, down);
    }
};

// How many of `run` samples from k on have their midpoints before `end`: all, but for the last run of a ray.
template <bool CONE>
INLINE int64_t before(const Lattice<CONE>& lattice, int lane, int64_t k, int64_t run, float end) {
    while (run > 0) {
        const Floats last = splat(static_cast<float>(k + run - 1));
        if ((0.5f * (lattice.t(last) + lattice.t(last + 1.0f)))[lane] < end) break;
        --run;
    }
    return run;
}

struct Rays { const float *origins, *directions, *near, *far, *phases; };

// Calls emit(lane, first k, number, lattice) for the runs of sixteen rays, those of one ray in order.
template <bool CONE, class Emit>
INLINE void sixteen(const Grid& grid, const Rays& rays, int64_t first, int count, Ints& counts, const Emit& emit) {
    float lanes[8][LANES];
    for (int l = 0; l < LANES; ++l) {
        const int64_t r = first + std::min(l, count - 1);
        for (int k = 0; k < 3; ++k) lanes[k][l] = rays.origins[3 * r + k], lanes[3 + k][l] = rays.directions[3 * r + k];
        lanes[6][l] = rays.near[r];
        lanes[7][l] = l < count ? rays.far[r] : 0.0f;
    }
    const int64_t G = grid.cells, C = grid.cascades;
    const float half = 0.5f * G, outer = half * (1 << (C - 1));
    float edge = FAR_AWAY;
    Floats o[3], d[3], inverse[3], enter = splat(-FAR_AWAY), leave = splat(FAR_AWAY);
    for (int k = 0; k < 3; ++k) {
        const float low = grid.box[k], high = grid.box[3 + k], scale = G / (high - low);
        edge = std::min(edge, (high - low) / G);
        o[k] = (load(lanes[k]) - 0.5f * (low + high)) * scale;
        d[k] = load(lanes[3 + k]) * scale;
        inverse[k] = select(absolute(d[k]) > 1e-30f, 1.0f / d[k], splat(FAR_AWAY));
        const Floats one = (-outer - o[k]) * inverse[k], other = (outer - o[k]) * inverse[k];
        enter = maximum(enter, minimum(one, other)), leave = minimum(leave, maximum(one, other));
        inverse[k] = absolute(inverse[k]);
    }
    const float longest = std::max(grid.step, edge * (1 << (C - 1)));
    float phase[LANES];
    for (int l = 0; l < LANES; ++l) phase[l] = rays.phases[first + std::min(l, count - 1)];
    const Floats near = load(lanes[6]), far = load(lanes[7]);
    const Lattice<CONE> lattice(grid, longest, near, load(phase));
    const Floats end = minimum(far, leave + absolute(leave) * 1e-5f);
    Floats k = maximum(lattice.first_from(enter - absolute(enter) * 1e-5f) - 1.0f, splat(0));
    const Floats safe = lattice.first_from(end);  // all samples before it have their midpoints before the end
    Ints alive = (lane_numbers() < static_cast<float>(count)) & (enter < end);
    counts = Ints{};
    while (true) {
        const Floats t0 = lattice.t(k), middle = 0.5f * (t0 + lattice.t(k + 1.0f));
        alive = alive & (middle < end) & (k < LAST);
        if (!any(alive)) return;
        Floats point[3], reach = splat(0), factor = splat(1), size = splat(half);
        for (int a = 0; a < 3; ++a) point[a] = o[a] + d[a] * middle, reach = maximum(reach, absolute(point[a]));
        const Floats length = 0.999f * lattice.length(t0);
        Ints cascade = Ints{};
        Floats cell = splat(edge);
        for (int64_t c = 0; c + 1 < C; ++c) {
            const Ints coarser = (reach >= size) | (cell < length);
            cascade -= coarser;
            factor = select(coarser, factor * 0.5f, factor), size = size * 2.0f, cell = cell * 2.0f;
        }
        Floats place[3], corner[3];
        Ints inside = alive;
        for (int a = 0; a < 3; ++a) {
            place[a] = point[a] * factor + half;
            inside = inside & (place[a] >= 0.0f) & (place[a] < static_cast<float>(G));
        }
        Ints index[3];
        for (int a = 0; a < 3; ++a) index[a] = whole(select(inside, place[a], splat(0))), corner[a] = real(index[a]);
        int32_t distance[LANES];
        for (int l = 0; l < LANES; ++l)
            distance[l] = grid.distances[((cascade[l] * G + index[0][l]) * G + index[1][l]) * G + index[2][l]];
        Ints D;
        std::memcpy(&D, distance, sizeof D);
        const Ints occupied = inside & (D == 0);
        // Out of the cube of cells known to be alike, within the cascade.
        const Floats cube = real(D < 1 ? Ints{} : D - 1);
        Floats leap = splat(FAR_AWAY);
        for (int a = 0; a < 3; ++a) {
            const Floats up = minimum(corner[a] + 1.0f + cube, splat(G)) - place[a];
            const Floats down = place[a] - maximum(corner[a] - cube, splat(0));
            leap = minimum(leap, (select(d[a] < 0.0f, down, up) - MARGIN) * inverse[a]);
        }
        Floats target = middle + maximum(leap, splat(0)) / factor;
        // Longer samples may belong to the next cascade.
        if (CONE && C > 1) target = select(cascade < static_cast<int>(C - 1), minimum(target, edge / factor / grid.cone * 0.998f), target);
        const Floats next = select(inside, maximum(lattice.first_from(target), k + 1.0f), k + 1.0f);
        if (any(occupied)) {
            for (int l = 0; l < LANES; ++l) {
                if (!occupied[l]) continue;
                const int64_t from = static_cast<int64_t>(k[l]);
                int64_t run = std::min<int64_t>(static_cast<int64_t>(next[l]) - from, grid.limit - counts[l]);
                if (next[l] > safe[l]) run = before(lattice, l, from, run, end[l]);
                emit(l, from, run, lattice);
                counts[l] += run;
                if (counts[l] >= grid.limit) alive[l] = 0;
            }
        }
        k = next;
    }
}

template <bool CONE>
void count_block(const Grid& grid, const Rays& rays, int64_t begin, int64_t end, int32_t* out) {
    for (int64_t i = begin; i < end; i += LANES) {
        const int count = static_cast<int>(std::min<int64_t>(LANES, end - i));
        Ints counts;
        sixteen<CONE>(grid, rays, i, count, counts, [](int, int64_t, int64_t, const Lattice<CONE>&) {});
        for (int l = 0; l < count; ++l) out[i + l] = counts[l];
    }
}

template <bool CONE>
void write_block(const Grid& grid, const Rays& rays, int64_t begin, int64_t end, const int64_t* start, float* t0,
                 float* t1, int32_t* owner) {
    for (int64_t i = begin; i < end; i += LANES) {
        const int count = static_cast<int>(std::min<int64_t>(LANES, end - i));
        int64_t at[LANES];
        for (int l = 0; l < LANES; ++l) at[l] = l < count ? start[i + l] : 0;
        if (start[i] == start[i + count]) continue;
        Ints counts;
        sixteen<CONE>(grid, rays, i, count, counts, [&](int l, int64_t k, int64_t run, const Lattice<CONE>& lattice) {
            Lattice<CONE> own = lattice;
            own.near = splat(lattice.near[l]), own.phase = splat(lattice.phase[l]);
            if (CONE) {
                own.a = splat(lattice.a[l]), own.at_a = splat(lattice.at_a[l]);
                own.b = splat(lattice.b[l]), own.at_b = splat(lattice.at_b[l]);
            }
            const int64_t room = std::max<int64_t>(start[i + l + 1] - at[l], 0);  // none where the ray was dropped
            const int64_t written = std::min(run, room);
            for (int64_t done = 0; done < written; done += LANES) {
                const Floats position = static_cast<float>(k + done) + lane_numbers();
                const Floats low = own.t(position), high = own.t(position + 1.0f);
                const Ints self = Ints{} + static_cast<int32_t>(i + l);
                const int64_t to = at[l] + done;
                // Whole vectors within the ray's own rows: what is too much is written over by its next samples.
                const int64_t some = std::min<int64_t>(LANES, start[i + l + 1] - to) * sizeof(float);
                if (some == sizeof low) {
                    store(t0 + to, low), store(t1 + to, high), std::memcpy(owner + to, &self, sizeof self);
                } else {
                    std::memcpy(t0 + to, &low, some), std::memcpy(t1 + to, &high, some);
                    std::memcpy(owner + to, &self, some);
                }
            }
            at[l] += written;
        });
    }
}

}  // namespace

extern "C" int64_t traverse_count(const float* origins, const float* directions, const float* near, const float* far,
                                  const float* phases, int64_t n, const uint8_t* distances, const float* box,
                                  int64_t cascades, int64_t cells, float step, float cone, int64_t limit,
                                  int32_t* counts, int64_t threads) {
    const Grid grid{distances, box, cascades, cells, step, cone, limit};
    const Rays rays{origins, directions, near, far, phases};
    parallel_for(n, GROUPS * LANES, threads, [&](int64_t begin, int64_t end) {
        (cone > 0 ? count_block<true> : count_block<false>)(grid, rays, begin, end, counts);
    });
    return 0;
}

extern "C" int64_t traverse_write(const float* origins, const float* directions, const float* near, const float* far,
                                  const float* phases, int64_t n, const uint8_t* distances, const float* box,
                                  int64_t cascades, int64_t cells, float step, float cone, int64_t limit,
                                  const int64_t* start, int64_t rows, float* t0, float* t1, int32_t* owner,
                                  int64_t threads) {
    const Grid grid{distances, box, cascades, cells, step, cone, limit};
    const Rays rays{origins, directions, near, far, phases};
    parallel_for(n, GROUPS * LANES, threads, [&](int64_t begin, int64_t end) {
        (cone > 0 ? write_block<true> : write_block<false>)(grid, rays, begin, end, start, t0, t1, owner);
    });
    std::fill(t0 + start[n], t0 + rows, 0.0f);
    std::fill(t1 + start[n], t1 + rows, 0.0f);
    std::fill(owner + start[n], owner + rows, 0);
    return 0;
}

typedef uint8_t Bytes __attribute__((vector_size(64)));

INLINE Bytes load_bytes(const uint8_t* p, int64_t count) {
    Bytes v = ~Bytes{};  // 255: nothing occupied
    std::memcpy(&v, p, std::min<int64_t>(count, 64));
    return v;
}
INLINE Bytes least(Bytes a, Bytes b) { return a < b ? a : b; }

// Distance along one axis after another: out = min over j of max(|j|, in at j cells away), 64 cells of a row at a time.
extern "C" int64_t distance_pass(const uint8_t* in, uint8_t* out, int64_t cells, int64_t axis, int64_t planes,
                                 int64_t limit, int64_t threads) {
    const int64_t G = cells, stride = axis == 0 ? G * G : G;
    parallel_for(planes * G, 1, threads, [&](int64_t begin, int64_t end) {
        std::vector<uint8_t> padded(axis == 2 ? G + 2 * limit + 64 : 0, 255);
        for (int64_t row = begin * G; row < end * G; ++row) {
            const int64_t place = axis == 0 ? row / G % G : row % G;
            const int64_t before = axis == 2 ? limit : std::min(limit, place + 1);
            const int64_t behind = axis == 2 ? limit : std::min(limit, G - place);
            if (axis == 2) std::memcpy(padded.data() + limit, in + row * G, G);
            for (int64_t z = 0; z < G; z += 64) {
                const int64_t count = std::min<int64_t>(64, G - z), step = axis == 2 ? 1 : stride;
                const uint8_t* from = axis == 2 ? padded.data() + limit + z : in + row * G + z;
                Bytes found = load_bytes(from, count);
                auto look = [&](int64_t size) {
                    for (int64_t j = 1; j < before; ++j) {
                        const Bytes there = load_bytes(from - j * step, size), far = Bytes{} + static_cast<uint8_t>(j);
                        found = least(found, there > far ? there : far);
                    }
                    for (int64_t j = 1; j < behind; ++j) {
                        const Bytes there = load_bytes(from + j * step, size), far = Bytes{} + static_cast<uint8_t>(j);
                        found = least(found, there > far ? there : far);
                    }
                };
                if (axis == 2 || count == 64) look(64);
                else look(count);
                std::memcpy(out + row * G + z, &found, count);
            }
        }
    });
    return 0;
}
