// The encoder, step by step, as templates over a unit: embed, (attend, feed forward) for each layer, pool.
//
// Included by every unit inside its own translation unit, after `#define UNIT name`. All of it lies in an anonymous namespace
// of that unit: code compiled for one instruction set can never stand in for another's.
//
// What is fused. A runtime that executes a graph writes each operator's result to memory and reads it back; with int8
// products that traffic costs more than the products. Here the linear layers hand each result, dequantised and with its
// bias, to a small function that does what comes next (store, add to the residual), and what needs a whole row (norm, the
// range of the codes, GELU with it) is one pass over the row while it lies in the first-level cache.
//
// A unit with kExact set keeps float32 throughout: its "codes" are the rows themselves and nothing is written twice.
//
// Memory order: one chunk of texts goes through a layer after another. The feed-forward part, whose rows are the widest,
// goes through in blocks of kFeedRows rows.
#pragma once

#include "bert.hpp"

namespace perwatt::bert::UNIT {
namespace {

// A row of codes stands for x = low + scale * stored code. Units that store signed codes fold their 128 into low.
struct RowRange {
  float scale;
  float low;
};

constexpr float kLeastRange = 1e-20f;  // of a row; an all-equal row must not be divided by zero
constexpr float kTop = 255.0f;         // the largest code

// GELU(x) = x * (1/2 + c * P(c^2)), c = x held within +-4, P fitted to the error of the product with x; largest error
// 2e-4 (erf form) and 4e-4 (tanh form), where the step of a code is 1e-2 or more.
constexpr float kGeluReach = 4.0f;
constexpr float kGeluLeast = -0.1705f;  // below either form's minimum, -0.16997 and -0.17004
constexpr size_t kGeluTerms = 7;
constexpr float kGelu[2][kGeluTerms] = {
    {0.397883207f, -0.0645729154f, 0.00877229683f, -0.000813996361f, 4.7953512e-05f, -1.59849969e-06f, 2.27794033e-08f},
    {0.397745281f, -0.0646422356f, 0.00883993134f, -0.000828939897f, 4.94028754e-05f, -1.66461621e-06f, 2.39410358e-08f},
};

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

template <size_t R, class Block>
inline void in_block(size_t count, size_t first, const Block& block) {
  if constexpr (R > 1) {
    if (count < R) return in_block<R - 1>(count, first, block);
  }
  block.template operator()<R>(first);
}

// Calls block<R>(first row) for rows split evenly into blocks of at most R: 13 rows in blocks of 12 are 7 and 6, because a
// block of one row waits for its own latency.
template <size_t R, class Block>
inline void in_blocks(size_t rows, const Block& block) {
  const size_t blocks = (rows + R - 1) / R;
  for (size_t i = 0; i < blocks; ++i) {
    const size_t first = rows * i / blocks;
    in_block<R>(rows * (i + 1) / blocks - first, first, block);
  }
}

// Where a chunk's activations lie. Rows of codes are padded so that a unit may read whole tiles of rows past the end.
constexpr size_t kRowPad = 32;

template <class U>
struct Scratch {
  using Code = typename U::Code;
  float* hidden;       // (tokens, hidden) the residual stream
  float* context;      // (tokens, hidden) what attention gives
  float* wide;         // (tokens, 3 hidden) query, key, value; later (kFeedRows, inner)
  Code* codes;         // (tokens, hidden) of the residual stream after a norm
  Code* context_codes; // (tokens, hidden) of what attention gives
  Code* wide_codes;    // (kFeedRows, inner)
  RowRange* ranges;    // (tokens)
  RowRange* wide_ranges;
  char* attention;     // what the unit's attention needs
  char* room;          // what its products need, if anything

