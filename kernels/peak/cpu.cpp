// Loops that do one thing as fast as it can be done, on all threads: what benchmarks are a fraction of.
#include "parallel.h"
#include "simd.h"

// As many independent multiply-adds as keep the units busy; returns how many one thread did.
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

// Independent exponentials; returns how many one thread did.
extern "C" int64_t exponentials(int64_t rounds, float* sink, int64_t threads) {
    constexpr int CHAINS = 4;
    parallel_for_numbered(threads, threads, [&](int64_t i, int64_t) {
        Floats x[CHAINS];
        for (int c = 0; c < CHAINS; ++c) x[c] = lane_numbers() * -0.1f - float(c + i);
        for (int64_t r = 0; r < rounds; ++r)
            for (int c = 0; c < CHAINS; ++c) x[c] = exponential(x[c]) - 1.0f;
        Floats total = x[0];
        for (int c = 1; c < CHAINS; ++c) total += x[c];
        store(sink + i * LANES, total);
    });
    return rounds * CHAINS * LANES;
}

// Independent reads at random places of a table of 2^bits floats; returns how many one thread did.
extern "C" int64_t gathers(int64_t rounds, int64_t bits_of_size, const float* table, float* sink, int64_t threads) {
    parallel_for_numbered(threads, threads, [&](int64_t i, int64_t) {
        uint64_t state[LANES];
        float total[LANES] = {};
        for (int l = 0; l < LANES; ++l) state[l] = 0x9E3779B97F4A7C15ull * (i * LANES + l + 1);
        for (int64_t r = 0; r < rounds; ++r)
            for (int l = 0; l < LANES; ++l) {
                state[l] = state[l] * 6364136223846793005ull + 1442695040888963407ull;
                total[l] += table[state[l] >> (64 - bits_of_size)];
            }
        std::memcpy(sink + i * LANES, total, sizeof total);
    });
    return rounds * LANES;
}

// Independent additions at random places of each thread's own table of 2^bits floats; returns how many one thread did.
extern "C" int64_t scatters(int64_t rounds, int64_t bits_of_size, float* tables, int64_t threads) {
    parallel_for_numbered(threads, threads, [&](int64_t i, int64_t) {
        float* table = tables + (i << bits_of_size);
        uint64_t state[LANES];
        for (int l = 0; l < LANES; ++l) state[l] = 0x9E3779B97F4A7C15ull * (i * LANES + l + 1);
        for (int64_t r = 0; r < rounds; ++r)
            for (int l = 0; l < LANES; ++l) {
                state[l] = state[l] * 6364136223846793005ull + 1442695040888963407ull;
                table[state[l] >> (64 - bits_of_size)] += 1.0f;
            }
    });
    return rounds * LANES;
}
