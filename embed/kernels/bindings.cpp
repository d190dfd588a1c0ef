// The Python face of the encoder: checks shapes, types and token ids, releases the GIL, calls.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <sys/mman.h>

#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "bind_units.hpp"
#include "dispatch.hpp"
#include "ordered.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace perwatt::bert {
namespace {

template <class T, int Dims>
using Array = nb::ndarray<T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

// Scratch memory of the calling thread, kept between calls and freed with the thread. Huge pages, because a chunk's
// activations span hundreds of small ones.
class ThreadScratch {
 public:
  ~ThreadScratch() { std::free(at_); }

  void* of(size_t bytes) {
    if (bytes > bytes_) {
      constexpr size_t kHuge = size_t{1} << 21;
      const size_t wanted = (bytes + kHuge - 1) / kHuge * kHuge;
      std::free(at_);
      bytes_ = 0;
      at_ = std::aligned_alloc(kHuge, wanted);
      if (at_ == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
      madvise(at_, wanted, MADV_HUGEPAGE);
#endif
      bytes_ = wanted;
    }
    return at_;
  }

 private:
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

// A model over arrays that Python owns (views of the mapped cache file); they are held as long as the model.
class Bert {
  // Holds the array as long as the model.
  template <class Kept>
  auto keep(const Kept& array) {
    held_.push_back(std::make_shared<Kept>(array));
    return array.data();
  }

 public:
  // Words of uint16 (bfloat16) make an int8 network, of float32 one in float32.
  template <class Word>
  Bert(const std::string& unit, Array<Word, 2> words, Array<const float, 2> positions, Array<const float, 2> norm,
       size_t heads, float epsilon, const std::string& activation, const std::string& pooling, bool normalize)
      : kernels_(units().find_able(unit)) {
    if (kernels_ == nullptr) throw std::invalid_argument("unit '" + unit + "' is unknown or cannot run on this processor");
    vocabulary_ = words.shape(0);
    positions_ = positions.shape(0);
    model_.hidden = words.shape(1);
    model_.heads = heads;
    require(heads > 0 && model_.hidden % 64 == 0 && model_.hidden % heads == 0, "hidden must be a multiple of 64 and of heads");
    require(model_.hidden / heads == 32 || model_.hidden / heads == 64, "heads must be 32 or 64 wide");
    require(positions.shape(1) == model_.hidden, "positions must be as wide as words");
    if constexpr (std::is_same_v<Word, const float>) {
      model_.words_f32 = keep(words);
      network_ = &kernels_->f32;
    } else {
      model_.words = keep(words);
      network_ = &kernels_->int8;
    }
    model_.positions = keep(positions);
    model_.embedding_norm = norm_of(norm);
    model_.epsilon = epsilon;
    require(activation == "gelu" || activation == "gelu_tanh" || activation == "relu", "unknown activation " + activation);
    model_.activation = activation == "gelu" ? Activation::gelu
                        : activation == "gelu_tanh" ? Activation::gelu_tanh : Activation::relu;
    require(pooling == "mean" || pooling == "cls" || pooling == "max" || pooling == "tokens", "unknown pooling " + pooling);
    model_.pooling = pooling == "mean" ? Pooling::mean
                     : pooling == "cls" ? Pooling::cls
                     : pooling == "max" ? Pooling::max : Pooling::tokens;
    require(model_.pooling != Pooling::tokens || !normalize, "tokens are not normalized");
    model_.normalize = normalize;
  }

  using Codes = Array<const int8_t, 4>;
  using Floats = Array<const float, 2>;
  using Weights = Array<const float, 3>;
  using Biases = Array<const float, 1>;
  using Order = Array<const int32_t, 1>;

  // Weights are codes with scales, or float32 with biases, as the words were.
  template <class Weights, class Scales>
  void add_layer(Weights qkv, Scales qkv_scales, Weights attended, Scales attended_scales, Floats attention_norm,
                 Weights inner, Scales inner_scales, Weights outer, Scales outer_scales, Floats norm) {
    require(std::is_same_v<Weights, Codes> == (network_ == &kernels_->int8), "weights must be int8 codes when words are "
            "bfloat16, and float32 when words are");
    const size_t hidden = model_.hidden, wide = inner_scales.shape(inner_scales.ndim() - 1);
    require(layers_.empty() || model_.inner == wide, "all layers must be alike");
    require(wide % 64 == 0, "the inner width must be a multiple of 64");
    model_.inner = wide;
    Layer layer;
    layer.qkv = linear_of(qkv, qkv_scales, hidden, 3 * hidden);
    layer.attended = linear_of(attended, attended_scales, hidden, hidden);
    layer.attention_norm = norm_of(attention_norm);
    layer.inner = linear_of(inner, inner_scales, hidden, wide);
    layer.outer = linear_of(outer, outer_scales, wide, hidden);
    layer.norm = norm_of(norm);
    layers_.push_back(layer);
    model_.layers = layers_.data();
    model_.layer_count = layers_.size();
  }

  // Of the layer that was added last, where the unit reads ordered codes (ordered.hpp).
  void add_orders(Order qkv, Order attended, Order inner, Order outer) {
    require(has_orders() && !layers_.empty(), "only ordered codes have orders, and a layer has them");
    Layer& layer = layers_.back();
    add_order(layer.qkv, qkv);
    add_order(layer.attended, attended);
    add_order(layer.inner, inner);
    add_order(layer.outer, outer);
  }

  void encode(Array<const int32_t, 1> ids, Array<const int32_t, 1> ends, Array<float, 2> out) const {
    const size_t count = ends.shape(0), tokens = ids.shape(0);
    require(model_.layer_count > 0, "the model has no layers yet");
    for (const Layer& layer : layers_) {
      require(!has_orders() || layer.outer.order != nullptr, "the codes of a layer need their orders");
    }
    require(out.shape(0) == (model_.pooling == Pooling::tokens ? tokens : count) && out.shape(1) == model_.hidden,
            "out must be (texts, hidden), or of tokens (tokens, hidden)");
    require(tokens < (size_t{1} << 31), "too many tokens in one call");
    size_t longest = 0;
    int32_t start = 0;
    for (size_t i = 0; i < count; ++i) {
      const int32_t end = ends.data()[i];
      require(end > start, "every text needs at least one token, and ends must rise");
      const size_t length = static_cast<size_t>(end - start);
      require(length <= positions_, "a text is longer than the model's positions");
      longest = length > longest ? length : longest;
      start = end;
    }
    require(static_cast<size_t>(start) == tokens, "the last end must be the number of tokens");
    for (size_t i = 0; i < tokens; ++i) {
      const int32_t id = ids.data()[i];
      require(id >= 0 && static_cast<size_t>(id) < vocabulary_, "a token id is not in the vocabulary");
    }
    if (count == 0) return;
    const Texts texts{ids.data(), ends.data(), count, tokens, longest};
    nb::gil_scoped_release unlocked;
    thread_local ThreadScratch scratch;
    network_->encode(model_, texts, scratch.of(network_->scratch_bytes(model_, tokens, longest)), out.data());
  }

 private:
  Norm norm_of(const Floats& norm) {
    require(norm.shape(0) == 2 && norm.shape(1) == model_.hidden, "a norm must be (2, hidden)");
    const float* at = keep(norm);
    return {at, at + model_.hidden};
  }

  Linear linear_of(const Codes& codes, const Floats& scales, size_t in, size_t out) {
    const auto [panel, group, ordered] = kernels_->packing;
    // An order says how many steps there are.
    const size_t panels = ordered ? 1 : out / panel, steps = ordered ? codes.shape(1) : in / group;
    require((ordered || panels * panel == out) && codes.shape(0) == panels && codes.shape(1) == steps &&
                codes.shape(2) == panel && codes.shape(3) == group,
            "codes must be (" + (ordered ? "1, steps" : std::to_string(panels) + ", " + std::to_string(steps)) + ", " +
                std::to_string(panel) + ", " + std::to_string(group) + ")");
    require(!ordered || in <= kMostOrdered, "too many inputs for ordered codes");
    require(in <= kMaxInputs, "too many inputs");
    require(reinterpret_cast<uintptr_t>(codes.data()) % 64 == 0, "codes must be aligned to 64 bytes");
    require(scales.shape(0) == 3 && scales.shape(1) == out, "scales must be (3, out)");
    const float* at = keep(scales);
    return {keep(codes), at, at + out, at + 2 * out, in, out, nullptr, nullptr, ordered ? codes.shape(1) : 0};
  }

  bool has_orders() const { return network_ == &kernels_->int8 && kernels_->packing.ordered; }

  void add_order(Linear& w, const Order& order) {
    const size_t panels = w.out / kOrderedPanel, size = order.shape(0);
    require(size >= 2 * panels, "an order must begin with two words for each panel");
    const int32_t* words = order.data();
    int32_t end = 0;
    for (size_t panel = 0; panel < panels; ++panel) {
      const int64_t steps = int64_t{words[2 * panel]} - end, pairs = words[2 * panel + 1];
      require(steps >= 0 && pairs >= 0 && 2 * pairs <= steps, "an order's panels must end later and later, with pairs within");
      end = words[2 * panel];
    }
    const size_t steps = static_cast<size_t>(end);
    require(steps <= w.steps, "an order must be of steps that there are codes for");
    require(2 * (size - 2 * panels) >= steps, "an order must have a place for each step");
    const uint16_t* places = reinterpret_cast<const uint16_t*>(words + 2 * panels);
    for (size_t i = 0; i < steps; ++i) require(places[i] % 4 == 0 && places[i] < kWays * w.in, "a place must be one of the inputs'");
    w.order = keep(order);
  }

  Linear linear_of(const Weights& weights, const Biases& bias, size_t in, size_t out) {
    require(weights.shape(0) * kPanel == out && weights.shape(1) == in && weights.shape(2) == kPanel,
            "weights must be (out / 16, in, 16)");
    require(reinterpret_cast<uintptr_t>(weights.data()) % 64 == 0, "weights must be aligned to 64 bytes");
    require(bias.shape(0) == out, "a bias must be (out)");
    Linear linear{};
    linear.bias = keep(bias);
    linear.in = in;
    linear.out = out;
    linear.weights = keep(weights);
    return linear;
  }

  const Kernels* kernels_;
  const Network* network_;
  Model model_{};
  std::vector<Layer> layers_;
  std::vector<std::shared_ptr<void>> held_;
  size_t vocabulary_, positions_;
};

}  // namespace
}  // namespace perwatt::bert

NB_MODULE(_native, m) {
  using namespace perwatt::bert;

  perwatt::bind_units(m, units());
  // Of any unit of this build: an image is packed for processors other than the one it is made on.
  m.def("packing", [](const std::string& name) {
    const Kernels* found = units().find(name);
    if (found == nullptr) throw std::invalid_argument("unit '" + name + "' is not in this build");
    const auto [panel, group, ordered] = found->packing;
    return std::make_tuple(panel, group, ordered);
  }, "unit"_a);
  m.def("ordered", [](Array<const int8_t, 2> codes) {
    const size_t out = codes.shape(0), in = codes.shape(1);
    require(out > 0 && out % kOrderedPanel == 0 && in > 0 && in % 4 == 0 && in <= kMostOrdered,
            "codes must be (a multiple of 8, a multiple of 4)");
    auto made = std::make_unique<Ordered>(ordered(codes.data(), out, in));
    Ordered* held = made.get();
    nb::capsule owner(held, [](void* at) noexcept { delete static_cast<Ordered*>(at); });
    made.release();
    using Packed = nb::ndarray<nb::numpy, int8_t, nb::ndim<4>>;
    using Words = nb::ndarray<nb::numpy, int32_t, nb::ndim<1>>;
    return std::make_tuple(Packed(held->codes.data(), {1, held->codes.size() / (4 * kOrderedPanel), kOrderedPanel, 4}, owner),
                           Words(held->order.data(), {held->order.size()}, owner));
  }, "codes"_a.noconvert());

  m.def("spin", [](const std::string& unit, size_t rounds, bool f32) {
    const Kernels* found = units().find_able(unit);
    if (found == nullptr) throw std::invalid_argument("unit '" + unit + "' is unknown or cannot run on this processor");
    nb::gil_scoped_release unlocked;
    return (f32 ? found->f32 : found->int8).spin(rounds);
  }, "unit"_a, "rounds"_a, "f32"_a = false);

  using Words = Array<const uint16_t, 2>;
  using FloatWords = Array<const float, 2>;
  using Floats = Array<const float, 2>;
  nb::class_<Bert> bert(m, "Bert");
  const auto made_of = [&]<class Given>(Given) {
    bert.def(nb::init<const std::string&, Given, Floats, Floats, size_t, float, const std::string&, const std::string&, bool>(),
             "unit"_a, "words"_a.noconvert(), "positions"_a.noconvert(), "norm"_a.noconvert(), "heads"_a, "epsilon"_a,
             "activation"_a, "pooling"_a, "normalize"_a);
  };
  made_of(Words());
  made_of(FloatWords());
  const auto layer_of = [&](auto add) {
    bert.def("add_layer", add, "qkv"_a.noconvert(), "qkv_scales"_a.noconvert(), "attended"_a.noconvert(),
             "attended_scales"_a.noconvert(), "attention_norm"_a.noconvert(), "inner"_a.noconvert(),
             "inner_scales"_a.noconvert(), "outer"_a.noconvert(), "outer_scales"_a.noconvert(), "norm"_a.noconvert());
  };
  layer_of(&Bert::add_layer<Bert::Codes, Bert::Floats>);
  layer_of(&Bert::add_layer<Bert::Weights, Bert::Biases>);
  bert.def("add_orders", &Bert::add_orders, "qkv"_a.noconvert(), "attended"_a.noconvert(), "inner"_a.noconvert(),
           "outer"_a.noconvert());
  bert.def("encode", &Bert::encode, "ids"_a.noconvert(), "ends"_a.noconvert(), "out"_a.noconvert());
}
