// cpuid on amd64, the kernel's HWCAP bits on arm64, sysctl on macOS.
//
// __builtin_cpu_supports asks the operating system too (XGETBV): a hypervisor or kernel that does not save the 512-bit
// registers must look like a processor without them. Matrix tiles need one step more: Linux enlarges a process's saved
// state by 8 KB only for those that ask (Documentation/arch/x86/xstate.rst), and may refuse.
#include "cpu.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#if defined(__APPLE__) && defined(__aarch64__)
#include <sys/sysctl.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#elif defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace perwatt::cpu {
namespace {

struct Feature {
  const char* name;
  bool (*present)();
};

// A rung and what it needs beyond the rung it stands on.
struct Step {
  const char* name;
  const char* on;
  std::vector<Feature> adds;
};

#if defined(__x86_64__)
// The tiles' registers must be asked for, once a process; Linux gives them to those that may have them.
bool has_tiles() {
#if defined(__linux__)
  constexpr long kArchReqXcompPerm = 0x1023, kTileData = 18;  // asm/prctl.h, and the number of the state component
  return __builtin_cpu_supports("amx-tile") && syscall(SYS_arch_prctl, kArchReqXcompPerm, kTileData) == 0;
#else
  return false;
#endif
}

const std::vector<Step>& steps() {
  static const std::vector<Step> all = {
      {"scalar", "", {}},
      {"avx2", "scalar",
       {{"avx2", [] { return __builtin_cpu_supports("avx2") != 0; }},
        {"fma", [] { return __builtin_cpu_supports("fma") != 0; }},
        {"f16c", [] { return __builtin_cpu_supports("f16c") != 0; }}}},
      {"avx2vnni", "avx2", {{"avx_vnni", [] { return __builtin_cpu_supports("avxvnni") != 0; }}}},
      {"avx512", "avx2",
       {{"avx512f", [] { return __builtin_cpu_supports("avx512f") != 0; }},
        {"avx512bw", [] { return __builtin_cpu_supports("avx512bw") != 0; }},
        {"avx512dq", [] { return __builtin_cpu_supports("avx512dq") != 0; }},
        {"avx512vl", [] { return __builtin_cpu_supports("avx512vl") != 0; }}}},
      {"avx512vnni", "avx512", {{"avx512_vnni", [] { return __builtin_cpu_supports("avx512vnni") != 0; }}}},
      {"avx512amx", "avx512vnni",
       {{"avx512_bf16", [] { return __builtin_cpu_supports("avx512bf16") != 0; }},
        {"amx_tile", has_tiles},
        {"amx_int8", [] { return __builtin_cpu_supports("amx-int8") != 0; }},
        {"amx_bf16", [] { return __builtin_cpu_supports("amx-bf16") != 0; }}}},
  };
  return all;
}
#elif defined(__APPLE__) && defined(__aarch64__)
// Every Apple processor has Advanced SIMD; the rest has a name each ("Determining instruction set characteristics",
// developer.apple.com). A name that the system does not know is a feature that the processor has not. None has SVE outside
// of streaming mode.
bool has(const char* name) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

const std::vector<Step>& steps() {
  static const std::vector<Step> all = {
      {"scalar", "", {}},
      {"neon", "scalar", {{"asimd", [] { return true; }}}},
      {"neondot", "neon", {{"asimddp", [] { return has("hw.optional.arm.FEAT_DotProd"); }}}},
      {"i8mm", "neondot", {{"i8mm", [] { return has("hw.optional.arm.FEAT_I8MM"); }}}},
      {"sve256", "i8mm", {{"sve", [] { return false; }}}},
  };
  return all;
}
#elif defined(__aarch64__)
// Linux arch/arm64/include/uapi/asm/hwcap.h and include/uapi/linux/prctl.h; named here because old C library headers lack
// some of them.
constexpr unsigned long kHwcapAsimd = 1ul << 1, kHwcapAsimdDp = 1ul << 20, kHwcapSve = 1ul << 22;
constexpr unsigned long kHwcap2I8mm = 1ul << 13;
constexpr int kPrSveGetVl = 51, kPrSveVlLenMask = 0xFFFF;

// The length in use and not the longest that the processor has: threads started later have it too, unless someone asks the
// kernel for another (Linux Documentation/arch/arm64/sve.rst).
bool has_sve_of_256_bits() {
  if ((getauxval(AT_HWCAP) & kHwcapSve) == 0) return false;
  const int length = prctl(kPrSveGetVl);
  return length >= 0 && (length & kPrSveVlLenMask) == 256 / 8;
}

const std::vector<Step>& steps() {
  static const std::vector<Step> all = {
      {"scalar", "", {}},
      {"neon", "scalar", {{"asimd", [] { return (getauxval(AT_HWCAP) & kHwcapAsimd) != 0; }}}},
      {"neondot", "neon", {{"asimddp", [] { return (getauxval(AT_HWCAP) & kHwcapAsimdDp) != 0; }}}},
      {"i8mm", "neondot", {{"i8mm", [] { return (getauxval(AT_HWCAP2) & kHwcap2I8mm) != 0; }}}},
      {"sve256", "i8mm", {{"sve", has_sve_of_256_bits}}},
  };
  return all;
}
#else
const std::vector<Step>& steps() {
  static const std::vector<Step> all = {{"scalar", "", {}}};
  return all;
}
#endif

constexpr const char* kHide = "PERWATT_HIDE_ISA";

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

template <class T>
bool contains(const std::vector<T>& all, const T& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

bool hides(const std::string& word, const std::string& feature) { return feature.compare(0, word.size(), word) == 0; }

std::vector<std::string> read_hidden() {
  const char* given = std::getenv(kHide);
  std::vector<std::string> words, known;
  for (const Step& step : steps()) {
    for (const Feature& each : step.adds) known.emplace_back(each.name);
  }
  std::string rest = given == nullptr ? "" : given;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(','), rest.size());
    const std::string word = rest.substr(0, end);
    rest.erase(0, end + 1);
    if (word.empty() || std::none_of(known.begin(), known.end(), [&](const auto& name) { return hides(word, name); })) {
      throw std::invalid_argument(std::string(kHide) + "='" + given + "': '" + word +
                                  "' is the beginning of no feature that a unit needs. Give some of " + joined(known) +
                                  ", separated by commas, or what their names begin with.");
    }
    words.push_back(word);
  }
  return words;
}

