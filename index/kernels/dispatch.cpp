// The units of this module; native/cpu.cpp knows which of them this processor can run.
#include "dispatch.hpp"

namespace perwatt {
namespace {

const Kernels*& in_use() {
  static const Kernels* chosen = units().able().front();
  return chosen;
}

}  // namespace

const Units<Kernels>& units() {
  static const Units<Kernels> all({
      &kScalar,
#if defined(__x86_64__)
      &kAvx2, &kAvx512, &kAvx512Vnni, &kAvx512Amx,
#elif defined(__aarch64__)
      &kNeon, &kNeonDot, &kI8mm, &kSve256,
#endif
  });
  return all;
}

const Kernels* find_unit(const std::string& name) { return name.empty() ? active() : units().find_able(name); }

const Kernels* active() { return in_use(); }

bool use(const std::string& name) {
  const Kernels* found = find_unit(name);
  if (found == nullptr) return false;
  in_use() = found;
  return true;
}

}  // namespace perwatt
