// parallel_for: split [0, count) over threads in blocks that are handed out dynamically.
// Results must not depend on which thread takes a block; every kernel writes disjoint memory.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

// Body: void(int64_t item, int64_t thread), for work that keeps scratch memory a thread.
template <class Body>
void parallel_for_numbered(int64_t items, int64_t threads, const Body& body) {
    threads = std::min<int64_t>(std::max<int64_t>(threads, 1), std::max<int64_t>(items, 1));
    std::atomic<int64_t> next{0};
    auto work = [&](int64_t thread) {
        for (int64_t i = next++; i < items; i = next++) body(i, thread);
    };
    std::vector<std::thread> helpers;
    for (int64_t t = 1; t < threads; ++t) helpers.emplace_back(work, t);
    work(0);
    for (auto& helper : helpers) helper.join();
}

// Body: void(int64_t begin, int64_t end)
template <class Body>
void parallel_for(int64_t count, int64_t block, int64_t threads, const Body& body) {
    parallel_for_numbered((count + block - 1) / block, threads, [&](int64_t i, int64_t) {
        body(i * block, std::min(count, (i + 1) * block));
    });
}
