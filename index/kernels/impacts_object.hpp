#pragma once

#include <nanobind/nanobind.h>

namespace perwatt {

// Adds the class `Impacts` and what fills one to the module.
void bind_impacts(nanobind::module_& module);

}  // namespace perwatt
