// Chooses the unit at load: cpuid on amd64, the kernel's HWCAP bits on arm64.
//
// __builtin_cpu_supports asks the operating system too (XGETBV): a hypervisor or kernel that does not save the 512-bit
// registers must look like a processor without them. Matrix tiles need one step more: Linux enlarges a process's saved
// state by 8 KB only for those that ask (Documentation/arch/x86/xstate.rst), and may refuse.
#include "dispatch.hpp"

#if defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace perwatt::bert {
namespace {

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx2vnni() { return has_avx2() && __builtin_cpu_supports("avxvnni"); }

bool has_avx512vnni() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

bool has_avx512amx() {
  constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;  // asm/prctl.h, and the number of the state component
  return has_avx512vnni() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("amx-tile") &&
         __builtin_cpu_supports("amx-int8") && __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
}
#elif defined(__aarch64__)
// Linux arch/arm64/include/uapi/asm/hwcap.h; named here because old C library headers lack them.
constexpr unsigned long kHwcapAsimdDp = 1ul << 20;
constexpr unsigned long kHwcap2I8mm = 1ul << 13;

bool has_neondot() { return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0; }
bool has_i8mm() { return has_neondot() && (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0; }
#endif

std::vector<Unit> list_units() {
  return {
#if defined(__x86_64__)
      {&avx512amx::kernels, has_avx512amx()},
      {&avx512vnni::kernels, has_avx512vnni()},
      {&avx2vnni::kernels, has_avx2vnni()},
      {&avx2::kernels, has_avx2()},
#elif defined(__aarch64__)
      {&i8mm::kernels, has_i8mm()},
      {&neondot::kernels, has_neondot()},
      {&neon::kernels, true},
#endif
      {&scalar::kernels, true},
  };
}

}  // namespace

const std::vector<Unit>& units() {
  static const std::vector<Unit> all = list_units();
  return all;
}

const Kernels* find_unit(const std::string& name) {
  for (const Unit& unit : units()) {
    if (unit.supported && name == unit.kernels->name) return unit.kernels;
  }
  return nullptr;
}

}  // namespace perwatt::bert
