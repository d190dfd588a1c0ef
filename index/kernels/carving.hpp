// How a set of vertices is carved into parts, and how those of a part meet (draft.cpp).
//
// Parts are carved by balls: leaders are drawn at random, every vertex goes to the nearest `fan` of them, and what a leader
// got is carved again, then with fewer leaders for each, until it is small enough for products of all with all.
#pragma once

#include <cmath>
#include <limits>

#include "draft.hpp"
#include "meetings.hpp"

namespace perwatt {

constexpr size_t kAtOnce = 32;         // rows whose products with a part or with leaders lie in L2
constexpr size_t kLeastMirrored = 256;  // dimensions: a product of fewer costs no more than a copy of it
constexpr size_t kLeaders = 1000;      // of the first carving; their products with one vertex cost as much as a part's
constexpr size_t kDeeperFan = 2;       // of a part that is carved again
constexpr size_t kDeepest = 6;         // then what is left is cut as it lies
constexpr size_t kLeadersAtOnce = 64;  // then the bound of the nearest of them is tightened
constexpr uint64_t kDrawn = 16;        // one vertex in so many is drawn
constexpr size_t kLane = 16;
constexpr size_t kGuessed = 4;         // times as many as are kept, and the bound of those is guessed where there is none
constexpr size_t kSamples = 16;        // of kLane, for the guess

inline uint64_t random_of(uint64_t seed) {  // SplitMix64 (Steele, Lea and Flood, 2014)
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
      const Head head = head_of(graph_, block);
      norms_[i] = head.code_norm;
      steps_[i] = head.step;
    }
  }

  const int8_t* codes(size_t i) const { return codes_.data() + i * graph_.padded; }
  float norm(size_t i) const { return norms_[i]; }
  float step(size_t i) const { return steps_[i]; }

  // Products of `rows` vertices that lie `padded` apart with all that were gathered.
  void multiply(const int8_t* queries, size_t rows) {
    if (products_.size() < kAtOnce * count_) products_.resize(kAtOnce * count_);
    kernels_.dots_i8(queries, graph_.padded, rows, codes_.data(), graph_.padded, count_, graph_.padded, products_.data(),
                     count_);
  }

  // Products of `rows` of those that were gathered, from `start` on, with all of them; returns the row of the first. To be
  // asked for from 0 on: where copying is quicker, each pair is multiplied once.
  size_t multiply_among(size_t start, size_t rows) {
    if (!kernels_.mirrors || graph_.padded < kLeastMirrored) {
      multiply(codes(start), rows);
      return 0;
    }
    if (products_.size() < count_ * count_) products_.resize(count_ * count_);
    int32_t* here = products_.data() + start * count_;
    kernels_.dots_i8(codes(start), graph_.padded, rows, codes(start), graph_.padded, count_ - start, graph_.padded,
                     here + start, count_);
    for (size_t later = start + rows; later < count_; ++later) {
      int32_t* mirrored = products_.data() + later * count_ + start;
      for (size_t r = 0; r < rows; ++r) mirrored[r] = here[r * count_ + later];
    }
    return start;
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

using Part = std::vector<uint32_t>;  // numbers

class Carver {
 public:
  Carver(const Kernels& kernels, const GraphView& graph, Which which, const Plan& plan, Everyone& everyone)
      : which_(which), plan_(plan), everyone_(everyone), near_(kernels, graph), rows_(kernels, graph) {}

  // How many leaders share out `size` vertices, each `fan` times, into parts that are small enough most of the time.
  static size_t leaders_of(size_t size, size_t fan, const Plan& plan) {
    return std::min({kLeaders, size, std::max<size_t>(2, size * fan * 3 / 2 / plan.leaf)});
  }

  // `wanted` of a part, at most all, drawn by a seed, ascending.
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
    const size_t wanted = leaders_of(size, kDeeperFan, plan_), fan = depth == 1 ? std::min(kDeeperFan, wanted) : 1;
    std::vector<Part> parts(wanted);
    if (depth < kDeepest) {
      std::vector<uint32_t> to(size * fan);
      lead(leaders(part, size, wanted, seed));
      assign(part, size, fan, to.data());
      for (size_t i = 0; i < to.size(); ++i) parts[to[i]].push_back(part[i / fan]);
    }
    // Equal vectors all go to the same leader, however many there are.
    const auto whole = [size](const Part& p) { return p.size() == size; };
    if (depth >= kDeepest || (fan == 1 && std::any_of(parts.begin(), parts.end(), whole))) {
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
    here_.clear();
    size_t drawn = 0;
    for (const bool first : {true, false}) {
      for (size_t i = 0; i < size; ++i) {
        if ((random_of(everyone_.name(part[i])) % kDrawn == 0) == first) here_.push_back(part[i]);
      }
      if (first) drawn = here_.size();
    }
    near_.gather(vertices(here_.data(), size), size);
    for (size_t start = 0; start < size; start += kAtOnce) {
      const size_t rows = std::min(kAtOnce, size - start);
      const size_t row = near_.multiply_among(start, rows);
      for (size_t r = 0; r < rows; ++r) {
        offer(everyone_.nearest, start + r, row + r, size);
        if (plan_.drawn) offer(everyone_.drawn, start + r, row + r, drawn);
      }
    }
  }

  // The first `some` that are here, to the one at `me`, whose products are in row r.
  void offer(Meetings& meetings, size_t me, size_t r, size_t some) {
    const size_t width = meetings.width();
    const float norm = near_.norm(me), step = near_.step(me), most = meetings.most(here_[me]);
    const bool guessed = std::isinf(most) && some >= std::max(kGuessed * width, kSamples * kLane);
    size_t found = near_.within(r, 0, some, norm, step, guessed ? guess(r, norm, step, width, some) : most);
    if (guessed && found <= width) found = near_.within(r, 0, some, norm, step, most);
    met_.clear();
    for (size_t i = 0; i < found; ++i) {
      const size_t other = near_.which(i);
      if (other != me) met_.push_back(met_at(near_.distance(i), everyone_.turn(here_[me], here_[other])));
    }
    if (met_.size() > width) {
      std::nth_element(met_.begin(), met_.begin() + static_cast<std::ptrdiff_t>(width), met_.end());
      met_.resize(width);
    }
    std::sort(met_.begin(), met_.end());
    meetings.add(here_[me], met_, space_);
  }

  // A distance within which there are most likely `width` of the first `some`, and not many more: from a sample of them.
  float guess(size_t r, float norm, float step, size_t width, size_t some) {
    sample_.clear();
    const size_t apart = some / kSamples;
    for (size_t i = 0; i < kSamples; ++i) {
      const size_t found = near_.within(r, i * apart, kLane, norm, step, std::numeric_limits<float>::infinity());
      for (size_t j = 0; j < found; ++j) sample_.push_back(near_.distance(j));
    }
    const size_t share = sample_.size() * width / some, place = std::min(share * 3 / 2 + 6, sample_.size() - 1);
    std::nth_element(sample_.begin(), sample_.begin() + static_cast<std::ptrdiff_t>(place), sample_.end());
    return sample_[place];
  }

  const Which which_;
  const Plan& plan_;
  Everyone& everyone_;
  Near near_, rows_;
  Part here_;
  std::vector<int32_t> vertices_;
  std::vector<Met> met_, space_;
  std::vector<float> sample_;
};

}  // namespace perwatt
