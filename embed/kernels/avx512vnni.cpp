// AVX-512 with VNNI: Ice Lake, Zen 4 and later. Integer products by vpdpbusd, attention in float32.
#define UNIT avx512vnni
#include "attend.hpp"
#include "avx512_vector.hpp"
#include "f32_product.hpp"
#include "avx512_vnni_product.hpp"

namespace perwatt::bert::UNIT {
namespace {

struct Avx512Vnni : Avx512Vector, VnniProduct {
  struct Session {};
  static constexpr size_t kFeedRows = 96;
  static constexpr size_t kQueries = 6, kKeyPanels = 4;  // 24 sums, 4 keys, one query
  static constexpr size_t kValueVectors = 4;

  static size_t attention_bytes(const Model& m, size_t longest) { return attend_bytes<Avx512Vnni>(m, longest); }
  static void attend(const Model& m, const Layer& layer, const Texts& texts, const Scratch<Avx512Vnni>& s) {
    attend_f32<Avx512Vnni>(m, layer, texts, s);
  }
};

using Exact = Float32<Avx512Vector>;

}  // namespace

const Kernels kernels = {"avx512vnni", {kPanel, 4}, network<Avx512Vnni>(), network<Exact>()};

}  // namespace perwatt::bert::UNIT
