// Ranges of a loop for a few threads, taken one after the other. What a range computes must not depend on the others,
// so that results are the same for any number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace perwatt {

// work(first, last) for consecutive ranges of at most `step` of [0, count); make() gives each thread its own work. What
// one of them throws is thrown here once all have ended; where the system gives no more threads, fewer do the work.
template <class Make>
void in_parallel(size_t threads, size_t count, size_t step, Make make) {
  std::atomic<size_t> taken{0};
  std::mutex mutex;
  std::exception_ptr thrown;
  const auto run = [&] {
    try {
      auto work = make();
      for (;;) {
        const size_t first = taken.fetch_add(step);
        if (first >= count) return;
        work(first, std::min(first + step, count));
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      thrown = std::current_exception();
      taken = count;
    }
  };
  std::vector<std::thread> others;
  const size_t useful = std::min(threads, (count + step - 1) / step);
  others.reserve(useful);
  try {
    for (size_t i = 1; i < useful; ++i) others.emplace_back(run);
  } catch (...) {  // no thread, or no memory for one: those that are there do it all
  }
  run();
  for (std::thread& other : others) other.join();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace perwatt
