// A scan of many rows for some queries, shared out among threads: of the queries where there are enough of them, so that
// nothing has to be put together afterwards, and of the rows where there are not.
//
// Threads are started for each call, which takes some 20 us apiece; the caller says how many the work is worth. A pool in
// Python cost ten times as much, more than a scan of what a last-level cache holds.
#pragma once

#include <limits>
#include <vector>

#include "parallel.hpp"
#include "scan.hpp"

namespace perwatt {

constexpr size_t kQueriesPerScan = 256;  // the short lists of so many stay in a core's cache beside a block of rows

// The k best of several answers to the same queries, part after part in ascending order of rows; ties go to the lower.
inline void merge_shares(const int64_t* rows, const float* scores, size_t parts, size_t count, size_t k,
                         const Answer& answer) {
  std::vector<size_t> next(parts);
  for (size_t q = 0; q < count; ++q) {
    for (size_t part = 0; part < parts; ++part) next[part] = (part * count + q) * k;
    for (size_t i = 0; i < k; ++i) {
      size_t best = parts;
      for (size_t part = 0; part < parts; ++part) {
        if (next[part] == (part * count + q + 1) * k || rows[next[part]] < 0) continue;
        if (best == parts || scores[next[part]] > scores[next[best]]) best = part;
      }
      answer.rows[q * k + i] = best < parts ? rows[next[best]] : -1;
      answer.scores[q * k + i] = best < parts ? scores[next[best]] : -std::numeric_limits<float>::infinity();
      if (best < parts) ++next[best];
    }
  }
}

// scan(first_row, last_row, batch, answer) for parts of `batch` over `count` rows. The answer is that of one thread.
template <class Scan>
void in_shares(size_t threads, size_t count, size_t dim, const Batch& batch, const Answer& answer, Scan scan) {
  if (threads <= 1 || batch.count >= threads) {
    const size_t step = std::min(kQueriesPerScan, (batch.count + threads - 1) / std::max<size_t>(threads, 1));
    in_parallel(threads, batch.count, std::max<size_t>(step, 1), [&] {
      return [&](size_t first, size_t last) {
        Batch part = batch;
        part.queries += first * dim;
        part.count = last - first;
        scan(0, count, part,
             Answer{answer.rows + first * batch.k, answer.scores + first * batch.k, answer.rescored + first});
      };
    });
    return;
  }
  const size_t answers = batch.count * batch.k;
  std::vector<int64_t> rows(threads * answers), rescored(threads * batch.count);
  std::vector<float> scores(threads * answers);
  in_parallel(threads, threads, 1, [&] {
    return [&](size_t part, size_t) {
      scan(count * part / threads, count * (part + 1) / threads, batch,
           Answer{rows.data() + part * answers, scores.data() + part * answers, rescored.data() + part * batch.count});
    };
  });
  merge_shares(rows.data(), scores.data(), threads, batch.count, batch.k, answer);
  for (size_t q = 0; q < batch.count; ++q) {
    answer.rescored[q] = 0;
    for (size_t part = 0; part < threads; ++part) answer.rescored[q] += rescored[part * batch.count + q];
  }
}

}  // namespace perwatt
