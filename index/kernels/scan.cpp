// See scan.hpp. Blocks of rows are the outer loop and queries the inner one, so that with many queries each
// block comes from memory once and from the cache for the rest; int8 queries go several at a time, and share the loads too.
#include "scan.hpp"

#include <cmath>

#include "shares.hpp"
#include "shortlist.hpp"

namespace perwatt {
namespace {

// 256 rows of 384 int8 codes are 96 KiB and of float32 384 KiB: both stay in a core's 1 to 2 MiB of L2.
constexpr size_t kBlockRows = 256;
constexpr size_t kBlockQueries = 16;  // whose products with a block, 16 KiB, stay in L1 until they are looked at
constexpr size_t kFirstRows = 64;
constexpr size_t kTogether = 64;  // picked rows that are on their way from memory, 24 KiB, while more are picked
constexpr size_t kLanes = 8;
typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef double Doubles __attribute__((vector_size(kLanes * sizeof(double))));
typedef int32_t Integers __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef int8_t Codes __attribute__((vector_size(kLanes)));

// gamma(n) of kernels.hpp.
double gamma(size_t n) {
  const double nu = static_cast<double>(n) * std::ldexp(1.0, -24);
  return nu / (1.0 - nu);
}

// An int8 query, and what its rounding and the codes' may add up to.
struct QuantisedQuery {
  double unit;   // what one unit of the integer product is worth
  double slack;  // twice the bound of the error of a score, in the scale that is compared (see below)
  double shift;  // what a score lacks in that scale: |q|^2 for l2
  bool distance;

  // From a score to the scale that is compared, and back.
  double compared(double score) const { return distance ? score + shift : score / unit; }
  double score(double compared) const { return distance ? compared - shift : compared * unit; }
};

// q = query_step * code + f and x = step * c + e, so
//   <q, x> = query_step * step * <code, c> + <f, step * c> + <q, e>,
//   |<f, step * c>| <= |f| (|x| + |e|)   and   |<q, e>| <= |q| |e|.
// The float32 score that decides in the end is itself off by gamma, and by one smallest float for each dimension whose
// product is too small for a normal one; for l2 so is the stored |x|^2.
//
// Eight dimensions at a time: one chain of additions in double would take longer than the scan of a thousand rows.
QuantisedQuery quantise(const float* query, const FloatRows& rows, const CodeRows& codes, int8_t* code) {
  float largest_of[kLanes] = {};
  for (size_t i = 0; i + kLanes <= rows.dim; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float magnitude = std::abs(query[i + lane]);
      largest_of[lane] = largest_of[lane] < magnitude ? magnitude : largest_of[lane];
    }
  }
  float largest = *std::max_element(largest_of, largest_of + kLanes);
  for (size_t i = rows.dim / kLanes * kLanes; i < rows.dim; ++i) largest = std::max(largest, std::abs(query[i]));
  const double step = largest > 0.0f ? largest / 127.0 : 1.0, inverse = 1.0 / step;
  QuantisedQuery result{step * codes.step, 0.0, 0.0, rows.metric == Metric::l2};
  Doubles square_norms{}, square_errors{};
  const auto round = [&](Floats narrow) {
    const Doubles value = __builtin_convertvector(narrow, Doubles);
    // Adding and taking off 1.5 * 2^52 rounds to the nearest integer, ties to even, and is no call.
    const Doubles rounded = (value * inverse + 0x1.8p52) - 0x1.8p52, error = value - rounded * step;
    square_norms += value * value;
    square_errors += error * error;
    return __builtin_convertvector(__builtin_convertvector(rounded, Integers), Codes);
  };
  size_t i = 0;
  for (; i + kLanes <= rows.dim; i += kLanes) {
    Floats narrow;
    __builtin_memcpy(&narrow, query + i, sizeof narrow);
    const Codes some = round(narrow);
    __builtin_memcpy(code + i, &some, sizeof some);
  }
  if (i < rows.dim) {
    Floats narrow{};
    __builtin_memcpy(&narrow, query + i, (rows.dim - i) * sizeof(float));
    const Codes some = round(narrow);
    __builtin_memcpy(code + i, &some, rows.dim - i);
  }
  double square_norm = 0.0, square_error = 0.0;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    square_norm += square_norms[lane];
    square_error += square_errors[lane];
  }
  const double norm = std::sqrt(square_norm);
  result.shift = square_norm;
  const double product_error =
      std::sqrt(square_error) * (codes.row_norm + codes.error_norm) + norm * codes.error_norm;
  double bound = static_cast<double>(rows.dim + 2) * std::ldexp(1.0, -149);
  if (rows.metric == Metric::ip) {
    bound += product_error + gamma(rows.dim) * norm * codes.row_norm;
    bound /= result.unit;  // integer products are compared as they are
  } else {
    const double farthest = norm + codes.row_norm;
    bound += 2.0 * product_error + gamma(2) * codes.row_norm * codes.row_norm +
            gamma(rows.dim + 3) * farthest * farthest;
  }
  // The bound itself is computed in double: a millionth more covers that rounding many times over.
  result.slack = 2.0 * bound * (1.0 + 1e-6);
  return result;
}

