// Several queries at once, which of their products are near, and the scans made of them, against a plain sort by exact scores: every unit, filtered and not,
// picked rows, duplicates, zero vectors, k beyond the rows, on one thread and on three. Values are small integers, so
// float32 arithmetic is exact in any order: every unit and every architecture must give the same rows, scores and counts.
// Then values of any size, where the scan of codes must still give the answer of the scan of floats, to the bit.
#include "check.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

#include "scan.hpp"

namespace perwatt {
namespace {

constexpr int32_t kUntouched = 0x5A5A5A5A;

// Every product of every query with every row, into outputs that lie apart: what lies between them must stay.
void check_products(const Kernels& unit, size_t dim, size_t query_count, size_t count, size_t misalignment,
                    std::mt19937& random) {
  const size_t stride = dim + 3, query_stride = dim + 1, out_stride = count + 2;
  std::vector<int8_t> queries(query_count * query_stride + misalignment), rows(count * stride + misalignment);
  for (auto* codes : {&queries, &rows}) {
    for (int8_t& code : *codes) code = static_cast<int8_t>(random() % 3 ? random() : random() % 2 ? 128 : 127);
  }
  const int8_t *q = queries.data() + misalignment, *x = rows.data() + misalignment;
  std::vector<int32_t> out(query_count * out_stride, kUntouched);
  unit.dots_i8(q, query_stride, query_count, x, stride, count, dim, out.data(), out_stride);
  for (size_t i = 0; i < query_count; ++i) {
    for (size_t r = 0; r < out_stride; ++r) {
      int64_t sum = 0;
      for (size_t j = 0; r < count && j < dim; ++j) sum += int64_t{q[i * query_stride + j]} * x[r * stride + j];
      if (out[i * out_stride + r] == (r < count ? sum : int64_t{kUntouched})) continue;
      std::printf("%s dots_i8: dim %zu, query %zu of %zu, row %zu of %zu: expected %lld, found %d\n", unit.name, dim, i,
                  query_count, r, count, static_cast<long long>(sum), out[i * out_stride + r]);
      std::exit(1);
    }
  }
}

// Which of a row of products belong to vectors that are near, as nearest.hpp says, to the bit.
void check_within(const Kernels& unit, size_t count, std::mt19937& random) {
  const auto any = [&](int from, int to) {
    return static_cast<float>(from + static_cast<int>(random() % static_cast<unsigned>(to - from + 1))) / 7.0f;
  };
  std::vector<int32_t> products(count);
  std::vector<float> norms(count), steps(count), distances(count + 16);
  std::vector<uint32_t> which(count + 16);
  for (size_t i = 0; i < count; ++i) {
    products[i] = static_cast<int32_t>(random() % 2001) - 1000;
    norms[i] = any(0, 5000), steps[i] = any(1, 9);
  }
  const float norm = any(0, 5000), twice_step = any(1, 9);
  for (const float limit : {0.0f, 300.0f, 1e4f, std::numeric_limits<float>::infinity()}) {
    const size_t found =
        unit.within(products.data(), norms.data(), steps.data(), count, norm, twice_step, limit, which.data(), distances.data());
    std::vector<std::pair<uint32_t, float>> expected, told;
    for (uint32_t i = 0; i < count; ++i) {
      const float product = static_cast<float>(products[i]), sum = norm + norms[i], step = twice_step * steps[i];
      const float distance = std::max(sum - step * product, 0.0f);
      if (distance <= limit) expected.emplace_back(i, distance);
    }
    for (size_t i = 0; i < found; ++i) told.emplace_back(which[i], distances[i]);
    if (told == expected) continue;
    std::printf("%s within: %zu vectors, limit %g: %zu found, and not the %zu there are\n", unit.name, count,
                static_cast<double>(limit), found, expected.size());
    std::exit(1);
  }
}

struct Found {
  std::vector<int64_t> rows, rescored;
  std::vector<float> scores;

  Found(size_t count, size_t k) : rows(count * k), rescored(count), scores(count * k) {}
  Answer answer() { return {rows.data(), scores.data(), rescored.data()}; }
  bool same_answers(const Found& other) const { return rows == other.rows && scores == other.scores; }
};

struct Set {
  size_t count, dim, query_count;
  Metric metric;
  std::vector<float> vectors, queries, square_norms;
  std::vector<int8_t> codes;
  double step = 1.0, error_norm = 0.0, row_norm = 0.0;

