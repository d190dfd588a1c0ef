// Which of many candidates a vertex keeps as neighbours.
//
// The rule is that of relative neighbourhoods (Toussaint 1980; HNSW, NSG and Vamana prune by it too): going from the
// nearest candidate to the farthest, one is kept unless some kept one is nearer to it than the vertex is. Two things
// are added. A block has 32 slots whether they are used or not, so free ones go to the candidates that were least in
// the shadow of a kept one: max over c of min over kept w of d(w, c) / d(v, c), as good as bisecting angles at a tenth of
// the time. And equal vectors are linked in a ring, which the rule alone would leave as a star that pruning cuts.
//
// Distances come from the int8 codes of a graph's blocks, whatever its frame.
#pragma once

#include <algorithm>
#include <vector>

#include "graph.hpp"
#include "kernels.hpp"

namespace perwatt {

struct Candidate {
  float distance;
  int32_t vertex;
  float freedom;  // the least d(kept, this) / d(vertex, this) so far; below 1: in a shadow
};

inline bool nearer(const Candidate& a, const Candidate& b) {
  return a.distance < b.distance || (a.distance == b.distance && a.vertex < b.vertex);
}
inline bool freer(const Candidate& a, const Candidate& b) {
  return a.freedom > b.freedom || (a.freedom == b.freedom && nearer(a, b));
}

// The squared distance of two vectors from their heads and the product of their codes: of the int8 vectors, not of the
// originals, so that equal codes are at distance 0.
inline float distance_of(const Head& a, const Head& b, int32_t product) {
  const float d = (a.code_norm + b.code_norm) - 2.0f * (a.step * b.step) * static_cast<float>(product);
  return d > 0.0f ? d : 0.0f;
}

// The memory of one thread's pruning. degree: how many are kept at most.
class Pruner {
 public:
  Pruner(const Kernels& kernels, const GraphView& graph, size_t degree)
      : kernels_(kernels), graph_(graph), degree_(degree) {}

  // Candidates with their distances from `vertex`.
  void measure(int32_t vertex, const std::vector<int32_t>& others, std::vector<Candidate>& out) {
    const uint8_t* block = block_of(graph_, static_cast<size_t>(vertex));
    at_.assign(others.begin(), others.end());
    products_.resize(others.size() + 4);
    kernels_.dot_i8_at(reinterpret_cast<const int8_t*>(block), reinterpret_cast<const int8_t*>(graph_.blocks),
                       stride_of(graph_), at_.data(), at_.size(), graph_.padded, products_.data());
    for (size_t i = 0; i < others.size(); ++i) {
      out.push_back({distance_of(head(vertex), head(others[i]), products_[i]), others[i], kFree});
    }
  }

  // Puts the kept ones first, nearest first, and behind them the rest, freest first. Returns how many are kept.
  size_t prune(int32_t vertex, std::vector<Candidate>& candidates) {
    std::sort(candidates.begin(), candidates.end(), nearer);
    if (candidates.size() > kCandidates) candidates.resize(kCandidates);
    const size_t n = candidates.size(), padded = graph_.padded;
    codes_.resize(n * padded + 64);
    products_.resize(n + 4);
    for (std::vector<float>* each : {&distances_, &freedoms_, &norms_, &steps_}) each->resize(n);
    for (size_t i = 0; i < n; ++i) candidates[i].freedom = kFree;
    ring(vertex, candidates);
    for (size_t i = 0; i < n; ++i) {
      if (i + kAhead < n) {
        const uint8_t* later = block_of(graph_, static_cast<size_t>(candidates[i + kAhead].vertex));
        for (size_t at = 0; at <= padded; at += 64) __builtin_prefetch(later + at);
      }
      std::copy_n(block_of(graph_, static_cast<size_t>(candidates[i].vertex)), padded, codes_.data() + i * padded);
      const Head its = head(candidates[i].vertex);
      norms_[i] = its.code_norm;
      steps_[i] = its.step;
      distances_[i] = candidates[i].distance;
      freedoms_[i] = candidates[i].freedom;
    }
    kept_.clear();
    rest_.clear();
    rest_at_.clear();
    for (size_t i = 0; i < n; ++i) {
      if (freedoms_[i] < 1.0f || kept_.size() >= degree_) {
        rest_.push_back(candidates[i]);
        rest_at_.push_back(i);
        continue;
      }
      kept_.push_back(candidates[i]);
      const int8_t* first = reinterpret_cast<const int8_t*>(codes_.data());
      kernels_.dot_i8(first + i * padded, first + (i + 1) * padded, padded, n - i - 1, padded, products_.data());
      shade(i, n);
    }
    for (size_t i = 0; i < rest_.size(); ++i) rest_[i].freedom = freedoms_[rest_at_[i]];
    std::sort(rest_.begin(), rest_.end(), freer);
    candidates.assign(kept_.begin(), kept_.end());
    candidates.insert(candidates.end(), rest_.begin(), rest_.end());
    return kept_.size();
  }

 private:
  static constexpr size_t kCandidates = 200;  // considered for one list
  static constexpr size_t kTwins = 4;         // equal vectors that a list may hold for their own sake
  static constexpr float kFree = 4.0f;        // more than any ratio that matters
  static constexpr size_t kAhead = 4;         // codes that are on their way while others are copied

  // What the candidates after i lose to it. The division of a twin, at distance 0, is never less than what it has: its
  // place was decided by the ring.
  void shade(size_t i, size_t n) {
    const float norm = norms_[i], twice = 2.0f * steps_[i];
    for (size_t j = i + 1; j < n; ++j) {
      const float d = (norm + norms_[j]) - (twice * steps_[j]) * static_cast<float>(products_[j - i - 1]);
      const float ratio = (d > 0.0f ? d : 0.0f) / distances_[j];
      freedoms_[j] = ratio < freedoms_[j] ? ratio : freedoms_[j];
    }
  }

  Head head(int32_t vertex) const { return head_of(graph_, block_of(graph_, static_cast<size_t>(vertex))); }

  // Of the candidates at distance 0, the next kTwins by number, going round, are free; the others are not.
  static void ring(int32_t vertex, std::vector<Candidate>& candidates) {
    size_t twins = 0, after = 0;
    while (twins < candidates.size() && candidates[twins].distance <= 0.0f) {
      after += candidates[twins].vertex > vertex;
      ++twins;
    }
    const size_t before = twins - after;  // they lie first, in ascending order
    for (size_t i = 0; i < twins; ++i) {
      const size_t turn = i >= before ? i - before : i + after;
      if (turn >= kTwins) candidates[i].freedom = 0.0f;
    }
  }

  const Kernels& kernels_;
  const GraphView& graph_;
  const size_t degree_;
  std::vector<uint8_t> codes_;
  std::vector<uint32_t> at_;
  std::vector<int32_t> products_;
  std::vector<float> distances_, freedoms_, norms_, steps_;
  std::vector<Candidate> kept_, rest_;
  std::vector<size_t> rest_at_;
};

}  // namespace perwatt
