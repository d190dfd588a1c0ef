#pragma once

#include <vector>

#include "kernels.hpp"

namespace perwatt {

// Compares the units' scans, and their products of several queries, with exact arithmetic; prints a line, exits 1 at the
// first difference.
void check_scans(const std::vector<const Kernels*>& kernels);

// Compares the graphs and walks of the units with the scalar one's, prints a line, exits 1 at the first difference.
void check_graphs(const std::vector<const Kernels*>& kernels);

// The same of the sieves, and of scans through them.
void check_sieves(const std::vector<const Kernels*>& kernels);

// The same of lists whose rows lie on a disk, by every reader, and readers through faults.
void check_lists(const std::vector<const Kernels*>& kernels);

}  // namespace perwatt