// The same for rows picked one by one; a row's number is in `at`.
void offer_picked(const int32_t* products, const CodeRows& codes, const double* unit, const uint32_t* at, size_t count,
                  Shortlist& shortlist) {
  for (size_t i = 0; i < count; ++i) {
    const double score = unit ? 2.0 * *unit * products[i] - codes.square_norms[at[i]] : products[i];
    if (score >= shortlist.floor()) shortlist.offer(score, at[i]);
  }
}

// The least product that is not below `floor`.
int32_t least(double floor) {
  constexpr double kLow = std::numeric_limits<int32_t>::min(), kHigh = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(std::min(std::max(std::ceil(floor), kLow), kHigh));
}

typedef int32_t Four __attribute__((vector_size(16), aligned(4), may_alias));

inline bool any(Four reached) {
  uint64_t halves[2];
  __builtin_memcpy(halves, &reached, sizeof halves);
  return (halves[0] | halves[1]) != 0;
}

// Which of up to kBlockRows products reach `enough`, in ascending order; returns how many. In a long scan nearly none does,
// so sixteen are compared at once (vectors of 16 bytes are in the baseline of both architectures). Where one does, early in
// a scan, nobody can guess which: all sixteen are written down and counted on, without a branch to guess wrong. Not
// inlined: it needs the registers to itself.
__attribute__((noinline)) size_t reaching(const int32_t* products, size_t count, int32_t enough, uint32_t* which) {
  size_t found = 0, i = 0;
  for (; i + 16 <= count; i += 16) {
    const Four* four = reinterpret_cast<const Four*>(products + i);
    const Four low = (four[0] >= enough) | (four[1] >= enough), high = (four[2] >= enough) | (four[3] >= enough);
    if (!any(low | high)) continue;
    for (size_t j = i; j < i + 16; ++j) {
      which[found] = static_cast<uint32_t>(j);
      found += products[j] >= enough;
    }
  }
  for (; i < count; ++i) {
    which[found] = static_cast<uint32_t>(i);
    found += products[i] >= enough;
  }
  return found;
}

// Rows of one query that were picked and are on their way.
struct Picked {
  uint32_t rows[kBlockRows + kTogether];
  size_t count = 0;
};

void ask_for(const int8_t* row, size_t dim) {
  for (size_t offset = 0; offset < dim; offset += 64) __builtin_prefetch(row + offset);
}

// Those of `which` that the filter lets through.
size_t kept_of(const Kept& kept, size_t first, uint32_t* which, size_t count) {
  if (kept.all()) return count;
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t row = which[i];
    which[found] = row;
    found += kept.holds(first + row);
  }
  return found;
}

void offer_products(const int32_t* products, size_t count, size_t first, const Kept& kept, Shortlist& shortlist) {
  uint32_t which[kBlockRows];
  // While anything is good enough, the floor rises quickly: in the first block it is asked for more often.
  const size_t step = first == 0 ? kFirstRows : count;
  for (size_t start = 0; start < count; start += step) {
    const int32_t* some = products + start;
    const size_t reach = reaching(some, std::min(step, count - start), least(shortlist.floor()), which);
    const size_t found = kept_of(kept, first + start, which, reach);
    if (found) shortlist.offer(which, found, first + start, [some](uint32_t i) { return static_cast<double>(some[i]); });
  }
}

void offer_distances(const int32_t* products, const float* square_norms, double unit, size_t count, size_t first,
                     const Kept& kept, Shortlist& shortlist) {
  uint32_t which[kBlockRows];
  double scores[kBlockRows];
  const size_t step = first == 0 ? kFirstRows : count;
  for (size_t start = 0; start < count; start += step) {
    const size_t stop = std::min(start + step, count);
    const double floor = shortlist.floor();
    size_t reach = 0;
    for (size_t i = start; i < stop; ++i) {
      scores[i - start] = 2.0 * unit * products[i] - square_norms[first + i];  // + |q|^2, the same for all rows
      which[reach] = static_cast<uint32_t>(i - start);
      reach += scores[i - start] >= floor;
    }
    const size_t found = kept_of(kept, first + start, which, reach);
    if (found) shortlist.offer(which, found, first + start, [&scores](uint32_t i) { return scores[i]; });
  }
}

