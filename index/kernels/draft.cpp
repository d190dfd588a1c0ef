// See draft.hpp.
//
// Parts are carved by balls: leaders are drawn at random, every vertex goes to the nearest `fan` of them, and what a leader
// got is carved again, then with fewer leaders for each, until it is small enough for products of all with all. A vertex
// keeps the nearest that it met in any part. Which they are does not depend on the order in which parts are done, so a lock
// for each vertex is enough, and the bound of what it keeps spares most of what later parts could offer.
#include "draft.hpp"

#include <atomic>
#include <limits>

#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kAtOnce = 32;        // rows whose products with a part or with leaders lie in L2
constexpr size_t kLeaders = 1000;     // of the first carving; their products with one vertex cost as much as a part's
constexpr size_t kDeeperFan = 2;      // of a part that is carved again
constexpr size_t kDeepest = 6;        // then what is left is cut as it lies
constexpr size_t kSpare = 32;         // remembered to fill free slots with
constexpr size_t kLeadersAtOnce = 64;  // then the bound of the nearest of them is tightened
constexpr size_t kStrangers = 8;      // of a vertex's part, and as many of the whole set, that it considers
constexpr size_t kLane = 16;
constexpr size_t kRowsPerRange = 256;

uint64_t random_of(uint64_t seed) {  // SplitMix64 (Steele, Lea and Flood, 2014)
  uint64_t z = seed + 0x9E3779B97F4A7C15ull;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ z >> 27) * 0x94D049BB133111EBull;
  return z ^ z >> 31;
}

// Codes and heads of some vertices, close together, and which of them are near another.
class Near {
 public:
  Near(const Kernels& kernels, const GraphView& graph) : kernels_(kernels), graph_(graph) {}

  void gather(const int32_t* vertices, size_t count) {
    count_ = count;
    const size_t padded = graph_.padded;
    codes_.resize(count * padded);
    norms_.resize(count);
    steps_.resize(count);
    which_.resize(count + kLane);
    distances_.resize(count + kLane);
    for (size_t i = 0; i < count; ++i) {
      if (i + 4 < count) {
        const uint8_t* later = block_of(graph_, static_cast<size_t>(vertices[i + 4]));
        for (size_t at = 0; at <= padded; at += 64) __builtin_prefetch(later + at);
      }
      const uint8_t* block = block_of(graph_, static_cast<size_t>(vertices[i]));
      std::copy_n(reinterpret_cast<const int8_t*>(block), padded, codes_.data() + i * padded);
      norms_[i] = head_of(graph_, block)->code_norm;
      steps_[i] = head_of(graph_, block)->step;
    }
  }

  const int8_t* codes(size_t i) const { return codes_.data() + i * graph_.padded; }
  float norm(size_t i) const { return norms_[i]; }
  float step(size_t i) const { return steps_[i]; }

  // Products of `rows` vertices that lie `padded` apart with all that were gathered.
  void multiply(const int8_t* queries, size_t rows) {
    products_.resize(kAtOnce * count_);
    kernels_.dots_i8(queries, graph_.padded, rows, codes_.data(), graph_.padded, count_, graph_.padded, products_.data(),
                     count_);
  }

  // Those from `first` on, at most `some`, that are no farther than `limit` from the vertex of this row of the last products.
  size_t within(size_t row, size_t first, size_t some, float norm, float step, float limit) {
    return kernels_.within(products_.data() + row * count_ + first, norms_.data() + first, steps_.data() + first,
                           std::min(some, count_ - first), norm, 2.0f * step, limit, which_.data(), distances_.data());
  }
  uint32_t which(size_t i) const { return which_[i]; }
  float distance(size_t i) const { return distances_[i]; }
  size_t count() const { return count_; }

 private:
  const Kernels& kernels_;
  const GraphView& graph_;
  size_t count_ = 0;
  std::vector<int8_t> codes_;
  std::vector<float> norms_, steps_, distances_;
  std::vector<uint32_t> which_;
  std::vector<int32_t> products_;
};

// A vertex that was met: its distance, and where it comes from the one that met it, going round: of equal vectors each keeps
// others. No distance is negative, so its bits order as it does.
using Met = uint64_t;
Met key_of(float distance, uint32_t turn) {
  uint32_t bits;
  __builtin_memcpy(&bits, &distance, 4);
  return static_cast<uint64_t>(bits) << 32 | turn;
}
float distance_of(Met met) {
  const uint32_t bits = static_cast<uint32_t>(met >> 32);
  float distance;
  __builtin_memcpy(&distance, &bits, 4);
  return distance;
}

