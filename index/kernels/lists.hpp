// Inverted lists of a set that is larger than memory: what stays in memory, what lies on the disk, and how both are searched.
//
// Each row belongs to the list of the centre nearest to it. In memory it is one sign a dimension of the edge from that centre:
// the lists are groups as a vertex's neighbours are (graph.hpp), 56 bytes a row at 384 dimensions, its number and two factors
// included. On the disk it is a record of 12 bits a dimension, what a graph keeps of a row without its original, from which
// its score is computed (restored.hpp).
//
//   centres  origin float[padded], what is taken off a vector in the frame; then of each list codes int8[padded], and 64 bytes: Head
//   starts   uint32[lists + 1]: the groups of list i are [starts[i], starts[i + 1])
//   groups   row int32[32]     -1 for none
//            add, mul, signs   as in a vertex's group; the edges begin at the centre as its codes restore it
//   records  codes int8[padded], rest uint8[padded / 2], scale float, norm float     (restored_scale and restored_norm of Head)
//
// A record is read by itself, so where as many as fit fill a page of the disk but for an eighth, none crosses from one to the
// next; otherwise they lie one behind the other.
//
// A search estimates all rows of the lists whose centres are nearest. An estimate errs by about
// kSignError |q - centre| |edge| / sqrt(padded), so a row is worth at most its estimate and `margin` times that. The records of
// those that may be worth more than the k-th best estimate are read, all at once; then, of the rest, those that may be worth
// more than the k-th best score. Nothing else is read.
#pragma once

#include <atomic>
#include <vector>

#include "encode.hpp"
#include "graph.hpp"
#include "reader.hpp"
#include "scan.hpp"

namespace perwatt {

constexpr size_t kPageBytes = 4096;

inline size_t record_bytes(size_t padded) { return padded + rest_bytes(padded) + 2 * sizeof(float); }

// 0: they lie one behind the other.
inline size_t records_a_page(size_t padded) {
  const size_t records = kPageBytes / record_bytes(padded);
  return (kPageBytes - records * record_bytes(padded)) * 8 <= kPageBytes ? records : 0;
}

inline uint64_t place_of_record(size_t padded, uint64_t row) {
  const size_t some = records_a_page(padded), bytes = record_bytes(padded);
  return some ? row / some * kPageBytes + row % some * bytes : row * bytes;
}

// Of the first `count` rows.
inline uint64_t bytes_of_records(size_t padded, uint64_t count) {
  const size_t some = records_a_page(padded);
  return some ? (count + some - 1) / some * kPageBytes : count * record_bytes(padded);
}

inline size_t centre_bytes(size_t padded) { return padded + kHeadBytes; }

struct ListsView {
  GraphView frame;  // of the rows: their count and dimensions, origin, gain and norms; it has no blocks
  const uint8_t* centres;
  const uint32_t* starts;
  size_t lists;
  const uint8_t* groups;
};

// How many lists a search estimates and how far below what is wanted an estimate may be to be looked into.
struct Probing {
  size_t lists;
  float margin;    // in standard errors
  size_t budget;   // rows estimated, from which on a search that has found too few gives up; 0: never
  size_t most_reads = 1024;  // at once, of all queries together
};

// One centre after the other, float32 (count, dim): their codes and heads.
void encode_centres(const Kernels& kernels, const float* frame, const float* centres, size_t count, size_t dim, bool l2,
                    uint8_t* out);

// Rows for their lists and for the disk.
struct Listing {
  const float* vectors;  // (count, dim)
  size_t count, dim;
  bool l2;
  const int32_t* lists;   // of each row
  const int64_t* slots;   // of each row, its place among all groups; negative: none, its record is all that is wanted
  const int32_t* rows;    // their numbers
  uint8_t* groups;        // all; a slot is filled once
  uint8_t* records;       // bytes_of_records(padded, count), where the first begins a page; null: none are wanted
};

// frame: as make_sieve_frame leaves it. Returns the norms of the longest row and of the longest rest.
Lengths encode_rows(const Kernels& kernels, const float* frame, const uint8_t* centres, const Listing& listing,
                    size_t threads);

// Groups in which no slot is filled yet.
void empty_groups(uint8_t* groups, size_t count, size_t padded);

// The k best of each query. answer.rescored: rows estimated, and centres.
void search_lists(const Kernels& kernels, const ListsView& lists, const float* signs, Reader& reader, const Probing& probing,
                  size_t survivors, const Batch& batch, const Answer& answer, std::atomic<uint64_t>& reads);

// As scan_restored, of the rows [first_row, last_row) or batch.at, in the order in which they lie on the disk.
void scan_records(const Kernels& kernels, const ListsView& lists, const float* signs, Reader& reader, size_t first_row,
                  size_t last_row, const Batch& batch, const Answer& answer);

// The rows [first, first + count) as they were, float32 (count, dim).
void restore_records(const ListsView& lists, const float* signs, Reader& reader, size_t first, size_t count, float* out);

}  // namespace perwatt
