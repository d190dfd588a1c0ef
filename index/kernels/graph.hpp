// The search layout of a graph: what the walk reads, byte for byte, the same on every architecture.
//
// HNSW and its kin keep vectors and links apart, so that a hop is one random read for each neighbour. Here, after
// SymphonyQG (Gou et al., SIGMOD 2025) and NGT-QG, the block of a vertex holds a short code of each of its neighbours,
// so that a hop is one sequential read, and scores all 32 of them at once from registers. Two things differ: the
// vertex itself lies there as int8 and not as float32 (a third of the bytes; the best few are scored in float32 at the
// end), and codes describe the *edge* u - v, one sign a dimension, so that their error shrinks with the edge.
//
//   block = codes int8[padded]                     the vertex, step * code
//           head  64 bytes                         Head, then zeros
//           group x degree/32                      32 neighbours:
//             vertex int32[32]                       which they are
//             add    f16[32], mul f16[32]            how a sum becomes a score; add = -infinity marks an empty slot
//             signs  uint8[padded/4][16]             byte j of table t: four signs of neighbour j, and of j+16 above
//
// All in a frame of its own: vectors are turned by a fixed random rotation (frame.hpp), which makes one code fit
// every dimension alike; scaled so that their root mean square length is 1, which keeps f16 in range; and for l2 moved
// so that their mean is 0. Inner products rank the same after the first two, distances after all three.
//
// Scores are s = <q, x> (ip) or 2 <q, x> - |x|^2 (l2: |q|^2 minus the squared distance). For an edge r = u - v with signs
// b, and f = |r|^2 / <r, b> (twice that for l2),
//   s(u) = s(v) + <v, r> + <q - v, r>          is estimated by   s(v) + <v, r> + f <q - v, b>,
// RaBitQ's estimator (Gao and Long, SIGMOD 2024): without bias over rotations, its error about |q - v| |r| / sqrt(dim).
// `add` is all that does not depend on the query, `mul` is f, and <q, b> is the sum of the table's lookups.
//
// The root is a block too: a vertex that is no row, at the mean, with a sample of rows for neighbours. It stands where
// HNSW keeps its upper levels.
//
// That is the profile `speed`. The profile `compact` keeps no codes of edges; it has one code for each vertex instead, of
// the edge that leads to it from the root: its spoke. Every estimate then starts from the root's score, so its error does
// not shrink with the edge, and a hop reads a line for each neighbour that was not seen before, at a random place, where
// `speed` reads 28 in a row. At 384 dimensions a vertex takes 640 bytes instead of 2,240.
//
// A graph of the profile speed has spokes beside its blocks since they were found to be the quicker way where a walk is long:
// the more it has seen, the fewer neighbours of a vertex are new, and those alone cost anything. Such a walk reads the
// first lines of a block, codes, head and vertices, and no code of an edge. 104 bytes more at 384 dimensions. Older ones have none.
//
//   block = codes int8[padded]
//           head  16 bytes                step, square_norm, code_norm, restored: what the rest of Head follows from
//           vertex uint24[degree]         2^24 - 1 for none
//   spoke = codes uint8[padded / 4]     code j of byte i, two bits, the lowest first: dimension j * padded / 4 + i
//           add float, mul float          as above
//
// Both are as long as loses few lines: see compact_bytes and spoke_bytes. More than kMostPacked vertices are not packed like
// that, and neither are those of older generations: they have a head of 64 bytes, int32[degree] with -1 for none, and whole
// lines everywhere.
//
// A code c stands for the level 2 c - 3: 1 and 3 and their negatives. Three shifts bring a register of bytes to the codes of
// as many consecutive dimensions each, and no load of what lies in one line touches the next. MEASURED.md has one and four
// bits.
//
// Where the float32 rows are not kept, in either profile, each vertex has a rest too: what its int8 codes leave over, in
// sixteenths of its step. Its row is restored as step / 16 * (16 * code + r), for inner products with the length of x;
// restored.hpp scores it.
//
//   rest = uint8[padded / 2]     r + 8, for r of -8 to 7: of dimension i in the low half of byte i, of padded / 2 + i in the high
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace perwatt {

constexpr size_t kGroup = 32;           // neighbours that are scored at once
constexpr size_t kMaxDegree = 256;
constexpr size_t kPadding = 64;         // dimensions are padded to whole cache lines of int8
constexpr size_t kMaxGraphDim = 4096;   // 16-bit sums of dim/4 lookups of at most 63
constexpr size_t kRounds = 4;           // of the rotation (frame.hpp)
constexpr uint16_t kEmptyAdd = 0xFC00;  // -infinity in f16
// The error of an estimate is about kSignError * |q - v| |u - v| / sqrt(dim): 0.70 was measured over random pairs and
// rotations, against 0.75 of RaBitQ's bound for the mean.
constexpr float kSignError = 0.70f;

constexpr size_t kHeadBytes = 64;
constexpr size_t kShortHeadBytes = 16;
constexpr size_t kMostPacked = (size_t{1} << 24) - 1;  // vertices

struct Head {
  float scale;        // of the integer product: the step (twice it for l2)
  float bias;         // added to it: 0 (-|x|^2 for l2)
  float square_norm;  // |x|^2
  float step;         // x = step * code
  float code_norm;    // |step * code|^2
  // 0 where there is no rest. A score of the restored row is restored_scale / 16 * <q, 16 * code + r> - restored_norm.
  float restored_scale;  // the step with which it is as long as x (twice the step for l2)
  float restored_norm;   // 0 (its square norm for l2)
};

struct GraphView {
  const uint8_t* blocks;
  const uint8_t* root;  // float32[padded], what is taken off a query in the frame; then one block of root_groups groups
  size_t count, dim, padded, degree, root_groups;
  bool l2;
  float gain;      // the scale of the frame
  float edge_rms;  // root mean square length of an edge that is coded, in the frame
  const uint8_t* spokes = nullptr;
  const uint8_t* rests = nullptr;   // null: the float32 rows are kept
  bool packed = false;              // compact: short heads, numbers of three bytes
  // With rests, in the frame: the longest restored row without its rest, and the most that a rest adds to one.
  double code_norm = 0.0, rest_norm = 0.0;
  bool edges = false;       // speed: blocks hold codes of edges, and there may be spokes too
  float spoke_rms = 0.0f;   // where there are spokes: as edge_rms, of the edges from the root
};

inline size_t group_bytes(size_t padded) { return kGroup * 8 + padded * 4; }
inline size_t whole(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }
inline size_t block_bytes(size_t padded, size_t groups) { return padded + kHeadBytes + groups * group_bytes(padded); }
// Up to 128 dimensions the rest of a line would be a sixteenth of all.
inline size_t compact_bytes(size_t padded, size_t degree, bool packed) {
  if (!packed) return padded + kHeadBytes + degree * sizeof(int32_t);
  return whole(padded + kShortHeadBytes + 3 * degree, padded <= 128 ? 16 : 64);
}
inline size_t code_bytes(size_t padded) { return padded / 4; }
// A spoke that fits a line crosses none, nor does one lie in more lines than it must, but at 128 dimensions: there every other
// one crosses a line, for 24 bytes less. Those that are 8 bytes longer than whole lines lie in one more wherever they begin.
inline size_t spoke_bytes(size_t padded, bool packed) {
  const size_t bytes = code_bytes(padded) + 2 * sizeof(float);
  if (bytes <= 32) return 32;
  return packed && (padded == 128 || bytes % 64 == 8) ? bytes : whole(bytes, 64);
}
inline size_t rest_bytes(size_t padded) { return padded / 2; }
inline size_t stride_of(const GraphView& g) {
  return g.edges ? block_bytes(g.padded, g.degree / kGroup) : compact_bytes(g.padded, g.degree, g.packed);
}
inline size_t spoke_stride_of(const GraphView& g) { return spoke_bytes(g.padded, g.packed || g.edges); }
inline const uint8_t* block_of(const GraphView& g, size_t vertex) { return g.blocks + vertex * stride_of(g); }

// The head that lies somewhere in full, and how it is put there.
inline Head whole_head(const uint8_t* at) {
  Head head;
  __builtin_memcpy(&head, at, sizeof head);
  return head;
}
inline void put_whole_head(const Head& head, uint8_t* at) {
  __builtin_memset(at, 0, kHeadBytes);
  __builtin_memcpy(at, &head, sizeof head);
}

// What a short one leaves out is what it has, to the bit: the double of a float and its negative are exact.
inline Head short_head(const uint8_t* at, bool l2) {
  float x[4];
  __builtin_memcpy(x, at, sizeof x);
  return l2 ? Head{2.0f * x[0], -x[1], x[1], x[0], x[2], 2.0f * x[0], x[3]} : Head{x[0], 0.0f, x[1], x[0], x[2], x[3], 0.0f};
}
inline void put_short_head(const Head& head, bool l2, uint8_t* at) {
  const float x[4] = {head.step, head.square_norm, head.code_norm, l2 ? head.restored_norm : head.restored_scale};
  __builtin_memcpy(at, x, sizeof x);
}

// Of a block, not of the root, whose head is whole.
inline Head head_of(const GraphView& g, const uint8_t* block) {
  return g.packed ? short_head(block + g.padded, g.l2) : whole_head(block + g.padded);
}

// The neighbours of a compact block, or of one with a single group, whose vertices begin it. Numbers of three bytes are the upper ones of the four that are read: those below belong
// to the number before, the first one's to the head.
class Neighbours {
 public:
  Neighbours(const uint8_t* block, size_t padded, bool packed)
      : at_(block + padded + (packed ? kShortHeadBytes - 1 : kHeadBytes)), step_(packed ? 3 : 4), shift_(packed ? 8 : 0) {}

  // No vertex of the graph if there is none.
  uint32_t operator[](size_t i) const {
    uint32_t bytes;
    __builtin_memcpy(&bytes, at_ + i * step_, sizeof bytes);
    return bytes >> shift_;
  }

 private:
  const uint8_t* at_;
  size_t step_;
  int shift_;
};

inline void put_neighbours(const int32_t* links, size_t degree, size_t padded, bool packed, uint8_t* block) {
  uint8_t* at = block + padded + (packed ? kShortHeadBytes : kHeadBytes);
  if (!packed) {
    __builtin_memcpy(at, links, degree * sizeof(int32_t));
    return;
  }
  for (size_t i = 0; i < degree; ++i) __builtin_memcpy(at + 3 * i, links + i, 3);
}

// How hard a walk looks, and when it gives up: its visits are what it costs, and from some number of them on whoever asked is
// better off comparing all rows that may be returned.
struct Effort {
  float margin;            // how far below the k-th best an estimate may be to be visited, in its standard errors
  size_t frontier;         // candidates that are kept waiting, where most rows may be returned
  size_t room = 0;         // up to how many are, where few may; at least the frontier
  float share = 1.0f;      // of all rows, those that may be returned
  float handicap = 0.0f;   // of a vertex that may not, in standard errors of an estimate, where nearly all around it may
  size_t trial = 0;        // visits from which on it gives up where too few of the visited may be returned:
  float least_share = 0;   //   less than this share
  bool by_spokes = false;  // where a graph has codes of edges, too
  size_t budget = SIZE_MAX;  // visits after which it gives up, whatever it found
  // Of those that may be returned so many visited, and it is over where it has found k: `most` in any case, `enough` where it
  // would give up otherwise.
  size_t most = SIZE_MAX, enough = SIZE_MAX;
};

// What is read of each result once a walk is over: of row r, `bytes` from first + r * stride.
struct ResultRows {
  const char* first = nullptr;
  size_t stride = 0, bytes = 0;
};

// One query in the frame, and the memory that a walk needs beside the graph: reused from query to query.
struct Walker {
  const float* query;  // float32[padded] in the frame, 64-byte aligned
  size_t k;            // the results that decide when to stop
  size_t kept;         // results to return, at least k
  Effort effort;
  const uint64_t* keep;  // bit r: row r may be returned; null: all
  ResultRows rows;

  int8_t* codes;     // int8[padded]
  uint8_t* tables;   // uint8[4 * padded]
  float* estimates;  // float32[frontier_slots()]
  int32_t* waiting;  // int32[frontier_slots()]
  int64_t* results;  // int64[kept + 16]
  uint64_t* seen;    // a bit for each vertex, all 0 between queries
  int32_t* log;      // int32[log_slots]: vertices whose bit is set, while they are few
  size_t log_slots;

  float square_norm, largest;  // out: of the query: the sum of squares, and the largest magnitude of a dimension
  size_t found;    // out: results
  int64_t scored;  // out: vertices that were scored from their int8 codes
  size_t visits, passed;  // out: vertices that were visited, and those of them that may be returned
  bool gave_up;    // out: there are no results, for the cost of them
};

// A hop may append a whole block behind a full frontier, and vector stores may run over by one register.
inline size_t frontier_slots(size_t frontier, size_t root_groups) {
  const size_t root = root_groups * kGroup;
  return (frontier > root ? frontier : root) + kMaxDegree + 32;
}

// Results are packed: the score's bits, made to order as integers do, above the complement of the vertex, so that one
// comparison ranks by score and then by vertex, lowest first.
inline int32_t ordered_bits(float score) {
  int32_t bits;
  __builtin_memcpy(&bits, &score, 4);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}
inline float score_of(int64_t key) {
  int32_t bits = static_cast<int32_t>(key >> 32);
  bits ^= (bits >> 31) & 0x7FFFFFFF;
  float score;
  __builtin_memcpy(&score, &bits, 4);
  return score;
}
inline int64_t key_of(float score, int32_t vertex) {
  return static_cast<int64_t>(static_cast<uint64_t>(static_cast<uint32_t>(ordered_bits(score))) << 32 |
                              static_cast<uint32_t>(~vertex));
}
inline int32_t vertex_of(int64_t key) { return static_cast<int32_t>(~static_cast<uint32_t>(key)); }

}  // namespace perwatt
