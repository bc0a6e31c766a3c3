// Small MLPs, forward and backward: a chunk of points goes through all layers while it lies in the caches; the backward
// pass computes the hidden activations of its chunk again. Activations are row-major with rows padded to whole vectors.
// Units that are 0 at all points of a chunk are left out of the products: of a ReLU network half of them or more are,
// where neighbours in the list are neighbours in space.
//
// Parameters come packed, one group after another, layer after layer, padded with zeros to whole vectors:
// `columns`: the weights transposed, [in, padded(out)], then the bias, [padded(out)];
// `rows`: the weights as they are, [padded(out), padded(in)], then the bias, [padded(out)]; gradients are laid out so.
#include <vector>

#include "gemm.h"
#include "parallel.h"

namespace {

enum Activation { RELU, ELU };
constexpr int64_t CHUNK = 96;   // points, a multiple of every tile's rows
constexpr int64_t MOST = 128;   // units of a layer, see WIDEST
constexpr int64_t SLABS = 64;   // about as many partial sums of parameter gradients, whatever the number of threads

struct Network {
    int64_t layers;
    const int64_t* widths;  // [layers + 1]
    Activation activation;

    int64_t in(int64_t layer) const { return widths[layer]; }
    int64_t out(int64_t layer) const { return widths[layer + 1]; }
    int64_t columns_size() const {
        int64_t size = 0;
        for (int64_t l = 0; l < layers; ++l) size += (in(l) + 1) * padded(out(l));
        return size;
    }
    int64_t rows_size() const {
        int64_t size = 0;
        for (int64_t l = 0; l < layers; ++l) size += padded(out(l)) * (padded(in(l)) + 1);
        return size;
    }
    int64_t widest() const { return padded(*std::max_element(widths, widths + layers + 1)); }
};

// e^x - 1 for x <= 0, without the cancellation near 0.
INLINE Floats exponential_minus_one(Floats x) {
    const Floats clamped = maximum(splat(-87.0f), x), magic = splat(12582912.0f);
    const Floats n = (clamped * 1.44269504f + magic) - magic;
    Floats r = clamped - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    Floats p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r;
    const Floats power = from_bits((__builtin_convertvector(n, Ints) << 23) + (127 << 23));
    return p * power + (power - 1.0f);
}

// Both let a NaN through: minimum and maximum give their second operand where one is NaN.
template <Activation ACTIVATION>
INLINE Floats activate(Floats x) {
    if (ACTIVATION == RELU) return maximum(splat(0), x);
    return select(x <= 0.0f, exponential_minus_one(x), x);
}

// The derivative in terms of the activation's own value, times the incoming gradient.
template <Activation ACTIVATION>
INLINE Floats through(Floats value, Floats gradient) {
    return select(value <= 0.0f, ACTIVATION == RELU ? splat(0) : gradient * (value + 1.0f), gradient);
}

struct Piece { int64_t group, begin, end; };

// Every group's points, cut into pieces of at most `size`.
std::vector<Piece> cut(const int64_t* starts, int64_t groups, int64_t size) {
    std::vector<Piece> pieces;
    for (int64_t g = 0; g < groups; ++g)
        for (int64_t i = starts[g]; i < starts[g + 1]; i += size)
            pieces.push_back({g, i, std::min(starts[g + 1], i + size)});
    return pieces;
}

// The columns of x [count, padded(width)] that are not 0 in all rows; the list reaches to whole tiles of rows.
struct Columns {
    int32_t list[MOST + TILE_ROWS];
    int64_t count = 0;

