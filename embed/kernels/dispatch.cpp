// The units of this module; native/cpu.cpp knows which of them this processor can run.
#include "dispatch.hpp"

namespace perwatt::bert {

const Units<Kernels>& units() {
  static const Units<Kernels> all({
      &scalar::kernels,
#if defined(__x86_64__)
      &avx2::kernels, &avx2vnni::kernels, &avx512vnni::kernels, &avx512amx::kernels,
#elif defined(__aarch64__)
      &neon::kernels, &neondot::kernels, &i8mm::kernels,
#endif
  });
  return all;
}

}  // namespace perwatt::bert
