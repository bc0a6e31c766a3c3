// EWA projection, forward and backward, sixteen Gaussians at a time. The letters are those of reference.py.
#include "parallel.h"
#include "simd.h"

namespace {

struct Vec3 { Floats x, y, z; };
INLINE Vec3 operator+(Vec3 a, Vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
INLINE Vec3 operator*(Floats s, Vec3 a) { return {s * a.x, s * a.y, s * a.z}; }
INLINE Floats dot(Vec3 a, Vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
INLINE Vec3 cross(Vec3 a, Vec3 b) {
    return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}

// Rows [i, i + count) of an array with `stride` floats a row, component k; lanes past the end repeat `fill`.
INLINE Floats gather(const float* p, int64_t i, int count, int stride, int k, float fill) {
    float lanes[LANES];
    for (int l = 0; l < LANES; ++l) lanes[l] = l < count ? p[(i + l) * stride + k] : fill;
    return load(lanes);
}
INLINE void scatter(float* p, int64_t i, int count, int stride, int k, Floats v) {
    float lanes[LANES];
    store(lanes, v);
    for (int l = 0; l < count; ++l) p[(i + l) * stride + k] = lanes[l];
}

struct View {
    Vec3 row[3];
    Floats t[3];
    float fx, fy, cx, cy, width, height, near, u_low, u_high, v_low, v_high, eps2d;
    bool antialiased;
};

View make_view(const float* pose, const float* lens, int64_t antialiased) {
    View view;
    for (int r = 0; r < 3; ++r) {
        view.row[r] = {splat(pose[4 * r]), splat(pose[4 * r + 1]), splat(pose[4 * r + 2])};
        view.t[r] = splat(pose[4 * r + 3]);
    }
    view.fx = lens[0], view.fy = lens[1], view.cx = lens[2], view.cy = lens[3];
    view.width = lens[4], view.height = lens[5], view.near = lens[6], view.eps2d = lens[7];
    view.u_low = (-0.15f * view.width - view.cx) / view.fx, view.u_high = (1.15f * view.width - view.cx) / view.fx;
    view.v_low = (-0.15f * view.height - view.cy) / view.fy, view.v_high = (1.15f * view.height - view.cy) / view.fy;
    view.antialiased = antialiased != 0;
    return view;
}

// Everything between parameters and factors that the backward pass needs as well.
struct Splat {
    Ints usable;
    Vec3 local, to_screen0, to_screen1, column[3], f0, f1, normal;
    Floats qw, qx, qy, qz, inverse_norm, scale[3], sigmoid, opacity, compensation;
    Floats u, v, sigma_xx, sigma_yy, sigma_xy, det_before, det, m00, root;
    Ints u_free, v_free;
};

INLINE Splat compute(const View& view, const float* means, const float* quaternions, const float* log_scales,
                     const float* logits, int64_t i, int count) {
    Splat s;
    Vec3 mean = {gather(means, i, count, 3, 0, 0), gather(means, i, count, 3, 1, 0), gather(means, i, count, 3, 2, 0)};
    Floats q[4], log_scale[3], logit = gather(logits, i, count, 1, 0, 0);
    for (int k = 0; k < 4; ++k) q[k] = gather(quaternions, i, count, 4, k, 0);
    for (int k = 0; k < 3; ++k) log_scale[k] = gather(log_scales, i, count, 3, k, 0);
    Floats norm2 = q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3];
    s.local = {dot(view.row[0], mean) + view.t[0], dot(view.row[1], mean) + view.t[1], dot(view.row[2], mean) + view.t[2]};
    // x - x is 0 for finite x and NaN otherwise: one sum tests every input.
    Floats finite = norm2 + mean.x + mean.y + mean.z + log_scale[0] + log_scale[1] + log_scale[2] + logit;
    s.usable = (finite - finite == 0.0f) & (norm2 >= 1e-8f) & (s.local.z > view.near);
    s.local = {select(s.usable, s.local.x, splat(0)), select(s.usable, s.local.y, splat(0)),
               select(s.usable, s.local.z, splat(1))};
    s.inverse_norm = 1.0f / square_root(select(s.usable, norm2, splat(1)));
    s.qw = select(s.usable, q[0] * s.inverse_norm, splat(1));
    s.qx = select(s.usable, q[1] * s.inverse_norm, splat(0));
    s.qy = select(s.usable, q[2] * s.inverse_norm, splat(0));
    s.qz = select(s.usable, q[3] * s.inverse_norm, splat(0));
    for (int k = 0; k < 3; ++k) s.scale[k] = exponential(select(s.usable, log_scale[k], splat(0)));
    s.sigmoid = 1.0f / (1.0f + exponential(-select(s.usable, logit, splat(0))));

    Floats w = s.qw, x = s.qx, y = s.qy, z = s.qz;
    s.column[0] = {1.0f - 2.0f * (y * y + z * z), 2.0f * (x * y + w * z), 2.0f * (x * z - w * y)};
    s.column[1] = {2.0f * (x * y - w * z), 1.0f - 2.0f * (x * x + z * z), 2.0f * (y * z + w * x)};
    s.column[2] = {2.0f * (x * z + w * y), 2.0f * (y * z - w * x), 1.0f - 2.0f * (x * x + y * y)};

    Floats inverse_z = 1.0f / s.local.z;
    Floats u = s.local.x * inverse_z, v = s.local.y * inverse_z;
    s.u = minimum(maximum(u, splat(view.u_low)), splat(view.u_high));
    s.v = minimum(maximum(v, splat(view.v_low)), splat(view.v_high));
    s.u_free = (u >= view.u_low) & (u <= view.u_high);
    s.v_free = (v >= view.v_low) & (v <= view.v_high);
    s.to_screen0 = (view.fx * inverse_z) * (view.row[0] + (-s.u) * view.row[2]);
    s.to_screen1 = (view.fy * inverse_z) * (view.row[1] + (-s.v) * view.row[2]);
    s.f0 = {s.scale[0] * dot(s.to_screen0, s.column[0]), s.scale[1] * dot(s.to_screen0, s.column[1]),
            s.scale[2] * dot(s.to_screen0, s.column[2])};
    s.f1 = {s.scale[0] * dot(s.to_screen1, s.column[0]), s.scale[1] * dot(s.to_screen1, s.column[1]),
            s.scale[2] * dot(s.to_screen1, s.column[2])};
    s.normal = cross(s.f0, s.f1);
    s.sigma_xx = dot(s.f0, s.f0) + view.eps2d;
    s.sigma_yy = dot(s.f1, s.f1) + view.eps2d;
    s.sigma_xy = dot(s.f0, s.f1);
    s.det_before = dot(s.normal, s.normal);
    s.det = s.det_before + view.eps2d * (s.sigma_xx + s.sigma_yy) - view.eps2d * view.eps2d;
    s.m00 = square_root(s.sigma_xx);
    s.root = square_root(s.det);
    s.compensation = view.antialiased ? square_root(maximum(s.det_before / s.det, splat(0.005f * 0.005f))) : splat(1);
    s.opacity = s.sigmoid * s.compensation;
    return s;
}

}  // namespace

extern "C" int64_t project_forward(const float* means, const float* quaternions, const float* log_scales,
                                   const float* logits, const float* pose, const float* lens, int64_t antialiased,
                                   int64_t n, float* centres, float* factors, float* depths, float* opacities,
                                   float* extents, int64_t threads) {
    const View view = make_view(pose, lens, antialiased);
    parallel_for((n + LANES - 1) / LANES, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * LANES; i < std::min(n, end * LANES); i += LANES) {
            const int count = static_cast<int>(std::min<int64_t>(LANES, n - i));
            Splat s = compute(view, means, quaternions, log_scales, logits, i, count);
            Floats inverse_z = 1.0f / s.local.z;
            Floats cx = view.fx * s.local.x * inverse_z + view.cx, cy = view.fy * s.local.y * inverse_z + view.cy;
            Floats a00 = 1.0f / s.m00, a11 = s.m00 / s.root, a10 = -s.sigma_xy / (s.m00 * s.root);
            Ints shows = s.usable & (s.opacity >= 1.0f / 255);
            Floats reach = square_root(2.0f * logarithm(select(shows, 255.0f * s.opacity, splat(1))));
            Floats hx = reach * s.m00, hy = reach * square_root(s.sigma_yy);
            Floats finite = hx + hy + a00 + a10 + a11 + s.det + cx + cy;
            shows &= (hx > 0.0f) & (hy > 0.0f) & (finite - finite == 0.0f) & (cx + hx > 0.0f) & (cy + hy > 0.0f) &
                     (cx - hx < view.width) & (cy - hy < view.height);
            const Floats none = splat(0);
            scatter(centres, i, count, 2, 0, select(shows, cx, none));
            scatter(centres, i, count, 2, 1, select(shows, cy, none));
            scatter(factors, i, count, 3, 0, select(shows, a00, none));
            scatter(factors, i, count, 3, 1, select(shows, a10, none));
            scatter(factors, i, count, 3, 2, select(shows, a11, none));
            scatter(depths, i, count, 1, 0, select(shows, s.local.z, none));
            scatter(opacities, i, count, 1, 0, select(shows, s.opacity, none));
            scatter(extents, i, count, 2, 0, select(shows, hx, none));
            scatter(extents, i, count, 2, 1, select(shows, hy, none));
        }
    });
    return 0;
}

