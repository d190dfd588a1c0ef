// Attention in float32, for units without matrix tiles. Query, key and value come out of one product as rows of 3 hidden.
//
// One text and one head at a time. Keys are transposed into panels of W keys, so that a vector holds W keys' scores and
// no sum runs across lanes; a block of U::kQueries queries shares each load. Scores of a block stay in the first-level
// cache (8 queries x 512 keys x 4 bytes = 16 KB), softmax is a power of two (the query carries log2 e), and the division
// by its sum waits until the values are added up.
#pragma once

#include "forward.hpp"

namespace perwatt::bert::UNIT {
namespace {

constexpr float kMasked = -1e30f;

template <class U>
inline size_t attend_bytes(const Model& m, size_t longest) {
  const size_t keys = round_up(longest, U::W * U::kKeyPanels);
  return (keys * (m.hidden / m.heads) + keys * U::kQueries) * sizeof(float);
}

// Scores of Q queries against panels of keys.
template <class U, size_t Q, size_t D>
inline void score(const float* query, size_t stride, const float* keys, size_t panels, float* scores, size_t width) {
  constexpr size_t P = U::kKeyPanels;
  for (size_t panel = 0; panel < panels; panel += P) {
    typename U::F sum[Q][P];
    for (size_t q = 0; q < Q; ++q)
      for (size_t p = 0; p < P; ++p) sum[q][p] = U::zero();
    const float* key = keys + panel * D * U::W;
    for (size_t d = 0; d < D; ++d) {
      typename U::F k[P];
      for (size_t p = 0; p < P; ++p) k[p] = U::load(key + (p * D + d) * U::W);
      for (size_t q = 0; q < Q; ++q) {
        const auto x = U::splat(query[q * stride + d]);
        for (size_t p = 0; p < P; ++p) sum[q][p] = U::fma(x, k[p], sum[q][p]);
      }
    }
    for (size_t q = 0; q < Q; ++q)
      for (size_t p = 0; p < P; ++p) U::store(scores + q * width + (panel + p) * U::W, sum[q][p]);
  }
}

// Turns a row of scores into powers of two relative to its largest; returns one over their sum.
template <class U>
inline float soften(float* scores, size_t length, size_t width) {
  for (size_t i = length; i < width; ++i) scores[i] = kMasked;
  auto high = U::load(scores);
  for (size_t i = U::W; i < width; i += U::W) high = U::max(high, U::load(scores + i));
  const auto top = U::splat(U::highest(high));
  auto sum = U::zero();
  for (size_t i = 0; i < width; i += U::W) {
    const auto power = U::exp2(U::sub(U::load(scores + i), top));
    U::store(scores + i, power);
    sum = U::add(sum, power);
  }
  return 1.0f / U::sum(sum);
}

// The weighted sum of values, columns by groups of U::kValueVectors vectors.
template <class U, size_t Q, size_t D>
inline void gather(const float* scores, size_t width, const float* value, size_t stride, size_t length,
                   const float* factor, float* context, size_t context_stride) {
  constexpr size_t G = D / U::W < U::kValueVectors ? D / U::W : U::kValueVectors;
  for (size_t column = 0; column < D; column += G * U::W) {
    typename U::F sum[Q][G];
    for (size_t q = 0; q < Q; ++q)
      for (size_t g = 0; g < G; ++g) sum[q][g] = U::zero();
    for (size_t key = 0; key < length; ++key) {
      typename U::F v[G];
      for (size_t g = 0; g < G; ++g) v[g] = U::load(value + key * stride + column + g * U::W);
      for (size_t q = 0; q < Q; ++q) {
        const auto x = U::splat(scores[q * width + key]);
        for (size_t g = 0; g < G; ++g) sum[q][g] = U::fma(x, v[g], sum[q][g]);
      }
    }
    for (size_t q = 0; q < Q; ++q) {
      const auto one = U::splat(factor[q]);
      for (size_t g = 0; g < G; ++g) U::store(context + q * context_stride + column + g * U::W, U::mul(sum[q][g], one));
    }
  }
}

template <class U, size_t Q, size_t D>
inline void attend_block(const float* query, size_t stride, const float* keys, size_t panels, const float* value,
                         size_t length, float* scores, float* context, size_t context_stride) {
  const size_t width = panels * U::W;
  score<U, Q, D>(query, stride, keys, panels, scores, width);
  const size_t used = round_up(length, U::W);
  float factor[Q];
  for (size_t q = 0; q < Q; ++q) factor[q] = soften<U>(scores + q * width, length, used);
  gather<U, Q, D>(scores, width, value, stride, length, factor, context, context_stride);
}

template <class U, size_t D>
void attend_text(const Model& m, const float* qkv, size_t length, char* scratch, float* context) {
  const size_t stride = 3 * m.hidden, panels = round_up(length, U::W * U::kKeyPanels) / U::W;
  float* keys = reinterpret_cast<float*>(scratch);
  float* scores = keys + panels * U::W * D;
  for (size_t head = 0; head < m.heads; ++head) {
    const float* query = qkv + head * D;
    const float* key = query + m.hidden;
    const float* value = key + m.hidden;
    for (size_t panel = 0; panel < panels; ++panel) {
      const size_t left = panel * U::W < length ? length - panel * U::W : 0;
      U::transpose(key + panel * U::W * stride, stride, left < U::W ? left : U::W, D, keys + panel * U::W * D);
    }
    float* to = context + head * D;
    size_t row = 0;
    for (; row + U::kQueries <= length; row += U::kQueries) {
      attend_block<U, U::kQueries, D>(query + row * stride, stride, keys, panels, value, length, scores,
                                      to + row * m.hidden, m.hidden);
    }
    for (; row < length; ++row) {
      attend_block<U, 1, D>(query + row * stride, stride, keys, panels, value, length, scores, to + row * m.hidden,
                            m.hidden);
    }
  }
}

template <class U>
void attend_f32(const Model& m, const Layer& layer, const Texts& texts, const Scratch<U>& s) {
  const size_t stride = 3 * m.hidden;
  multiply<U>(s.codes, s.ranges, texts.tokens, layer.qkv, s.room,
              [&](size_t row, size_t channel, typename U::F x) { U::store(s.wide + row * stride + channel, x); });
  size_t start = 0;
  for (size_t text = 0; text < texts.count; ++text) {
    const size_t length = static_cast<size_t>(texts.ends[text]) - start;
    const float* qkv = s.wide + start * stride;
    float* context = s.context + start * m.hidden;
    if (m.hidden / m.heads == 32) {
      attend_text<U, 32>(m, qkv, length, s.attention, context);
    } else {
      attend_text<U, 64>(m, qkv, length, s.attention, context);
    }
    start += length;
  }
  if constexpr (!U::kExact) {
    for (size_t t = 0; t < texts.tokens; ++t) {
      s.ranges[t] = code_row<U>(s.context + t * m.hidden, m.hidden, s.context_codes + t * m.hidden);
    }
  }
}

}  // namespace
}  // namespace perwatt::bert::UNIT