// The nearest that each vertex has met. They lie in the list where what is chosen of them will lie later.
class Meetings {
 public:
  Meetings(Chosen& chosen, size_t near, size_t total)
      : chosen_(chosen), near_(near), total_(static_cast<uint32_t>(total)), busy_(chosen.kept.size()) {}

  uint32_t turn(uint32_t from, uint32_t to) const {
    return to >= from ? to - from : to + total_ - from;
  }
  int32_t other(size_t from, uint32_t turn) const {
    const uint64_t to = static_cast<uint64_t>(from) + turn;
    return static_cast<int32_t>(to >= total_ ? to - total_ : to);
  }

  float most(size_t vertex) {
    const Held held(busy_[vertex]);
    const size_t size = chosen_.lists.sizes[vertex];
    return size < near_ ? std::numeric_limits<float>::infinity() : chosen_.lists.at(vertex)[size - 1].distance;
  }

  // Merges what was met, sorted and each once, into the list of a vertex; `space` is the caller's.
  void add(size_t vertex, const std::vector<Met>& met, std::vector<Met>& space) {
    const Held held(busy_[vertex]);
    Candidate* list = chosen_.lists.at(vertex);
    const size_t size = chosen_.lists.sizes[vertex];
    space.resize(size + met.size());
    const auto old = [&](size_t i) { return key_of(list[i].distance, static_cast<uint32_t>(list[i].vertex)); };
    size_t i = 0, both = 0;
    for (const Met m : met) {
      for (; i < size && old(i) < m; ++i) space[both++] = old(i);
      i += i < size && old(i) == m;
      space[both++] = m;
    }
    for (; i < size; ++i) space[both++] = old(i);
    space.resize(std::min(both, near_));
    for (i = 0; i < space.size(); ++i) list[i] = {distance_of(space[i]), static_cast<int32_t>(space[i]), 0.0f};
    chosen_.lists.sizes[vertex] = static_cast<uint32_t>(space.size());
  }

 private:
  struct Held {
    explicit Held(std::atomic<uint8_t>& busy_) : busy(busy_) {
      while (busy.exchange(1, std::memory_order_acquire)) std::this_thread::yield();
    }
    ~Held() { busy.store(0, std::memory_order_release); }
    std::atomic<uint8_t>& busy;
  };

  Chosen& chosen_;
  const size_t near_;
  const uint32_t total_;
  std::vector<std::atomic<uint8_t>> busy_;
};

// Numbers of `which`, not vertices, make a part: lists are those of the vertices that are linked.
using Part = std::vector<uint32_t>;

class Carver {
 public:
  Carver(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, Meetings& meetings)
      : which_(which), plan_(plan), meetings_(meetings), near_(kernels, graph), rows_(kernels, graph) {}

  // `wanted` of a part, drawn by a seed, ascending.
  static Part leaders(const uint32_t* part, size_t size, size_t wanted, uint64_t seed) {
    Part found;
    for (size_t i = 0; i < wanted; ++i) {  // one of each stretch, so that none comes twice
      const size_t first = size * i / wanted, last = size * (i + 1) / wanted;
      found.push_back(part[first + random_of(seed + i) % (last - first)]);
    }
    return found;
  }

  void lead(const Part& leaders) { near_.gather(vertices(leaders.data(), leaders.size()), leaders.size()); }

  // The nearest `fan` leaders of each of a part, fan numbers apart. Ties go to the lower number.
  void assign(const uint32_t* part, size_t size, size_t fan, uint32_t* out) {
    std::vector<std::pair<float, uint32_t>> best(fan);
    for (size_t start = 0; start < size; start += kAtOnce) {
      const size_t rows = std::min(kAtOnce, size - start);
      rows_.gather(vertices(part + start, rows), rows);
      near_.multiply(rows_.codes(0), rows);
      for (size_t r = 0; r < rows; ++r, out += fan) {
        best.assign(fan, {std::numeric_limits<float>::infinity(), 0});
        for (size_t first = 0; first < near_.count(); first += kLeadersAtOnce) {
          const size_t found = near_.within(r, first, kLeadersAtOnce, rows_.norm(r), rows_.step(r), best.back().first);
          for (size_t i = 0; i < found; ++i) {
            const float distance = near_.distance(i);
            if (distance >= best.back().first) continue;
            size_t place = fan - 1;
            for (; place > 0 && distance < best[place - 1].first; --place) best[place] = best[place - 1];
            best[place] = {distance, static_cast<uint32_t>(first + near_.which(i))};
          }
        }
        for (size_t f = 0; f < fan; ++f) out[f] = best[f].second;
      }
    }
  }

