#pragma once

#include <nanobind/nanobind.h>

namespace perwatt {

// Adds the class `Sieve`, what fills one, and `merge` to the module.
void bind_sieve(nanobind::module_& module);

}  // namespace perwatt