void score(const Kernels& kernels, const FloatRows& rows, const float* query, std::vector<Listed>& listed) {
  uint32_t at[kBlockRows];
  float scores[kBlockRows];
  for (size_t first = 0; first < listed.size(); first += kBlockRows) {
    const size_t count = std::min(kBlockRows, listed.size() - first);
    for (size_t i = 0; i < count; ++i) at[i] = listed[first + i].row;
    const auto kernel = rows.metric == Metric::ip ? kernels.dot_f32_at : kernels.l2_f32_at;
    kernel(query, rows.base, rows.stride, at, count, rows.dim, scores);
    for (size_t i = 0; i < count; ++i) {
      listed[first + i].score = rows.metric == Metric::ip ? scores[i] : -scores[i];
    }
  }
}

void scan_some_f32(const Kernels& kernels, const FloatRows& rows, const Batch& batch, const Answer& answer) {
  std::vector<Shortlist> shortlists(batch.count, Shortlist(batch.k, 0.0));
  const auto kernel = rows.metric == Metric::ip ? kernels.dot_f32 : kernels.l2_f32;
  const float sign = rows.metric == Metric::ip ? 1.0f : -1.0f;
  float scores[kBlockRows];
  const Kept kept(batch);
  for (size_t first = 0; first < rows.count; first += kBlockRows) {
    const size_t count = std::min(kBlockRows, rows.count - first);
    if (!kept.all() && kept.none_of(first, count)) continue;
    for (size_t q = 0; q < batch.count; ++q) {
      kernel(batch.queries + q * rows.dim, rows.base + first * rows.stride, rows.stride, count, rows.dim, scores);
      for (size_t i = 0; i < count; ++i) {
        if (kept.all() || kept.holds(first + i)) shortlists[q].offer(sign * scores[i], static_cast<uint32_t>(first + i));
      }
    }
  }
  for (size_t q = 0; q < batch.count; ++q) {
    std::vector<Listed> best = shortlists[q].finish();
    write_best(best, batch.k, batch.first_row, answer.rows + q * batch.k, answer.scores + q * batch.k);
    answer.rescored[q] = static_cast<int64_t>(rows.count);
  }
}

