// The sieve of every unit against the scalar one's, to the bit, and a scan through it against a scan of everything: with a
// margin that nothing exceeds both must give the same answer, through filters, beyond the last whole group, with rows
// that are too far away for sixteen bits, and with queries of no length. Prints a fingerprint, the same on every
// architecture.
#include "check.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>

#include "encode.hpp"
#include "sieving.hpp"

namespace perwatt {
namespace {

uint64_t mixed(uint64_t fingerprint, const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    fingerprint = (fingerprint ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3ull;
  }
  return fingerprint;
}

struct Answered {
  std::vector<int64_t> rows, scored;
  std::vector<float> scores;

  Answered(size_t count, size_t k) : rows(count * k), scored(count), scores(count * k) {}
  Answer answer() { return {rows.data(), scores.data(), scored.data()}; }
};

// Fingerprint of all that one unit computes for this shape.
uint64_t check(const Kernels& unit, size_t count, size_t dim, bool l2) {
  constexpr size_t kQueries = 5;
  std::mt19937 random(static_cast<uint32_t>(count * 131 + dim));
  std::vector<float> vectors(count * dim), queries(kQueries * dim), square_norms(count);
  std::vector<int8_t> codes(count * dim);
  // Whole numbers are exact in float32 and are their own codes.
  for (float& value : vectors) value = static_cast<float>(random() % 41) - 20.0f;
  for (float& value : queries) value = static_cast<float>(random() % 31) - 15.0f;
  for (size_t i = 0; i < dim; ++i) queries[i] = 0.0f;
  double longest = 0.0;
  for (size_t row = 0; row < count; ++row) {
    float square = 0.0f;
    for (size_t i = 0; i < dim; ++i) {
      float& value = vectors[row * dim + i];
      if (row % 13 == 5) value = vectors[i];  // equal to the first
      codes[row * dim + i] = static_cast<int8_t>(value);
      square += value * value;
    }
    square_norms[row] = square;
    longest = std::max(longest, std::sqrt(static_cast<double>(square)));
  }
  const size_t padded = padded_dim(dim), groups = count / kGroup;
  std::vector<float> frame(sieve_frame_floats(padded));
  std::vector<uint8_t> signs(groups * sieve_bytes(padded) + 1);
  // Made from a tenth of them at a hundredth of their size where dimensions are odd: then most are far away.
  std::vector<float> sample(vectors.begin(), vectors.begin() + static_cast<std::ptrdiff_t>((count / 10 + 1) * dim));
  for (float& value : sample) value *= dim % 2 ? 0.005f : 1.0f;
  make_sieve_frame(unit, sample.data(), sample.size() / dim, dim, l2, frame.data());
  make_sieve_groups(unit, frame.data(), vectors.data(), groups * kGroup, dim, l2, signs.data());
  uint64_t fingerprint = mixed(0xCBF29CE484222325ull, frame.data(), frame.size() * sizeof(float));
  fingerprint = mixed(fingerprint, signs.data(), signs.size());

  const FloatRows rows{vectors.data(), dim, count, dim, l2 ? Metric::l2 : Metric::ip};
  const CodeRows code_rows{codes.data(), dim, 1.0, 0.0, longest, square_norms.data()};
  const std::vector<float> rotation = rotation_signs(padded);
  std::vector<uint64_t> keep((count + 63) / 64);
  for (uint64_t& word : keep) word = (static_cast<uint64_t>(random()) << 32 | random()) & 0x5555555555555555ull;
  for (const size_t k : {size_t{1}, size_t{10}}) {
    for (const uint64_t* filter : {static_cast<const uint64_t*>(nullptr), static_cast<const uint64_t*>(keep.data())}) {
      const Batch batch{queries.data(), kQueries, k, 0, filter};
      Answered all(kQueries, k);
      scan_i8(unit, rows, code_rows, batch, 1, all.answer());
      for (const double margin : {1.0, 50.0}) {
        for (const bool from_kth : {false, true}) {
          std::vector<float> least(kQueries, -std::numeric_limits<float>::infinity());
          for (size_t q = 0; from_kth && q < kQueries; ++q) least[q] = all.scores[q * k + k - 1];
          Answered found(kQueries, k);
          scan_sieved(unit, {frame.data(), rotation.data(), signs.data(), groups, margin}, rows, code_rows, batch,
                      least.data(), found.answer());
          fingerprint = mixed(fingerprint, found.rows.data(), found.rows.size() * sizeof(int64_t));
          fingerprint = mixed(fingerprint, found.scored.data(), found.scored.size() * sizeof(int64_t));
          if (margin == 1.0 || (found.rows == all.rows && found.scores == all.scores)) continue;
          std::printf("%s: a scan of %zu x %zu (%s) through the sieve has another answer\n", unit.name, count, dim,
                      l2 ? "l2" : "ip");
          std::exit(1);
        }
      }
    }
  }
  return fingerprint;
}

}  // namespace

void check_sieves(const std::vector<const Kernels*>& kernels) {
  uint64_t all = 0;
  size_t cases = 0;
  for (const size_t dim : {1, 50, 64, 129, 384}) {
    for (const size_t count : {1, 31, 32, 33, 300, 700}) {
      for (const bool l2 : {false, true}) {
        const uint64_t expected = check(kScalar, count, dim, l2);
        for (const Kernels* unit : kernels) {
          if (check(*unit, count, dim, l2) == expected) continue;
          std::printf("%s: the sieve of %zu x %zu (%s) is not the scalar one\n", unit->name, count, dim, l2 ? "l2" : "ip");
          std::exit(1);
        }
        all = mixed(all, &expected, sizeof expected);
        ++cases;
      }
    }
  }
  std::printf("sieves of %zu shapes agree, fingerprint %016llx\n", cases, static_cast<unsigned long long>(all));
}

}  // namespace perwatt
