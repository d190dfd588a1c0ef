// The memory of one thread's walks, kept from query to query.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "graph.hpp"

namespace perwatt {

class Scratch {
 public:
  explicit Scratch(const GraphView& graph)
      : count_(graph.count), root_groups_(graph.root_groups), padded_(graph.padded) {
    walker_.log_slots = words() + 64;
    query_ = allocate<float>(padded_);
    codes_ = allocate<int8_t>(padded_);
    tables_ = allocate<uint8_t>(4 * padded_);
    seen_ = allocate<uint64_t>(words());
    log_ = allocate<int32_t>(walker_.log_slots);
  }

  float* query() { return query_.get(); }

  // Ready for walks with these settings.
  Walker& walker(size_t k, size_t kept, const Effort& effort, const uint64_t* keep, const ResultRows& rows = {}) {
    const size_t slots = frontier_slots(effort.room > effort.frontier ? effort.room : effort.frontier, root_groups_);
    if (slots > slots_) {
      estimates_ = allocate<float>(slots);
      waiting_ = allocate<int32_t>(slots);
      slots_ = slots;
    }
    if (kept > kept_) {
      results_ = allocate<int64_t>(kept + 16);
      kept_ = kept;
    }
    const size_t log_slots = walker_.log_slots;
    walker_ = {query_.get(), k, kept, effort, keep, rows, codes_.get(), tables_.get(), estimates_.get(),
               waiting_.get(), results_.get(), seen_.get(), log_.get(), log_slots, 0.0f, 0.0f, 0, 0, 0, 0, false};
    return walker_;
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  template <class T>
  using Memory = std::unique_ptr<T[], Free>;

  template <class T>
  static Memory<T> allocate(size_t count) {
    const size_t bytes = (count * sizeof(T) + 63) / 64 * 64 + 64;
    void* memory = std::aligned_alloc(64, bytes);
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    return Memory<T>(static_cast<T*>(memory));
  }

  size_t words() const { return (count_ + 63) / 64; }

  size_t count_, root_groups_, padded_, slots_ = 0, kept_ = 0;
  Memory<float> query_, estimates_;
  Memory<int8_t> codes_;
  Memory<uint8_t> tables_;
  Memory<int32_t> waiting_, log_;
  Memory<int64_t> results_;
  Memory<uint64_t> seen_;
  Walker walker_{};
};

}  // namespace perwatt
