// See encode.hpp. Sums that decide about bytes run in double, row by row, in the order of the rows.
#include "encode.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kRowsPerRange = 256;  // 140 pages of the profile speed at 384 dimensions, 44 of compact
constexpr size_t kRowsPerBatch = 4096;  // in the frame at once: 6 MiB of 384 dimensions

// SplitMix64 (Steele, Lea and Flood, 2014), for 64 signs at a time.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// A block's groups, from lists of neighbours: one thread's, with the memory for as many rows in the frame as a group has.
class Edges {
 public:
  Edges(const Kernels& kernels, const Frame& frame, const Encoding& e)
      : kernels_(kernels), frame_(frame), e_(e), padded_(padded_dim(e.dim)), rows_(kGroup * padded_) {}

  // Returns the sum of the squared lengths of the edges, and adds how many there are.
  double encode(const float* vertex, const int32_t* links, size_t slots, uint8_t* groups, int64_t& edges) {
    double squares = 0.0;
    for (size_t start = 0; start < slots; start += kGroup, groups += group_bytes(padded_)) {
      const float* neighbours[kGroup];
      int32_t which[kGroup];
      size_t count = 0;
      for (size_t i = start; i < std::min(start + kGroup, slots); ++i) {
        if (links[i] < 0) continue;
        float* row = &rows_[count * padded_];
        frame_.bring(kernels_, e_.vectors + static_cast<size_t>(links[i]) * e_.dim, e_.dim, row);
        which[count] = links[i];
        neighbours[count++] = row;
      }
      edges += static_cast<int64_t>(count);
      squares += kernels_.encode_edges(vertex, neighbours, which, count, padded_, e_.l2, groups);
    }
    return squares;
  }

 private:
  const Kernels& kernels_;
  const Frame& frame_;
  const Encoding& e_;
  const size_t padded_;
  std::vector<float> rows_;
};

// Where a normal distribution is best cut into four equal steps, in standard deviations (Max, 1960). Rotated vectors are
// close to normal.
constexpr float kSpokeStep = 0.9957f;

// The edge from the root to a vertex (graph.hpp). Sums run over 16 lanes, and so alike on every architecture. Returns its
// squared length.
double encode_spoke(const float* root, const float* x, size_t padded, bool l2, uint8_t* spoke, size_t stride) {
  const auto sum = [](float* lanes) {
    for (size_t width = 8; width; width /= 2) {
      for (size_t j = 0; j < width; ++j) lanes[j] += lanes[j + width];
    }
    return lanes[0];
  };
  float squares[16] = {}, products[16] = {}, along[16] = {}, across[16] = {};
  for (size_t i = 0; i < padded; i += 16) {
    for (size_t j = 0; j < 16; ++j) {
      const float r = x[i + j] - root[i + j];
      squares[j] += r * r;
      products[j] += root[i + j] * r;
    }
  }
  const float square = sum(squares), product = sum(products);
  const float step = kSpokeStep * std::sqrt(square / static_cast<float>(padded));
  const float inverse = step > 0.0f ? 1.0f / step : 0.0f;
  const size_t bytes = code_bytes(padded);
  std::memset(spoke, 0, stride);
  for (size_t i = 0; i < padded; i += 16) {
    for (size_t j = 0; j < 16; ++j) {
      const float r = x[i + j] - root[i + j];
      const float steps = r * inverse;
      const int code = steps >= 1.0f ? 3 : steps >= 0.0f ? 2 : steps >= -1.0f ? 1 : 0;
      const float level = static_cast<float>(2 * code - 3);
      spoke[(i + j) % bytes] |= static_cast<uint8_t>(code << ((i + j) / bytes * 2));
      along[j] += r * level;
      across[j] += root[i + j] * level;
    }
  }
  const float length = sum(along), shift = sum(across), factor = length > 0.0f ? square / length : 0.0f;
  const float factors[2] = {l2 ? -square - 2.0f * factor * shift : product - factor * shift, l2 ? 2.0f * factor : factor};
  std::memcpy(spoke + bytes, factors, sizeof factors);
  return static_cast<double>(square);
}

}  // namespace

