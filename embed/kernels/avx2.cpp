// AVX2 without VNNI: Haswell to Cascade Lake's predecessors, Zen 1 to 3.
//
// vpmaddubsw, the byte product of AVX2, adds two products and holds the sum within 16 bits: 255 * 127 twice is 64,770.
// Widening bytes first and multiplying 16 bits (vpmaddwd) is exact: two multiplications and two additions for 32 products.
// Here codes are packed in an order in which two vpmaddubsw can be added up in 16 bits (ordered.hpp), and only their sum is
// widened: three multiplications and two additions for 64.
//
// So each panel wants its inputs in an order of its own. Rows of codes are copied for that, up to ten side by side and four
// inputs in each of the three ways that they can be paired: then the inputs of a step lie at a place that the panel names.
#define UNIT avx2
#include "attend.hpp"
#include "avx2_vector.hpp"
#include "f32_product.hpp"
#include "ordered.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Avx2 : Avx2Vector {
  using Code = uint8_t;
  struct Session {};
  static constexpr size_t kFeedRows = 48;
  static constexpr size_t kQueries = 4, kKeyPanels = 2;  // 8 sums, 2 keys, one query of 16 registers
  static constexpr size_t kValueVectors = 2;
  static constexpr size_t kRows = 10;  // sums; two weights, the ones and two products make 15 registers
  static constexpr size_t kSide = 12;  // rows that there is room for side by side
  static constexpr size_t kAhead = 48;  // steps, 1.5 KB, that weights are fetched ahead

  static size_t room_bytes(const Model& m) { return kWays * kSide * (m.inner > m.hidden ? m.inner : m.hidden); }

  static void store_codes(Code* at, F x) {
    const __m128i words = codes_of(x);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), _mm_packus_epi16(words, words));
  }

  // Up to kRows rows as [way][in/4][kSide][4]. Rows from the ninth on first: eight places are written for them, the last of
  // which are the next four inputs'.
  static void copy(const Code* codes, size_t rows, size_t in, Code* block) {
    const float* fours = reinterpret_cast<const float*>(codes);
    float* to = reinterpret_cast<float*>(block);
    if (rows > 8) transpose<kSide>(fours + 2 * in, in / 4, rows - 8, in / 4, to + 8);
    transpose<kSide>(fours, in / 4, rows < 8 ? rows : 8, in / 4, to);
    const __m256i second = every_four(kWay[1]), third = every_four(kWay[2]);
    for (size_t i = 0; i < in * kSide; i += 32) {
      const __m256i x = _mm256_load_si256(reinterpret_cast<const __m256i*>(block + i));
      _mm256_store_si256(reinterpret_cast<__m256i*>(block + in * kSide + i), _mm256_shuffle_epi8(x, second));
      _mm256_store_si256(reinterpret_cast<__m256i*>(block + 2 * in * kSide + i), _mm256_shuffle_epi8(x, third));
    }
  }

  // That order in each four bytes of a vector.
  static __m256i every_four(const uint8_t (&order)[4]) {
    int32_t four;
    __builtin_memcpy(&four, order, 4);
    const __m128i start = _mm_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    return _mm256_broadcastsi128_si256(_mm_add_epi8(_mm_set1_epi32(four), start));
  }

  static __m256i four_times(const Code* at) {
    int32_t four;
    __builtin_memcpy(&four, at, 4);
    return _mm256_set1_epi32(four);
  }

  // _mm256_add_epi32, spelled out: GCC 12 makes all products first and has too few registers, or copies each sum.
  [[gnu::always_inline]] static inline void accumulate(__m256i& sum, __m256i more) { asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(more)); }

  // The products of R rows and a panel's channels. By itself, so that it is compiled once, whatever is done with the sums.
  template <size_t R>
  [[gnu::noinline]] static void add_up(const Code* block, const uint16_t* places, const int8_t* panel, size_t pairs,
                                       size_t steps, __m256i* out) {
    const __m256i ones = _mm256_set1_epi16(1);
    const __m256i* weights = reinterpret_cast<const __m256i*>(panel);
    __m256i sum[R];
#pragma GCC unroll 10
    for (size_t r = 0; r < R; ++r) sum[r] = _mm256_setzero_si256();
    for (size_t i = 0; i < 2 * pairs; i += 2) {
      const Code* a = block + kSide * places[i];
      const Code* b = block + kSide * places[i + 1];
      _mm_prefetch(reinterpret_cast<const char*>(weights + i + kAhead), _MM_HINT_T0);
      const __m256i first = _mm256_load_si256(weights + i), second = _mm256_load_si256(weights + i + 1);
#pragma GCC unroll 10
      for (size_t r = 0; r < R; ++r) {
        const __m256i x = _mm256_maddubs_epi16(four_times(a + 4 * r), first);
        const __m256i y = _mm256_maddubs_epi16(four_times(b + 4 * r), second);
        accumulate(sum[r], _mm256_madd_epi16(_mm256_add_epi16(x, y), ones));
      }
    }
    for (size_t i = 2 * pairs; i < steps; ++i) {
      const Code* a = block + kSide * places[i];
      const __m256i first = _mm256_load_si256(weights + i);
#pragma GCC unroll 10
      for (size_t r = 0; r < R; ++r) {
        accumulate(sum[r], _mm256_madd_epi16(_mm256_maddubs_epi16(four_times(a + 4 * r), first), ones));
      }
    }
#pragma GCC unroll 10
    for (size_t r = 0; r < R; ++r) out[r] = sum[r];
  }

  template <size_t R, class Then>
  static void finish(const __m256i (&sum)[R], const RowRange* ranges, size_t first, const Linear& w, size_t channel,
                     const Then& then) {
    const F step = load(w.step + channel), step_sum = load(w.step_sum + channel), bias = load(w.bias + channel);
#pragma GCC unroll 10
    for (size_t r = 0; r < R; ++r) {
      const RowRange range = ranges[first + r];
      const F product = mul(_mm256_cvtepi32_ps(sum[r]), step);
      then(first + r, channel, fma(product, splat(range.scale), fma(splat(range.low), step_sum, bias)));
    }
  }

  // A block's copy stays in the first-level cache while the weights go by.
  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, char* room,
                      const Then& then) {
    const size_t panels = w.out / kOrderedPanel;
    const uint16_t* const places = reinterpret_cast<const uint16_t*>(w.order + 2 * panels);
    Code* const block = reinterpret_cast<Code*>(room);
    in_blocks<kRows>(rows, [&]<size_t R>(size_t first) {
      copy(codes + first * w.in, R, w.in, block);
      size_t start = 0;
      for (size_t panel = 0; panel < panels; ++panel) {
        const size_t end = static_cast<size_t>(w.order[2 * panel]), pairs = static_cast<size_t>(w.order[2 * panel + 1]);
        __m256i sum[R];
        add_up<R>(block, places + start, w.codes + start * 4 * kOrderedPanel, pairs, end - start, sum);
        finish<R>(sum, ranges, first, w, panel * kOrderedPanel, then);
        start = end;
      }
    });
  }

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Avx2>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Avx2>& s) {
    attend_f32<Avx2>(m, layer, texts, s);
  }
};

using Exact = Float32<Avx2Vector>;

}  // namespace

const Kernels kernels = {"avx2", {kOrderedPanel, 4, true}, network<Avx2>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