    Columns(const float* x, int64_t rows, int64_t width) {
        for (int64_t n = 0; n < width; n += LANES) {
            Ints seen = {};
            for (int64_t i = 0; i < rows; ++i) seen |= bits(load(x + i * padded(width) + n));  // a NaN is not 0
            for (int64_t lane = 0; lane < std::min<int64_t>(LANES, width - n); ++lane)
                if (seen[lane]) list[count++] = static_cast<int32_t>(n + lane);
        }
        std::fill_n(list + count, TILE_ROWS, count ? list[count - 1] : 0);
    }
};

template <class Finish>
INLINE void linear(int64_t count, int64_t in, int64_t out, const float* x, const float* weights, const Finish& finish) {
    const int64_t wide = padded(out);
    const float* bias = weights + in * wide;
    const Columns used(x, count, in);
    gemm(count, out, used.count, x, padded(in), 1, weights, wide, [&](int64_t, int64_t n) { return load(bias + n); },
         finish, Every{}, Listed{used.list});
}

// One layer of the chunk: x [CHUNK, padded(in)] to y [CHUNK, padded(out)].
void layer_forward(const Network& net, int64_t layer, int64_t count, const float* x, const float* weights, float* y) {
    const int64_t in = net.in(layer), out = net.out(layer), wide = padded(out);
    if (layer == net.layers - 1)
        linear(count, in, out, x, weights, [&](int64_t m, int64_t n, Floats v) { store(y + m * wide + n, v); });
    else if (net.activation == RELU)
        linear(count, in, out, x, weights, [&](int64_t m, int64_t n, Floats v) { store(y + m * wide + n, activate<RELU>(v)); });
    else
        linear(count, in, out, x, weights, [&](int64_t m, int64_t n, Floats v) { store(y + m * wide + n, activate<ELU>(v)); });
}

// Adds the chunk's share to the parameters' gradients: weights [padded(out), padded(in)], bias [padded(out)].
void layer_parameters(const Network& net, int64_t layer, int64_t count, const float* x, const float* gradient,
                      const Columns& used, float* sums) {
    const int64_t in = net.in(layer), out = net.out(layer), wide = padded(in);
    gemm(used.count, in, count, gradient, 1, padded(out), x, wide,
         [&](int64_t m, int64_t n) { return load(sums + m * wide + n); },
         [&](int64_t m, int64_t n, Floats v) { store(sums + m * wide + n, v); }, Listed{used.list});
    float* bias = sums + padded(out) * wide;
    for (int64_t n = 0; n < padded(out); n += LANES) {
        Floats total = load(bias + n);
        for (int64_t i = 0; i < count; ++i) total += load(gradient + i * padded(out) + n);
        store(bias + n, total);
    }
}

// The gradient before the layer, through the activation that made its input x (none made the first).
void layer_backward(const Network& net, int64_t layer, int64_t count, const float* x, const float* gradient,
                    const float* weights, const Columns& used, float* before) {
    const int64_t in = net.in(layer), out = net.out(layer), wide = padded(in);
    const auto product = [&](const auto& finish) {
        gemm(count, in, used.count, gradient, padded(out), 1, weights, wide,
             [](int64_t, int64_t) { return splat(0); }, finish, Every{}, Listed{used.list});
    };
    if (layer == 0)
        product([&](int64_t m, int64_t n, Floats v) { store(before + m * wide + n, v); });
    else if (net.activation == RELU)
        product([&](int64_t m, int64_t n, Floats v) { store(before + m * wide + n, through<RELU>(load(x + m * wide + n), v)); });
    else
        product([&](int64_t m, int64_t n, Floats v) { store(before + m * wide + n, through<ELU>(load(x + m * wide + n), v)); });
}

}  // namespace

extern "C" int64_t mlp_forward(const float* x, const int64_t* starts, int64_t groups, const float* columns,
                               const int64_t* widths, int64_t layers, int64_t activation, float* y, int64_t threads) {
    const Network net{layers, widths, static_cast<Activation>(activation)};
    const int64_t size = net.columns_size(), in = net.in(0), out = net.out(layers - 1);
    const std::vector<Piece> chunks = cut(starts, groups, CHUNK);
    std::vector<std::vector<float>> memory(std::max<int64_t>(threads, 1));
    parallel_for_numbered(static_cast<int64_t>(chunks.size()), threads, [&](int64_t c, int64_t thread) {
        auto& scratch = memory[thread];
        scratch.resize(2 * CHUNK * net.widest());
        float *here = scratch.data(), *next = here + CHUNK * net.widest();
        const auto [group, begin, end] = chunks[c];
        spread<CHUNK>(x + begin * in, end - begin, in, here);
        const float* weights = columns + group * size;
        for (int64_t l = 0; l < layers; ++l) {
            layer_forward(net, l, end - begin, here, weights, next);
            weights += (net.in(l) + 1) * padded(net.out(l));
            std::swap(here, next);
        }
        gather(here, end - begin, out, y + begin * out);
    });
    return 0;
}

