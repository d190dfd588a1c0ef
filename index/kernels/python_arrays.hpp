// What the bindings share: array types, refusals as ValueError, and the shapes of a search.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <stdexcept>

#include "dispatch.hpp"
#include "scan.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace perwatt {

template <class T>
using Vector = nb::ndarray<T, nb::ndim<1>, nb::device::cpu>;
template <class T>
using Matrix = nb::ndarray<T, nb::ndim<2>, nb::device::cpu>;

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

inline const Kernels& unit_named(const std::string& name) {
  const Kernels* found = find_unit(name);
  if (found == nullptr) {
    throw std::invalid_argument("unit '" + name + "' is unknown or not supported by this processor");
  }
  return *found;
}

template <class T>
size_t stride_of(const Matrix<const T>& rows) {
  return rows.shape(0) < 2 ? rows.shape(1) : static_cast<size_t>(rows.stride(0));
}

template <class T>
void check_contiguous(const Matrix<T>& array, const char* message) {
  require(array.shape(0) == 0 || array.shape(1) < 2 || array.stride(1) == 1, message);
  require(array.shape(0) < 2 || array.stride(0) == static_cast<int64_t>(array.shape(1)), message);
}

template <class T>
void check_contiguous(const Vector<T>& array, const char* message) {
  require(array.shape(0) < 2 || array.stride(0) == 1, message);
}

struct Scan {
  FloatRows rows;
  Batch batch;
  Answer answer;
};

// A search of rows that are not at hand as float32.
inline Scan scan_of(const Matrix<const float>& queries, const Matrix<int64_t>& rows, const Matrix<float>& scores,
                    const Vector<int64_t>& rescored) {
  const size_t count = queries.shape(0), dim = queries.shape(1), k = rows.shape(1);
  require(dim >= 1 && dim <= kMaxDim, "dimensions must be 1 to 65,536");
  require(k >= 1, "k must be at least 1");
  require(count == 0 || (queries.stride(1) == 1 && queries.stride(0) == static_cast<int64_t>(dim)) ||
              (count == 1 && (dim == 1 || queries.stride(1) == 1)),
          "queries must be contiguous");
  require(rows.shape(0) == count && scores.shape(0) == count && scores.shape(1) == k && rescored.shape(0) == count,
          "outputs must be (queries, k), (queries, k) and (queries,)");
  check_contiguous(rows, "outputs must be contiguous");
  check_contiguous(scores, "outputs must be contiguous");
  check_contiguous(rescored, "outputs must be contiguous");
  return {{nullptr, 0, 0, dim, Metric::ip},
          {queries.data(), count, k, 0},
          {rows.data(), scores.data(), rescored.data()}};
}

inline Scan scan_of(const Matrix<const float>& queries, const Matrix<const float>& vectors, bool l2,
                    const Matrix<int64_t>& rows, const Matrix<float>& scores, const Vector<int64_t>& rescored) {
  Scan scan = scan_of(queries, rows, scores, rescored);
  const size_t dim = queries.shape(1);
  require(vectors.shape(1) == dim, "queries and vectors must have the same number of dimensions");
  require(vectors.shape(0) < (size_t{1} << 32), "one scan covers fewer than 2^32 rows");
  require(vectors.shape(0) == 0 || dim == 1 || vectors.stride(1) == 1, "vectors must be contiguous along a row");
  require(vectors.shape(0) < 2 || vectors.stride(0) >= 0, "vectors must not run backwards");
  scan.rows = {vectors.data(), stride_of(vectors), vectors.shape(0), dim, l2 ? Metric::l2 : Metric::ip};
  return scan;
}

// The rows that are picked of `count`, for a batch; an empty array may have no address, and null would mean every row.
inline void pick_rows(const Vector<const uint32_t>& at, size_t count, Batch& batch) {
  require(at.shape(0) < 2 || at.stride(0) == 1, "at must be contiguous");
  for (size_t i = 0; i < at.shape(0); ++i) require(at.data()[i] < count, "a row number is not in vectors");
  static const uint32_t none = 0;
  batch.at = at.shape(0) ? at.data() : &none;
  batch.at_count = at.shape(0);
}

inline CodeRows code_rows_of(const Matrix<const int8_t>& codes, const Matrix<const float>& vectors, double step,
                             double error_norm, double row_norm, const Vector<const float>& square_norms, bool l2) {
  require(codes.shape(0) == vectors.shape(0) && codes.shape(1) == vectors.shape(1),
          "codes and vectors must have the same shape");
  require(codes.shape(0) == 0 || codes.shape(1) == 1 || codes.stride(1) == 1, "codes must be contiguous along a row");
  require(codes.shape(0) < 2 || codes.stride(0) >= 0, "codes must not run backwards");
  require(!l2 || (square_norms.shape(0) == vectors.shape(0) && (vectors.shape(0) < 2 || square_norms.stride(0) == 1)),
          "l2 needs the squared norm of every row");
  require(step > 0.0 && error_norm >= 0.0 && row_norm >= 0.0, "step must be positive, norms not negative");
  return {codes.data(), stride_of(codes), step, error_norm, row_norm, square_norms.data()};
}

// The words of a filter that covers `count` rows, or null.
inline const uint64_t* kept_rows(const std::optional<Vector<const uint64_t>>& keep, size_t count) {
  if (!keep) return nullptr;
  require(keep->shape(0) >= (count + 63) / 64 && (keep->shape(0) < 2 || keep->stride(0) == 1),
          "keep must have a bit for each row");
  return keep->data();
}

}  // namespace perwatt