  void carve(const uint32_t* part, size_t size, size_t depth, uint64_t seed) {
    if (size < 2) return;
    if (size <= plan_.leaf) return meet(part, size);
    const size_t wanted = std::min(kLeaders, std::max<size_t>(2, size * (kDeeperFan + 1) / plan_.leaf));
    const size_t fan = depth == 1 && wanted > kDeeperFan ? kDeeperFan : 1;
    std::vector<Part> parts(wanted);
    if (depth < kDeepest) {
      std::vector<uint32_t> to(size * fan);
      lead(leaders(part, size, wanted, seed));
      assign(part, size, fan, to.data());
      for (size_t i = 0; i < to.size(); ++i) parts[to[i]].push_back(part[i / fan]);
    }
    // Equal vectors all go to one leader, however many there are.
    if (depth >= kDeepest || std::any_of(parts.begin(), parts.end(), [size](const Part& p) { return p.size() == size; })) {
      for (size_t start = 0; start < size; start += plan_.leaf) meet(part + start, std::min(plan_.leaf, size - start));
      return;
    }
    for (size_t i = 0; i < wanted; ++i) carve(parts[i].data(), parts[i].size(), depth + 1, random_of(seed ^ (i + 1)));
  }

 private:
  const int32_t* vertices(const uint32_t* part, size_t size) {
    vertices_.resize(size);
    for (size_t i = 0; i < size; ++i) vertices_[i] = which_[part[i]];
    return vertices_.data();
  }

  // All with all.
  void meet(const uint32_t* part, size_t size) {
    near_.gather(vertices(part, size), size);
    for (size_t start = 0; start < size; start += kAtOnce) {
      const size_t rows = std::min(kAtOnce, size - start);
      near_.multiply(near_.codes(start), rows);
      for (size_t r = 0; r < rows; ++r) {
        const size_t me = start + r;
        const float most = meetings_.most(part[me]);
        const size_t found = near_.within(r, 0, size, near_.norm(me), near_.step(me), most);
        met_.clear();
        for (size_t i = 0; i < found; ++i) {
          const size_t other = near_.which(i);
          if (other != me) met_.push_back(key_of(near_.distance(i), meetings_.turn(part[me], part[other])));
        }
        if (met_.size() > plan_.near) {
          std::nth_element(met_.begin(), met_.begin() + static_cast<std::ptrdiff_t>(plan_.near), met_.end());
          met_.resize(plan_.near);
        }
        std::sort(met_.begin(), met_.end());
        meetings_.add(part[me], met_, space_);
      }
    }
  }

  const Which which_;
  const Plan& plan_;
  Meetings& meetings_;
  Near near_, rows_;
  std::vector<int32_t> vertices_;
  std::vector<Met> met_, space_;
};

// The parts of the first carving: starts of the members of each, and these.
struct Parts {
  std::vector<size_t> starts;
  std::vector<uint32_t> members;
};

Parts first_parts(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, Meetings& meetings,
                  size_t threads) {
  const size_t count = which.count;
  Part all(count);
  for (size_t i = 0; i < count; ++i) all[i] = static_cast<uint32_t>(i);
  if (count <= plan.leaf) return {{0, count}, all};
  const size_t wanted = std::min(kLeaders, std::max<size_t>(2, count * plan.fan * 3 / 2 / plan.leaf));
  const size_t fan = std::min(plan.fan, wanted);
  const Part leaders = Carver::leaders(all.data(), count, wanted, 0);
  std::vector<uint32_t> to(count * fan);
  in_parallel(threads, count, kRowsPerRange, [&] {
    Carver carver(kernels, graph, which, plan, meetings);
    carver.lead(leaders);
    return [&, carver = std::move(carver)](size_t first, size_t last) mutable {
      carver.assign(all.data() + first, last - first, fan, to.data() + first * fan);
    };
  });
  Parts parts{std::vector<size_t>(wanted + 1), std::vector<uint32_t>(to.size())};
  for (const uint32_t leader : to) ++parts.starts[leader + 1];
  for (size_t i = 0; i < wanted; ++i) parts.starts[i + 1] += parts.starts[i];
  std::vector<size_t> filled(parts.starts.begin(), parts.starts.end() - 1);
  for (size_t i = 0; i < to.size(); ++i) parts.members[filled[to[i]]++] = static_cast<uint32_t>(i / fan);
  return parts;
}

}  // namespace

