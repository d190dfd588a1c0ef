// A search of inverted lists whose rows lie on the disk (lists.hpp). Everything that decides is computed here, once for all
// units, of what their kernels give to the bit; so an answer is the same in every unit and whoever reads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lists.hpp"
#include "restored.hpp"
#include "shortlist.hpp"
#include "sieve.hpp"

namespace perwatt {
namespace {

constexpr float kLowest = -3e38f;
constexpr size_t kQueriesAtOnce = 16;  // whose reads are in flight together
constexpr size_t kGroupsAtOnce = 16;
constexpr size_t kScored = 64;  // records that are scored at once
// |edge| for each unit of the factor f of an estimate and each sqrt(padded): f = |r|^2 / <r, b>, and <r, b> is about
// sqrt(2 / pi) |r| sqrt(padded) where no dimension is like another.
constexpr float kReach = 0.8f;
// The standard error that the rounding of a table's entries gives a sum of one: 1 / sqrt(12) of a unit each, a quarter as many.
constexpr float kTableError = 0.144f;
// Through a filter, lists are visited until so many rows for each hit have survived.
constexpr size_t kSeen = 10;
constexpr size_t kThinAt = 4096;  // candidates, and four for each hit, of which those that have become hopeless are dropped

float widened(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, exponent = (half >> 10) & 31, fraction = half & 1023;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -value : value;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7F800000u : (exponent + 112) << 23) | fraction << 13;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

struct Candidate {
  float most, guess;  // in the frame: what it may be worth, and what it is estimated to be
  uint32_t row;
};

// Scores of records that lie at base + offsets[i], as a row's score is whichever way it is found.
void score_records(const Kernels& kernels, const GraphView& frame, const RestoredQuery& query, const uint8_t* base,
                   const uint32_t* offsets, size_t count, double* scores) {
  const size_t padded = frame.padded;
  std::vector<int8_t> rests(std::min(kScored, count) * padded);
  int32_t high[kScored], low[kScored], of_rests[2 * kScored];
  const int8_t* codes = reinterpret_cast<const int8_t*>(base);
  for (size_t first = 0; first < count; first += kScored) {
    const size_t some = std::min(kScored, count - first);
    for (size_t i = 0; i < some; ++i) unpack_rest(base + offsets[first + i] + padded, padded, rests.data() + i * padded);
    kernels.dot_i8_at(query.high(), codes, 1, offsets + first, some, padded, high);
    kernels.dot_i8_at(query.low(), codes, 1, offsets + first, some, padded, low);
    kernels.dots_i8(query.high(), padded, 2, rests.data(), padded, some, padded, of_rests, kScored);
    for (size_t i = 0; i < some; ++i) {
      const int64_t sum = 4096 * int64_t{high[i]} + 16 * int64_t{low[i]} + 256 * int64_t{of_rests[i]} +
                          int64_t{of_rests[kScored + i]};
      float factors[2];
      std::memcpy(factors, base + offsets[first + i] + padded + rest_bytes(padded), sizeof factors);
      scores[first + i] = score_of_sum(frame, query, factors[0], factors[1], sum);
    }
  }
}

// The k best so far, by score and then by row.
class Best {
 public:
  explicit Best(size_t k) : k_(k) {}

  void offer(double score, uint32_t row) {
    if (listed_.size() < k_) {
      listed_.push_back({score, row});
      std::push_heap(listed_.begin(), listed_.end(), better);
    } else if (better({score, row}, listed_.front())) {
      std::pop_heap(listed_.begin(), listed_.end(), better);
      listed_.back() = {score, row};
      std::push_heap(listed_.begin(), listed_.end(), better);
    }
  }
  bool full() const { return listed_.size() == k_; }
  double kth() const { return listed_.front().score; }
  std::vector<Listed>& listed() { return listed_; }

 private:
  static bool better(const Listed& a, const Listed& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; }

