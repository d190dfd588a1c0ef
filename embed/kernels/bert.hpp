// The numeric contract of the encoder's kernels, and the table each instruction set fills.
//
// A unit (scalar.cpp, avx2.cpp, ...) is one translation unit compiled with its own flags. It runs a whole BERT encoder
// over a few texts that lie end to end, without padding: forward.hpp has the steps, written once as templates over the
// unit's vector type and its integer matrix product. Units only compute: no allocation, threads, exceptions or Python.
//
//   step                input            arithmetic                        output
//   linear layers       u8 x s8 codes    exact int32 sums                  f32
//   attention           f32 (amx: bf16)  f32 sums, softmax in f32          f32
//   norm, GELU, pooling f32              f32                               f32 or u8 codes
//
// Every unit holds the network twice: in int8 as above, and in float32 throughout (`f32`), which is the reference and what a
// model gets that int8 does not suit. There linear layers are f32 x f32 with one f32 sum a result, in the order of the
// inputs; vectors agree with those of another runtime within 1e-5 a component.
//
// Codes. A row of activations (one token) is x ~ low + scale * code with code in 0...255, where low and low + 255 * scale
// are the row's least and largest value: the range need not be centred on zero, and after GELU or next to an outlier
// channel it is far from it. Weights are w ~ step * code, code in -127...127, one step an output channel. With
// s = sum over inputs of the weight codes,
//   sum_k x_k w_k ~ step * (scale * sum_k code_k * weight_code_k + low * s)
// so a linear layer is one integer product and two fused multiply-adds a result.
//
// Overflow: |sum| <= 255 * 127 * inputs, below 2^31 up to 66,311 inputs; kMaxInputs stays below that.
//
// A text's vector depends on its tokens alone: no step looks across texts, integer sums are exact in any order, and every
// float sum of a row is taken in an order fixed by the unit and the row's own length, never by its place in a block. The
// tests hold this bit for bit. Units differ from one another by rounding, and where that moves a code, by a step: int8
// vectors of two units have a cosine above 0.99 on a real model (most above 0.999), float32 ones above 1 - 1e-6.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace perwatt::bert {

constexpr size_t kMaxInputs = 65536;

// Output channels that most units' panels of weight codes hold, and every unit's of float32 weights.
constexpr size_t kPanel = 16;

// How a unit's weight codes lie: [out/panel][in/group][panel][group], group = 4 (dot products of four bytes: VNNI, AMX,
// SDOT) or 8 (SMMLA). Where they are `ordered` each panel has an order of its own, of some more groups (ordered.hpp).
struct Packing {
  size_t panel, group;
  bool ordered = false;
};

struct Linear {
  const int8_t* codes;
  const float* step;      // (out)
  const float* step_sum;  // (out) step * sum of the channel's codes
  const float* bias;      // (out)
  size_t in;              // multiple of 64
  size_t out;             // multiple of 32
  const float* weights = nullptr;  // in place of codes, step and step_sum: [out/16][in][16]
  const int32_t* order = nullptr;  // of ordered codes
  size_t steps = 0;                // of all their panels
};

struct Norm {
  const float* gain;   // (hidden)
  const float* shift;  // (hidden)
};

struct Layer {
  // query, key and value side by side; the query's rows carry the factor log2(e) / sqrt(head width), so that softmax
  // is a power of two.
  Linear qkv;
  Linear attended;
  Norm attention_norm;
  Linear inner;
  Linear outer;
  Norm norm;
};

enum class Activation : uint32_t { gelu, gelu_tanh, relu };
enum class Pooling : uint32_t { mean, cls, max, tokens };  // tokens: a vector for each, as the last layer has it

struct Model {
  const uint16_t* words;   // bfloat16 (vocabulary, hidden); null in float32
  const float* positions;  // (positions, hidden), the row of segment 0 added
  Norm embedding_norm;
  const Layer* layers;
  size_t layer_count;
  size_t hidden;  // multiple of 64
  size_t inner;   // multiple of 64
  size_t heads;   // hidden / heads is 32 or 64
  float epsilon;
  Activation activation;
  Pooling pooling;
  bool normalize;
  const float* words_f32 = nullptr;  // in place of words
};

// Texts end to end: text i is ids[ends[i-1]] ... ids[ends[i] - 1] with ends[-1] = 0. No text is empty.
struct Texts {
  const int32_t* ids;
  const int32_t* ends;
  size_t count;
  size_t tokens;
  size_t longest;
};

// The network in one arithmetic.
struct Network {
  // Bytes of scratch memory, 64-byte aligned, that encode needs for texts of this size.
  size_t (*scratch_bytes)(const Model& model, size_t tokens, size_t longest);
  // out: float32 (count, hidden), or (tokens, hidden) where tokens are not pooled.
  void (*encode)(const Model& model, const Texts& texts, void* scratch, float* out);
  // Runs the product alone, everything in the first-level cache, and returns its multiply-adds: what the unit could do if
  // a model were nothing else.
  size_t (*spin)(size_t rounds);
};

struct Kernels {
  const char* name;
  Packing packing;  // of the int8 weights
  Network int8;
  Network f32;
};

// One for each translation unit that this architecture builds; dispatch.cpp decides which may run. Each unit's code lies in
// a namespace of its name, so that a disassembly tells whose an instruction is.
namespace scalar { extern const Kernels kernels; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels kernels; }
namespace avx2vnni { extern const Kernels kernels; }
namespace avx512vnni { extern const Kernels kernels; }
namespace avx512amx { extern const Kernels kernels; }
#elif defined(__aarch64__)
namespace neon { extern const Kernels kernels; }
namespace neondot { extern const Kernels kernels; }
namespace i8mm { extern const Kernels kernels; }
#endif

}  // namespace perwatt::bert
