// The points in k-d order, sixteen to a leaf, under a hierarchy of bounding boxes with sixteen children a node: one
// vector measures a query against a whole leaf, or against all boxes of a node.
//
// A k-d tree's cells are split where a power of two of leaves is to the left, so sixteen leaves in a row, and sixteen
// nodes in a row, are cells themselves: node i has the children 16 i ... 16 i + 15 of the level below, without pointers.
// Boxes and points are measured by the same expression, whose rounding keeps the order, so that leaving out a box no
// nearer than the worst neighbour leaves out nothing; with equal distances the smallest index below a box decides.
#include <cmath>

#include "parallel.h"
#include "simd.h"

namespace {

constexpr int64_t QUERIES = 256;  // a block of work
constexpr int MOST = 32;
constexpr int LEVELS = 8;
constexpr float FARTHEST = 3.4028235e38f;  // squared distances beyond the largest float are none

struct Point { float x[3]; int32_t id; };
struct Leaf { float x[3][LANES]; int32_t ids[LANES]; };  // absent: infinite
struct Node { float low[3][LANES], high[3][LANES]; int32_t ids[LANES]; };  // ids: the smallest below; absent: infinite

// Points in order along an axis, equal ones by index: no two are alike, and duplicates end up in order of index.
INLINE bool before(const Point& a, const Point& b, int axis) {
    return (a.x[axis] < b.x[axis]) | ((a.x[axis] == b.x[axis]) & (a.id < b.id));
}

// Brings the points that come before `pivot` to the front, without a branch that could be mispredicted.
int64_t partition(Point* points, int64_t n, Point pivot, int axis) {
    int64_t front = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Point p = points[i];
        points[i] = points[front];
        points[front] = p;
        front += before(p, pivot, axis);
    }
    return front;
}

// Rearranges so that the first `count` of n points are those that come first along the axis.
void quickselect(Point* points, int64_t n, int64_t count, int axis) {
    constexpr int64_t SAMPLES = 16;
    const auto order = [axis](const Point& a, const Point& b) { return before(a, b, axis); };
    while (n > 4 * SAMPLES) {
        Point sample[SAMPLES];
        for (int64_t s = 0; s < SAMPLES; ++s) sample[s] = points[(2 * s + 1) * n / (2 * SAMPLES)];
        std::sort(sample, sample + SAMPLES, order);
        // Never the first of the sample, so both sides have points.
        const int64_t rank = std::min(std::max<int64_t>(count * SAMPLES / n, 1), SAMPLES - 1);
        const int64_t front = partition(points, n, sample[rank], axis);
        if (count < front) {
            n = front;
        } else {
            points += front, n -= front, count -= front;
        }
    }
    if (count < n) std::nth_element(points, points + count, points + n, order);
}

struct Bounds {
    float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
    void add(const float* x) {
        for (int a = 0; a < 3; ++a) low[a] = std::min(low[a], x[a]), high[a] = std::max(high[a], x[a]);
    }
};

// Splits across the longest side; returns how many points lie to the left: a power of two of leaves, half or more.
int64_t split(Point* points, int64_t n) {
    Bounds bounds;
    for (int64_t i = 0; i < n; ++i) bounds.add(points[i].x);
    int axis = 0;
    for (int a = 1; a < 3; ++a)
        if (bounds.high[a] - bounds.low[a] > bounds.high[axis] - bounds.low[axis]) axis = a;
    int64_t left = LANES;
    while (2 * left < n) left *= 2;
    quickselect(points, n, left, axis);
    return left;
}

void arrange(Point* points, int64_t n) {
    while (n > LANES) {
        const int64_t left = split(points, n);
        arrange(points, left);
        points += left, n -= left;
    }
}

// The same on all threads: cells are split one after another until there are enough of them.
void arrange(Point* points, int64_t n, int64_t threads) {
    struct Cell { int64_t begin, count; };
    std::vector<Cell> cells{{0, n}};
    for (int64_t enough = 4 * threads, width = n; int64_t(cells.size()) < enough && width > 4096; width /= 2) {
        std::vector<Cell> halves(2 * cells.size());
        parallel_for_numbered(cells.size(), threads, [&](int64_t i, int64_t) {
            const Cell cell = cells[i];
            const int64_t left = cell.count > LANES ? split(points + cell.begin, cell.count) : cell.count;
            halves[2 * i] = {cell.begin, left}, halves[2 * i + 1] = {cell.begin + left, cell.count - left};
        });
        cells.swap(halves);
    }
    parallel_for_numbered(cells.size(), n > 4096 ? threads : 1,
                          [&](int64_t i, int64_t) { arrange(points + cells[i].begin, cells[i].count); });
}