  size_t k_;
  std::vector<Listed> listed_;  // a heap, the worst in front
};

// From a score to the scale of estimates. Where all scores are alike, nothing is left to look for.
double in_frame(const RestoredQuery& query, double score) {
  return query.scale > 0.0 ? score / query.scale + query.square : std::numeric_limits<double>::infinity();
}

// One query, and what was found for it.
class Asked {
 public:
  Asked(const Kernels& kernels, const ListsView& lists, const float* signs, const float* query, size_t k)
      : lists_(lists), k_(k), memory_(2 * lists.frame.padded + 32), best_(k) {
    const size_t padded = lists.frame.padded;
    float* q = memory_.data() + (64 - (reinterpret_cast<uintptr_t>(memory_.data()) & 63)) % 64 / sizeof(float);
    tables_ = reinterpret_cast<uint8_t*>(q + padded);
    to_frame(kernels, lists.frame, signs, query, q);
    exact_ = restored_query(lists.frame, q, query);
    sums_ = kernels.look_up(q, padded, tables_);
    square_ = square_of(q, padded);
    unit_ = sums_.largest / 127.0f;
    spread_ = kTableError * sums_.unit * (kTableError * sums_.unit) * static_cast<float>(padded);
    const float inverse = 127.0f / sums_.largest;
    codes_.resize(padded);
    for (size_t i = 0; i < padded; ++i) {
      // Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, and is no call.
      const float rounded = (q[i] * inverse + 0x1.8p23f) - 0x1.8p23f;
      codes_[i] = static_cast<int8_t>(std::max(-127.0f, std::min(127.0f, rounded)));
    }
  }

  const int8_t* codes() const { return codes_.data(); }

  // Estimates rows of the lists whose centres, of which products are the query's with their codes, are nearest.
  void collect(const Kernels& kernels, const int32_t* products, const Probing& probing, const Batch& batch, size_t survivors) {
    std::vector<int64_t> order(lists_.lists);
    for (size_t i = 0; i < lists_.lists; ++i) {
      const Head head = head_of_list(i);
      const float score = 2.0f * head.step * unit_ * static_cast<float>(products[i]) - head.code_norm;
      order[i] = key_of(score, static_cast<int32_t>(i));
    }
    const size_t wanted = std::min(kSeen * k_, survivors);
    size_t sorted = std::min(probing.lists, lists_.lists);
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(sorted), order.end(), std::greater<>());
    const Kept kept(batch);
    size_t seen = 0, rows = 0;
    for (size_t i = 0; i < lists_.lists && (i < probing.lists || seen < wanted); ++i) {
      if (i >= probing.lists && probing.budget && rows > probing.budget) {
        found_.clear();
        break;
      }
      if (i == sorted) {
        std::sort(order.begin() + static_cast<std::ptrdiff_t>(sorted), order.end(), std::greater<>());
        sorted = lists_.lists;
      }
      const size_t list = static_cast<size_t>(vertex_of(order[i]));
      seen += estimate(kernels, list, products[list], probing.margin, kept);
      rows += (lists_.starts[list + 1] - lists_.starts[list]) * kGroup;
    }
    compared_ = rows + lists_.lists;
    std::vector<float> guesses(found_.size());
    for (size_t i = 0; i < found_.size(); ++i) guesses[i] = found_[i].guess;
    if (guesses.size() > k_) {
      std::nth_element(guesses.begin(), guesses.begin() + static_cast<std::ptrdiff_t>(k_ - 1), guesses.end(), std::greater<>());
      wanted_ = guesses[k_ - 1];
    }
  }

  // The candidates that are to be read next, put in front of the others: how many.
  size_t promising() {
    const auto first = found_.begin() + static_cast<std::ptrdiff_t>(next_);
    return static_cast<size_t>(
        std::partition(first, found_.end(), [this](const Candidate& each) { return each.most >= wanted_; }) - first);
  }
  const Candidate& candidate(size_t i) const { return found_[next_ + i]; }
  void take(double score, uint32_t row) { best_.offer(score, row); }
  void taken(size_t count) {
    next_ += count;
    if (best_.full()) wanted_ = static_cast<float>(in_frame(exact_, best_.kth()));
  }

  const RestoredQuery& exact() const { return exact_; }
  int64_t compared() const { return static_cast<int64_t>(compared_); }
  std::vector<Listed>& listed() { return best_.listed(); }

 private:
  Head head_of_list(size_t list) const {
    return whole_head(lists_.centres + list * centre_bytes(lists_.frame.padded) + lists_.frame.padded);
  }