void draft(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads,
           uint64_t* done, int32_t* out) {
  Chosen chosen(which.count, std::max(plan.near, plan.degree + kSpare));
  Meetings meetings(chosen, plan.near, which.count);
  const Parts parts = first_parts(kernels, graph, which, plan, meetings, threads);
  {
    in_parallel(threads, parts.starts.size() - 1, 1, [&] {
      return [&, carver = Carver(kernels, graph, which, plan, meetings)](size_t first, size_t last) mutable {
        for (size_t i = first; i < last; ++i) {
          const size_t size = parts.starts[i + 1] - parts.starts[i];
          carver.carve(parts.members.data() + parts.starts[i], size, 1, random_of(i));
          __atomic_fetch_add(done, size, __ATOMIC_RELAXED);
        }
      };
    });
  }
  // Vertices of a part one after the other, since they look at the same others; and the first part of each.
  std::vector<uint32_t> order, home(which.count, std::numeric_limits<uint32_t>::max());
  for (size_t part = 0; part + 1 < parts.starts.size(); ++part) {
    for (size_t i = parts.starts[part]; i < parts.starts[part + 1]; ++i) {
      if (home[parts.members[i]] != std::numeric_limits<uint32_t>::max()) continue;
      home[parts.members[i]] = static_cast<uint32_t>(part);
      order.push_back(parts.members[i]);
    }
  }
  in_parallel(threads, order.size(), kRowsPerRange, [&] {
    return [&, pruner = Pruner(kernels, graph, plan.degree), candidates = std::vector<Candidate>(),
            strangers = std::vector<int32_t>()](size_t first, size_t last) mutable {
      for (size_t at = first; at < last; ++at) {
        const size_t i = order[at];
        Candidate* list = chosen.lists.at(i);
        candidates.assign(list, list + chosen.lists.sizes[i]);
        for (Candidate& c : candidates) c.vertex = which[static_cast<size_t>(meetings.other(i, static_cast<uint32_t>(c.vertex)))];
        strangers.clear();
        const size_t start = parts.starts[home[i]], size = parts.starts[home[i] + 1] - start;
        for (size_t j = 0; j < kStrangers; ++j) {
          const uint64_t drawn = random_of(i * kStrangers + j);
          for (const int32_t other : {which[parts.members[start + drawn % size]], which[drawn % which.count]}) {
            const auto same = [other](const Candidate& c) { return c.vertex == other; };
            if (other == which[i] || std::find(strangers.begin(), strangers.end(), other) != strangers.end()) continue;
            if (std::none_of(candidates.begin(), candidates.end(), same)) strangers.push_back(other);
          }
        }
        pruner.measure(which[i], strangers, candidates);
        const size_t good = pruner.prune(which[i], candidates);
        // Links into the distance are worth it where nobody nearer has them, and no filling for free slots.
        candidates.erase(std::remove_if(candidates.begin() + static_cast<std::ptrdiff_t>(good), candidates.end(),
                                        [&](const Candidate& c) {
                                          return std::find(strangers.begin(), strangers.end(), c.vertex) != strangers.end();
                                        }),
                         candidates.end());
        const size_t kept = std::min(good + kSpare, candidates.size());
        std::copy_n(candidates.begin(), kept, list);
        chosen.lists.sizes[i] = static_cast<uint32_t>(kept);
        chosen.kept[i] = static_cast<uint32_t>(good);
      }
      __atomic_fetch_add(done, (last - first) * kLinking, __ATOMIC_RELAXED);
    };
  });
  link_up(kernels, graph, nullptr, which, chosen, plan.degree, threads, out);
  if (plan.connected) connect(graph, which, out);
}

}  // namespace perwatt