struct Tree {
    const Leaf* leaves;
    const Node* levels[LEVELS];  // the lowest first, whose children are leaves
    int top = -1;                // the level of one node; -1 without points
};

int64_t up(int64_t count) { return (count + LANES - 1) / LANES; }

Tree tree_of(const Leaf* leaves, const Node* nodes, int64_t points) {
    Tree tree{leaves, {}, -1};
    for (int64_t count = up(points); points > 0;) {
        count = up(count);
        tree.levels[++tree.top] = nodes;
        nodes += count;
        if (count == 1) break;
    }
    return tree;
}

void fill(const Point* points, int64_t n, Leaf& leaf) {
    for (int l = 0; l < LANES; ++l) {
        for (int a = 0; a < 3; ++a) leaf.x[a][l] = l < n ? points[l].x[a] : INFINITY;
        leaf.ids[l] = l < n ? points[l].id : INT32_MAX;
    }
}

void enclose(const Leaf& leaf, Node& node, int lane) {
    Bounds bounds;
    for (int l = 0; l < LANES; ++l) {
        const float x[3] = {leaf.x[0][l], leaf.x[1][l], leaf.x[2][l]};
        if (leaf.ids[l] < INT32_MAX) bounds.add(x);
    }
    for (int a = 0; a < 3; ++a) node.low[a][lane] = bounds.low[a], node.high[a][lane] = bounds.high[a];
    node.ids[lane] = *std::min_element(leaf.ids, leaf.ids + LANES);
}

void enclose(const Node& child, Node& node, int lane) {
    for (int a = 0; a < 3; ++a) {
        node.low[a][lane] = *std::min_element(child.low[a], child.low[a] + LANES);
        node.high[a][lane] = *std::max_element(child.high[a], child.high[a] + LANES);
    }
    node.ids[lane] = *std::min_element(child.ids, child.ids + LANES);
}

template <class Child>
void fill(const Child* children, int64_t n, Node& node) {
    for (int l = 0; l < LANES; ++l) {
        for (int a = 0; a < 3; ++a) node.low[a][l] = INFINITY, node.high[a][l] = -INFINITY;
        node.ids[l] = INT32_MAX;
        if (l < n) enclose(children[l], node, l);
    }
}

// One level from the one below it; returns how many there are.
template <class Child, class Parent>
int64_t fill_level(const Child* children, int64_t n, Parent* parents, int64_t threads) {
    parallel_for(up(n), 64, n > 1024 ? threads : 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
            fill(children + i * LANES, std::min<int64_t>(LANES, n - i * LANES), parents[i]);
    });
    return up(n);
}

// The neighbours of a query so far, nearest first. `worst`: squared distance and index that a further one must beat.
struct Search {
    Floats x, y, z;
    int64_t k;
    float worst;
    int32_t worst_id;
    float squared[MOST];
    int32_t ids[MOST];

    void start(const float* q, float within) {
        x = splat(q[0]), y = splat(q[1]), z = splat(q[2]);
        std::fill_n(squared, k, INFINITY);
        std::fill_n(ids, k, -1);
        worst = within, worst_id = INT32_MAX;
    }
    bool beats(float value, int32_t id) const { return value < worst || (value == worst && id < worst_id); }
    void add(float value, int32_t id) {
        int64_t place = k - 1;
        for (; place > 0 && (squared[place - 1] > value || (squared[place - 1] == value && ids[place - 1] > id)); --place)
            squared[place] = squared[place - 1], ids[place] = ids[place - 1];
        squared[place] = value, ids[place] = id;
        if (ids[k - 1] >= 0) worst = squared[k - 1], worst_id = ids[k - 1];
    }
};

