#pragma once

#include <nanobind/nanobind.h>

namespace perwatt {

// Adds `encode` and the class `Graph` to the module.
void bind_graph(nanobind::module_& module);

}  // namespace perwatt
