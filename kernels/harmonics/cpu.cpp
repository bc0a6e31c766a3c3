// Spherical harmonics, forward and backward: basis values and their derivatives for sixteen directions at a time,
// then each row's coefficients, which lie together in memory, against its own basis.
#include "parallel.h"
#include "simd.h"

namespace {

constexpr float C0 = 0.28209479177387814f;

struct Dual { Floats value, dx, dy, dz; };

// Basis values of bands 1..degree and their derivatives with respect to (x, y, z) taken as independent.
template <bool DERIVATIVES>
INLINE void bands(int degree, Floats x, Floats y, Floats z, Dual* out) {
    const Floats none = splat(0), xx = x * x, yy = y * y, zz = z * z;
    auto put = [&](int k, Floats v, Floats dx, Floats dy, Floats dz) {
        out[k].value = v;
        if (DERIVATIVES) out[k].dx = dx, out[k].dy = dy, out[k].dz = dz;
    };
    if (degree < 1) return;
    const Floats c1 = splat(0.4886025119029199f);
    put(0, -c1 * y, none, -c1, none), put(1, c1 * z, none, none, c1), put(2, -c1 * x, -c1, none, none);
    if (degree < 2) return;
    const float a = 1.0925484305920792f, b = 0.31539156525252005f, c = 0.5462742152960396f;
    put(3, a * x * y, a * y, a * x, none);
    put(4, -a * y * z, none, -a * z, -a * y);
    put(5, b * (2.0f * zz - xx - yy), -2.0f * b * x, -2.0f * b * y, 4.0f * b * z);
    put(6, -a * x * z, -a * z, none, -a * x);
    put(7, c * (xx - yy), 2.0f * c * x, -2.0f * c * y, none);
    if (degree < 3) return;
    const float d = 0.5900435899266435f, e = 2.890611442640554f, f = 0.4570457994644658f, g = 0.3731763325901154f,
                h = 1.445305721320277f;
    put(8, -d * y * (3.0f * xx - yy), -6.0f * d * x * y, -3.0f * d * (xx - yy), none);
    put(9, e * x * y * z, e * y * z, e * x * z, e * x * y);
    put(10, -f * y * (4.0f * zz - xx - yy), 2.0f * f * x * y, -f * (4.0f * zz - xx - 3.0f * yy), -8.0f * f * y * z);
    put(11, g * z * (2.0f * zz - 3.0f * xx - 3.0f * yy), -6.0f * g * x * z, -6.0f * g * y * z,
        g * (6.0f * zz - 3.0f * xx - 3.0f * yy));
    put(12, -f * x * (4.0f * zz - xx - yy), -f * (4.0f * zz - 3.0f * xx - yy), 2.0f * f * x * y, -8.0f * f * x * z);
    put(13, h * z * (xx - yy), 2.0f * h * x * z, -2.0f * h * y * z, h * (xx - yy));
    put(14, -d * x * (xx - 3.0f * yy), -3.0f * d * (xx - yy), 6.0f * d * x * y, none);
    if (degree < 4) return;
    const float p = 2.5033429417967046f, q = 1.7701307697799304f, r = 0.9461746957575601f, s = 0.6690465435572892f,
                t = 0.10578554691520431f, u = 0.47308734787878004f, w = 0.6258357354491761f;
    const Floats seven1 = 7.0f * zz - 1.0f, seven3 = 7.0f * zz - 3.0f;
    put(15, p * x * y * (xx - yy), p * y * (3.0f * xx - yy), p * x * (xx - 3.0f * yy), none);
    put(16, -q * y * z * (3.0f * xx - yy), -6.0f * q * x * y * z, -3.0f * q * z * (xx - yy), -q * y * (3.0f * xx - yy));
    put(17, r * x * y * seven1, r * y * seven1, r * x * seven1, 14.0f * r * x * y * z);
    put(18, -s * y * z * seven3, none, -s * z * seven3, -s * y * (21.0f * zz - 3.0f));
    put(19, t * (zz * (35.0f * zz - 30.0f) + 3.0f), none, none, t * z * (140.0f * zz - 60.0f));
    put(20, -s * x * z * seven3, -s * z * seven3, none, -s * x * (21.0f * zz - 3.0f));
    put(21, u * (xx - yy) * seven1, 2.0f * u * x * seven1, -2.0f * u * y * seven1, 14.0f * u * z * (xx - yy));
    put(22, -q * x * z * (xx - 3.0f * yy), -3.0f * q * z * (xx - yy), 6.0f * q * x * y * z, -q * x * (xx - 3.0f * yy));
    put(23, w * (xx * (xx - 3.0f * yy) - yy * (3.0f * xx - yy)), w * x * (4.0f * xx - 12.0f * yy),
        w * y * (4.0f * yy - 12.0f * xx), none);
}

struct Directions { Floats x, y, z, inverse_length; };

INLINE Directions normalised(const float* directions, int64_t i, int count) {
    float lanes[3][LANES];
    for (int l = 0; l < LANES; ++l)
        for (int k = 0; k < 3; ++k) lanes[k][l] = l < count ? directions[3 * (i + l) + k] : 0.0f;
    Floats x = load(lanes[0]), y = load(lanes[1]), z = load(lanes[2]);
    const Floats length2 = x * x + y * y + z * z;
    const Floats inverse = select(length2 > 0.0f, 1.0f / square_root(select(length2 > 0.0f, length2, splat(1))), splat(0));
    return {x * inverse, y * inverse, z * inverse, inverse};
}

}  // namespace