  // Returns how many of the list's rows the filter lets through.
  size_t estimate(const Kernels& kernels, size_t list, int32_t product, float margin, const Kept& kept) {
    const GraphView& frame = lists_.frame;
    const Head head = head_of_list(list);
    const float inner = head.step * unit_ * static_cast<float>(product);
    const float away = std::sqrt(std::max(0.0f, static_cast<float>(square_) + head.code_norm - 2.0f * inner));
    const float base = frame.l2 ? 2.0f * inner - head.code_norm : inner, across = kSignError * kReach * away;
    const float error = std::sqrt(spread_ + across * across), further = margin * error;
    alignas(64) float most[kGroupsAtOnce * kGroup];
    uint32_t masks[kGroupsAtOnce];
    size_t survived = 0;
    for (size_t g = lists_.starts[list]; g < lists_.starts[list + 1]; g += kGroupsAtOnce) {
      const size_t some = std::min<size_t>(kGroupsAtOnce, lists_.starts[list + 1] - g);
      const uint8_t* group = lists_.groups + g * group_bytes(frame.padded);
      kernels.estimate(group, some, frame.padded, tables_, base, sums_.unit, sums_.offset + further, above_, most, masks);
      for (size_t j = 0; j < some; ++j, group += group_bytes(frame.padded)) {
        const int32_t* rows = reinterpret_cast<const int32_t*>(group);
        const uint16_t* mul = reinterpret_cast<const uint16_t*>(group + 6 * kGroup);
        if (!kept.all()) {
          for (size_t slot = 0; slot < kGroup; ++slot) survived += row_is_there(rows[slot]) && kept.holds(static_cast<size_t>(rows[slot]));
        } else {
          survived += kGroup;
        }
        for (uint32_t mask = masks[j]; mask; mask &= mask - 1) {
          const size_t slot = static_cast<size_t>(__builtin_ctz(mask));
          if (!row_is_there(rows[slot]) || !(kept.all() || kept.holds(static_cast<size_t>(rows[slot])))) continue;
          offer(most[j * kGroup + slot], widened(mul[slot]) * further, widened(mul[slot]) * error,
                static_cast<uint32_t>(rows[slot]));
        }
      }
    }
    return survived;
  }

  bool row_is_there(int32_t row) const { return static_cast<uint32_t>(row) < lists_.frame.count; }

  // further, error: by how much it may be worth more than its estimate, and the standard error of that.
  void offer(float most, float further, float error, uint32_t row) {
    const auto number = [](float x) { return x == x ? x : -std::numeric_limits<float>::infinity(); };  // of damaged factors
    const float guess = number(most - further), least = number(guess - error);
    if (most <= above_) return;
    found_.push_back({most, guess, row});
    if (floors_.size() < k_) {
      floors_.push_back(least);
      std::push_heap(floors_.begin(), floors_.end(), std::greater<>());
    } else if (least > floors_.front()) {
      std::pop_heap(floors_.begin(), floors_.end(), std::greater<>());
      floors_.back() = least;
      std::push_heap(floors_.begin(), floors_.end(), std::greater<>());
    }
    if (floors_.size() == k_) above_ = std::max(above_, floors_.front());
    if (found_.size() < thin_at_) return;
    std::erase_if(found_, [this](const Candidate& each) { return each.most <= above_; });
    thin_at_ = std::max(thin_at_, 2 * found_.size());
  }

  const ListsView& lists_;
  size_t k_;
  std::vector<float> memory_;
  std::vector<int8_t> codes_;
  uint8_t* tables_ = nullptr;
  RestoredQuery exact_{};
  LookedUp sums_{};
  double square_ = 0.0;
  float unit_ = 0.0f, spread_ = 0.0f;
  std::vector<Candidate> found_;
  std::vector<float> floors_;  // a heap of the k best estimates, less a standard error each
  float above_ = kLowest;      // the k-th of them: what is worth no more is hardly among the k best
  float wanted_ = kLowest;
  size_t thin_at_ = kThinAt + 4 * k_, next_ = 0, compared_ = 0;
  Best best_;
};

// Reads what is promising of all queries, and scores it.
bool read_promising(const Kernels& kernels, const ListsView& lists, Reader& reader, size_t most_reads,
                    std::vector<Asked>& asked, std::vector<uint8_t>& memory, std::atomic<uint64_t>& counted) {
  const size_t padded = lists.frame.padded, bytes = record_bytes(padded);
  std::vector<size_t> counts(asked.size());
  size_t all = 0;
  for (size_t q = 0; q < asked.size(); ++q) all += counts[q] = asked[q].promising();
  if (all == 0) return false;
  counted += all;
  const size_t room = std::min(all, most_reads);
  memory.resize(std::max(memory.size(), room * bytes));
  std::vector<Read> reads(room);
  std::vector<uint32_t> offsets(room);
  std::vector<double> scores(room);
  for (size_t i = 0; i < room; ++i) offsets[i] = static_cast<uint32_t>(i * bytes);
  for (size_t first = 0, q = 0, from = 0; first < all;) {
    // As many as there is room for, from candidate `from` of query q on.
    size_t some = 0, last = q, end = from;
    while (some < room && last < asked.size()) {
      if (end == counts[last]) {
        ++last;
        end = 0;
        continue;
      }
      reads[some] = {place_of_record(padded, asked[last].candidate(end).row), bytes, memory.data() + some * bytes};
      ++some;
      ++end;
    }
    reader.read(reads.data(), some);
    for (size_t done = 0; done < some;) {
      const size_t mine = std::min(some - done, counts[q] - from);
      score_records(kernels, lists.frame, asked[q].exact(), memory.data(), offsets.data() + done, mine, scores.data());
      for (size_t i = 0; i < mine; ++i) asked[q].take(scores[i], asked[q].candidate(from + i).row);
      done += mine;
      from += mine;
      if (from == counts[q]) {
        ++q;
        from = 0;
      }
    }
    first += some;
  }
  for (size_t q = 0; q < asked.size(); ++q) asked[q].taken(counts[q]);
  return true;
}

}  // namespace

