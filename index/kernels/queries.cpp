// See queries.hpp.
#include "queries.hpp"

#include <atomic>
#include <cmath>

#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kQueriesPerRange = 128;
constexpr size_t kLanes = 8;

double length_of(const float* query, size_t dim) {
  double sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      const double value = query[i + j];
      sums[j] += value * value;
    }
  }
  for (size_t j = 0; i + j < dim; ++j) {
    const double value = query[i + j];
    sums[j] += value * value;
  }
  for (size_t width = kLanes / 2; width; width /= 2) {
    for (size_t j = 0; j < width; ++j) sums[j] += sums[j + width];
  }
  return std::sqrt(sums[0]);
}

}  // namespace

size_t prepare(const float* queries, size_t count, size_t dim, double longest, bool unit_length, size_t threads,
               float* out) {
  std::atomic<size_t> refused{count};
  in_parallel(threads, count, kQueriesPerRange, [&] {
    return [&](size_t first, size_t last) {
      for (size_t q = first; q < last; ++q) {
        const float* query = queries + q * dim;
        const double length = length_of(query, dim);
        if (!(length < longest) || (unit_length && length == 0.0)) {
          size_t lowest = refused;
          while (q < lowest && !refused.compare_exchange_weak(lowest, q)) {
          }
          break;
        }
        if (!unit_length) continue;
        float* scaled = out + q * dim;
        const double inverse = 1.0 / length;  // a division a dimension would take four times as long
        for (size_t i = 0; i < dim; ++i) scaled[i] = static_cast<float>(query[i] * inverse);
      }
    };
  });
  return refused;
}

}  // namespace perwatt
