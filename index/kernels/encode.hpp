// Encodes vectors and links into the search layout (graph.hpp): the same bytes for the same input, on every
// architecture, with every unit and any number of threads.
#pragma once

#include <vector>

#include "graph.hpp"
#include "kernels.hpp"

namespace perwatt {

struct Encoding {
  const float* vectors;  // (count, dim), contiguous, finite
  size_t count, dim, degree;
  const int32_t* links;  // (count, degree), -1 for none
  const int32_t* roots;  // rows that the root links to
  size_t root_count;
  bool l2;
  uint8_t* blocks;  // edges: count * block_bytes(padded, degree / 32); else count * compact_bytes(padded, degree, packed)
  uint8_t* root;    // padded * 4 + block_bytes(padded, ceil(root_count / 32))
  bool edges = true;          // blocks hold codes of edges: the profile speed
  uint8_t* spokes = nullptr;  // always of compact: count * spoke_bytes(padded, packed || edges)
  uint8_t* rests = nullptr;   // where the float32 rows are not kept: count * rest_bytes(padded)
  bool packed = false;        // compact: in fewer bytes, of at most kMostPacked rows
  bool in_files = false;      // blocks, spokes and rests are mapped files, whose pages are given back once they are written
};

inline size_t padded_dim(size_t dim) { return (dim + kPadding - 1) / kPadding * kPadding; }
inline size_t root_bytes(size_t padded, size_t groups) { return padded * sizeof(float) + block_bytes(padded, groups); }

// |x|^2. n is a multiple of kPadding.
double square_of(const float* x, size_t n);

// The random signs of the rotation: (4, padded) of 1 and -1. A function of `padded` alone.
std::vector<float> rotation_signs(size_t padded);

// A frame for vectors: they are rotated, moved and scaled. mean is theirs in it, and 0 where that is the origin, which is
// taken off before they are scaled.
struct Frame {
  std::vector<float> signs, origin, mean;
  float gain = 1.0f;

  // A vector float32[dim] into the frame: out[padded].
  void bring(const Kernels& kernels, const float* vector, size_t dim, float* out) const;
};

Frame frame_of(const Kernels& kernels, const float* vectors, size_t count, size_t dim, bool l2, size_t threads);

// The graph as a walk sees it, over the memory that was filled. Vectors are brought into the frame one by one, and each
// again for every edge that is coded, so that no copy of them is held: a quarter of what the profile speed takes to encode.
GraphView encode(const Kernels& kernels, const Encoding& encoding, size_t threads);

// The root alone, of vectors, roots and root: where a graph gets another sample of its rows to begin with.
void encode_root(const Kernels& kernels, const Encoding& encoding, size_t threads);

// The codes of a vertex float32[padded] in the frame, and its head.
Head encode_vertex(const float* x, size_t padded, bool l2, int8_t* codes);

// Lengths of what restores a row: its codes, and its rest.
struct Lengths {
  double codes, rest;
};

// What the codes of an encoded vertex leave over (graph.hpp), and in its head how both restore the row.
Lengths encode_rest(const float* x, size_t padded, bool l2, const int8_t* codes, Head& head, uint8_t* rest);

// A query float32[dim] in the frame, into out[padded].
void to_frame(const Kernels& kernels, const GraphView& graph, const float* signs, const float* query, float* out);

}  // namespace perwatt
