// A graph from nothing: the near neighbours of every vertex from products of all with all inside small overlapping parts
// of the set, after PiPNN (arXiv 2602.21247), and the links that refine.hpp's rule makes of them.
#pragma once

#include <memory>

#include "linking.hpp"
#include "meetings.hpp"

namespace perwatt {

// fan: of how many parts a vertex is at least; leaf: the most vertices of a part. A vertex considers `near`, the nearest of its
// parts'; `drawn`, the nearest of those of them that were drawn; and `strangers` of its part, and as many of the whole set, at
// random. degree: links of a vertex, at most; connected: whether all shall be reached from the root.
struct Plan {
  size_t fan, leaf, near, drawn, strangers, degree;
  bool connected;
};

constexpr size_t kLinking = 4;  // what it takes to link a vertex, in parts that it is in

// The parts of the first carving: starts of the members of each, and these, by number.
struct Parts {
  std::vector<size_t> starts;
  std::vector<uint32_t> members;
  size_t count() const { return starts.size() - 1; }
};

// A draft on its way: carved when it is made, then all its parts meet, in any order and any place (parcel.hpp), and then it is
// linked. The result is a function of the input alone, not of threads, unit or place.
//
// which: in ascending order, the vertices that are linked; null for all. The others are none's neighbours and have none.
// Whether the graph is l2 does not matter: distances are those of its codes.
class Drafting {
 public:
  Drafting(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads);

  const GraphView& graph() const { return graph_; }
  const Which& which() const { return which_; }
  const Plan& plan() const { return plan_; }
  const Parts& parts() const { return parts_; }
  Everyone& everyone() { return *everyone_; }

  // Parts from first to last. done grows by the vertices that are in them, for who watches from another thread.
  void meet(size_t first, size_t last, size_t threads, uint64_t* done);

  // Once all have met, and only once. out (graph.count, plan.degree), -1 for none, nearest first; done grows by
  // which.count * kLinking.
  void link(size_t threads, uint64_t* done, int32_t* out);

 private:
  Chosen chosen(size_t threads, uint64_t* done);

  const Kernels& kernels_;
  const GraphView graph_;
  const Which which_;
  const Plan plan_;
  std::unique_ptr<Everyone> everyone_;
  Parts parts_;
};

}  // namespace perwatt