void scan_some_i8(const Kernels& kernels, const FloatRows& rows, const CodeRows& codes, const Batch& batch,
                  const Answer& answer) {
  const size_t query_stride = (rows.dim + 63) / 64 * 64;  // and each begins with a cache line, as rows do
  std::vector<int8_t> query_memory(batch.count * query_stride + 63);
  int8_t* query_codes = query_memory.data() + (-reinterpret_cast<uintptr_t>(query_memory.data()) & 63);
  std::vector<QuantisedQuery> queries;
  std::vector<Shortlist> shortlists;
  std::vector<int64_t> picked(batch.picker ? batch.count : 0);
  queries.reserve(batch.count);
  shortlists.reserve(batch.count);
  for (size_t q = 0; q < batch.count; ++q) {
    queries.push_back(quantise(batch.queries + q * rows.dim, rows, codes, query_codes + q * query_stride));
    shortlists.emplace_back(batch.k, queries.back().slack);
    if (batch.picker) shortlists.back().expect(queries.back().compared(static_cast<double>(batch.least[q])));
  }
  int32_t products[kBlockQueries * kBlockRows];
  for (size_t first = 0; first < batch.at_count; first += kBlockRows) {
    const uint32_t* at = batch.at + first;
    const size_t count = std::min(kBlockRows, batch.at_count - first);
    for (size_t q = 0; q < batch.count; ++q) {
      kernels.dot_i8_at(query_codes + q * query_stride, codes.base, codes.stride, at, count, rows.dim, products);
      offer_picked(products, codes, rows.metric == Metric::ip ? nullptr : &queries[q].unit, at, count, shortlists[q]);
    }
  }
  const Kept kept(batch);
  std::vector<Picked> waiting(batch.picker ? batch.count : 0);
  for (size_t first = 0; first < (batch.picker ? rows.count : 0); first += kBlockRows) {
    const size_t count = std::min(kBlockRows, rows.count - first);
    for (size_t q = 0; q < batch.count; ++q) {
      // The floor is two bounds below the k-th best; its true score is at most one below.
      const double kth = queries[q].score(shortlists[q].floor() + 0.5 * queries[q].slack);
      uint32_t* at = waiting[q].rows + waiting[q].count;
      size_t some = batch.picker->pick(q, first, count, std::max(static_cast<double>(batch.least[q]), kth), at);
      some = kept_of(kept, 0, at, some);
      for (size_t i = 0; i < some; ++i) ask_for(codes.base + at[i] * codes.stride, rows.dim);
      waiting[q].count += some;
      if (waiting[q].count < kTogether && first + count < rows.count) continue;
      for (size_t start = 0; start < waiting[q].count; start += kBlockRows) {
        const size_t together = std::min(kBlockRows, waiting[q].count - start);
        at = waiting[q].rows + start;
        kernels.dot_i8_at(query_codes + q * query_stride, codes.base, codes.stride, at, together, rows.dim, products);
        offer_picked(products, codes, rows.metric == Metric::ip ? nullptr : &queries[q].unit, at, together, shortlists[q]);
      }
      picked[q] += static_cast<int64_t>(waiting[q].count);
      waiting[q].count = 0;
    }
  }
  for (size_t first = 0; first < (batch.at || batch.picker ? 0 : rows.count); first += kBlockRows) {
    const size_t count = std::min(kBlockRows, rows.count - first);
    if (!kept.all() && kept.none_of(first, count)) continue;
    for (size_t q = 0; q < batch.count; ++q) {
      const int32_t* mine = products + q % kBlockQueries * kBlockRows;
      if (q % kBlockQueries == 0) {
        kernels.dots_i8(query_codes + q * query_stride, query_stride, std::min(kBlockQueries, batch.count - q),
                        codes.base + first * codes.stride, codes.stride, count, rows.dim, products, kBlockRows);
      }
      if (rows.metric == Metric::ip) {
        offer_products(mine, count, first, kept, shortlists[q]);
      } else {
        offer_distances(mine, codes.square_norms, queries[q].unit, count, first, kept, shortlists[q]);
      }
    }
  }
  for (size_t q = 0; q < batch.count; ++q) {
    std::vector<Listed> listed = shortlists[q].finish();
    score(kernels, rows, batch.queries + q * rows.dim, listed);
    answer.rescored[q] = batch.picker ? picked[q] : static_cast<int64_t>(listed.size());
    write_best(listed, batch.k, batch.first_row, answer.rows + q * batch.k, answer.scores + q * batch.k);
  }
}

// The rows [first, last) of `rows`, and the batch as it sees them.
FloatRows part_of(FloatRows rows, size_t first, size_t last, Batch& batch) {
  rows.base += first * rows.stride;
  rows.count = last - first;
  batch.first_row += static_cast<int64_t>(first);
  return rows;
}

}  // namespace

void scan_f32(const Kernels& kernels, const FloatRows& rows, const Batch& batch, size_t threads, const Answer& answer) {
  in_shares(threads, rows.count, rows.dim, batch, answer, [&](size_t first, size_t last, Batch part, const Answer& out) {
    const FloatRows some = part_of(rows, first, last, part);
    scan_some_f32(kernels, some, part, out);
  });
}

void scan_i8(const Kernels& kernels, const FloatRows& rows, const CodeRows& codes, const Batch& batch, size_t threads,
             const Answer& answer) {
  in_shares(threads, rows.count, rows.dim, batch, answer, [&](size_t first, size_t last, Batch part, const Answer& out) {
    const FloatRows some = part_of(rows, first, last, part);
    CodeRows some_codes = codes;
    some_codes.base += first * codes.stride;
    if (rows.metric == Metric::l2) some_codes.square_norms += first;
    scan_some_i8(kernels, some, some_codes, part, out);
  });
}

void rescore(const Kernels& kernels, const FloatRows& rows, const int64_t* candidates, size_t width,
             const Batch& batch, const Answer& answer) {
  std::vector<Listed> listed;
  for (size_t q = 0; q < batch.count; ++q) {
    listed.clear();
    for (size_t i = 0; i < width; ++i) {
      const int64_t row = candidates[q * width + i];
      if (row >= 0) listed.push_back({0.0, static_cast<uint32_t>(row)});
    }
    score(kernels, rows, batch.queries + q * rows.dim, listed);
    answer.rescored[q] = static_cast<int64_t>(listed.size());
    write_best(listed, batch.k, batch.first_row, answer.rows + q * batch.k, answer.scores + q * batch.k);
  }
}

}  // namespace perwatt
