// Every unit that can run here against the scalar one, without Python: for emulators and sanitizers.
//
// A small model of each shape is filled with random weights and a few texts of awkward lengths are encoded three ways: by
// the scalar unit, by the unit, and by the unit one text at a time. The unit must agree with the scalar one within the
// rounding of codes (int8) or of float32, and with itself bit for bit.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "dispatch.hpp"
#include "ordered.hpp"

namespace {

using namespace perwatt::bert;

constexpr double kLeastCosine = 0.995, kLeastCosineF32 = 1 - 1e-6;
constexpr Packing kFloat = {kPanel, 1};  // of float32; the codes of such a model are not read

struct Shape {
  size_t hidden, inner, heads, layers;
  Activation activation;
  Pooling pooling;
  bool normalize;
};

// Memory on a 64-byte boundary, as the packed file has it.
template <class T>
class Aligned {
 public:
  explicit Aligned(size_t count) : at_(static_cast<T*>(std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64))) {}
  ~Aligned() { std::free(at_); }
  Aligned(Aligned&& other) noexcept : at_(other.at_) { other.at_ = nullptr; }
  T* get() const { return at_; }

 private:
  T* at_;
};

class Made {
 public:
  Made(const Shape& shape, const Packing& packing) : random_(7) {
    const size_t h = shape.hidden;
    for (size_t i = 0; i < shape.layers; ++i) {
      Layer layer;
      layer.qkv = linear(h, 3 * h, packing);
      layer.attended = linear(h, h, packing);
      layer.attention_norm = norm(h);
      layer.inner = linear(h, shape.inner, packing);
      layer.outer = linear(shape.inner, h, packing);
      layer.norm = norm(h);
      layers_.push_back(layer);
    }
    Aligned<uint16_t> words(kVocabulary * h);
    Aligned<float> words_f32(kVocabulary * h);
    for (size_t i = 0; i < kVocabulary * h; ++i) {
      const float x = normal_(random_);
      uint32_t bits;
      std::memcpy(&bits, &x, 4);
      words.get()[i] = static_cast<uint16_t>(bits >> 16);
      words_f32.get()[i] = x;
    }
    halves_.push_back(std::move(words));
    model = {halves_.back().get(), floats(kPositions * h, 0.3f, 0.0f), norm(h), layers_.data(), shape.layers, h,
             shape.inner, shape.heads, 1e-12f, shape.activation, shape.pooling, shape.normalize, words_f32.get()};
    floats_.push_back(std::move(words_f32));
  }

  static constexpr size_t kVocabulary = 97, kPositions = 80;
  Model model{};

 private:
  const float* floats(size_t count, float spread, float centre) {
    Aligned<float> values(count);
    for (size_t i = 0; i < count; ++i) values.get()[i] = centre + spread * normal_(random_);
    floats_.push_back(std::move(values));
    return floats_.back().get();
  }

  Norm norm(size_t width) {
    const float* gain = floats(width, 0.2f, 1.0f);
    return {gain, floats(width, 0.2f, 0.0f)};
  }

  Linear linear(size_t in, size_t out, const Packing& packing) {
    std::vector<int8_t> plain(in * out);
    Aligned<float> weights(in * out);
    const float step = 1.0f / (40.0f * std::sqrt(static_cast<float>(in)));
    const float* steps = floats(out, step / 10, step);
    Aligned<float> sums(out);
    for (size_t channel = 0; channel < out; ++channel) {
      int64_t sum = 0;
      for (size_t k = 0; k < in; ++k) {
        const int code = std::max(-127, std::min(127, static_cast<int>(std::lround(40 * normal_(random_)))));
        plain[channel * in + k] = static_cast<int8_t>(code);
        weights.get()[place(channel, k, in, {kPanel, 1})] = steps[channel] * static_cast<float>(code);
        sum += code;
      }
      sums.get()[channel] = steps[channel] * static_cast<float>(sum);
    }
    const int32_t* order = nullptr;
    if (packing.ordered) {
      Ordered made = ordered(plain.data(), out, in);
      plain = std::move(made.codes);
      orders_.push_back(std::move(made.order));
      order = orders_.back().data();
    }
    Aligned<int8_t> codes(plain.size());
    for (size_t i = 0; i < plain.size(); ++i) {
      codes.get()[packing.ordered ? i : place(i / in, i % in, in, packing)] = plain[i];
    }
    codes_.push_back(std::move(codes));
    floats_.push_back(std::move(sums));
    const float* step_sum = floats_.back().get();
    const float* bias = floats(out, 0.1f, 0.0f);
    floats_.push_back(std::move(weights));
    return {codes_.back().get(), steps, step_sum, bias, in, out, floats_.back().get(), order};
  }

