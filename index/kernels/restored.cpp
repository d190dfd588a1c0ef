// See restored.hpp.
#include "restored.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "encode.hpp"
#include "shares.hpp"

namespace perwatt {
namespace {

constexpr float kMost = 127 * 256;  // of a query's code: its high byte is 127 then, and its low byte 0
constexpr size_t kScored = 64;      // rows that are scored at once: their rests, unpacked, are 24 KiB at 384 dimensions
constexpr size_t kBlockRows = 256;  // as scan.cpp has them
constexpr size_t kBlockQueries = 16;
constexpr size_t kRowsPerRange = 64;
constexpr float kSqrtHalf = 0.70710678f;

const int8_t* codes_of(const GraphView& graph) { return reinterpret_cast<const int8_t*>(graph.blocks); }

// From a product of high bytes and codes alone to a score in the frame, but for |q|^2: unit * scales[i] * product - norms[i].
struct Heads {
  float scales[kBlockRows], norms[kBlockRows];

  void take(const GraphView& graph, size_t i, size_t row) {
    const Head head = head_of(graph, block_of(graph, row));
    scales[i] = head.restored_scale;
    norms[i] = head.restored_norm;
  }
};

void offer(const int32_t* products, const Heads& heads, double unit, size_t count, size_t first, const uint32_t* at,
           const Kept& kept, Shortlist& shortlist) {
  double scores[kBlockRows];
  uint32_t which[kBlockRows];
  const double floor = shortlist.floor();
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    scores[i] = unit * static_cast<double>(heads.scales[i]) * products[i] - static_cast<double>(heads.norms[i]);
    which[found] = static_cast<uint32_t>(i);
    found += scores[i] >= floor;
  }
  for (size_t i = 0; i < found; ++i) {
    const size_t row = at ? at[which[i]] : first + which[i];
    if (scores[which[i]] < shortlist.floor() || !(kept.all() || kept.holds(row))) continue;
    shortlist.offer(scores[which[i]], static_cast<uint32_t>(row));
  }
}

void scan_some(const Kernels& kernels, const GraphView& graph, const float* signs, size_t first_row, size_t last_row,
               const Batch& batch, const Answer& answer) {
  const size_t padded = graph.padded, stride = stride_of(graph);
  std::vector<float> frame(padded);
  std::vector<int8_t> memory(batch.count * padded + 63);
  int8_t* high = memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & 63);
  std::vector<RestoredQuery> queries;
  std::vector<Shortlist> shortlists;
  queries.reserve(batch.count);
  shortlists.reserve(batch.count);
  for (size_t q = 0; q < batch.count; ++q) {
    to_frame(kernels, graph, signs, batch.queries + q * graph.dim, frame.data());
    queries.push_back(restored_query(graph, frame.data(), batch.queries + q * graph.dim));
    std::copy_n(queries.back().high(), padded, high + q * padded);
    shortlists.emplace_back(batch.k, queries.back().slack);
  }
  Heads heads;
  const Kept kept(batch);
  int32_t products[kBlockQueries * kBlockRows];
  const size_t rows = batch.at ? batch.at_count : last_row - first_row;
  for (size_t start = 0; start < rows; start += kBlockRows) {
    const size_t count = std::min(kBlockRows, rows - start), first = first_row + start;
    const uint32_t* at = batch.at ? batch.at + start : nullptr;
    if (!kept.all() && kept.none_of(first, count)) continue;
    for (size_t q = 0; q < batch.count; ++q) {
      int32_t* mine = products + (at ? 0 : q % kBlockQueries * kBlockRows);
      if (at) {
        kernels.dot_i8_at(high + q * padded, codes_of(graph), stride, at, count, padded, mine);
      } else if (q % kBlockQueries == 0) {
        kernels.dots_i8(high + q * padded, padded, std::min(kBlockQueries, batch.count - q),
                        codes_of(graph) + first * stride, stride, count, padded, products, kBlockRows);
      }
      if (q == 0) {  // the lines that hold them are on their way with the codes
        for (size_t i = 0; i < count; ++i) heads.take(graph, i, at ? at[i] : first + i);
      }
      offer(mine, heads, 256.0 * queries[q].unit, count, first, at, kept, shortlists[q]);
    }
  }
  for (size_t q = 0; q < batch.count; ++q) {
    std::vector<Listed> listed = shortlists[q].finish();
    score_restored(kernels, graph, queries[q], listed);
    answer.rescored[q] = static_cast<int64_t>(listed.size());
    write_best(listed, batch.k, 0, answer.rows + q * batch.k, answer.scores + q * batch.k);
  }
}

