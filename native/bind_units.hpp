// What both Python modules say about their units and about the processor.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "units.hpp"

namespace perwatt {

template <class Kernels>
void bind_units(nanobind::module_& m, const Units<Kernels>& units) {
  using nanobind::literals::operator""_a;
  m.def("units", [&units] {
    std::vector<std::pair<std::string, bool>> all;
    for (const std::string& name : units.names()) all.emplace_back(name, cpu::can_run(name));
    return all;
  });
  m.def("choose", [&units](const std::string& wanted) { return cpu::choose(units.names(), wanted); }, "wanted"_a);
  m.def("ladder", [] {
    std::vector<std::pair<std::string, std::vector<std::string>>> all;
    for (const cpu::Rung& rung : cpu::ladder()) all.emplace_back(rung.name, rung.needs);
    return all;
  });
  m.def("features", [] { return cpu::features(); });
  m.def("hidden", [] { return cpu::hidden(); });
}

}  // namespace perwatt
