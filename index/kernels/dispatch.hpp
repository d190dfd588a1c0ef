// Which units this build holds and which one is in use.
#pragma once

#include <string>

#include "kernels.hpp"
#include "units.hpp"

namespace perwatt {

const Units<Kernels>& units();

// The unit of that name, or null when it is unknown or this processor cannot run it. "" is the one in use.
const Kernels* find_unit(const std::string& name);

// The one in use: the best that can run until use() names another. Set once at import, before any search.
const Kernels* active();
bool use(const std::string& name);

}  // namespace perwatt
