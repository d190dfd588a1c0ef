// Ranges of a loop for a few threads, taken one after the other. What a range computes must not depend on the others,
// so that results are the same for any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace perwatt {

// work(first, last) for consecutive ranges of at most `step` of [0, count); make() gives each thread its own work.
template <class Make>
void in_parallel(size_t threads, size_t count, size_t step, Make make) {
  std::atomic<size_t> taken{0};
  const auto run = [&] {
    auto work = make();
    for (;;) {
      const size_t first = taken.fetch_add(step);
      if (first >= count) return;
      work(first, std::min(first + step, count));
    }
  };
  std::vector<std::thread> others;
  const size_t useful = std::min(threads, (count + step - 1) / step);
  for (size_t i = 1; i < useful; ++i) others.emplace_back(run);
  run();
  for (std::thread& other : others) other.join();
}

}  // namespace perwatt
