// See bandwidth.hpp. A read bandwidth is only a yardstick if the reader does not hold it up, so:
//
//   width    as wide as the processor's loads: with 16-byte loads a core of 2 x 64 bytes a cycle would seem a quarter as
//            fast from its caches. From memory the width makes no difference.
//   chains   four sums for each stream (eight where there is one), so that no addition waits for another.
//   streams  one core's prefetchers follow each stream separately and stop at the end of a page; with several streams
//            more lines are on their way at once. How many are best differs between machines, so the caller tries.
//
// The sum is of unsigned words, which may wrap around, so the order of the additions changes nothing.
#include "bandwidth.hpp"

namespace perwatt {
namespace {

template <int Bytes>
struct Wide {
  typedef uint64_t Word __attribute__((vector_size(Bytes), aligned(1), may_alias));
};

// Forced into each caller below, whose instruction set it then is compiled for.
template <int Bytes, int Streams>
__attribute__((always_inline)) inline uint64_t sum_streams(const uint8_t* bytes, size_t size) {
  using Word = typename Wide<Bytes>::Word;
  constexpr int kChains = Streams == 1 ? 8 : 4;
  const size_t part = size / Streams;
  Word sums[Streams][kChains] = {};
  for (size_t at = 0; at + kChains * Bytes <= part; at += kChains * Bytes) {
    for (int s = 0; s < Streams; ++s) {
      for (int c = 0; c < kChains; ++c) {
        sums[s][c] += *reinterpret_cast<const Word*>(bytes + s * part + at + c * Bytes);
      }
    }
  }
  uint64_t total = 0;
  for (int s = 0; s < Streams; ++s) {
    for (int c = 0; c < kChains; ++c) {
      for (int lane = 0; lane < Bytes / 8; ++lane) total += sums[s][c][lane];
    }
  }
  return total;
}

template <int Bytes>
__attribute__((always_inline)) inline uint64_t sum(const uint8_t* bytes, size_t size, size_t streams) {
  switch (streams) {
    case 1: return sum_streams<Bytes, 1>(bytes, size);
    case 2: return sum_streams<Bytes, 2>(bytes, size);
    default: return sum_streams<Bytes, 4>(bytes, size);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) uint64_t sum_512(const uint8_t* bytes, size_t size, size_t streams) {
  return sum<64>(bytes, size, streams);
}
__attribute__((target("avx2"))) uint64_t sum_256(const uint8_t* bytes, size_t size, size_t streams) {
  return sum<32>(bytes, size, streams);
}
#endif

}  // namespace

uint64_t read_sum(const uint8_t* bytes, size_t size, size_t streams) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return sum_512(bytes, size, streams);
  if (__builtin_cpu_supports("avx2")) return sum_256(bytes, size, streams);
#endif
  return sum<16>(bytes, size, streams);
}

}  // namespace perwatt
