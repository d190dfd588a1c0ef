// See search.hpp.
#include "search.hpp"

#include <algorithm>
#include <cmath>

#include "encode.hpp"
#include "restored.hpp"

namespace perwatt {
namespace {

// Standard deviations of the difference of two int8 scores. Beyond it a row is not among the best k in float32 either:
// at 384 dimensions that leaves one or two rows more than k to be read.
constexpr double kDeviations = 4.0;

// The int8 score below which nothing found can still belong to the best k. Rounding errors of a code are uniform over
// a step, so <q, x> is off by |q| step(x) / sqrt(12) for the vector's codes and |x| step(q) / sqrt(12) for the query's.
float floor_of(const GraphView& graph, const Walker& walker) {
  if (walker.found < walker.k) return score_of(walker.results[walker.found - 1]);
  const int64_t kth = walker.results[walker.k - 1];
  const Head head = head_of(graph, block_of(graph, static_cast<size_t>(vertex_of(kth))));
  const double square = walker.square_norm, largest = walker.largest;
  const double vector_error = square * static_cast<double>(head.step) * static_cast<double>(head.step);
  const double query_error = static_cast<double>(head.square_norm) * (largest / 127.0) * (largest / 127.0);
  const double error = std::sqrt((vector_error + query_error) / 12.0) * (graph.l2 ? 2.0 : 1.0);
  return score_of(kth) - static_cast<float>(kDeviations * std::sqrt(2.0) * error);
}

}  // namespace

void search(const Kernels& kernels, const GraphView& graph, const float* signs, const FloatRows& rows,
            const Effort& effort, const uint64_t* keep, const Batch& batch, Scratch& scratch, const Answer& answer) {
  const size_t kept = batch.k + std::max<size_t>(8, batch.k / 2);
  std::vector<int64_t> candidates(kept);
  std::vector<Listed> listed;
  const size_t rest = rest_bytes(graph.padded);
  const ResultRows read = rows.base ? ResultRows{reinterpret_cast<const char*>(rows.base), rows.stride * sizeof(float),
                                                 rows.dim * sizeof(float)}
                                    : ResultRows{reinterpret_cast<const char*>(graph.rests), rest, rest};
  for (size_t q = 0; q < batch.count; ++q) {
    const float* query = batch.queries + q * graph.dim;
    to_frame(kernels, graph, signs, query, scratch.query());
    Walker& walker = scratch.walker(batch.k, kept, effort, keep, read);
    kernels.walk(graph, walker);
    size_t found = 0;
    if (walker.found > 0) {
      const float floor = floor_of(graph, walker);
      for (; found < walker.found && score_of(walker.results[found]) >= floor; ++found) {
        candidates[found] = vertex_of(walker.results[found]);
      }
    }
    answer.rescored[q] = walker.scored;
    if (rows.base == nullptr) {
      listed.clear();
      for (size_t i = 0; i < found; ++i) listed.push_back({0.0, static_cast<uint32_t>(candidates[i])});
      score_restored(kernels, graph, restored_query(graph, scratch.query(), query), listed);
      write_best(listed, batch.k, batch.first_row, answer.rows + q * batch.k, answer.scores + q * batch.k);
      continue;
    }
    int64_t rescored;
    rescore(kernels, rows, candidates.data(), found, {query, 1, batch.k, batch.first_row},
            {answer.rows + q * batch.k, answer.scores + q * batch.k, &rescored});
  }
}

}  // namespace perwatt
