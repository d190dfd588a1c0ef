// From what vertices would keep as neighbours to the links of a graph: each is linked back, lists that grew too long are
// pruned again, free slots are filled, and every vertex can be reached from the root.
#pragma once

#include "prune.hpp"

namespace perwatt {

// Lists with a count for each, in one block of memory.
template <class T>
struct Lists {
  Lists(size_t count, size_t width_) : width(width_), sizes(count), items(count * width_) {}
  T* at(size_t i) { return items.data() + i * width; }
  size_t width;
  std::vector<uint32_t> sizes;
  std::vector<T> items;
};

// The vertices that chose, in ascending order; all if `at` is null.
struct Which {
  const int32_t* at;
  size_t count;
  int32_t operator[](size_t i) const { return at ? at[i] : static_cast<int32_t>(i); }
};

// What each of some vertices chose: of its list the first `kept` are neighbours, nearest first, and the rest fill free
// slots, freest first.
struct Chosen {
  Chosen(size_t count, size_t width) : lists(count, width), kept(count) {}
  Lists<Candidate> lists;
  std::vector<uint32_t> kept;
};

// links (count, degree), -1 for none, nearest first: those of the vertices that did not choose; null: they have none.
// out: the same shape.
void link_up(const Kernels& kernels, const GraphView& graph, const int32_t* links, Which which, Chosen& chosen,
             size_t degree, size_t threads, int32_t* out);

// Links every vertex of `which` that cannot be reached from the root to one that can and has a slot to spare: one that is
// empty, or that no other vertex is reached by. links (count, graph.degree).
void connect(const GraphView& graph, Which which, int32_t* links);

}  // namespace perwatt