void search_lists(const Kernels& kernels, const ListsView& lists, const float* signs, Reader& reader, const Probing& probing,
                  size_t survivors, const Batch& batch, const Answer& answer, std::atomic<uint64_t>& reads) {
  const size_t padded = lists.frame.padded;
  const size_t together = std::min(kQueriesAtOnce, batch.count);
  std::vector<int8_t> codes(together * padded);
  std::vector<int32_t> products(together * lists.lists);
  std::vector<uint8_t> memory;
  for (size_t first = 0; first < batch.count; first += kQueriesAtOnce) {
    const size_t some = std::min(kQueriesAtOnce, batch.count - first);
    std::vector<Asked> asked;
    asked.reserve(some);
    for (size_t q = 0; q < some; ++q) {
      asked.emplace_back(kernels, lists, signs, batch.queries + (first + q) * lists.frame.dim, batch.k);
      std::memcpy(codes.data() + q * padded, asked[q].codes(), padded);
    }
    kernels.dots_i8(codes.data(), padded, some, reinterpret_cast<const int8_t*>(lists.centres), centre_bytes(padded),
                    lists.lists, padded, products.data(), lists.lists);
    for (size_t q = 0; q < some; ++q) {
      asked[q].collect(kernels, products.data() + q * lists.lists, probing, batch, survivors);
    }
    // Of the k best estimates, and then of what the k best scores leave open; a third time there is nothing.
    while (read_promising(kernels, lists, reader, probing.most_reads, asked, memory, reads)) {
    }
    for (size_t q = 0; q < some; ++q) {
      const size_t at = (first + q) * batch.k;
      answer.rescored[first + q] = asked[q].compared();
      write_best(asked[q].listed(), batch.k, 0, answer.rows + at, answer.scores + at);
    }
  }
}

namespace {

constexpr size_t kRowsOfBlock = 4096;         // whose records are in memory at once, 2.4 MB at 384 dimensions
constexpr size_t kMostBytes = 256 << 10;      // of one read of records that lie side by side
constexpr size_t kCompared = 256;             // rows, by their int8 codes, before the next are chosen

// Records of ascending rows, read with few reads: what lies within a page of each other comes in one.
class Block {
 public:
  Block(const ListsView& lists, Reader& reader) : padded_(lists.frame.padded), reader_(reader) {}

  void read(const uint32_t* rows, size_t count) {
    const size_t bytes = record_bytes(padded_);
    reads_.clear();
    offsets_.resize(count);
    size_t used = 0;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t place = place_of_record(padded_, rows[i]);
      Read* last = reads_.empty() ? nullptr : &reads_.back();
      if (last && place - (last->offset + last->bytes) <= kPageBytes && place + bytes - last->offset <= kMostBytes) {
        used += place + bytes - (last->offset + last->bytes);
        last->bytes = place + bytes - last->offset;
      } else {
        reads_.push_back({place, bytes, nullptr});
        used += bytes;
      }
      offsets_[i] = static_cast<uint32_t>(used - bytes);
    }
    memory_.resize(std::max(memory_.size(), used));
    uint8_t* into = memory_.data();
    for (Read& each : reads_) {
      each.into = into;
      into += each.bytes;
    }
    reader_.read(reads_.data(), reads_.size());
  }

  const uint8_t* base() const { return memory_.data(); }
  const uint32_t* offsets() const { return offsets_.data(); }
  const uint8_t* record(size_t i) const { return base() + offsets_[i]; }

