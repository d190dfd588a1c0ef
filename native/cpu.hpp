// What this processor can do, and the ladder of instruction sets that the units of both native modules are named for.
//
// A module builds a unit for some of the rungs (units.hpp). What a rung needs, its name and its place stand in cpu.cpp
// and nowhere else; Python asks for them.
#pragma once

#include <string>
#include <vector>

namespace perwatt::cpu {

struct Rung {
  const char* name;
  std::vector<std::string> needs;  // features, by the names that Linux gives them in /proc/cpuinfo
};

// The rungs of this architecture, the plainest first: "scalar", which needs nothing.
const std::vector<Rung>& ladder();

// The features that rungs of this architecture need and this processor has, without the hidden ones.
const std::vector<std::string>& features();

// The words of PERWATT_HIDE_ISA, read once a process: a feature whose name begins with one of them is taken not to be
// there. For tests of what other processors run; other libraries of the process know nothing of it.
// Throws std::invalid_argument when a word is the beginning of no feature.
const std::vector<std::string>& hidden();

// Whether this processor, as far as it is not hidden, has what the rung needs. False for a name that is on no rung.
bool can_run(const std::string& rung);

// Of `built`, best first, the best that can run and is not above the rung `wanted`; "" is the top of the ladder.
// Throws std::invalid_argument, with what can run here, when `wanted` is on no rung of this architecture or is built but
// cannot run: falling back in silence would make every figure measured afterwards a figure of something else.
std::string choose(const std::vector<std::string>& built, const std::string& wanted);

}  // namespace perwatt::cpu
