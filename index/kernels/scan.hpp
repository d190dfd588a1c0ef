// Exact top-k over a contiguous section: every row is looked at once, in the order in which it lies on disk.
//
// Two ways to the same answer, which is always that of the float32 kernel, best first, ties by row:
//   scan_f32  scores every row in float32.
//   scan_i8   scores every row in int8, a quarter of the bytes, keeps each row that could still belong to the
//             answer given a proven bound of the int8 error, and scores only those in float32.
// Rows or queries are shared out among `threads` (shares.hpp), which changes no answer.
#pragma once

#include "kernels.hpp"

namespace perwatt {

enum class Metric { ip, l2 };  // a cosine index holds unit vectors, so it is ip here

struct FloatRows {
  const float* base;
  size_t stride;  // in elements
  size_t count;
  size_t dim;
  Metric metric;
};

// int8 codes of the same rows: x is step * code + error, with |error| <= error_norm in the 2-norm.
struct CodeRows {
  const int8_t* base;
  size_t stride;
  double step;
  double error_norm;          // largest |x - step * code| of any row
  double row_norm;            // largest |x|
  const float* square_norms;  // |x|^2 of each row in float32; l2 only
};

// Leaves out rows that are not worth a score of their codes (sieving.cpp).
class Picker {
 public:
  // Those of the rows [first, first + count), ascending, whose score for a query may be at least `least`: their numbers
  // into `at`, which has room for all. Returns how many.
  virtual size_t pick(size_t query, size_t first, size_t count, double least, uint32_t* at) = 0;

 protected:
  ~Picker() = default;
};

struct Batch {
  const float* queries;  // (count, dim), finite, contiguous
  size_t count;
  size_t k;
  int64_t first_row;  // added to every row number in the answer
  const uint64_t* keep = nullptr;  // bit r: row r (first_row included) may be in the answer; null: all
  const uint32_t* at = nullptr;    // scan_i8 only: the rows to look at, ascending; null: all
  size_t at_count = 0;
  Picker* picker = nullptr;      // scan_i8 on one thread only: which rows are looked at; null: all
  const float* least = nullptr;  // with a picker: the score that is of interest, for each query
};

// Which rows of a scan the batch's filter lets through.
class Kept {
 public:
  explicit Kept(const Batch& batch) : words_(batch.keep), first_(static_cast<size_t>(batch.first_row)) {}
  bool all() const { return words_ == nullptr; }
  bool holds(size_t row) const {
    row += first_;
    return words_[row >> 6] >> (row & 63) & 1;
  }
  bool none_of(size_t first, size_t count) const {
    for (size_t row = first; row < first + count; ++row) {
      if (holds(row)) return false;
    }
    return true;
  }

 private:
  const uint64_t* words_;
  size_t first_;
};

// rows (count, k), -1 where fewer than k; scores (count, k), -infinity there; l2 scores are minus the squared
// distance. rescored: how many rows of each query needed a float32 score; with a picker, how many an int8 score.
struct Answer {
  int64_t* rows;
  float* scores;
  int64_t* rescored;
};

// Scores given candidates in float32 and keeps the best k: `candidates` is (count, width), -1 for none, in any order,
// each row once. Answers as the scans do, so that what an approximate search found is scored and ordered alike.
void rescore(const Kernels& kernels, const FloatRows& rows, const int64_t* candidates, size_t width,
             const Batch& batch, const Answer& answer);

// Picked rows (batch.at) are scanned by one thread.
void scan_f32(const Kernels& kernels, const FloatRows& rows, const Batch& batch, size_t threads, const Answer& answer);
void scan_i8(const Kernels& kernels, const FloatRows& rows, const CodeRows& codes, const Batch& batch, size_t threads,
             const Answer& answer);

}  // namespace perwatt