Head encode_vertex(const float* x, size_t padded, bool l2, int8_t* codes) {
  float largest = 0.0f;
  for (size_t i = 0; i < padded; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float step = largest > 0.0f ? largest / 127.0f : 1.0f;
  int32_t squares = 0;
  for (size_t i = 0; i < padded; ++i) {
    const float code = std::nearbyint(x[i] / step);
    codes[i] = static_cast<int8_t>(std::max(-127.0f, std::min(127.0f, code)));
    squares += codes[i] * codes[i];
  }
  const float square_norm = static_cast<float>(square_of(x, padded));
  return {l2 ? 2.0f * step : step, l2 ? -square_norm : 0.0f, square_norm, step, (step * step) * static_cast<float>(squares),
          0.0f, 0.0f};
}

Lengths encode_rest(const float* x, size_t padded, bool l2, const int8_t* codes, Head& head, uint8_t* rest) {
  const size_t half = padded / 2;
  std::memset(rest, 0, half);
  int64_t squares = 0, rests = 0, wholes = 0;
  for (size_t i = 0; i < padded; ++i) {
    const float fine = std::nearbyint(x[i] / head.step * 16.0f);
    const int whole = 16 * codes[i];
    const int left = std::max(-8, std::min(7, static_cast<int>(std::max(-2048.0f, std::min(2048.0f, fine))) - whole));
    rest[i % half] |= static_cast<uint8_t>((left + 8) << (i < half ? 0 : 4));
    squares += (whole + left) * (whole + left);
    rests += left * left;
    wholes += whole * whole;
  }
  const double step = static_cast<double>(head.step), square = step * step / 256.0 * static_cast<double>(squares);
  const double longer = l2 || square == 0.0 ? 1.0 : std::sqrt(static_cast<double>(head.square_norm) / square);
  head.restored_scale = static_cast<float>(l2 ? 2.0 * step : longer * step);
  head.restored_norm = l2 ? static_cast<float>(square) : 0.0f;
  const double unit = longer * step / 16.0;
  return {unit * std::sqrt(static_cast<double>(wholes)), unit * std::sqrt(static_cast<double>(rests))};
}

double square_of(const float* x, size_t n) {
  double sums[8] = {};  // one would wait four cycles for each addition; n is a multiple of kPadding
  for (size_t i = 0; i < n; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(x[i + j]) * static_cast<double>(x[i + j]);
  }
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

std::vector<float> rotation_signs(size_t padded) {
  std::vector<float> signs(4 * padded);
  uint64_t state = padded, bits = 0;
  for (size_t i = 0; i < signs.size(); ++i) {
    if (i % 64 == 0) bits = next_random(state);
    signs[i] = bits >> (i % 64) & 1 ? 1.0f : -1.0f;
  }
  return signs;
}

void Frame::bring(const Kernels& kernels, const float* vector, size_t dim, float* out) const {
  const size_t padded = mean.size();
  kernels.rotate(vector, dim, padded, signs.data(), out);
  for (size_t i = 0; i < padded; ++i) out[i] = (out[i] - origin[i]) * gain;
}

Frame frame_of(const Kernels& kernels, const float* vectors, size_t count, size_t dim, bool l2, size_t threads) {
  const size_t padded = padded_dim(dim);
  Frame frame{rotation_signs(padded), std::vector<float>(padded), std::vector<float>(padded)};
  std::vector<float> rows(std::min(count, kRowsPerBatch) * padded);
  std::vector<double> sums(padded), squares(std::min(count, kRowsPerBatch));
  double sum = 0.0;
  // Sums go row by row, so rows are turned in batches, by all threads, and added up by one.
  const auto pass = [&](bool mean, bool square) {
    for (size_t start = 0; start < count; start += kRowsPerBatch) {
      const size_t some = std::min(kRowsPerBatch, count - start);
      in_parallel(threads, some, kRowsPerRange, [&] {
        return [&](size_t first, size_t last) {
          for (size_t r = first; r < last; ++r) {
            float* x = &rows[r * padded];
            frame.bring(kernels, vectors + (start + r) * dim, dim, x);
            if (square) squares[r] = square_of(x, padded);
          }
        };
      });
      for (size_t r = 0; r < some && mean; ++r) {
        for (size_t i = 0; i < padded; ++i) sums[i] += static_cast<double>(rows[r * padded + i]);
      }
      for (size_t r = 0; r < some && square; ++r) sum += squares[r];
    }
  };
  pass(true, !l2);
  for (size_t i = 0; i < padded; ++i) frame.mean[i] = static_cast<float>(sums[i] / static_cast<double>(count));
  if (l2) {
    frame.origin.swap(frame.mean);
    pass(false, true);
  }
  if (sum > 0.0) frame.gain = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(count)));
  for (float& value : frame.mean) value *= frame.gain;
  return frame;
}

