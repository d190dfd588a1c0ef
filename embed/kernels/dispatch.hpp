// Which units this build holds, which of them this processor can run, and which one is in use.
#pragma once

#include <string>
#include <vector>

#include "bert.hpp"

namespace perwatt::bert {

struct Unit {
  const Kernels* kernels;
  bool supported;  // by this processor and its operating system
};

// Best first; scalar is always last and always supported.
const std::vector<Unit>& units();

// The unit of that name, or null when it is unknown or this processor cannot run it.
const Kernels* find_unit(const std::string& name);

}  // namespace perwatt::bert