  FloatRows rows() const { return {vectors.data(), dim, count, dim, metric}; }
  CodeRows code_rows() const { return {codes.data(), dim, step, error_norm, row_norm, square_norms.data()}; }
};

// As index/disk/codes.py quantises.
void quantise(Set& set) {
  double largest = 0.0;
  for (const float value : set.vectors) largest = std::max(largest, std::abs(static_cast<double>(value)));
  set.step = largest > 0.0 ? largest / 127.0 : 1.0;
  for (size_t row = 0; row < set.count; ++row) {
    double square = 0.0, square_error = 0.0;
    for (size_t i = 0; i < set.dim; ++i) {
      const double value = set.vectors[row * set.dim + i], code = std::nearbyint(value / set.step);
      square += value * value;
      square_error += (value - code * set.step) * (value - code * set.step);
      set.codes.push_back(static_cast<int8_t>(code));
    }
    set.error_norm = std::max(set.error_norm, std::sqrt(square_error));
    set.row_norm = std::max(set.row_norm, std::sqrt(square));
    set.square_norms.push_back(static_cast<float>(square));
  }
}

Set made(size_t count, size_t dim, size_t query_count, Metric metric, bool whole_numbers) {
  std::mt19937 random(static_cast<uint32_t>(count * 31 + dim));
  Set set{count, dim, query_count, metric, {}, {}, {}, {}};
  const auto any = [&](int way) {
    if (whole_numbers) return static_cast<float>(random() % 15) - 7.0f;
    // Of any size: one component in some leaves no code for the others, and the bound has to know.
    const float value = std::ldexp(static_cast<float>(random() % 2001) - 1000.0f, -10);
    return random() % 50 ? value : std::ldexp(value, way ? 6 : -40);
  };
  for (size_t i = 0; i < count * dim; ++i) set.vectors.push_back(any(i / dim % 3 == 0));
  for (size_t i = 0; i < query_count * dim; ++i) set.queries.push_back(any(i / dim % 2));
  for (size_t row = 0; row < count; ++row) {
    float* vector = set.vectors.data() + row * dim;
    if (row % 7 == 3) std::copy(set.vectors.data(), set.vectors.data() + dim, vector);  // duplicates
    if (row % 11 == 5) std::fill(vector, vector + dim, 0.0f);
  }
  std::fill(set.queries.begin(), set.queries.begin() + static_cast<std::ptrdiff_t>(dim), 0.0f);
  quantise(set);
  return set;
}

Found expected(const Set& set, size_t k, const std::vector<uint32_t>& among) {
  Found found(set.query_count, k);
  for (size_t q = 0; q < set.query_count; ++q) {
    std::vector<std::pair<double, uint32_t>> ranked;  // minus the score, the row
    for (const uint32_t row : among) {
      double score = 0.0;
      for (size_t i = 0; i < set.dim; ++i) {
        const double a = set.queries[q * set.dim + i], b = set.vectors[row * set.dim + i];
        score += set.metric == Metric::ip ? a * b : -(a - b) * (a - b);
      }
      ranked.emplace_back(-score, row);
    }
    std::sort(ranked.begin(), ranked.end());
    for (size_t i = 0; i < k; ++i) {
      const bool there = i < ranked.size();
      found.rows[q * k + i] = there ? int64_t{ranked[i].second} : -1;
      found.scores[q * k + i] = there ? static_cast<float>(-ranked[i].first) : -std::numeric_limits<float>::infinity();
    }
  }
  return found;
}

void require_same(const Kernels& unit, const char* what, const Set& set, size_t k, const Found& found, const Found& wanted) {
  if (found.same_answers(wanted)) return;
  std::printf("%s %s: %zu x %zu, %zu queries, k %zu, %s: another answer\n", unit.name, what, set.count, set.dim,
              set.query_count, k, set.metric == Metric::ip ? "ip" : "l2");
  std::exit(1);
}

// Every way to the k best rows, all of the same set: each must give `wanted`. Returns how many rows the codes left over.
std::vector<int64_t> check_ways(const Kernels& unit, const Set& set, size_t k, size_t threads, const Found* wanted_all,
                                const Found* wanted_kept, const std::vector<uint32_t>& kept) {
  std::vector<uint64_t> bits((set.count + 63) / 64);
  for (const uint32_t row : kept) bits[row >> 6] |= uint64_t{1} << (row & 63);
  Batch batch{set.queries.data(), set.query_count, k, 0};
  Found floats(set.query_count, k), codes(set.query_count, k), again(set.query_count, k);
  scan_f32(unit, set.rows(), batch, threads, floats.answer());
  if (wanted_all) require_same(unit, "scan_f32", set, k, floats, *wanted_all);
  scan_i8(unit, set.rows(), set.code_rows(), batch, threads, codes.answer());
  require_same(unit, "scan_i8", set, k, codes, floats);

  std::vector<int64_t> candidates;  // all rows, from the last to the first, with gaps
  for (size_t q = 0; q < set.query_count; ++q) {
    for (size_t row = set.count; row-- > 0;) {
      candidates.push_back(static_cast<int64_t>(row));
      if (row % 5 == 0) candidates.push_back(-1);
    }
  }
  rescore(unit, set.rows(), candidates.data(), candidates.size() / set.query_count, batch, again.answer());
  require_same(unit, "rescore", set, k, again, floats);

  std::vector<int64_t> left = codes.rescored;
  batch.keep = bits.data();
  scan_f32(unit, set.rows(), batch, threads, floats.answer());
  if (wanted_kept) require_same(unit, "scan_f32, filtered", set, k, floats, *wanted_kept);
  scan_i8(unit, set.rows(), set.code_rows(), batch, threads, codes.answer());
  require_same(unit, "scan_i8, filtered", set, k, codes, floats);
  left.insert(left.end(), codes.rescored.begin(), codes.rescored.end());
  batch.keep = nullptr;
  static const uint32_t none = 0;
  batch.at = kept.empty() ? &none : kept.data();
  batch.at_count = kept.size();
  scan_i8(unit, set.rows(), set.code_rows(), batch, 1, codes.answer());
  require_same(unit, "scan_i8, picked rows", set, k, codes, floats);
  return left;
}

}  // namespace

void check_scans(const std::vector<const Kernels*>& kernels) {
  size_t cases = 0;
  for (const Kernels* unit : kernels) {
    std::mt19937 random(2);
    // Around the sizes of a step, a pair, a tile and a part of any unit.
    for (const size_t dim : {0, 1, 15, 16, 17, 63, 65, 384, 511, 512, 513, 1030}) {
      for (const size_t query_count : {0, 1, 2, 3, 5, 8, 16, 19}) {
        for (const size_t count : {1, 2, 3, 4, 9}) check_products(*unit, dim, query_count, count, random() % 6, random);
      }
    }
    for (size_t count = 0; count < 70; ++count) check_within(*unit, count, random);
    // The widest products there are, as many as there can be.
    const std::vector<int8_t> lowest(kMaxDim * 3, -128);
    int32_t out[6];
    unit->dots_i8(lowest.data(), kMaxDim, 2, lowest.data(), kMaxDim, 3, kMaxDim, out, 3);
    for (const int32_t product : out) {
      if (product == static_cast<int32_t>(kMaxDim) * 128 * 128) continue;
      std::printf("%s dots_i8: %zu products of -128 and -128: found %d\n", unit->name, kMaxDim, product);
      std::exit(1);
    }
  }
  for (const Metric metric : {Metric::ip, Metric::l2}) {
    for (const size_t dim : {1, 17, 130}) {
      for (const size_t count : {1, 5, 700}) {
        for (const size_t query_count : {1, 2, 11}) {
          const Set whole = made(count, dim, query_count, metric, true), any = made(count, dim, query_count, metric, false);
          std::vector<uint32_t> all, kept;
          for (uint32_t row = 0; row < count; ++row) {
            all.push_back(row);
            if (row % 4 == 1 && !(row >= 256 && row < 512)) kept.push_back(row);  // and a block of which nothing is left
          }
          for (const size_t k : {size_t{1}, size_t{10}, count + 3}) {
            const Found best = expected(whole, k, all), best_kept = expected(whole, k, kept);
            const std::vector<int64_t> left = check_ways(kScalar, whole, k, 1, &best, &best_kept, kept);
            for (const Kernels* unit : kernels) {
              check_ways(*unit, any, k, 1, nullptr, nullptr, kept);
              check_ways(*unit, whole, k, 3, &best, &best_kept, kept);
              if (check_ways(*unit, whole, k, 1, &best, &best_kept, kept) == left) continue;
              std::printf("%s scan_i8: %zu x %zu: another number of rows is left than in scalar\n", unit->name, count, dim);
              std::exit(1);
            }
            ++cases;
          }
        }
      }
    }
  }
  std::printf("scans of %zu sets agree\n", cases);
}

}  // namespace perwatt
