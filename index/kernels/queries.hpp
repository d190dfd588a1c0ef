// Queries as every search wants them: each of a length that is finite and cannot overflow, and for cosine of length 1.
//
// In NumPy this took four passes over arrays of float64, on one thread, each into memory that was new: a tenth of a batch
// on one thread, and with two threads that share of it was the part that did not get quicker.
#pragma once

#include <stddef.h>

namespace perwatt {

// Lengths are taken in double, so that nothing overflows or vanishes, and in the same order of additions everywhere.
// A query is refused unless its length is below `longest`, and where `unit_length` also if it is zero: returns the first
// that is, or `count`. `queries` and `out` are (count, dim), contiguous; `out` is written only for `unit_length`.
size_t prepare(const float* queries, size_t count, size_t dim, double longest, bool unit_length, size_t threads,
               float* out);

}  // namespace perwatt