extern "C" int64_t project_backward(const float* means, const float* quaternions, const float* log_scales,
                                    const float* logits, const float* pose, const float* lens, int64_t antialiased,
                                    int64_t n, const float* extents, const float* g_centres, const float* g_factors,
                                    const float* g_depths, const float* g_opacities, float* g_means,
                                    float* g_quaternions, float* g_log_scales, float* g_logits, int64_t threads) {
    const View view = make_view(pose, lens, antialiased);
    parallel_for((n + LANES - 1) / LANES, 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * LANES; i < std::min(n, end * LANES); i += LANES) {
            const int count = static_cast<int>(std::min<int64_t>(LANES, n - i));
            Ints shows = gather(extents, i, count, 2, 0, 0) > 0.0f;
            const Floats none = splat(0);
            Vec3 g_mean = {none, none, none};
            Floats g_q[4] = {none, none, none, none}, g_scale[3] = {none, none, none}, g_logit = none;
            if (any(shows)) {
                Splat s = compute(view, means, quaternions, log_scales, logits, i, count);
                Floats g0 = gather(g_factors, i, count, 3, 0, 0), g1 = gather(g_factors, i, count, 3, 1, 0);
                Floats g2 = gather(g_factors, i, count, 3, 2, 0), g_opacity = gather(g_opacities, i, count, 1, 0, 0);
                Floats a00 = 1.0f / s.m00, a11 = s.m00 / s.root, a10 = -s.sigma_xy / (s.m00 * s.root);
                // Factors to (sigma_xx, sigma_xy, det), then det to the cross product of the rows of F.
                Floats g_xx = -0.5f * a00 * a00 * a00 * g0 + 0.5f * a00 / s.root * g2 - 0.5f * a10 / s.sigma_xx * g1;
                Floats g_xy = -g1 / (s.m00 * s.root);
                Floats g_det = -0.5f / s.det * (a11 * g2 + a10 * g1);
                Floats g_before = none;
                if (view.antialiased) {
                    Floats ratio = s.det_before / s.det;
                    Floats g_ratio = select(ratio > 0.005f * 0.005f, g_opacity * s.sigmoid * 0.5f / s.compensation, none);
                    g_before = g_ratio / s.det;
                    g_det -= g_ratio * ratio / s.det;
                }
                g_before += g_det;
                g_xx += view.eps2d * g_det;
                Floats g_yy = view.eps2d * g_det;
                Vec3 g_normal = (2.0f * g_before) * s.normal;
                Vec3 g_f0 = cross(s.f1, g_normal) + (2.0f * g_xx) * s.f0 + g_xy * s.f1;
                Vec3 g_f1 = cross(g_normal, s.f0) + (2.0f * g_yy) * s.f1 + g_xy * s.f0;
                g_scale[0] = g_f0.x * s.f0.x + g_f1.x * s.f1.x;
                g_scale[1] = g_f0.y * s.f0.y + g_f1.y * s.f1.y;
                g_scale[2] = g_f0.z * s.f0.z + g_f1.z * s.f1.z;
                Floats w0[3] = {g_f0.x * s.scale[0], g_f0.y * s.scale[1], g_f0.z * s.scale[2]};
                Floats w1[3] = {g_f1.x * s.scale[0], g_f1.y * s.scale[1], g_f1.z * s.scale[2]};
                Vec3 g_t0 = w0[0] * s.column[0] + w0[1] * s.column[1] + w0[2] * s.column[2];
                Vec3 g_t1 = w1[0] * s.column[0] + w1[1] * s.column[1] + w1[2] * s.column[2];
                // J W and the centre to the camera-space mean.
                Floats inverse_z = 1.0f / s.local.z;
                Floats g_u = -view.fx * inverse_z * dot(view.row[2], g_t0);
                Floats g_v = -view.fy * inverse_z * dot(view.row[2], g_t1);
                g_u = select(s.u_free, g_u, none), g_v = select(s.v_free, g_v, none);
                g_u += view.fx * gather(g_centres, i, count, 2, 0, 0);
                g_v += view.fy * gather(g_centres, i, count, 2, 1, 0);
                Floats g_z = gather(g_depths, i, count, 1, 0, 0) - inverse_z * (dot(s.to_screen0, g_t0) + dot(s.to_screen1, g_t1));
                g_z -= inverse_z * inverse_z * (g_u * s.local.x + g_v * s.local.y);
                g_mean = (g_u * inverse_z) * view.row[0] + (g_v * inverse_z) * view.row[1] + g_z * view.row[2];
                // Rotation and normalisation at once: turning the Gaussian by a small angle t about its centre changes
                // the loss by t . torque, and the unit quaternion by (0, t) q / 2.
                Vec3 torque = (2.0f * s.inverse_norm) * (cross(g_t0, s.to_screen0) + cross(g_t1, s.to_screen1));
                Vec3 axis = {s.qx, s.qy, s.qz};
                Vec3 turned = s.qw * torque + cross(torque, axis);
                g_q[0] = -dot(torque, axis), g_q[1] = turned.x, g_q[2] = turned.y, g_q[3] = turned.z;
                g_logit = g_opacity * s.opacity * (1.0f - s.sigmoid);
            }
            scatter(g_means, i, count, 3, 0, select(shows, g_mean.x, none));
            scatter(g_means, i, count, 3, 1, select(shows, g_mean.y, none));
            scatter(g_means, i, count, 3, 2, select(shows, g_mean.z, none));
            for (int k = 0; k < 4; ++k) scatter(g_quaternions, i, count, 4, k, select(shows, g_q[k], none));
            for (int k = 0; k < 3; ++k) scatter(g_log_scales, i, count, 3, k, select(shows, g_scale[k], none));
            scatter(g_logits, i, count, 1, 0, select(shows, g_logit, none));
        }
    });
    return 0;
}