 private:
  size_t padded_;
  Reader& reader_;
  std::vector<uint8_t> memory_;
  std::vector<uint32_t> offsets_;
  std::vector<Read> reads_;
};

struct Comparing {
  RestoredQuery query;
  Best best;
};

// Some records of a block, for one query: by their codes alone, and those that this leaves in doubt by all they have.
void compare(const Kernels& kernels, const GraphView& frame, const Block& block, const uint32_t* rows, size_t first, size_t count,
             Comparing& mine) {
  int32_t products[kCompared];
  uint32_t offsets[kCompared], which[kCompared];
  double scores[kCompared];
  kernels.dot_i8_at(mine.query.high(), reinterpret_cast<const int8_t*>(block.base()), 1, block.offsets() + first, count,
                    frame.padded, products);
  const double floor = mine.best.full() ? in_frame(mine.query, mine.best.kth()) - mine.query.slack
                                        : -std::numeric_limits<double>::infinity();
  const double unit = 256.0 * mine.query.unit;
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    float factors[2];
    std::memcpy(factors, block.record(first + i) + frame.padded + rest_bytes(frame.padded), sizeof factors);
    const double score = unit * static_cast<double>(factors[0]) * products[i] - static_cast<double>(factors[1]);
    if (!(score >= floor) && mine.query.scale > 0.0) continue;
    which[found] = rows[first + i];
    offsets[found++] = block.offsets()[first + i];
  }
  score_records(kernels, frame, mine.query, block.base(), offsets, found, scores);
  for (size_t i = 0; i < found; ++i) mine.best.offer(scores[i], which[i]);
}

}  // namespace

void scan_records(const Kernels& kernels, const ListsView& lists, const float* signs, Reader& reader, size_t first_row,
                  size_t last_row, const Batch& batch, const Answer& answer) {
  const GraphView& frame = lists.frame;
  std::vector<float> in(frame.padded);
  std::vector<Comparing> queries;
  queries.reserve(batch.count);
  for (size_t q = 0; q < batch.count; ++q) {
    const float* query = batch.queries + q * frame.dim;
    to_frame(kernels, frame, signs, query, in.data());
    queries.push_back({restored_query(frame, in.data(), query), Best(batch.k)});
  }
  const Kept kept(batch);
  Block block(lists, reader);
  std::vector<uint32_t> rows;
  const size_t all = batch.at ? batch.at_count : last_row - first_row;
  for (size_t start = 0; start < all;) {
    rows.clear();
    for (; start < all && rows.size() < kRowsOfBlock; ++start) {
      const uint32_t row = batch.at ? batch.at[start] : static_cast<uint32_t>(first_row + start);
      if (kept.all() || kept.holds(row)) rows.push_back(row);
    }
    if (rows.empty()) continue;
    block.read(rows.data(), rows.size());
    for (size_t first = 0; first < rows.size(); first += kCompared) {
      const size_t some = std::min(kCompared, rows.size() - first);
      for (Comparing& each : queries) compare(kernels, frame, block, rows.data(), first, some, each);
    }
  }
  for (size_t q = 0; q < batch.count; ++q) {
    std::vector<Listed>& listed = queries[q].best.listed();
    answer.rescored[q] = static_cast<int64_t>(all);
    write_best(listed, batch.k, 0, answer.rows + q * batch.k, answer.scores + q * batch.k);
  }
}

void restore_records(const ListsView& lists, const float* signs, Reader& reader, size_t first, size_t count, float* out) {
  const GraphView& frame = lists.frame;
  std::vector<float> x(frame.padded);
  std::vector<int8_t> rest(frame.padded);
  std::vector<uint32_t> rows;
  Block block(lists, reader);
  for (size_t start = 0; start < count; start += kRowsOfBlock) {
    const size_t some = std::min(kRowsOfBlock, count - start);
    rows.resize(some);
    for (size_t i = 0; i < some; ++i) rows[i] = static_cast<uint32_t>(first + start + i);
    block.read(rows.data(), some);
    for (size_t i = 0; i < some; ++i) {
      const uint8_t* record = block.record(i);
      float scale;
      std::memcpy(&scale, record + frame.padded + rest_bytes(frame.padded), sizeof scale);
      unpack_rest(record + frame.padded, frame.padded, rest.data());
      restore_row(frame, signs, reinterpret_cast<const int8_t*>(record), rest.data(), scale, x.data(), out + (start + i) * frame.dim);
    }
  }
}

}  // namespace perwatt
