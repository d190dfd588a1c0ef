// Chooses the unit at load: cpuid on amd64, the kernel's HWCAP bits on arm64.
//
// __builtin_cpu_supports asks the operating system too (XGETBV): a hypervisor or kernel that does not save the
// 512-bit registers must look like a processor without them.
#include "dispatch.hpp"

#if defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#elif defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace perwatt {
namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// The tiles' registers must be asked for, once a process; Linux gives them to those that may have them.
bool has_avx512amx() {
  constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;  // asm/prctl.h, and the number of the state component
  return has_avx512vnni() && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") &&
         syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}
#elif defined(__aarch64__)
// Linux arch/arm64/include/uapi/asm/hwcap.h and include/uapi/linux/prctl.h; named here because old C library headers lack
// some of them.
constexpr unsigned long kHwcapAsimdDp = 1ul << 20, kHwcapSve = 1ul << 22, kHwcap2I8mm = 1ul << 13;
constexpr int kPrSveGetVl = 51, kPrSveVlLenMask = 0xFFFF;

bool has_neondot() { return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0; }

bool has_i8mm() { return has_neondot() && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0; }

// The length in use and not the longest that the processor has: threads started later have it too, unless someone asks the
// kernel for another (Linux Documentation/arch/arm64/sve.rst).
bool has_sve256() {
  if (!has_i8mm() || (getauxval(AT_HWCAP) & kHwcapSve) == 0) return false;
  const int length = prctl(kPrSveGetVl);
  return length >= 0 && (length & kPrSveVlLenMask) == 256 / 8;
}
#endif

std::vector<Unit> list_units() {
  return {
#if defined(__x86_64__)
      {&kAvx512Amx, has_avx512amx()},
      {&kAvx512Vnni, has_avx512vnni()},
      {&kAvx512, has_avx512()},
      {&kAvx2, has_avx2()},
#elif defined(__aarch64__)
      {&kSve256, has_sve256()},
      {&kI8mm, has_i8mm()},
      {&kNeonDot, has_neondot()},
      {&kNeon, true},
#endif
      {&kScalar, true},
  };
}

const Kernels* best_unit() {
  for (const Unit& unit : units()) {
    if (unit.supported) return unit.kernels;
  }
  return &kScalar;
}

const Kernels*& in_use() {
  static const Kernels* chosen = best_unit();
  return chosen;
}

}  // namespace

const std::vector<Unit>& units() {
  static const std::vector<Unit> all = list_units();
  return all;
}

const Kernels* find_unit(const std::string& name) {
  if (name.empty()) return active();
  for (const Unit& unit : units()) {
    if (unit.supported && name == unit.kernels->name) return unit.kernels;
  }
  return nullptr;
}

const Kernels* active() { return in_use(); }

bool use(const std::string& name) {
  const Kernels* found = find_unit(name);
  if (found == nullptr) return false;
  in_use() = found;
  return true;
}

}  // namespace perwatt