std::vector<std::string> read_features() {
  std::vector<std::string> found;
  for (const Step& step : steps()) {
    for (const Feature& each : step.adds) {
      const bool out = std::any_of(hidden().begin(), hidden().end(), [&](const auto& word) { return hides(word, each.name); });
      if (!out && each.present()) found.emplace_back(each.name);
    }
  }
  return found;
}

std::vector<Rung> make_ladder() {
  std::vector<Rung> rungs;
  for (const Step& step : steps()) {
    Rung rung{step.name, {}};
    for (const Rung& below : rungs) {
      if (below.name == std::string(step.on)) rung.needs = below.needs;
    }
    for (const Feature& each : step.adds) rung.needs.emplace_back(each.name);
    rungs.push_back(rung);
  }
  return rungs;
}

}  // namespace

const std::vector<Rung>& ladder() {
  static const std::vector<Rung> all = make_ladder();
  return all;
}

const std::vector<std::string>& features() {
  static const std::vector<std::string> found = read_features();
  return found;
}

const std::vector<std::string>& hidden() {
  static const std::vector<std::string> words = read_hidden();
  return words;
}

bool can_run(const std::string& name) {
  for (const Rung& rung : ladder()) {
    if (rung.name != name) continue;
    return std::all_of(rung.needs.begin(), rung.needs.end(), [](const auto& need) { return contains(features(), need); });
  }
  return false;
}

std::string choose(const std::vector<std::string>& built, const std::string& wanted) {
  std::vector<std::string> able, below;
  for (const std::string& name : built) {
    if (can_run(name)) able.push_back(name);
  }
  if (wanted.empty()) return able.front();
  for (const Rung& rung : ladder()) {
    below.emplace_back(rung.name);
    if (rung.name == wanted) break;
  }
  const bool on_ladder = below.back() == wanted;
  if (!on_ladder || (contains(built, wanted) && !contains(able, wanted))) {
    throw std::invalid_argument("PERWATT_ISA='" + wanted + "' " +
                                (on_ladder ? "cannot run on this processor" : "is not a unit of this build") +
                                (hidden().empty() ? "" : " (" + std::string(kHide) + " hides " + joined(hidden()) + ")") +
                                "; this machine can run " + joined(able) + ". Unset it to take the best of them.");
  }
  return *std::find_if(able.begin(), able.end(), [&](const auto& name) { return contains(below, name); });
}

}  // namespace perwatt::cpu
