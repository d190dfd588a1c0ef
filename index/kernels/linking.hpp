// From what vertices would keep as neighbours to the links of a graph: each is linked back, lists that grew too long are
// pruned again, free slots are filled, and every vertex can be reached from the root.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "prune.hpp"

namespace perwatt {

// Lists with a count for each, in one block of memory, which may be that of other lists: those of the same vertices, each of
// them read before it is written over.
template <class T>
struct Lists {
  // room: at least so many bytes for each.
  Lists(size_t count, size_t width_, size_t room = 0)
      : width(width_), stride(std::max(room, width_ * sizeof(T))), sizes(count),
        memory(std::make_shared<std::vector<uint8_t>>(count * stride)) {}
  template <class Other>
  Lists(const Lists<Other>& other, size_t width_)
      : width(std::min(width_, other.stride / sizeof(T))), stride(other.stride), sizes(other.sizes.size()), memory(other.memory) {}

  T* at(size_t i) { return reinterpret_cast<T*>(memory->data() + i * stride); }
  void set(size_t i, const std::vector<T>& items) {
    sizes[i] = static_cast<uint32_t>(std::min(width, items.size()));
    std::copy_n(items.data(), sizes[i], at(i));
  }
  size_t width, stride;
  std::vector<uint32_t> sizes;
  std::shared_ptr<std::vector<uint8_t>> memory;
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
  explicit Chosen(Lists<Candidate> lists_) : lists(std::move(lists_)), kept(lists.sizes.size()) {}
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
