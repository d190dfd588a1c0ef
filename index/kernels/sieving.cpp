// See sieving.hpp.
#include "sieving.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "encode.hpp"
#include "f16.hpp"
#include "shares.hpp"

namespace perwatt {
namespace {

// |r| in the frame, in which rows are about 1 long: sixteen bits hold what is made of shorter ones.
constexpr double kFar = 100.0;
// What the rounding of a table's entries, a half unit either way, does to an estimate: its standard error for each unit and
// each |r|, times sqrt(kept / padded). 1 / sqrt(12 * 4) is that of a sum, and f is |r| / 0.8 for each sqrt(kept).
constexpr double kTableError = 0.18;
constexpr double kOblique = 4.0;  // f / |r| * sqrt(kept), which is 1.25 * sqrt(padded / kept) in the mean
constexpr double kSixteenBits = 0x1p-9;  // of the products behind an estimate: two f16 and what they are multiplied with

template <class T>
double product_of(const T* x, const T* y, size_t n) {
  double sums[8] = {};
  for (size_t i = 0; i < n; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(x[i + j]) * static_cast<double>(y[i + j]);
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// One query in the frame, with the memory that it needs.
class Asked {
 public:
  Asked(const Kernels& kernels, const SieveRows& sieve, double centre_square, const FloatRows& rows, const float* query)
      : padded_(padded_dim(rows.dim)), l2_(rows.metric == Metric::l2), memory_(padded_ + sieve_kept(padded_) + 16) {
    float* q = memory_.data() + (64 - (reinterpret_cast<uintptr_t>(memory_.data()) & 63)) % 64 / sizeof(float);
    uint8_t* tables = reinterpret_cast<uint8_t*>(q + padded_);
    const float *origin = sieve.frame, *centre = origin + padded_, gain = centre[padded_];
    kernels.rotate(query, rows.dim, padded_, sieve.signs, q);
    double scale = gain;
    if (!l2_) {
      const double length = std::sqrt(square_of(q, padded_));
      scale = length > 0.0 ? 1.0 / length : 0.0;
      unit_ = static_cast<double>(gain) * scale;
    } else {
      unit_ = static_cast<double>(gain) * gain;
    }
    for (size_t i = 0; i < padded_; ++i) q[i] = (q[i] - origin[i]) * static_cast<float>(scale);
    const double square = square_of(q, padded_), product = product_of(q, centre, padded_);
    const double weight = l2_ ? 2.0 : 1.0, away = std::sqrt(std::max(0.0, square + centre_square - 2.0 * product));
    square_norm_ = square;
    asked_.tables = tables;
    asked_.kept = sieve_kept(padded_);
    asked_.stride = sieve_bytes(padded_);
    asked_.sums = kernels.look_up(q, asked_.kept, tables);
    asked_.base = static_cast<float>(l2_ ? 2.0 * product - centre_square : product);
    const double kept = static_cast<double>(asked_.kept), share = kept / static_cast<double>(padded_);
    const double estimated = std::sqrt((kSignError * kSignError + kDropped * (1.0 - share)) / kept) * away +
                             kTableError / std::sqrt(share) * asked_.sums.unit;
    asked_.error = static_cast<float>(
        weight * (sieve.margin * estimated + kSixteenBits * (std::sqrt(square) + std::sqrt(centre_square))));
    // Where floats overflow, nothing is passed over.
    blind_ = !(scale > 0.0 && square < 1e30 && std::isfinite(asked_.base) && std::isfinite(asked_.error));
  }

  // Ready to find the rows whose score may be `least`; whether anything can be told of them.
  bool seek(double least) {
    double wanted = least * unit_ + (l2_ ? square_norm_ : 0.0);
    wanted -= 1e-6 * (std::abs(wanted) + square_norm_);
    if (blind_ || !(wanted > -1e30)) return false;
    asked_.least = static_cast<float>(std::min(wanted, 1e30));
    return true;
  }

  const SieveQuery& query() const { return asked_; }

 private:
  size_t padded_;
  bool l2_, blind_ = false;
  std::vector<float> memory_;
  double unit_ = 1.0, square_norm_ = 0.0;  // a score times unit_ is one in the frame (l2: but for |q|^2)
  SieveQuery asked_{};
};

class Sieved final : public Picker {
 public:
  Sieved(const Kernels& kernels, const SieveRows& sieve, const FloatRows& rows, const Batch& batch)
      : kernels_(kernels), sieve_(sieve), stride_(sieve_bytes(padded_dim(rows.dim))) {
    const size_t padded = padded_dim(rows.dim);
    const double centre_square = square_of(sieve.frame + padded, padded);
    asked_.reserve(batch.count);
    for (size_t q = 0; q < batch.count; ++q) {
      asked_.emplace_back(kernels, sieve, centre_square, rows, batch.queries + q * rows.dim);
    }
  }

  size_t pick(size_t query, size_t first, size_t count, double least, uint32_t* at) override {
    constexpr size_t kMost = 16;
    size_t found = 0, row = first;
    const size_t last = first + count, sieved = std::min(last, sieve_.count * kGroup);
    if (asked_[query].seek(least)) {
      uint32_t masks[kMost];
      for (size_t g = first / kGroup; row < sieved; g += kMost) {
        const size_t some = std::min(kMost, (sieved - row) / kGroup);
        kernels_.sieve(asked_[query].query(), sieve_.groups + g * stride_, some, masks);
        for (size_t i = 0; i < some; ++i, row += kGroup) {
          for (uint32_t mask = masks[i]; mask; mask &= mask - 1) {
            at[found++] = static_cast<uint32_t>(row) + static_cast<uint32_t>(__builtin_ctz(mask));
          }
        }
      }
    }
    for (; row < last; ++row) at[found++] = static_cast<uint32_t>(row);
    return found;
  }

 private:
  const Kernels& kernels_;
  const SieveRows& sieve_;
  size_t stride_;
  std::vector<Asked> asked_;
};

}  // namespace

void make_sieve_frame(const Kernels& kernels, const float* vectors, size_t count, size_t dim, bool l2, float* frame) {
  const size_t padded = padded_dim(dim);
  const Frame made = frame_of(kernels, vectors, count, dim, l2, 1);
  std::memcpy(frame, made.origin.data(), padded * sizeof(float));
  std::memcpy(frame + padded, made.mean.data(), padded * sizeof(float));
  frame[2 * padded] = made.gain;
}

void make_sieve_groups(const Kernels& kernels, const float* frame, const float* vectors, size_t count, size_t dim,
                       bool l2, uint8_t* groups) {
  const size_t padded = padded_dim(dim), stride = sieve_bytes(padded);
  const std::vector<float> signs = rotation_signs(padded);
  const float *origin = frame, *centre = frame + padded, gain = frame[2 * padded];
  const size_t kept = sieve_kept(padded);
  std::vector<float> rows(kGroup * padded);
  std::vector<double> edge(padded);
  std::vector<uint8_t> group(group_bytes(kept));
  const int32_t which[kGroup] = {};
  for (size_t first = 0; first < count; first += kGroup, groups += stride) {
    const float* neighbours[kGroup];
    uint16_t factors[2 * kGroup];
    double reach = 0.0;
    for (size_t slot = 0; slot < kGroup; ++slot) {
      float* x = rows.data() + slot * padded;
      neighbours[slot] = x;
      kernels.rotate(vectors + (first + slot) * dim, dim, padded, signs.data(), x);
      double absolute = 0.0, turned = 0.0, product = 0.0;  // |r| and <centre, b> over the kept; <centre, r>
      for (size_t i = 0; i < padded; ++i) {
        x[i] = (x[i] - origin[i]) * gain;
        edge[i] = static_cast<double>(x[i] - centre[i]);
        product += static_cast<double>(centre[i]) * edge[i];
        if (i >= kept) continue;
        absolute += std::abs(edge[i]);
        turned += edge[i] >= 0.0 ? static_cast<double>(centre[i]) : -static_cast<double>(centre[i]);
      }
      const double square = product_of(edge.data(), edge.data(), padded), length = std::sqrt(square);
      const double factor = absolute > 0.0 ? square / absolute : 0.0;
      factors[slot] = narrowed_f16(static_cast<float>(l2 ? -square - 2.0 * factor * turned : product - factor * turned));
      factors[kGroup + slot] = narrowed_f16(static_cast<float>(l2 ? 2.0 * factor : factor));
      // A factor far out of proportion is one of a row that lies in what was dropped.
      const bool near = length < kFar && factor * std::sqrt(static_cast<double>(kept)) < kOblique * length;
      reach = std::max(reach, near || length == 0.0 ? length : std::numeric_limits<double>::infinity());
    }
    kernels.encode_edges(centre, neighbours, which, kGroup, kept, l2, group.data());
    const float longest = static_cast<float>(reach * (1.0 + 1e-6));
    std::memset(groups, 0, kSieveHead);
    std::memcpy(groups, &longest, sizeof longest);
    std::memcpy(groups + kSieveHead, factors, sizeof factors);
    std::memcpy(groups + kSieveHead + sizeof factors, group.data() + 8 * kGroup, 4 * kept);
  }
}

void scan_sieved(const Kernels& kernels, const SieveRows& sieve, const FloatRows& rows, const CodeRows& codes,
                 const Batch& batch, const float* least, const Answer& answer) {
  for (size_t first = 0; first < batch.count; first += kQueriesPerScan) {
    Batch some = batch;
    some.queries += first * rows.dim;
    some.count = std::min(kQueriesPerScan, batch.count - first);
    some.least = least + first;
    Sieved picker(kernels, sieve, rows, some);
    some.picker = &picker;
    scan_i8(kernels, rows, codes, some, 1,
            {answer.rows + first * batch.k, answer.scores + first * batch.k, answer.rescored + first});
  }
}

}  // namespace perwatt
