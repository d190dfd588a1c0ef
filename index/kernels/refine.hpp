// One pass over the links of a graph: each vertex looks around with the walk itself, keeps the neighbours that lead in
// different directions, and is linked back; what is free is filled, and every vertex can be reached from the root.
#pragma once

#include "linking.hpp"

namespace perwatt {

// How far a vertex looks: candidates that decide when its walk stops, and how many are considered.
struct Reach {
  size_t k, kept;
};

// Edges are about distances, whatever is searched for: `graph` is l2, or of vectors of one length, whose inner products rank
// alike. links (count, degree), -1 for none, nearest
// first; `which`: the vertices that look around, in ascending order (the others only take links back), all if null.
// The result is a function of the input alone, not of threads or unit.
void refine(const Kernels& kernels, const GraphView& graph, const int32_t* links, Which which, Reach reach,
            size_t threads, int32_t* out);

}  // namespace perwatt
