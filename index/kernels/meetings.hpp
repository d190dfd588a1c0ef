// Whom each vertex of a draft has met (draft.cpp), the nearest of them, gathered by several threads in any order.
#pragma once

#include <algorithm>
#include <atomic>
#include <iterator>
#include <limits>
#include <thread>
#include <vector>

#include "linking.hpp"

namespace perwatt {

// A vertex that was met: its distance, and where it comes from the one that met it, going round: of equal vectors each keeps
// others. No distance is negative, so its bits order as it does.
using Met = uint64_t;

inline Met met_at(float distance, uint32_t turn) {
  uint32_t bits;
  __builtin_memcpy(&bits, &distance, 4);
  return static_cast<uint64_t>(bits) << 32 | turn;
}

inline float distance_of(Met met) {
  const uint32_t bits = static_cast<uint32_t>(met >> 32);
  float distance;
  __builtin_memcpy(&distance, &bits, 4);
  return distance;
}

// The nearest that each vertex has met, `width` at most. Which they are does not depend on the order in which they are added.
class Meetings {
 public:
  // room: at least so many bytes for each list.
  Meetings(size_t count, size_t width, size_t room) : lists_(count, width, room), busy_(count) {}

  const Lists<Met>& lists() const { return lists_; }
  size_t width() const { return lists_.width; }
  const Met* begin(size_t vertex) { return lists_.at(vertex); }
  const Met* end(size_t vertex) { return lists_.at(vertex) + lists_.sizes[vertex]; }

  // Nobody who is farther will be kept.
  float most(size_t vertex) {
    const Held held(busy_[vertex]);
    const size_t size = lists_.sizes[vertex];
    return size < lists_.width ? std::numeric_limits<float>::infinity() : distance_of(lists_.at(vertex)[size - 1]);
  }

  // Merges what was met, sorted, into the list of a vertex; `space` is the caller's.
  void add(size_t vertex, const std::vector<Met>& met, std::vector<Met>& space) {
    if (met.empty()) return;
    const Held held(busy_[vertex]);
    space.clear();
    std::set_union(begin(vertex), end(vertex), met.begin(), met.end(), std::back_inserter(space));
    lists_.set(vertex, space);
  }

 private:
  struct Held {
    explicit Held(std::atomic<uint8_t>& busy_) : busy(busy_) {
      while (busy.exchange(1, std::memory_order_acquire)) std::this_thread::yield();
    }
    ~Held() { busy.store(0, std::memory_order_release); }
    std::atomic<uint8_t>& busy;
  };

  Lists<Met> lists_;
  std::vector<std::atomic<uint8_t>> busy_;
};

// All meetings. Vertices are known by their numbers among those that are linked; where only some are at hand, in ascending
// order, by their places among these, and their numbers are their names.
struct Everyone {
  Everyone(size_t count, size_t near, size_t far, size_t room)
      : total(static_cast<uint32_t>(count)), nearest(count, near, room), drawn(count, far, 0) {}
  Everyone(const uint32_t* names, size_t count, uint32_t total_, size_t near, size_t far)
      : total(total_), nearest(count, near, 0), drawn(count, far, 0), names_(names) {}

  uint32_t name(uint32_t place) const { return names_ ? names_[place] : place; }
  uint32_t turn(uint32_t from, uint32_t to) const {
    const uint32_t first = name(from), second = name(to);
    return second >= first ? second - first : second + total - first;
  }
  // The number of one that `from`, a number, met.
  size_t other(size_t from, Met met) const { return (from + static_cast<uint32_t>(met)) % total; }

  const uint32_t total;
  Meetings nearest, drawn;  // of all, and of a part of them that was drawn

 private:
  const uint32_t* names_ = nullptr;
};

}  // namespace perwatt
