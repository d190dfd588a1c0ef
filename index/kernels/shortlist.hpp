// The rows of one query that may still belong to its top k, while a scan goes past.
//
// A heap holds the k best approximate scores seen; a row stays listed while its score is within `slack` of the
// worst of them. With slack 0 that is a plain top-k. With slack 2B, B bounding the error of an approximate
// score, it is every row that can belong to the true top k: k rows have a true score of at least heap.min - B,
// and a row below heap.min - 2B has a true score below that. The heap's worst only rises, so the list is thinned
// when it doubles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace perwatt {

struct Listed {
  double score;
  uint32_t row;
};

// The k best of what was scored: score descending, ties by row. -1 and -infinity where there are fewer.
inline void write_best(std::vector<Listed>& scored, size_t k, int64_t first_row, int64_t* rows, float* scores) {
  const size_t found = std::min(k, scored.size());
  std::partial_sort(scored.begin(), scored.begin() + static_cast<std::ptrdiff_t>(found), scored.end(),
                    [](const Listed& a, const Listed& b) {
                      return a.score != b.score ? a.score > b.score : a.row < b.row;
                    });
  for (size_t i = 0; i < k; ++i) {
    rows[i] = i < found ? first_row + scored[i].row : -1;
    scores[i] = i < found ? static_cast<float>(scored[i].score) : -std::numeric_limits<float>::infinity();
  }
}

class Shortlist {
 public:
  Shortlist(size_t k, double slack) : k_(k), slack_(slack), thin_at_(4 * k + 64) {
    best_.reserve(k);
    listed_.reserve(thin_at_);
  }

  // Only rows of at least this true score are of interest.
  void expect(double score) { raise(score - slack_); }

  // Rows must come in ascending order: with slack 0 a later row that ties with the worst is not better.
  double floor() const { return floor_; }

  void offer(double score, uint32_t row) {
    if (score < floor_ || (slack_ == 0.0 && score == floor_)) return;
    listed_.push_back({score, row});
    if (best_.size() < k_) {
      best_.push_back(score);
      std::push_heap(best_.begin(), best_.end(), std::greater<>());
    } else if (score > best_.front()) {
      std::pop_heap(best_.begin(), best_.end(), std::greater<>());
      best_.back() = score;
      std::push_heap(best_.begin(), best_.end(), std::greater<>());
    }
    if (best_.size() == k_) raise(best_.front() - slack_);
    thin_if_many();
  }

  // Several rows at once, first + which[i] with a score of score_of(which[i]), none below the floor; for a slack above 0,
  // with which ties need no care. Where they are many beside k, choosing the k best again costs less than sifting each into
  // the heap.
  template <class Score>
  void offer(const uint32_t* which, size_t count, size_t first, Score score_of) {
    if (count * kManyOf < best_.size()) {
      for (size_t i = 0; i < count; ++i) offer(score_of(which[i]), static_cast<uint32_t>(first + which[i]));
      return;
    }
    const double worst = best_.size() < k_ ? -std::numeric_limits<double>::infinity() : best_.front();
    for (size_t i = 0; i < count; ++i) {
      const double score = score_of(which[i]);
      listed_.push_back({score, static_cast<uint32_t>(first + which[i])});
      if (score > worst) best_.push_back(score);
    }
    if (best_.size() > k_) {
      std::nth_element(best_.begin(), best_.begin() + static_cast<std::ptrdiff_t>(k_ - 1), best_.end(), std::greater<>());
      best_.resize(k_);
    }
    std::make_heap(best_.begin(), best_.end(), std::greater<>());
    if (best_.size() == k_) raise(best_.front() - slack_);
    thin_if_many();
  }

  // What is left, in ascending order of row.
  const std::vector<Listed>& finish() {
    thin();
    return listed_;
  }

 private:
  static constexpr size_t kManyOf = 16;  // sifting costs some log2 k steps; choosing again, a few for each of the k

  void raise(double floor) { floor_ = std::max(floor_, floor); }

  void thin_if_many() {
    if (listed_.size() < thin_at_) return;
    thin();
    thin_at_ = std::max(thin_at_, 2 * listed_.size());
  }

  void thin() {
    std::erase_if(listed_, [this](const Listed& entry) { return entry.score < floor_; });
  }

  size_t k_;
  double slack_;
  double floor_ = -std::numeric_limits<double>::infinity();
  size_t thin_at_;
  std::vector<double> best_;  // min-heap
  std::vector<Listed> listed_;
};

}  // namespace perwatt
