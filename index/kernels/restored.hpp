// Rows of a graph whose float32 was not kept: scored, scanned, and given back, from the codes of their blocks and their
// rests (graph.hpp).
//
// A restored row has 12 bits a dimension, and a query is rounded to 16. The product of both is a sum of four products of
// bytes, which every unit computes exactly, and what follows is the same few operations in double. So a row has one score,
// in every unit and whichever way it was found.
#pragma once

#include <vector>

#include "graph.hpp"
#include "scan.hpp"
#include "shortlist.hpp"

namespace perwatt {

// A query as restored rows are compared with it, in the frame: a dimension is unit * (256 * high + low).
struct RestoredQuery {
  std::vector<int8_t> codes;  // high[padded], then low[padded]
  double unit;
  double square;  // |q|^2 for l2, else 0
  double scale;   // (score in the frame - square) * scale is the score of the row
  double slack;   // twice what leaving out low bytes and rests may add up to

  const int8_t* high() const { return codes.data(); }
  const int8_t* low() const { return codes.data() + codes.size() / 2; }
};

// frame: the query as to_frame made it, float32[padded], of `query`, float32[dim].
RestoredQuery restored_query(const GraphView& graph, const float* frame, const float* query);

// The score of a row, of the sum of 16 * code + r times 256 * high + low; scale and norm are those of its head (graph.hpp).
double score_of_sum(const GraphView& graph, const RestoredQuery& query, float scale, float norm, int64_t sum);

// The rest of a row, int8[padded].
void unpack_rest(const uint8_t* rest, size_t padded, int8_t* out);

// A row as it was before it came into the frame, from its codes, its unpacked rest and the scale of its head, float32[dim].
// x: float32[padded], for the while.
void restore_row(const GraphView& graph, const float* signs, const int8_t* codes, const int8_t* rest, float scale, float* x,
                 float* out);

// The scores of the listed rows, rounded to float32, so that rows tie that are given out with the same score.
void score_restored(const Kernels& kernels, const GraphView& graph, const RestoredQuery& query,
                    std::vector<Listed>& listed);

// As scan_i8: every row, or those of batch.at, by its int8 codes, and what may belong to the k best by its restored row too.
void scan_restored(const Kernels& kernels, const GraphView& graph, const float* signs, const Batch& batch, size_t threads,
                   const Answer& answer);

// The rows [first, first + count) as they were before they came into the frame, float32 (count, dim).
void restore_rows(const GraphView& graph, const float* signs, size_t first, size_t count, size_t threads, float* out);

}  // namespace perwatt
