// See draft.hpp.
//
// A vertex keeps the nearest that it met in any part, and the nearest of those that were drawn, one in kDrawn: these lie
// several times as far away, and lead out of a cluster that holds all of the others. Which they are does not depend on the
// order in which parts are done, so a lock for each vertex is enough, and the bound of what it keeps spares most of what later
// parts could offer.
#include "draft.hpp"

#include "carving.hpp"
#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kSpare = 8;  // remembered beyond the degree: what fills free slots may be linked already
constexpr size_t kRowsPerRange = 256;

Parts first_parts(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, Everyone& everyone,
                  size_t threads) {
  const size_t count = which.count;
  Part all(count);
  for (size_t i = 0; i < count; ++i) all[i] = static_cast<uint32_t>(i);
  if (count <= plan.leaf) return {{0, count}, all};
  const size_t wanted = Carver::leaders_of(count, plan.fan, plan), fan = std::min(plan.fan, wanted);
  const Part leaders = Carver::leaders(all.data(), count, wanted, 0);
  std::vector<uint32_t> to(count * fan);
  in_parallel(threads, count, kRowsPerRange, [&] {
    Carver carver(kernels, graph, which, plan, everyone);
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

// From what a vertex met to what it would keep as neighbours.
class Chooser {
 public:
  Chooser(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, const Parts& parts,
          Everyone& everyone, Chosen& chosen)
      : which_(which), plan_(plan), parts_(parts), everyone_(everyone), chosen_(chosen), pruner_(kernels, graph, plan.degree) {}

  // i: its number; part: one that it is in.
  void choose(size_t i, size_t part) {
    met_.clear();
    std::set_union(everyone_.nearest.begin(i), everyone_.nearest.end(i), everyone_.drawn.begin(i), everyone_.drawn.end(i),
                   std::back_inserter(met_));
    candidates_.clear();
    for (const Met met : met_) candidates_.push_back({distance_of(met), which_[everyone_.other(i, met)], 0.0f});
    find_strangers(i, part);
    pruner_.measure(which_[i], strangers_, candidates_);
    const size_t good = pruner_.prune(which_[i], candidates_);
    // Links into the distance are worth it where nobody nearer has them, and no filling for free slots.
    const auto rest = candidates_.begin() + static_cast<std::ptrdiff_t>(good);
    candidates_.erase(std::remove_if(rest, candidates_.end(), [&](const Candidate& c) { return is_stranger(c.vertex); }),
                      candidates_.end());
    chosen_.lists.set(i, candidates_);
    chosen_.kept[i] = static_cast<uint32_t>(good);
  }

 private:
  bool is_stranger(int32_t vertex) const {
    return std::find(strangers_.begin(), strangers_.end(), vertex) != strangers_.end();
  }

  // Of its part and of all, at random.
  void find_strangers(size_t i, size_t part) {
    strangers_.clear();
    const size_t start = parts_.starts[part], size = parts_.starts[part + 1] - start;
    for (size_t j = 0; j < plan_.strangers; ++j) {
      const uint64_t drawn = random_of(i * plan_.strangers + j);
      for (const int32_t other : {which_[parts_.members[start + drawn % size]], which_[drawn % which_.count]}) {
        const auto same = [other](const Candidate& c) { return c.vertex == other; };
        if (other == which_[i] || is_stranger(other)) continue;
        if (std::none_of(candidates_.begin(), candidates_.end(), same)) strangers_.push_back(other);
      }
    }
  }

  const Which which_;
  const Plan& plan_;
  const Parts& parts_;
  Everyone& everyone_;
  Chosen& chosen_;
  Pruner pruner_;
  std::vector<Met> met_;
  std::vector<Candidate> candidates_;
  std::vector<int32_t> strangers_;
};

}  // namespace

Drafting::Drafting(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, size_t threads)
    : kernels_(kernels), graph_(graph), which_(which), plan_(plan),
      everyone_(std::make_unique<Everyone>(which.count, plan.near, plan.drawn, (plan.degree + kSpare) * sizeof(Candidate))),
      parts_(first_parts(kernels, graph_, which_, plan_, *everyone_, threads)) {}

void Drafting::meet(size_t first, size_t last, size_t threads, uint64_t* done) {
  in_parallel(threads, last - first, 1, [&] {
    return [&, carver = Carver(kernels_, graph_, which_, plan_, *everyone_)](size_t from, size_t to) mutable {
      for (size_t i = first + from; i < first + to; ++i) {
        const size_t size = parts_.starts[i + 1] - parts_.starts[i];
        carver.carve(parts_.members.data() + parts_.starts[i], size, 1, random_of(i));
        __atomic_fetch_add(done, size, __ATOMIC_RELAXED);
      }
    };
  });
}

Chosen Drafting::chosen(size_t threads, uint64_t* done) {
  // Vertices of a part one after the other, since they look at the same others; and the first part of each.
  constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  std::vector<uint32_t> order, home(which_.count, kNone);
  for (size_t part = 0; part < parts_.count(); ++part) {
    for (size_t i = parts_.starts[part]; i < parts_.starts[part + 1]; ++i) {
      if (home[parts_.members[i]] != kNone) continue;
      home[parts_.members[i]] = static_cast<uint32_t>(part);
      order.push_back(parts_.members[i]);
    }
  }
  // What a vertex chooses lies where what it met did.
  Chosen chosen(Lists<Candidate>(everyone_->nearest.lists(), plan_.degree + kSpare));
  in_parallel(threads, order.size(), kRowsPerRange, [&] {
    return [&, chooser = Chooser(kernels_, graph_, which_, plan_, parts_, *everyone_, chosen)](size_t first,
                                                                                             size_t last) mutable {
      for (size_t at = first; at < last; ++at) chooser.choose(order[at], home[order[at]]);
      __atomic_fetch_add(done, (last - first) * kLinking, __ATOMIC_RELAXED);
    };
  });
  return chosen;
}

void Drafting::link(size_t threads, uint64_t* done, int32_t* out) {
  Chosen found = chosen(threads, done);
  everyone_.reset();  // but for the memory that the chosen lie in
  parts_ = {{0}, {}};
  link_up(kernels_, graph_, nullptr, which_, found, plan_.degree, threads, out);
  if (plan_.connected) connect(graph_, which_, out);
}

}  // namespace perwatt