// Undoes `rotate` of frame.hpp: each step is its own inverse, so they come in the opposite order.
void turn_back(float* x, size_t padded, const float* signs) {
  size_t power = kPadding;
  while (power * 2 <= padded) power *= 2;
  const float scale = 1.0f / std::sqrt(static_cast<float>(power));
  for (size_t round = kRounds; round-- > 0;) {
    const size_t half = padded / 2;
    for (size_t i = 0; i < half && power != padded; ++i) {
      const float a = x[i], b = x[i + half];
      x[i] = (a + b) * kSqrtHalf;
      x[i + half] = (a - b) * kSqrtHalf;
    }
    float* part = x + (round & 1 ? padded - power : 0);
    for (size_t width = 1; width < power; width *= 2) {
      for (size_t i = 0; i < power; i += 2 * width) {
        for (size_t j = i; j < i + width; ++j) {
          const float a = part[j], b = part[j + width];
          part[j] = a + b;
          part[j + width] = a - b;
        }
      }
    }
    for (size_t i = 0; i < power; ++i) part[i] *= scale;
    for (size_t i = 0; i < padded; ++i) x[i] *= signs[round * padded + i];
  }
}

}  // namespace

void unpack_rest(const uint8_t* rest, size_t padded, int8_t* out) {
  const size_t half = padded / 2;
  for (size_t i = 0; i < half; ++i) {
    out[i] = static_cast<int8_t>((rest[i] & 15) - 8);
    out[half + i] = static_cast<int8_t>((rest[i] >> 4) - 8);
  }
}

double score_of_sum(const GraphView& graph, const RestoredQuery& query, float scale, float norm, int64_t sum) {
  const double product = static_cast<double>(scale) / 16.0 * query.unit * static_cast<double>(sum);
  const double score = (product - static_cast<double>(norm) - query.square) * query.scale;
  if (!std::isfinite(score)) return -std::numeric_limits<float>::max();  // of damaged blocks
  return static_cast<double>(static_cast<float>(graph.l2 ? std::min(score, 0.0) : score));
}

void restore_row(const GraphView& graph, const float* signs, const int8_t* codes, const int8_t* rest, float scale, float* x,
                 float* out) {
  const float* origin = reinterpret_cast<const float*>(graph.root);  // 0 but for l2
  const float unit = scale / (graph.l2 ? 32.0f : 16.0f);
  for (size_t i = 0; i < graph.padded; ++i) {
    x[i] = unit * static_cast<float>(16 * codes[i] + rest[i]) / graph.gain + origin[i];
  }
  turn_back(x, graph.padded, signs);
  std::copy_n(x, graph.dim, out);
}

