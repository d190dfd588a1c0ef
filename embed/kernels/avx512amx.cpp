// AVX-512 with matrix tiles (AMX): Sapphire Rapids and later. int8 tiles for the linear layers, bfloat16 tiles for attention.
//
// A tile instruction multiplies 16 rows by 16 channels over 64 bytes of input in 16 cycles: 1,024 int8 multiply-adds a
// cycle, eight times vpdpbusd. What is left is everything else, so the tiles must run while the vector units turn the last
// block's sums into floats: a block's tiles are issued first, then the block before it is finished, and only then are the
// sums stored. Out-of-order execution overlaps the two.
//
// One short query reads every weight once and is bound by that: 8 tokens of a 10.6 MB model take 0.42 ms where reading
// 10.6 MB from the third-level cache takes 0.355 ms on the same core. Prefetching 12 to 96 KB ahead changed nothing.
#define UNIT avx512amx
#include "amx.hpp"
#include "attend.hpp"
#include "avx512_vector.hpp"
#include "f32_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Avx512Amx : Avx512Vector {
  static constexpr size_t kFeedRows = 128;
  static constexpr size_t kTile = 16;  // rows of a tile; also its columns of 32 bits

  using Session = TileSession;

  // Sums of up to two tiles of rows by two panels, as stored: [row tile][panel][16][16].
  struct Block {
    size_t first, rows, channel;
    int32_t* sums;
  };

  template <class Then>
  static void product(const Code* codes, const RowRange* ranges, size_t rows, const Linear& w, const Then& then) {
    alignas(64) int32_t sums[2][4 * kTile * kTile];
    Block last{};
    size_t turn = 0;
    for (size_t channel = 0; channel < w.out; channel += 2 * kPanel) {
      for (size_t first = 0; first < rows; first += 2 * kTile) {
        const Block block{first, rows - first < 2 * kTile ? rows - first : 2 * kTile, channel, sums[turn]};
        multiply(codes, w, block);
        if (last.rows > 0) finish(last, ranges, w, then);
        _tile_stored(0, block.sums, 64);
        _tile_stored(1, block.sums + 256, 64);
        if (block.rows > kTile) {
          _tile_stored(2, block.sums + 512, 64);
          _tile_stored(3, block.sums + 768, 64);
        }
        last = block;
        turn ^= 1;
      }
    }
    finish(last, ranges, w, then);
  }

  static void multiply(const Code* codes, const Linear& w, const Block& block) {
    const Code* x = codes + block.first * w.in;
    const int8_t* a = w.codes + block.channel * w.in;
    const int8_t* b = a + kPanel * w.in;
    settle();
    _tile_zero(0);
    _tile_zero(1);
    if (block.rows <= kTile) {
      for (size_t k = 0; k < w.in; k += 64) {
        _tile_loadd(4, x + k, w.in);
        _tile_loadd(6, a + k * kPanel, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, b + k * kPanel, 64);
        _tile_dpbusd(1, 4, 7);
      }
      return;
    }
    _tile_zero(2);
    _tile_zero(3);
    const Code* y = x + kTile * w.in;
    for (size_t k = 0; k < w.in; k += 64) {
      _tile_loadd(4, x + k, w.in);
      _tile_loadd(6, a + k * kPanel, 64);
      _tile_dpbusd(0, 4, 6);
      _tile_loadd(7, b + k * kPanel, 64);
      _tile_dpbusd(1, 4, 7);
      _tile_loadd(5, y + k, w.in);
      _tile_dpbusd(2, 5, 6);
      _tile_dpbusd(3, 5, 7);
    }
  }

  template <class Then>
  static void finish(const Block& block, const RowRange* ranges, const Linear& w, const Then& then) {
    const size_t c = block.channel;
    const F step = load(w.step + c), step_sum = load(w.step_sum + c), bias = load(w.bias + c);
    const F step2 = load(w.step + c + kPanel), step_sum2 = load(w.step_sum + c + kPanel), bias2 = load(w.bias + c + kPanel);
    for (size_t r = 0; r < block.rows; ++r) {
      const RowRange range = ranges[block.first + r];
      const int32_t* sums = block.sums + r / kTile * 2 * kTile * kTile + r % kTile * kTile;
      const F scale = splat(range.scale), low = splat(range.low);
      then(block.first + r, c, fma(mul(floats(sums), step), scale, fma(low, step_sum, bias)));
      then(block.first + r, c + kPanel, fma(mul(floats(sums + kTile * kTile), step2), scale, fma(low, step_sum2, bias2)));
    }
  }

  static F floats(const int32_t* sums) { return _mm512_cvtepi32_ps(_mm512_load_si512(sums)); }

  // Attention. Keys as a tile want [width / 2][16 keys][2], a transpose of pairs; values want [keys / 2][16][2], two rows
  // interleaved. Queries and probabilities are tiles as they lie.
  struct Attention {
    uint16_t* keys;    // [tile of 16 keys][width / 2][16][2]
    uint16_t* values;  // [width / 16][keys / 2][16][2]
    float* scores;     // (32, keys)
    uint16_t* weights; // (32, keys)
  };

  static size_t lay(const Model& m, size_t longest, char* base, Attention* into) {
    const size_t keys = round_up(longest, 32), width = m.hidden / m.heads;
    char* at = base;
    auto take = [&](size_t bytes) {
      char* here = at;
      at += round_up(bytes, 64);
      return here;
    };
    Attention a;
    a.keys = reinterpret_cast<uint16_t*>(take(keys * width * 2));
    a.values = reinterpret_cast<uint16_t*>(take(keys * width * 2));
    a.scores = reinterpret_cast<float*>(take(32 * keys * sizeof(float)));
    a.weights = reinterpret_cast<uint16_t*>(take(32 * keys * 2));
    if (into != nullptr) *into = a;
    return static_cast<size_t>(at - base);
  }
  static size_t attention_bytes(const Model& m, size_t longest) { return lay(m, longest, nullptr, nullptr); }

  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Avx512Amx>& s) {
    const size_t stride = 3 * m.hidden;
    uint16_t* qkv = reinterpret_cast<uint16_t*>(s.wide);
    product(s.codes, s.ranges, texts.tokens, layer.qkv,
            [&](size_t row, size_t channel, F x) { store_half(qkv + row * stride + channel, x); });
    size_t start = 0;
    for (size_t text = 0; text < texts.count; ++text) {
      const size_t length = static_cast<size_t>(texts.ends[text]) - start;
      if (m.hidden / m.heads == 32) {
        attend_text<32>(m, qkv + start * stride, length, s.attention, s.context + start * m.hidden);
      } else {
        attend_text<64>(m, qkv + start * stride, length, s.attention, s.context + start * m.hidden);
      }
      start += length;
    }
    for (size_t t = 0; t < texts.tokens; ++t) {
      s.ranges[t] = code_row<Avx512Amx>(s.context + t * m.hidden, m.hidden, s.context_codes + t * m.hidden);
    }
  }

  static void store_half(uint16_t* at, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }

  template <size_t D>
  static void pack_keys(const uint16_t* key, size_t stride, size_t length, uint16_t* out) {
    for (size_t first = 0; first < length; first += kTile) {
      for (size_t column = 0; column < D; column += 32) {
        __m512 r[16];
        for (size_t i = 0; i < 16; ++i) {
          r[i] = first + i < length ? _mm512_loadu_ps(key + (first + i) * stride + column) : zero();
        }
        transpose16(r);
        for (size_t i = 0; i < 16; ++i) _mm512_store_ps(out + first * D + (column / 2 + i) * 32, r[i]);
      }
    }
  }

  template <size_t D>
  static void pack_values(const uint16_t* value, size_t stride, size_t length, size_t keys, uint16_t* out) {
    for (size_t pair = 0; pair < keys / 2; ++pair) {
      const uint16_t* row = value + 2 * pair * stride;
      for (size_t column = 0; column < D; column += 16) {
        const __m512i even = 2 * pair < length ? wide(row + column) : _mm512_setzero_si512();
        const __m512i odd = 2 * pair + 1 < length ? wide(row + stride + column) : _mm512_setzero_si512();
        _mm512_store_si512(out + column * keys + pair * 32, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
      }
    }
  }

  static __m512i wide(const uint16_t* at) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }

  template <size_t D>
  static void attend_text(const Model& m, const uint16_t* qkv, size_t length, char* scratch, float* context) {
    const size_t stride = 3 * m.hidden, keys = round_up(length, 32);
    Attention a;
    lay(m, length, scratch, &a);
    for (size_t head = 0; head < m.heads; ++head) {
      const uint16_t* query = qkv + head * D;
      pack_keys<D>(query + m.hidden, stride, length, a.keys);
      pack_values<D>(query + 2 * m.hidden, stride, length, keys, a.values);
      for (size_t first = 0; first < length; first += 2 * kTile) {
        const size_t rows = length - first < 2 * kTile ? length - first : 2 * kTile;
        score<D>(query + first * stride, stride, rows, a, length, keys);
        float factor[2 * kTile];
        for (size_t r = 0; r < rows; ++r) factor[r] = soften(a.scores + r * keys, length, keys, a.weights + r * keys);
        gather<D>(a, keys, rows, factor, context + first * m.hidden + head * D, m.hidden);
      }
    }
  }

  // Scores of up to 32 queries. Rows past the text's end are other texts' or old bytes; what comes of them is not used.
  template <size_t D>
  static void score(const uint16_t* query, size_t stride, size_t rows, const Attention& a, size_t length, size_t keys) {
    const size_t bytes = keys * sizeof(float);
    settle();
    for (size_t key = 0; key < length; key += 2 * kTile) {
      _tile_zero(0);
      _tile_zero(1);
      if (rows > kTile) {
        _tile_zero(2);
        _tile_zero(3);
      }
      for (size_t d = 0; d < D; d += 32) {
        _tile_loadd(4, query + d, stride * 2);
        _tile_loadd(6, a.keys + key * D + d * 16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, a.keys + (key + kTile) * D + d * 16, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (rows > kTile) {
          _tile_loadd(5, query + kTile * stride + d, stride * 2);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, a.scores + key, bytes);
      _tile_stored(1, a.scores + key + kTile, bytes);
      if (rows > kTile) {
        _tile_stored(2, a.scores + kTile * keys + key, bytes);
        _tile_stored(3, a.scores + kTile * keys + key + kTile, bytes);
      }
    }
  }

  static float soften(const float* scores, size_t length, size_t keys, uint16_t* weights) {
    const size_t whole = length / 16 * 16;
    const __mmask16 tail = static_cast<__mmask16>((1u << (length - whole)) - 1);
    F high = splat(kMasked);
    for (size_t i = 0; i < whole; i += 16) high = max(high, load(scores + i));
    const F rest = _mm512_mask_loadu_ps(splat(kMasked), tail, scores + whole);
    const F top = splat(highest(max(high, rest)));
    F sum_ = zero();
    size_t i = 0;
    for (; i < whole; i += 16) {
      const F power = exp2(sub(load(scores + i), top));
      sum_ = add(sum_, power);
      store_half(weights + i, power);
    }
    for (; i < keys; i += 16) {
      const F power = i == whole ? _mm512_maskz_mov_ps(tail, exp2(sub(rest, top))) : zero();
      sum_ = add(sum_, power);
      store_half(weights + i, power);
    }
    return 1.0f / sum(sum_);
  }

  template <size_t D>
  static void gather(const Attention& a, size_t keys, size_t rows, const float* factor, float* context, size_t stride) {
    alignas(64) float sums[4 * kTile * kTile];
    settle();
    for (size_t column = 0; column < D; column += 32) {
      const uint16_t* value = a.values + column * keys;
      const uint16_t* value2 = value + 16 * keys;
      _tile_zero(0);
      _tile_zero(1);
      if (rows > kTile) {
        _tile_zero(2);
        _tile_zero(3);
      }
      for (size_t key = 0; key < keys; key += 32) {
        _tile_loadd(4, a.weights + key, keys * 2);
        _tile_loadd(6, value + key * 16, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, value2 + key * 16, 64);
        _tile_dpbf16ps(1, 4, 7);
        if (rows > kTile) {
          _tile_loadd(5, a.weights + kTile * keys + key, keys * 2);
          _tile_dpbf16ps(2, 5, 6);
          _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, sums, 64);
      _tile_stored(1, sums + 256, 64);
      if (rows > kTile) {
        _tile_stored(2, sums + 512, 64);
        _tile_stored(3, sums + 768, 64);
      }
      for (size_t r = 0; r < rows; ++r) {
        const float* at = sums + r / kTile * 512 + r % kTile * kTile;
        const F one = splat(factor[r]);
        store(context + r * stride + column, mul(load(at), one));
        store(context + r * stride + column + 16, mul(load(at + 256), one));
      }
    }
  }
};

using Exact = Float32<Avx512Vector>;

}  // namespace

const Kernels kernels = {"avx512amx", {kPanel, 4}, network<Avx512Amx>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