  // Where in panels the code of a channel and an input lies.
  static size_t place(size_t channel, size_t k, size_t in, const Packing& p) {
    return channel / p.panel * p.panel * in + k / p.group * p.group * p.panel + channel % p.panel * p.group + k % p.group;
  }

  std::mt19937 random_;
  std::normal_distribution<float> normal_;
  std::vector<Layer> layers_;
  std::vector<Aligned<int8_t>> codes_;
  std::vector<std::vector<int32_t>> orders_;
  std::vector<Aligned<float>> floats_;
  std::vector<Aligned<uint16_t>> halves_;
};

std::vector<float> run(const Network& network, const Model& model, const std::vector<std::vector<int32_t>>& texts) {
  std::vector<int32_t> ids, ends;
  size_t longest = 0;
  for (const auto& text : texts) {
    ids.insert(ids.end(), text.begin(), text.end());
    ends.push_back(static_cast<int32_t>(ids.size()));
    longest = std::max(longest, text.size());
  }
  const Texts all{ids.data(), ends.data(), texts.size(), ids.size(), longest};
  Aligned<char> scratch(network.scratch_bytes(model, ids.size(), longest));
  std::vector<float> out(texts.size() * model.hidden);
  network.encode(model, all, scratch.get(), out.data());
  return out;
}

double cosine(const float* a, const float* b, size_t n) {
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < n; ++i) {
    ab += static_cast<double>(a[i]) * b[i];
    aa += static_cast<double>(a[i]) * a[i];
    bb += static_cast<double>(b[i]) * b[i];
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace

int main() {
  const Shape shapes[] = {
      {64, 128, 2, 2, Activation::gelu, Pooling::mean, true},
      {128, 192, 2, 1, Activation::gelu_tanh, Pooling::cls, true},
      {192, 64, 6, 2, Activation::relu, Pooling::max, false},
  };
  const size_t lengths[] = {1, 2, 7, 16, 17, 33, 64, 80, 3, 31};
  int failures = 0;
  for (const Kernels* unit : units().able()) {
    int cases = 0;
    double least = 1.0, least_f32 = 1.0;
    for (const Shape& shape : shapes) {
      std::mt19937 random(3);
      std::vector<std::vector<int32_t>> texts;
      for (size_t length : lengths) {
        texts.emplace_back();
        for (size_t t = 0; t < length; ++t) texts.back().push_back(static_cast<int32_t>(random() % Made::kVocabulary));
      }
      for (const bool f32 : {false, true}) {
        const Network& ours = f32 ? unit->f32 : unit->int8;
        const Made oracle(shape, f32 ? kFloat : scalar::kernels.packing), made(shape, f32 ? kFloat : unit->packing);
        const std::vector<float> expected = run(f32 ? scalar::kernels.f32 : scalar::kernels.int8, oracle.model, texts);
        const std::vector<float> together = run(ours, made.model, texts);
        double& nearest = f32 ? least_f32 : least;
        for (size_t i = 0; i < texts.size(); ++i, ++cases) {
          const float* vector = together.data() + i * shape.hidden;
          const double near = cosine(vector, expected.data() + i * shape.hidden, shape.hidden);
          const std::vector<float> alone = run(ours, made.model, {texts[i]});
          const bool same = std::memcmp(alone.data(), vector, shape.hidden * sizeof(float)) == 0;
          nearest = near < nearest ? near : nearest;
          if (near >= (f32 ? kLeastCosineF32 : kLeastCosine) && same) continue;
          ++failures;
          std::printf("%s %s: hidden %zu, %zu tokens: cosine %.7f to scalar, %s alone\n", unit->name,
                      f32 ? "float32" : "int8", shape.hidden, texts[i].size(), near, same ? "the same" : "another vector");
        }
      }
    }
    std::printf("%s: %d cases, least cosine to scalar %.5f in int8, %.8f in float32\n", unit->name, cases, least,
                least_f32);
  }
  return failures == 0 ? 0 : 1;
}