INLINE Floats square(Floats x, Floats y, Floats z) { return x * x + y * y + z * z; }
INLINE Floats outside(const float* low, const float* high, Floats q) {
    return maximum(maximum(load(low) - q, q - load(high)), splat(0));
}

// Takes the nearest lane out of `squared`.
INLINE int take(Floats& squared, float nearest) {
    const int lane = __builtin_ctz(lanes(at_least(splat(nearest), squared)));
    squared = select(lane_numbers() == splat(lane), splat(INFINITY), squared);
    return lane;
}

void search_leaf(const Leaf& leaf, Search& search) {
    Floats squared = square(load(leaf.x[0]) - search.x, load(leaf.x[1]) - search.y, load(leaf.x[2]) - search.z);
    for (float nearest = least(squared); nearest <= search.worst; nearest = least(squared)) {
        const int lane = take(squared, nearest);
        if (search.beats(nearest, leaf.ids[lane])) search.add(nearest, leaf.ids[lane]);
    }
}

// Children from the nearest to the first that cannot hold a better neighbour.
void search_node(const Tree& tree, int level, int64_t i, Search& search) {
    const Node& node = tree.levels[level][i];
    Floats squared = square(outside(node.low[0], node.high[0], search.x), outside(node.low[1], node.high[1], search.y),
                            outside(node.low[2], node.high[2], search.z));
    for (float nearest = least(squared); nearest <= search.worst; nearest = least(squared)) {
        const int lane = take(squared, nearest);
        if (!search.beats(nearest, node.ids[lane])) continue;
        if (level) search_node(tree, level - 1, i * LANES + lane, search);
        else search_leaf(tree.leaves[i * LANES + lane], search);
    }
}

bool finite(const float* x) { return std::isfinite(x[0]) && std::isfinite(x[1]) && std::isfinite(x[2]); }

}  // namespace

// Fills leaves [ceil(n / 16)], and nodes level by level, from the finite ones of points [n, 3]; returns how many are.
extern "C" int64_t neighbours_build(const float* points, int64_t n, void* leaf_memory, void* node_memory,
                                    int64_t threads) {
    Leaf* leaves = static_cast<Leaf*>(leaf_memory);
    Node* nodes = static_cast<Node*>(node_memory);
    std::vector<Point> kept;
    kept.reserve(n);
    for (int64_t i = 0; i < n; ++i)
        if (finite(points + 3 * i))
            kept.push_back({{points[3 * i], points[3 * i + 1], points[3 * i + 2]}, static_cast<int32_t>(i)});
    n = kept.size();
    if (n == 0) return 0;
    arrange(kept.data(), n, threads);
    fill_level(kept.data(), n, leaves, threads);
    int64_t count = fill_level(leaves, up(n), nodes, threads);
    while (count > 1) {
        Node* parents = nodes + count;
        count = fill_level(nodes, count, parents, threads);
        nodes = parents;
    }
    return n;
}

// squared, indices [m, k]. points: how many the tree holds.
extern "C" int64_t neighbours_nearest(const float* queries, int64_t m, const void* leaves, const void* nodes,
                                      int64_t points, int64_t k, float* squared, int64_t* indices, int64_t threads) {
    const Tree tree = tree_of(static_cast<const Leaf*>(leaves), static_cast<const Node*>(nodes), points);
    parallel_for(m, QUERIES, threads, [&](int64_t begin, int64_t end) {
        Search search;
        search.k = k;
        const float* last = nullptr;  // the query before
        for (int64_t i = begin; i < end; ++i) {
            const float* q = queries + 3 * i;
            float within = FARTHEST;
            if (last) {
                // k points lie around the last query (or infinitely far), so they are not far from this one.
                const float step = std::hypot(q[0] - last[0], q[1] - last[1], q[2] - last[2]);
                const float reach = std::sqrt(search.squared[k - 1]) + step;
                within = std::min(FARTHEST, reach * reach * 1.00001f + 1e-37f);  // more than rounding, and than what underflows
            }
            search.start(q, within);
            if (finite(q) && tree.top >= 0) {
                search_node(tree, tree.top, 0, search);
                last = q;
            }
            for (int64_t j = 0; j < k; ++j) squared[i * k + j] = search.squared[j], indices[i * k + j] = search.ids[j];
        }
    });
    return 0;
}
