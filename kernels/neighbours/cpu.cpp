// A balanced k-d tree: every node has its bounding box, every leaf one vector of points.
//
// Node i has the children 2 i + 1 and 2 i + 2; all leaves lie on the last level, so there are no pointers. Boxes prune
// better than planes where clouds are uneven, as a lidar's are. A subtree is left out only when its box is further than
// the worst neighbour so far by more than rounding, so the result is that of comparing with every point.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace {

constexpr int64_t QUERIES = 256;  // a block of work
constexpr int MOST = 32;
constexpr float SURE = 1.0f - 1e-6f;

struct Point { float x[3]; int32_t id; };
struct Box { float low[3], high[3]; };

// Leaves hold coordinates by axis: [leaf][axis][lane], padded with infinity; ids alike, padded with the largest integer.
struct Tree {
    int64_t depth;
    Box* boxes;
    float* leaves;
    int32_t* ids;
};

void fill_leaf(const Tree& tree, const Point* begin, const Point* end, int64_t leaf) {
    for (int l = 0; l < LANES; ++l) {
        const bool there = begin + l < end;
        for (int a = 0; a < 3; ++a) tree.leaves[(leaf * 3 + a) * LANES + l] = there ? begin[l].x[a] : INFINITY;
        tree.ids[leaf * LANES + l] = there ? begin[l].id : INT32_MAX;
    }
}

void build(const Tree& tree, Point* begin, Point* end, int64_t node, int64_t level, int64_t threads) {
    Box& box = tree.boxes[node];
    for (int a = 0; a < 3; ++a) box.low[a] = INFINITY, box.high[a] = -INFINITY;
    for (const Point* p = begin; p < end; ++p)
        for (int a = 0; a < 3; ++a) box.low[a] = std::min(box.low[a], p->x[a]), box.high[a] = std::max(box.high[a], p->x[a]);
    if (level == tree.depth) {
        fill_leaf(tree, begin, end, node - ((int64_t(1) << tree.depth) - 1));
        return;
    }
    int axis = 0;
    for (int a = 1; a < 3; ++a)
        if (box.high[a] - box.low[a] > box.high[axis] - box.low[axis]) axis = a;
    Point* middle = begin + (end - begin) / 2;
    // Ties by index, so that the tree is a function of the points alone.
    std::nth_element(begin, middle, end, [axis](const Point& a, const Point& b) {
        return a.x[axis] < b.x[axis] || (a.x[axis] == b.x[axis] && a.id < b.id);
    });
    if (threads > 1) {
        std::thread other([&] { build(tree, begin, middle, 2 * node + 1, level + 1, threads / 2); });
        build(tree, middle, end, 2 * node + 2, level + 1, threads - threads / 2);
        other.join();
    } else {
        build(tree, begin, middle, 2 * node + 1, level + 1, 1);
        build(tree, middle, end, 2 * node + 2, level + 1, 1);
    }
}

INLINE float distance(const Box& box, const float* q) {
    float total = 0;
    for (int a = 0; a < 3; ++a) {
        const float out = std::max(std::max(box.low[a] - q[a], q[a] - box.high[a]), 0.0f);
        total += out * out;
    }
    return total * SURE;
}

// The neighbours of a query so far, nearest first.
struct Found {
    int64_t k, count;
    float squared[MOST];
    int32_t ids[MOST];
    float worst() const { return count < k ? INFINITY : squared[k - 1]; }
    void add(float value, int32_t id) {
        if (count == k && !(value < squared[k - 1] || (value == squared[k - 1] && id < ids[k - 1]))) return;
        int64_t place = count < k ? count++ : k - 1;
        for (; place > 0 && (squared[place - 1] > value || (squared[place - 1] == value && ids[place - 1] > id)); --place)
            squared[place] = squared[place - 1], ids[place] = ids[place - 1];
        squared[place] = value, ids[place] = id;
    }
};

void search_leaf(const Tree& tree, int64_t leaf, const float* q, Found& found) {
    const float* at = tree.leaves + leaf * 3 * LANES;
    const Floats x = load(at) - q[0], y = load(at + LANES) - q[1], z = load(at + 2 * LANES) - q[2];
    const Floats squared = x * x + y * y + z * z;
    const Mask close = at_least(splat(found.worst()), squared);
    if (!any_lane(close)) return;
    float values[LANES];
    store(values, squared);
    for (int l = 0; l < LANES; ++l)
        if (values[l] <= found.worst() && values[l] < INFINITY) found.add(values[l], tree.ids[leaf * LANES + l]);
}

void search(const Tree& tree, const float* q, Found& found) {
    struct Entry { int64_t node; float squared; } stack[64];
    const int64_t first_leaf = (int64_t(1) << tree.depth) - 1;
    int top = 0;
    stack[top++] = {0, distance(tree.boxes[0], q)};
    while (top) {
        const Entry entry = stack[--top];
        if (entry.squared > found.worst()) continue;
        int64_t node = entry.node;
        while (node < first_leaf) {
            const float one = distance(tree.boxes[2 * node + 1], q), two = distance(tree.boxes[2 * node + 2], q);
            const int64_t nearer = one <= two ? 2 * node + 1 : 2 * node + 2, other = 4 * node + 3 - nearer;
            const float further = std::max(one, two);
            if (further <= found.worst()) stack[top++] = {other, further};
            node = nearer;
        }
        search_leaf(tree, node - first_leaf, q, found);
    }
}

bool finite(const float* x) { return std::isfinite(x[0]) && std::isfinite(x[1]) && std::isfinite(x[2]); }

}  // namespace

// Fills boxes [2^(depth + 1) - 1, 6], leaves [2^depth, 3, 16], ids [2^depth, 16] from the finite ones of points [n, 3];
// n <= 16 * 2^depth.
extern "C" int64_t neighbours_build(const float* points, int64_t n, int64_t depth, float* boxes, float* leaves,
                                    int32_t* ids, int64_t threads) {
    std::vector<Point> kept;
    kept.reserve(n);
    for (int64_t i = 0; i < n; ++i)
        if (finite(points + 3 * i))
            kept.push_back({{points[3 * i], points[3 * i + 1], points[3 * i + 2]}, static_cast<int32_t>(i)});
    const Tree tree{depth, reinterpret_cast<Box*>(boxes), leaves, ids};
    build(tree, kept.data(), kept.data() + kept.size(), 0, 0, n > 4096 ? threads : 1);
    return 0;
}

extern "C" int64_t neighbours_nearest(const float* queries, int64_t m, int64_t depth, float* boxes, float* leaves,
                                      int32_t* ids, int64_t k, float* squared, int64_t* indices, int64_t threads) {
    const Tree tree{depth, reinterpret_cast<Box*>(boxes), leaves, ids};
    parallel_for(m, QUERIES, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            Found found{};
            found.k = k;
            if (finite(queries + 3 * i)) search(tree, queries + 3 * i, found);
            for (int64_t j = 0; j < k; ++j) {
                squared[i * k + j] = j < found.count ? found.squared[j] : INFINITY;
                indices[i * k + j] = j < found.count ? found.ids[j] : -1;
            }
        }
    });
    return 0;
}
