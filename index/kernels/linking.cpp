// See linking.hpp. Every list is a function of what was chosen, so order and threads do not matter.
#include "linking.hpp"

#include <iterator>

#include "encode.hpp"
#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kRowsPerRange = 64;

struct Back {
  float distance;
  int32_t vertex;
};

bool holds(const std::vector<Candidate>& list, size_t first, int32_t vertex) {
  return std::any_of(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(first),
                     [vertex](const Candidate& c) { return c.vertex == vertex; });
}

}  // namespace

void link_up(const Kernels& kernels, const GraphView& graph, const int32_t* links, Which which, Chosen& chosen,
             size_t degree, size_t threads, int32_t* out) {
  const size_t count = graph.count;
  std::vector<size_t> ends(count + 1);  // links back to v: back[ends[v] .. ends[v + 1])
  for (size_t i = 0; i < which.count; ++i) {
    for (size_t j = 0; j < chosen.kept[i]; ++j) ++ends[static_cast<size_t>(chosen.lists.at(i)[j].vertex) + 1];
  }
  for (size_t v = 0; v < count; ++v) ends[v + 1] += ends[v];
  std::vector<Back> back(ends[count]);
  std::vector<size_t> filled(ends.begin(), ends.end() - 1);
  for (size_t i = 0; i < which.count; ++i) {
    for (size_t j = 0; j < chosen.kept[i]; ++j) {
      const Candidate& c = chosen.lists.at(i)[j];
      back[filled[static_cast<size_t>(c.vertex)]++] = {c.distance, which[i]};
    }
  }
  std::vector<int32_t> place(which.at ? count : 0, -1);
  for (size_t i = 0; i < which.count && which.at; ++i) place[static_cast<size_t>(which[i])] = static_cast<int32_t>(i);

  in_parallel(threads, count, kRowsPerRange, [&] {
    return [&, pruner = Pruner(kernels, graph, degree), list = std::vector<Candidate>(),
            old = std::vector<int32_t>()](size_t first, size_t last) mutable {
      for (size_t v = first; v < last; ++v) {
        const int32_t vertex = static_cast<int32_t>(v), at = which.at ? place[v] : vertex;
        if (at < 0 && ends[v] == ends[v + 1]) {
          for (size_t i = 0; i < degree; ++i) out[v * degree + i] = links ? links[v * degree + i] : -1;
          continue;
        }
        list.clear();
        const Candidate* mine = at >= 0 ? chosen.lists.at(static_cast<size_t>(at)) : nullptr;
        const size_t kept = at >= 0 ? chosen.kept[static_cast<size_t>(at)] : 0;
        if (mine) {
          list.assign(mine, mine + kept);
        } else if (links) {
          old.clear();
          std::copy_if(links + v * degree, links + (v + 1) * degree, std::back_inserter(old), [](int32_t u) { return u >= 0; });
          pruner.measure(vertex, old, list);
        }
        const size_t own = list.size();
        for (size_t i = ends[v]; i < ends[v + 1]; ++i) {
          if (!holds(list, own, back[i].vertex)) list.push_back({back[i].distance, back[i].vertex, 0.0f});
        }
        size_t good = list.size();
        if (good > degree) good = pruner.prune(vertex, list);
        if (mine && good < degree) {
          for (size_t i = kept; i < chosen.lists.sizes[static_cast<size_t>(at)]; ++i) {
            if (!holds(list, list.size(), mine[i].vertex)) list.push_back(mine[i]);
          }
          std::sort(list.begin() + static_cast<std::ptrdiff_t>(good), list.end(), freer);
        }
        if (list.size() > degree) list.resize(degree);
        std::sort(list.begin(), list.end(), nearer);
        for (size_t i = 0; i < degree; ++i) out[v * degree + i] = i < list.size() ? list[i].vertex : -1;
      }
    };
  });
}

void connect(const GraphView& graph, Which which, int32_t* links) {
  const size_t degree = graph.degree;
  std::vector<uint8_t> reached(graph.count), needed(graph.count * degree);
  std::vector<int32_t> queue;
  const auto reach = [&](int32_t start) {
    if (reached[static_cast<size_t>(start)]) return;
    reached[static_cast<size_t>(start)] = 1;
    queue.assign(1, start);
    for (size_t next = 0; next < queue.size(); ++next) {
      const size_t from = static_cast<size_t>(queue[next]);
      for (size_t slot = 0; slot < degree; ++slot) {
        const int32_t to = links[from * degree + slot];
        if (to < 0 || reached[static_cast<size_t>(to)]) continue;
        reached[static_cast<size_t>(to)] = 1;
        needed[from * degree + slot] = 1;
        queue.push_back(to);
      }
    }
  };
  const uint8_t* group = graph.root + root_bytes(graph.padded, 0);
  for (size_t g = 0; g < graph.root_groups; ++g, group += group_bytes(graph.padded)) {
    const uint16_t* add = reinterpret_cast<const uint16_t*>(group + 4 * kGroup);
    for (size_t j = 0; j < kGroup; ++j) {
      const int32_t vertex = reinterpret_cast<const int32_t*>(group)[j];
      if (add[j] != kEmptyAdd && static_cast<uint32_t>(vertex) < graph.count) reach(vertex);
    }
  }
  const auto adopt = [&](size_t parent, int32_t child) {
    if (!reached[parent]) return false;
    for (size_t slot = degree; slot-- > 0;) {  // from the farthest
      if (needed[parent * degree + slot]) continue;
      links[parent * degree + slot] = child;
      needed[parent * degree + slot] = 1;
      return true;
    }
    return false;
  };
  for (size_t i = 0; i < which.count; ++i) {
    const int32_t child = which[i];
    const size_t vertex = static_cast<size_t>(child);
    if (reached[vertex]) continue;
    bool adopted = false;
    for (size_t slot = 0; slot < degree && !adopted; ++slot) {
      const int32_t parent = links[vertex * degree + slot];
      adopted = parent >= 0 && adopt(static_cast<size_t>(parent), child);
    }
    for (size_t step = 1; step < graph.count && !adopted; ++step) adopted = adopt((vertex + step) % graph.count, child);
    reach(child);
  }
}

}  // namespace perwatt
