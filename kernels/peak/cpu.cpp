// As many independent multiply-adds as keep the units busy; returns how many one thread did.
#include "parallel.h"
#include "simd.h"

extern "C" int64_t multiply_adds(int64_t rounds, float* sink, int64_t threads) {
    constexpr int CHAINS = 12;
    parallel_for_numbered(threads, threads, [&](int64_t i, int64_t) {
        Floats x[CHAINS];
        for (int c = 0; c < CHAINS; ++c) x[c] = lane_numbers() + float(c + i);
        const Floats a = splat(0.999f) + 1e-9f * float(rounds & 1), b = splat(1e-3f);
        for (int64_t r = 0; r < rounds; ++r)
            for (int c = 0; c < CHAINS; ++c) x[c] = x[c] * a + b;
        Floats total = x[0];
        for (int c = 1; c < CHAINS; ++c) total += x[c];
        store(sink + i * LANES, total);
    });
    return rounds * CHAINS * LANES;
}