extern "C" int64_t harmonics_forward(const float* dc, const float* rest, const float* directions, const uint8_t* mask,
                                     int64_t n, int64_t stride, int64_t degree, float* colours, int64_t threads) {
    const int used = static_cast<int>((degree + 1) * (degree + 1) - 1);
    parallel_for((n + LANES - 1) / LANES, 64, threads, [&](int64_t begin, int64_t end) {
        Dual basis[24];
        float values[24][LANES];
        for (int64_t i = begin * LANES; i < std::min(n, end * LANES); i += LANES) {
            const int count = static_cast<int>(std::min<int64_t>(LANES, n - i));
            const Directions d = normalised(directions, i, count);
            bands<false>(degree, d.x, d.y, d.z, basis);
            for (int k = 0; k < used; ++k) store(values[k], select(d.inverse_length > 0.0f, basis[k].value, splat(0)));
            for (int l = 0; l < count; ++l) {
                float* out = colours + 3 * (i + l);
                if (mask && !mask[i + l]) {
                    out[0] = out[1] = out[2] = 0;
                    continue;
                }
                const float* row = rest + (i + l) * stride;
                float c[3];
                for (int k = 0; k < 3; ++k) c[k] = C0 * dc[3 * (i + l) + k];
                for (int b = 0; b < used; ++b)
                    for (int k = 0; k < 3; ++k) c[k] += values[b][l] * row[3 * b + k];
                for (int k = 0; k < 3; ++k) out[k] = c[k] + 0.5f > 0 ? c[k] + 0.5f : 0.0f;
            }
        }
    });
    return 0;
}

// `colours` are the forward result: a channel at 0 was clamped (or masked) and has no gradient. g_rest may be null.
extern "C" int64_t harmonics_backward(const float* rest, const float* directions, const float* colours,
                                      const float* g_colours, int64_t n, int64_t stride, int64_t degree, float* g_dc,
                                      float* g_rest, float* g_directions, int64_t threads) {
    const int used = static_cast<int>((degree + 1) * (degree + 1) - 1);
    parallel_for((n + LANES - 1) / LANES, 64, threads, [&](int64_t begin, int64_t end) {
        Dual basis[24];
        float values[24][LANES], coefficients[24][LANES];
        for (int64_t i = begin * LANES; i < std::min(n, end * LANES); i += LANES) {
            const int count = static_cast<int>(std::min<int64_t>(LANES, n - i));
            const Directions d = normalised(directions, i, count);
            bands<true>(degree, d.x, d.y, d.z, basis);
            for (int k = 0; k < used; ++k) {
                store(values[k], select(d.inverse_length > 0.0f, basis[k].value, splat(0)));
                store(coefficients[k], splat(0));
            }
            for (int l = 0; l < count; ++l) {
                float g[3];
                for (int k = 0; k < 3; ++k) {
                    g[k] = colours[3 * (i + l) + k] > 0 ? g_colours[3 * (i + l) + k] : 0.0f;
                    g_dc[3 * (i + l) + k] = C0 * g[k];
                }
                const float* row = rest + (i + l) * stride;
                for (int b = 0; b < used; ++b)
                    coefficients[b][l] = g[0] * row[3 * b] + g[1] * row[3 * b + 1] + g[2] * row[3 * b + 2];
                if (!g_rest) continue;
                float* out = g_rest + (i + l) * stride;
                for (int b = 0; b < used; ++b)
                    for (int k = 0; k < 3; ++k) out[3 * b + k] = values[b][l] * g[k];
                std::fill(out + 3 * used, out + stride, 0.0f);
            }
            Floats gx = splat(0), gy = splat(0), gz = splat(0);
            for (int k = 0; k < used; ++k) {
                const Floats c = load(coefficients[k]);
                gx += c * basis[k].dx, gy += c * basis[k].dy, gz += c * basis[k].dz;
            }
            // Through the normalisation: only the part across the direction counts.
            const Floats along = gx * d.x + gy * d.y + gz * d.z;
            float lanes[3][LANES];
            store(lanes[0], (gx - along * d.x) * d.inverse_length);
            store(lanes[1], (gy - along * d.y) * d.inverse_length);
            store(lanes[2], (gz - along * d.z) * d.inverse_length);
            for (int l = 0; l < count; ++l)
                for (int k = 0; k < 3; ++k) g_directions[3 * (i + l) + k] = lanes[k][l];
        }
    });
    return 0;
}
