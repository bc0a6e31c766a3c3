// parallel_for: split [0, count) over threads in blocks that are handed out dynamically.
// Results must not depend on which thread takes a block; every kernel writes disjoint memory.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

template <class Body>  // Body: void(int64_t begin, int64_t end)
void parallel_for(int64_t count, int64_t block, int64_t threads, const Body& body) {
    const int64_t blocks = (count + block - 1) / block;
    threads = std::min<int64_t>(std::max<int64_t>(threads, 1), blocks);
    std::atomic<int64_t> next{0};
    auto work = [&] {
        for (int64_t i = next++; i < blocks; i = next++)
            body(i * block, std::min(count, (i + 1) * block));
    };
    std::vector<std::thread> helpers;
    for (int64_t t = 1; t < threads; ++t) helpers.emplace_back(work);
    work();
    for (auto& helper : helpers) helper.join();
}
