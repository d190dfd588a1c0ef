// The Python face of a draft whose parts may be done elsewhere.
#pragma once

#include <nanobind/nanobind.h>

#include <memory>
#include <vector>

#include "parcel.hpp"

namespace perwatt {

// Holds nothing of the graph, which must outlive it.
class DraftObject {
 public:
  // which: a copy is kept; null for all.
  DraftObject(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads);

  Drafting& drafting();  // throws std::invalid_argument once it is linked
  void finish() { drafting_.reset(); }

 private:
  std::vector<int32_t> which_;
  std::unique_ptr<Drafting> drafting_;
};

// Adds the class `Draft`, `parcel_hash` and `reply_to` to the module.
void bind_draft(nanobind::module_& module);

}  // namespace perwatt