// What is left out of a product is, with q = unit * (256 h + l) and x = step / 16 * (16 c + r),
//   <unit * l, step * c> + <q, step / 16 * r>,   at most   |unit * l| max |step * c| + |q| max |step / 16 * r|,
// with the step that restores the length; twice that for l2. Scores are compared as float32, which is off by 2^-24 of them, and so may |x|^2 be.
RestoredQuery restored_query(const GraphView& graph, const float* frame, const float* query) {
  const size_t padded = graph.padded;
  RestoredQuery found{std::vector<int8_t>(2 * padded), 1.0, 0.0, 1.0, 0.0};
  float largest = 0.0f;
  for (size_t i = 0; i < padded; ++i) largest = std::max(largest, std::abs(frame[i]));
  if (largest > 0.0f) found.unit = static_cast<double>(largest) / static_cast<double>(kMost);
  const float inverse = static_cast<float>(1.0 / found.unit);
  int32_t high_squares = 0, low_squares = 0, crossed = 0;  // at most 2^26 each, of 4,096 dimensions
  for (size_t i = 0; i < padded; ++i) {
    // Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, and is no call.
    const float rounded = (frame[i] * inverse + 0x1.8p23f) - 0x1.8p23f;
    const int32_t whole = static_cast<int32_t>(std::max(-kMost, std::min(kMost, rounded)));
    const int32_t high = (whole + 128) >> 8, low = whole - 256 * high;
    found.codes[i] = static_cast<int8_t>(high);
    found.codes[padded + i] = static_cast<int8_t>(low);
    high_squares += high * high;
    low_squares += low * low;
    crossed += high * low;
  }
  const int64_t squares = 65536 * int64_t{high_squares} + 512 * int64_t{crossed} + int64_t{low_squares};
  const double norm = found.unit * std::sqrt(static_cast<double>(squares));
  const double low_norm = found.unit * std::sqrt(static_cast<double>(low_squares));
  const double gain = static_cast<double>(graph.gain), row_norm = graph.code_norm + graph.rest_norm;
  double bound = low_norm * graph.code_norm + norm * graph.rest_norm;
  if (graph.l2) {
    found.square = norm * norm;
    found.scale = 1.0 / (gain * gain);
    bound = 2.0 * bound + 0x1p-22 * (norm + row_norm) * (norm + row_norm);
  } else {
    double squared = 0.0;  // to_frame has made it of length 1
    for (size_t i = 0; i < graph.dim; ++i) squared += static_cast<double>(query[i]) * static_cast<double>(query[i]);
    found.scale = std::sqrt(squared) / gain;
    bound += 0x1p-22 * norm * row_norm;
  }
  found.slack = 2.0 * bound * (1.0 + 1e-6) + std::numeric_limits<double>::min();  // above 0, for the short list
  return found;
}

void score_restored(const Kernels& kernels, const GraphView& graph, const RestoredQuery& query,
                    std::vector<Listed>& listed) {
  const size_t padded = graph.padded, stride = stride_of(graph), together = std::min(kScored, listed.size());
  std::vector<int8_t> rests(together * padded);
  uint32_t at[kScored];
  int32_t high[kScored], low[kScored], of_rests[2 * kScored];
  for (size_t first = 0; first < listed.size(); first += kScored) {
    const size_t count = std::min(kScored, listed.size() - first);
    for (size_t i = 0; i < count; ++i) {
      at[i] = listed[first + i].row;
      unpack_rest(graph.rests + at[i] * rest_bytes(padded), padded, rests.data() + i * padded);
    }
    kernels.dot_i8_at(query.high(), codes_of(graph), stride, at, count, padded, high);
    kernels.dot_i8_at(query.low(), codes_of(graph), stride, at, count, padded, low);
    kernels.dots_i8(query.high(), padded, 2, rests.data(), padded, count, padded, of_rests, kScored);
    for (size_t i = 0; i < count; ++i) {
      const int64_t sum = 4096 * int64_t{high[i]} + 16 * int64_t{low[i]} + 256 * int64_t{of_rests[i]} +
                          int64_t{of_rests[kScored + i]};
      const Head head = head_of(graph, block_of(graph, at[i]));
      listed[first + i].score = score_of_sum(graph, query, head.restored_scale, head.restored_norm, sum);
    }
  }
}

void scan_restored(const Kernels& kernels, const GraphView& graph, const float* signs, const Batch& batch, size_t threads,
                   const Answer& answer) {
  in_shares(threads, graph.count, graph.dim, batch, answer,
            [&](size_t first, size_t last, const Batch& part, const Answer& out) {
              scan_some(kernels, graph, signs, first, last, part, out);
            });
}

void restore_rows(const GraphView& graph, const float* signs, size_t first, size_t count, size_t threads, float* out) {
  const size_t padded = graph.padded;
  in_parallel(threads, count, kRowsPerRange, [&] {
    return [&, x = std::vector<float>(padded), rest = std::vector<int8_t>(padded)](size_t from, size_t to) mutable {
      for (size_t r = from; r < to; ++r) {
        const uint8_t* block = block_of(graph, first + r);
        unpack_rest(graph.rests + (first + r) * rest_bytes(padded), padded, rest.data());
        restore_row(graph, signs, reinterpret_cast<const int8_t*>(block), rest.data(), head_of(graph, block).restored_scale,
                    x.data(), out + r * graph.dim);
      }
    };
  });
}

}  // namespace perwatt