  static size_t lay(const Model& m, size_t tokens, size_t longest, char* base, Scratch* into) {
    char* at = base;
    auto take = [&](size_t bytes) {
      char* here = at;
      at += round_up(bytes, 64);
      return here;
    };
    const size_t rows = round_up(tokens, kRowPad), feed = round_up(tokens < U::kFeedRows ? tokens : U::kFeedRows, kRowPad);
    const size_t qkv = tokens * 3 * m.hidden, inner = feed * m.inner;
    Scratch s;
    s.hidden = reinterpret_cast<float*>(take(rows * m.hidden * sizeof(float)));
    s.context = reinterpret_cast<float*>(take(rows * m.hidden * sizeof(float)));
    s.wide = reinterpret_cast<float*>(take((qkv > inner ? qkv : inner) * sizeof(float)));
    if constexpr (U::kExact) {
      s.codes = s.hidden;
      s.context_codes = s.context;
      s.wide_codes = s.wide;
    } else {
      s.codes = s.context_codes = reinterpret_cast<Code*>(take(rows * m.hidden * sizeof(Code)));
      s.wide_codes = reinterpret_cast<Code*>(take(feed * m.inner * sizeof(Code)));
    }
    s.ranges = reinterpret_cast<RowRange*>(take(rows * sizeof(RowRange)));
    s.wide_ranges = reinterpret_cast<RowRange*>(take(feed * sizeof(RowRange)));
    s.attention = take(U::attention_bytes(m, longest));
    s.room = nullptr;
    if constexpr (requires { U::room_bytes(m); }) s.room = take(U::room_bytes(m));
    if (into != nullptr) *into = s;
    return static_cast<size_t>(at - base);
  }
};

// The unit's product, with the room that it has asked for.
template <class U, class Then>
[[gnu::always_inline]] inline void multiply(const typename U::Code* codes, const RowRange* ranges, size_t rows,
                                            const Linear& w, char* room, const Then& then) {
  if constexpr (requires(const Model& m) { U::room_bytes(m); }) U::product(codes, ranges, rows, w, room, then);
  else U::product(codes, ranges, rows, w, then);
}

template <class U>
inline RowRange range_of(float low, float high) {
  const float width = high - low > kLeastRange ? high - low : kLeastRange;
  return {width / kTop, low};
}

// Writes the codes of a row and returns its range as the products want it.
template <class U>
inline RowRange encode_row(const float* row, size_t width, typename U::F low, typename U::F high, typename U::Code* codes) {
  const RowRange range = range_of<U>(U::lowest(low), U::highest(high));
  const float per_step = 1.0f / range.scale;
  const auto factor = U::splat(per_step), shift = U::splat(-range.low * per_step);
  for (size_t i = 0; i < width; i += U::W) U::store_codes(codes + i, U::fma(U::load(row + i), factor, shift));
  return {range.scale, range.low + U::kCodeZero * range.scale};
}

// Layer norm in place, and the codes of what it gives.
template <class U>
inline RowRange norm_row(float* row, size_t width, const Norm& norm, float epsilon, typename U::Code* codes) {
  auto sum = U::zero(), sum2 = U::zero();
  for (size_t i = 0; i < width; i += 2 * U::W) {
    sum = U::add(sum, U::load(row + i));
    sum2 = U::add(sum2, U::load(row + i + U::W));
  }
  const float mean = U::sum(U::add(sum, sum2)) / static_cast<float>(width);
  const auto centre = U::splat(mean);
  auto squares = U::zero(), squares2 = U::zero();
  for (size_t i = 0; i < width; i += 2 * U::W) {
    const auto a = U::sub(U::load(row + i), centre), b = U::sub(U::load(row + i + U::W), centre);
    squares = U::fma(a, a, squares);
    squares2 = U::fma(b, b, squares2);
  }
  const float variance = U::sum(U::add(squares, squares2)) / static_cast<float>(width);
  const auto factor = U::splat(1.0f / U::root(variance + epsilon));
  auto low = U::splat(3e38f), high = U::splat(-3e38f);
  for (size_t i = 0; i < width; i += U::W) {
    const auto unit = U::mul(U::sub(U::load(row + i), centre), factor);
    const auto x = U::fma(unit, U::load(norm.gain + i), U::load(norm.shift + i));
    U::store(row + i, x);
    low = U::min(low, x);
    high = U::max(high, x);
  }
  if constexpr (U::kExact) return {};
  else return encode_row<U>(row, width, low, high, codes);
}

template <class U>
inline RowRange code_row(const float* row, size_t width, typename U::Code* codes) {
  auto low = U::splat(3e38f), high = U::splat(-3e38f);
  for (size_t i = 0; i < width; i += U::W) {
    const auto x = U::load(row + i);
    low = U::min(low, x);
    high = U::max(high, x);
  }
  return encode_row<U>(row, width, low, high, codes);
}

// GELU to float32's accuracy: x times the standard normal's share below x is max(x, 0) - |x| * (share beyond |x|). For the
// erf form the share beyond is (1/2) erfc(|x| / sqrt 2) by formula 7.1.26 of Abramowitz and Stegun, error 1.5e-7; for the
// tanh form it is p / (1 + p) with p = e^(-2 y), y = sqrt(2 / pi) (|x| + 0.044715 |x|^3).
template <class U>
inline typename U::F exact_gelu(typename U::F x, Activation kind) {
  constexpr float kLog2e = 1.44269504f;
  const auto zero = U::zero(), one = U::splat(1.0f), size = U::max(x, U::sub(zero, x)), square = U::mul(x, x);
  auto beyond = zero;
  if (kind == Activation::gelu_tanh) {
    const auto y = U::mul(size, U::fma(square, U::splat(0.044715f), one));
    const auto power = U::exp2(U::mul(y, U::splat(-2.0f * 0.797884561f * kLog2e)));
    beyond = U::div(power, U::add(one, power));
  } else {
    const auto t = U::div(one, U::fma(size, U::splat(0.3275911f * 0.707106781f), one));
    auto sum = U::splat(0.5f * 1.061405429f);
    sum = U::fma(sum, t, U::splat(0.5f * -1.453152027f));
    sum = U::fma(sum, t, U::splat(0.5f * 1.421413741f));
    sum = U::fma(sum, t, U::splat(0.5f * -0.284496736f));
    sum = U::fma(sum, t, U::splat(0.5f * 0.254829592f));
    beyond = U::mul(U::mul(sum, t), U::exp2(U::mul(square, U::splat(-0.5f * kLog2e))));
  }
  return U::sub(U::max(x, zero), U::mul(size, beyond));
}

template <class U>
struct Gelu {
  typename U::F p[kGeluTerms];
  typename U::F reach = U::splat(kGeluReach), back = U::splat(-kGeluReach), half = U::splat(0.5f);
  explicit Gelu(Activation kind) {
    const float* terms = kGelu[kind == Activation::gelu_tanh ? 1 : 0];
    for (size_t i = 0; i < kGeluTerms; ++i) p[i] = U::splat(terms[i]);
  }
  typename U::F operator()(typename U::F x) const {
    const auto c = U::max(U::min(x, reach), back);
    const auto square = U::mul(c, c);
    auto sum = p[kGeluTerms - 1];
    for (size_t i = kGeluTerms - 1; i-- > 0;) sum = U::fma(sum, square, p[i]);
    return U::mul(x, U::fma(c, sum, half));
  }
};

// The codes of a row after its activation. Both forms of GELU rise wherever they are positive, so the largest result is
// that of the largest input and the range is known before any of it is computed.
template <class U>
inline RowRange activate_row(const float* row, size_t width, Activation kind, typename U::Code* codes) {
  auto high = U::zero(), high2 = U::zero();
  for (size_t i = 0; i < width; i += 2 * U::W) {
    high = U::max(high, U::load(row + i));
    high2 = U::max(high2, U::load(row + i + U::W));
  }
  const float top = U::highest(U::max(high, high2));
  if (kind == Activation::relu) {
    const RowRange range = range_of<U>(0.0f, top);
    const auto factor = U::splat(1.0f / range.scale), zero = U::zero();
    for (size_t i = 0; i < width; i += U::W) {
      U::store_codes(codes + i, U::mul(U::max(U::load(row + i), zero), factor));
    }
    return {range.scale, U::kCodeZero * range.scale};
  }
  const Gelu<U> gelu(kind);
  const RowRange range = range_of<U>(kGeluLeast, U::highest(gelu(U::splat(top))));
  const float per_step = 1.0f / range.scale;
  const auto factor = U::splat(per_step), shift = U::splat(-range.low * per_step);
  for (size_t i = 0; i < width; i += 2 * U::W) {
    const auto a = gelu(U::load(row + i)), b = gelu(U::load(row + i + U::W));
    U::store_codes(codes + i, U::fma(a, factor, shift));
    U::store_codes(codes + i + U::W, U::fma(b, factor, shift));
  }
  return {range.scale, range.low + U::kCodeZero * range.scale};
}

template <class U>
inline void activate_in_place(float* row, size_t width, Activation kind) {
  for (size_t i = 0; i < width; i += U::W) {
    const auto x = U::load(row + i);
    U::store(row + i, kind == Activation::relu ? U::max(x, U::zero()) : exact_gelu<U>(x, kind));
  }
}

template <class U>
void embed(const Model& m, const Texts& texts, const Scratch<U>& s) {
  size_t start = 0;
  for (size_t text = 0; text < texts.count; ++text) {
    const size_t end = static_cast<size_t>(texts.ends[text]);
    for (size_t t = start; t < end; ++t) {
      const size_t word = static_cast<size_t>(texts.ids[t]) * m.hidden;
      const float* position = m.positions + (t - start) * m.hidden;
      float* row = s.hidden + t * m.hidden;
      for (size_t i = 0; i < m.hidden; i += U::W) {
        auto x = U::zero();
        if constexpr (U::kExact) x = U::load(m.words_f32 + word + i);
        else x = U::widen(m.words + word + i);
        U::store(row + i, U::add(x, U::load(position + i)));
      }
      s.ranges[t] = norm_row<U>(row, m.hidden, m.embedding_norm, m.epsilon, s.codes + t * m.hidden);
    }
    start = end;
  }
}

template <class U>
void feed_forward(const Model& m, const Layer& layer, size_t tokens, const Scratch<U>& s) {
  for (size_t first = 0; first < tokens; first += U::kFeedRows) {
    const size_t rows = tokens - first < U::kFeedRows ? tokens - first : U::kFeedRows;
    multiply<U>(s.codes + first * m.hidden, s.ranges + first, rows, layer.inner, s.room,
                [&](size_t row, size_t channel, typename U::F x) { U::store(s.wide + row * m.inner + channel, x); });
    for (size_t row = 0; row < rows; ++row) {
      float* wide = s.wide + row * m.inner;
      if constexpr (U::kExact) activate_in_place<U>(wide, m.inner, m.activation);
      else s.wide_ranges[row] = activate_row<U>(wide, m.inner, m.activation, s.wide_codes + row * m.inner);
    }
    float* hidden = s.hidden + first * m.hidden;
    const auto add = [&](size_t row, size_t channel, typename U::F x) {
      float* at = hidden + row * m.hidden + channel;
      U::store(at, U::add(U::load(at), x));
    };
    multiply<U>(s.wide_codes, s.wide_ranges, rows, layer.outer, s.room, add);
    for (size_t row = 0; row < rows; ++row) {
      s.ranges[first + row] = norm_row<U>(hidden + row * m.hidden, m.hidden, layer.norm, m.epsilon,
                                          s.codes + (first + row) * m.hidden);
    }
  }
}

template <class U>
void pool(const Model& m, const Texts& texts, const Scratch<U>& s, float* out) {
  if (m.pooling == Pooling::tokens) {
    for (size_t i = 0; i < texts.tokens * m.hidden; i += U::W) U::store(out + i, U::load(s.hidden + i));
    return;
  }
  size_t start = 0;
  for (size_t text = 0; text < texts.count; ++text) {
    const size_t end = static_cast<size_t>(texts.ends[text]), length = end - start;
    const float* rows = s.hidden + start * m.hidden;
    float* vector = out + text * m.hidden;
    auto squares = U::zero();
    for (size_t i = 0; i < m.hidden; i += U::W) {
      auto x = U::load(rows + i);
      if (m.pooling == Pooling::mean) {
        for (size_t t = 1; t < length; ++t) x = U::add(x, U::load(rows + t * m.hidden + i));
        x = U::mul(x, U::splat(1.0f / static_cast<float>(length)));
      } else if (m.pooling == Pooling::max) {
        for (size_t t = 1; t < length; ++t) x = U::max(x, U::load(rows + t * m.hidden + i));
      }
      squares = U::fma(x, x, squares);
      U::store(vector + i, x);
    }
    if (m.normalize) {
      const float norm = U::root(U::sum(squares));
      const auto factor = U::splat(1.0f / (norm > kLeastRange ? norm : kLeastRange));
      for (size_t i = 0; i < m.hidden; i += U::W) U::store(vector + i, U::mul(U::load(vector + i), factor));
    }
    start = end;
  }
}

template <class U>
void encode(const Model& m, const Texts& texts, void* scratch, float* out) {
  [[maybe_unused]] const typename U::Session session;
  Scratch<U> s;
  Scratch<U>::lay(m, texts.tokens, texts.longest, static_cast<char*>(scratch), &s);
  embed<U>(m, texts, s);
  for (size_t i = 0; i < m.layer_count; ++i) {
    const Layer& layer = m.layers[i];
    U::attend(m, layer, texts, s);
    const auto add = [&](size_t row, size_t channel, typename U::F x) {
      float* at = s.hidden + row * m.hidden + channel;
      U::store(at, U::add(U::load(at), x));
    };
    multiply<U>(s.context_codes, s.ranges, texts.tokens, layer.attended, s.room, add);
    for (size_t t = 0; t < texts.tokens; ++t) {
      s.ranges[t] =
          norm_row<U>(s.hidden + t * m.hidden, m.hidden, layer.attention_norm, m.epsilon, s.codes + t * m.hidden);
    }
    feed_forward<U>(m, layer, texts.tokens, s);
  }
  pool<U>(m, texts, s, out);
}

template <class U>
size_t spin(size_t rounds) {
  constexpr size_t kRows = 32, kIn = 256, kOut = (U::kExact ? 2 : 4) * kPanel, kSteps = kIn / 4;
  alignas(64) static const int8_t weights[kIn * kOut * (U::kExact ? sizeof(float) : 1)] = {};
  alignas(64) static const typename U::Code codes[kRows * kIn] = {};
  alignas(64) static const float zeros[kOut] = {};
  alignas(64) char room[40 * kIn];  // of those that copy codes
  int32_t order[kOut / 4 + kOut * kSteps / 16] = {};  // of panels of eight, everything in pairs and at one place
  for (size_t panel = 0; panel < kOut / 8; ++panel) {
    order[2 * panel] = static_cast<int32_t>((panel + 1) * kSteps);
    order[2 * panel + 1] = kSteps / 2;
  }
  static const RowRange ranges[kRows] = {};
  [[maybe_unused]] const typename U::Session session;
  Linear linear{weights, zeros, zeros, zeros, kIn, kOut, nullptr, order};
  if constexpr (U::kExact) linear.weights = reinterpret_cast<const float*>(weights);
  const typename U::Code* rows = codes;
  asm volatile("" : "+r"(linear.codes), "+r"(linear.weights), "+r"(linear.step), "+r"(rows), "+r"(linear.in));  // not known to be zero
  alignas(64) float out[U::W];
  for (size_t i = 0; i < rounds; ++i) {
    multiply<U>(rows, ranges, kRows, linear, room, [&](size_t, size_t, typename U::F x) {
      U::store(out, x);
      asm volatile("" : : "r"(out) : "memory");  // each of them: what the next one overwrites would not be worked out
    });
  }
  return rounds * kRows * kIn * kOut;
}

template <class U>
size_t scratch_bytes(const Model& m, size_t tokens, size_t longest) {
  return Scratch<U>::lay(m, tokens, longest, nullptr, nullptr);
}

template <class U>
constexpr Network network() {
  return {scratch_bytes<U>, encode<U>, spin<U>};
}

}  // namespace
}  // namespace perwatt::bert::UNIT
