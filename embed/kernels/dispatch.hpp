// Which units this build holds.
#pragma once

#include "bert.hpp"
#include "units.hpp"

namespace perwatt::bert {

const Units<Kernels>& units();

}  // namespace perwatt::bert
