// A graph from nothing: the near neighbours of every vertex from products of all with all inside small overlapping parts
// of the set, after PiPNN (arXiv 2602.21247), and the links that refine.hpp's rule makes of them.
#pragma once

#include "linking.hpp"

namespace perwatt {

// fan: of how many parts a vertex is at least; leaf: the most vertices of a part. A vertex considers `near`, the nearest of its
// parts'; `drawn`, the nearest of those of them that were drawn; and `strangers` of its part, and as many of the whole set, at
// random. degree: links of a vertex, at most; connected: whether all shall be reached from the root.
struct Plan {
  size_t fan, leaf, near, drawn, strangers, degree;
  bool connected;
};

constexpr size_t kLinking = 4;  // what it takes to link a vertex, in parts that it is in

// `which`, in ascending order: the vertices that are linked; null for all. The others are none's neighbours and have none.
// Whether the graph is l2 does not matter: distances are those of its codes. done grows to which.count * (plan.fan + kLinking),
// for who watches from another thread. out (count, plan.degree), -1 for none, nearest first: a function of the input alone, not of
// threads or unit.
void draft(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads,
           uint64_t* done, int32_t* out);

}  // namespace perwatt