// g_x may be null. g_rows: the parameters' gradients, laid out like `rows`. Their sums are taken over fixed slabs of
// points and then over the slabs, in order, so that they do not depend on the threads.
extern "C" int64_t mlp_backward(const float* x, const int64_t* starts, int64_t groups, const float* columns,
                                const float* rows, const int64_t* widths, int64_t layers, int64_t activation,
                                const float* g_y, float* g_x, float* g_rows, int64_t threads) {
    const Network net{layers, widths, static_cast<Activation>(activation)};
    const int64_t in = net.in(0), out = net.out(layers - 1), size = net.rows_size(), columns_size = net.columns_size();
    const int64_t points = starts[groups] - starts[0];
    const int64_t slab = std::max<int64_t>(8 * CHUNK, (points / SLABS + CHUNK - 1) / CHUNK * CHUNK);
    const std::vector<Piece> slabs = cut(starts, groups, slab);
    std::vector<float> partial(slabs.size() * size);
    std::vector<std::vector<float>> memory(std::max<int64_t>(threads, 1));
    std::vector<int64_t> column_at(layers), row_at(layers), kept_at(layers);
    int64_t kept = 0;
    for (int64_t l = 0, c = 0, r = 0; l < layers; ++l) {
        column_at[l] = c, row_at[l] = r, kept_at[l] = kept;
        c += (net.in(l) + 1) * padded(net.out(l)), r += padded(net.out(l)) * (padded(net.in(l)) + 1);
        kept += CHUNK * padded(net.in(l));
    }
    parallel_for_numbered(static_cast<int64_t>(slabs.size()), threads, [&](int64_t s, int64_t thread) {
        auto& scratch = memory[thread];
        scratch.resize(kept + 2 * CHUNK * net.widest());
        float *inputs = scratch.data(), *gradient = inputs + kept, *before = gradient + CHUNK * net.widest();
        const Piece whole = slabs[s];
        float* sums = partial.data() + s * size;
        const float* forward = columns + whole.group * columns_size;
        const float* backward = rows + whole.group * size;
        for (int64_t begin = whole.begin; begin < whole.end; begin += CHUNK) {
            const int64_t count = std::min(CHUNK, whole.end - begin);
            spread<CHUNK>(x + begin * in, count, in, inputs);
            for (int64_t l = 0; l + 1 < layers; ++l)
                layer_forward(net, l, count, inputs + kept_at[l], forward + column_at[l], inputs + kept_at[l + 1]);
            spread<CHUNK>(g_y + begin * out, count, out, gradient);
            for (int64_t l = layers - 1; l >= 0; --l) {
                const Columns used(gradient, count, net.out(l));
                layer_parameters(net, l, count, inputs + kept_at[l], gradient, used, sums + row_at[l]);
                if (l == 0 && !g_x) break;
                layer_backward(net, l, count, inputs + kept_at[l], gradient, backward + row_at[l], used, before);
                std::swap(gradient, before);
            }
            if (g_x) gather(gradient, count, in, g_x + begin * in);
        }
    });
    std::vector<int64_t> first(groups + 1, static_cast<int64_t>(slabs.size()));
    for (int64_t s = static_cast<int64_t>(slabs.size()) - 1; s >= 0; --s) first[slabs[s].group] = s;
    for (int64_t g = groups - 1; g >= 0; --g)
        if (starts[g] == starts[g + 1]) first[g] = first[g + 1];
    parallel_for(groups * size, 4096, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t g = i / size;
            float total = 0;
            for (int64_t s = first[g]; s < first[g + 1]; ++s) total += partial[s * size + i % size];
            g_rows[i] = total;
        }
    });
    return 0;
}
