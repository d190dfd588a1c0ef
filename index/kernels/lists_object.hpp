#pragma once

#include <nanobind/nanobind.h>

namespace perwatt {

void bind_lists(nanobind::module_& m);

}  // namespace perwatt