namespace {

// The root of the mean of squares of so many; 0 of none.
float root_mean(const std::vector<double>& squares, uint64_t count) {
  const double sum = std::accumulate(squares.begin(), squares.end(), 0.0);  // in their order
  return count > 0 ? static_cast<float>(std::sqrt(sum / static_cast<double>(count))) : 0.0f;
}

// Whole pages of a file that is mapped and shared: what was written stays in the page cache.
void give_back(uint8_t* first, uint8_t* last) {
  static const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t start = (reinterpret_cast<uintptr_t>(first) + page - 1) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(last) / page * page;
  if (start < end) madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
}

// Returns how many groups of neighbours it has.
size_t fill_root(const Kernels& kernels, const Encoding& e, const Frame& frame) {
  const size_t padded = padded_dim(e.dim);
  std::memcpy(e.root, frame.origin.data(), padded * sizeof(float));
  uint8_t* root = e.root + padded * sizeof(float);
  put_whole_head(encode_vertex(frame.mean.data(), padded, e.l2, reinterpret_cast<int8_t*>(root)), root + padded);
  int64_t edges = 0;
  Edges(kernels, frame, e).encode(frame.mean.data(), e.roots, e.root_count, root + padded + kHeadBytes, edges);
  return (e.root_count + kGroup - 1) / kGroup;
}

}  // namespace

void encode_root(const Kernels& kernels, const Encoding& e, size_t threads) {
  fill_root(kernels, e, frame_of(kernels, e.vectors, e.count, e.dim, e.l2, threads));
}

GraphView encode(const Kernels& kernels, const Encoding& e, size_t threads) {
  const size_t padded = padded_dim(e.dim);
  const Frame frame = frame_of(kernels, e.vectors, e.count, e.dim, e.l2, threads);
  GraphView view{e.blocks, e.root, e.count, e.dim, padded, e.degree, 0, e.l2, frame.gain, 0.0f, e.spokes, e.rests, e.packed};
  view.edges = e.edges;
  const size_t stride = stride_of(view), spoke_stride = spoke_stride_of(view);
  std::vector<double> squares(e.edges ? e.count : 0), spoke_squares(e.spokes ? e.count : 0);
  std::vector<Lengths> restored(e.rests ? e.count : 0);
  std::vector<uint16_t> edges(squares.size());
  in_parallel(threads, e.count, kRowsPerRange, [&] {
    return [&, coder = Edges(kernels, frame, e), row = std::vector<float>(padded)](size_t first, size_t last) mutable {
      for (size_t r = first; r < last; ++r) {
        float* x = row.data();
        frame.bring(kernels, e.vectors + r * e.dim, e.dim, x);
        uint8_t* block = e.blocks + r * stride;
        int8_t* codes = reinterpret_cast<int8_t*>(block);
        Head head = encode_vertex(x, padded, e.l2, codes);
        if (e.rests) restored[r] = encode_rest(x, padded, e.l2, codes, head, e.rests + r * rest_bytes(padded));
        if (e.packed) {
          put_short_head(head, e.l2, block + padded);
        } else {
          put_whole_head(head, block + padded);
        }
        if (e.spokes) {
          uint8_t* spoke = e.spokes + r * spoke_stride;
          spoke_squares[r] = encode_spoke(frame.mean.data(), x, padded, e.l2, spoke, spoke_stride);
        }
        if (!e.edges) {
          put_neighbours(e.links + r * e.degree, e.degree, padded, e.packed, block);
          continue;
        }
        int64_t coded = 0;
        squares[r] = coder.encode(x, e.links + r * e.degree, e.degree, block + padded + kHeadBytes, coded);
        edges[r] = static_cast<uint16_t>(coded);
      }
      if (!e.in_files) return;
      give_back(e.blocks + first * stride, e.blocks + last * stride);
      if (e.spokes) give_back(e.spokes + first * spoke_stride, e.spokes + last * spoke_stride);
      if (e.rests) give_back(e.rests + first * rest_bytes(padded), e.rests + last * rest_bytes(padded));
    };
  });
  view.root_groups = fill_root(kernels, e, frame);
  view.edge_rms = root_mean(squares, std::accumulate(edges.begin(), edges.end(), uint64_t{0}));
  view.spoke_rms = root_mean(spoke_squares, spoke_squares.size());
  for (const Lengths& lengths : restored) {
    view.code_norm = std::max(view.code_norm, lengths.codes);
    view.rest_norm = std::max(view.rest_norm, lengths.rest);
  }
  return view;
}

void to_frame(const Kernels& kernels, const GraphView& graph, const float* signs, const float* query, float* out) {
  kernels.rotate(query, graph.dim, graph.padded, signs, out);
  if (graph.l2) {
    const float* origin = reinterpret_cast<const float*>(graph.root);
    for (size_t i = 0; i < graph.padded; ++i) out[i] = (out[i] - origin[i]) * graph.gain;
    return;
  }
  // Any length ranks alike; that of the vectors makes the estimates' errors smallest, and theirs is about 1.
  const double square = square_of(out, graph.padded);
  const float scale = square > 0.0 ? static_cast<float>(1.0 / std::sqrt(square)) : 0.0f;
  for (size_t i = 0; i < graph.padded; ++i) out[i] *= scale;
}

}  // namespace perwatt
