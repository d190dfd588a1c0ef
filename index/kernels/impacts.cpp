// The inverted index of impacts (impacts.hpp): how it is filled, and how it is searched.
//
// A file may say anything. Where a token begins and ends is checked when an index is opened; what an entry says is held to
// that here, so that a damaged one gives wrong rows and reads nothing outside.
#include "impacts.hpp"

#include <algorithm>

namespace perwatt {
namespace {

constexpr size_t block_of(uint64_t entry) { return entry >> 40; }
constexpr uint32_t most_of(uint64_t entry) { return static_cast<uint32_t>(entry >> 32) & 255; }
constexpr uint64_t entry_of(size_t block, size_t posting) {
  return static_cast<uint64_t>(block) << 40 | static_cast<uint32_t>(posting);
}

struct List {
  const uint64_t *at, *end;  // its entries
  const uint16_t* postings;
  size_t count;  // of postings
  uint32_t weight;
};

List list_of(const Impacts& index, Term term) {
  const uint64_t* from = index.terms + 2 * term.token;
  return {index.entries + from[0], index.entries + from[2], index.postings + from[1],
          static_cast<size_t>(from[3] - from[1]), term.weight};
}

// Whether a comes before b in an answer; of a heap's order, so that its front is the worst hit.
bool better(const ImpactHit& a, const ImpactHit& b) { return a.score != b.score ? a.score > b.score : a.row < b.row; }

// What a block scores at most, above the complement of its number: the largest key comes first, of equal bounds the
// smaller block.
constexpr uint64_t key_of(uint32_t bound, size_t block) {
  return static_cast<uint64_t>(bound) << 32 | (0xffffffffu - static_cast<uint32_t>(block));
}

// Adds what the block's rows score by one list.
void add_block(const List& list, size_t block, uint32_t* scores) {
  const uint64_t* entry = std::lower_bound(list.at, list.end, static_cast<uint64_t>(block) << 40);
  if (entry == list.end || block_of(*entry) != block) return;
  const size_t stop = entry + 1 == list.end ? list.count : static_cast<uint32_t>(entry[1]);
  for (size_t i = static_cast<uint32_t>(*entry); i < std::min(stop, list.count); ++i) {
    scores[list.postings[i] >> 8] += list.weight * (list.postings[i] & 255);
  }
}

}  // namespace

std::vector<ImpactHit> search_impacts(const Impacts& index, const std::vector<Term>& query, size_t k, const uint64_t* keep,
                                      size_t* visited) {
  const size_t blocks = (index.rows + kBlockRows - 1) / kBlockRows;
  std::vector<List> lists;
  for (const Term term : query) lists.push_back(list_of(index, term));
  std::vector<uint32_t> bounds(blocks);
  for (const List& list : lists) {
    for (const uint64_t* entry = list.at; entry < list.end; ++entry) {
      if (block_of(*entry) < blocks) bounds[block_of(*entry)] += list.weight * most_of(*entry);
    }
  }
  std::vector<uint64_t> order;
  for (size_t block = 0; block < blocks; ++block) {
    if (bounds[block] != 0 && (keep == nullptr || keep[block] != 0)) order.push_back(key_of(bounds[block], block));
  }
  std::make_heap(order.begin(), order.end());
  std::vector<ImpactHit> best;  // a heap of at most k, its worst hit in front
  *visited = 0;
  while (!order.empty()) {
    std::pop_heap(order.begin(), order.end());
    const size_t block = 0xffffffffu - static_cast<uint32_t>(order.back());
    const ImpactHit hope{static_cast<float>(order.back() >> 32), static_cast<uint32_t>(block * kBlockRows)};
    order.pop_back();
    if (best.size() == k && hope.score < best.front().score) break;     // as will all that follow
    if (best.size() == k && !better(hope, best.front())) continue;  // as good at most, and behind it
    ++*visited;
    uint32_t scores[256] = {};
    for (const List& list : lists) add_block(list, block, scores);
    const size_t first = block * kBlockRows, rows = std::min(kBlockRows, index.rows - first);
    for (size_t i = 0; i < rows; ++i) {
      if (scores[i] == 0 || (keep != nullptr && (keep[block] >> i & 1) == 0)) continue;
      const ImpactHit hit{static_cast<float>(scores[i]), static_cast<uint32_t>(first + i)};
      if (best.size() == k) {
        if (!better(hit, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), better);
        best.pop_back();
      }
      best.push_back(hit);
      std::push_heap(best.begin(), best.end(), better);
    }
  }
  std::sort(best.begin(), best.end(), better);
  return best;
}

namespace {

// Calls each(row, token, impact) for all postings of rows that there are.
template <class Each>
void for_postings(const Impacts& index, const Each& each) {
  for (size_t token = 0; token < index.tokens; ++token) {
    const List list = list_of(index, {static_cast<uint32_t>(token), 0});
    for (const uint64_t* entry = list.at; entry < list.end; ++entry) {
      const size_t stop = entry + 1 == list.end ? list.count : static_cast<uint32_t>(entry[1]);
      for (size_t i = static_cast<uint32_t>(*entry); i < std::min(stop, list.count); ++i) {
        const size_t row = block_of(*entry) * kBlockRows + (list.postings[i] >> 8);
        if (row < index.rows) each(row, token, list.postings[i] & 255);
      }
    }
  }
}

}  // namespace

size_t spread_impacts(const Impacts& index, uint32_t* tokens, uint8_t* impacts, int64_t* ends) {
  const size_t room = index.terms[2 * index.tokens + 1];
  std::vector<size_t> next(index.rows + 1);
  for_postings(index, [&](size_t row, size_t, unsigned) { ++next[row + 1]; });
  for (size_t row = 0; row < index.rows; ++row) {
    next[row + 1] += next[row];
    ends[row] = static_cast<int64_t>(next[row + 1]);
  }
  const size_t found = next[index.rows];
  if (found > room) return 0;  // entries that lie over one another; nothing of it is used
  for_postings(index, [&](size_t row, size_t token, unsigned impact) {
    tokens[next[row]] = static_cast<uint32_t>(token);
    impacts[next[row]++] = static_cast<uint8_t>(impact);
  });
  return found;
}

void count_impacts(const uint32_t* tokens, const int64_t* ends, size_t rows, size_t vocabulary, uint64_t* terms) {
  constexpr size_t kNone = ~size_t{0};
  std::vector<size_t> last(vocabulary, kNone);
  std::fill_n(terms, 2 * (vocabulary + 1), 0);
  int64_t at = 0;
  for (size_t row = 0; row < rows; ++row) {
    for (; at < ends[row]; ++at) {
      const size_t token = tokens[at], block = row / kBlockRows;
      if (last[token] != block) ++terms[2 * token];
      last[token] = block;
      ++terms[2 * token + 1];
    }
  }
  uint64_t entry = 0, posting = 0;
  for (size_t token = 0; token <= vocabulary; ++token) {
    const uint64_t entries = terms[2 * token], postings = terms[2 * token + 1];
    terms[2 * token] = entry;
    terms[2 * token + 1] = posting;
    entry += entries;
    posting += postings;
  }
}

void fill_impacts(const uint32_t* tokens, const uint8_t* impacts, const int64_t* ends, size_t rows, size_t vocabulary,
                  const uint64_t* terms, uint64_t* entries, uint16_t* postings) {
  std::vector<uint64_t> next(terms, terms + 2 * vocabulary);
  int64_t at = 0;
  for (size_t row = 0; row < rows; ++row) {
    const size_t block = row / kBlockRows;
    for (; at < ends[row]; ++at) {
      const size_t token = tokens[at];
      uint64_t &entry = next[2 * token], &posting = next[2 * token + 1];
      if (entry == terms[2 * token] || block_of(entries[entry - 1]) != block) {
        entries[entry++] = entry_of(block, posting - terms[2 * token + 1]);
      }
      const uint64_t most = std::max(most_of(entries[entry - 1]), uint32_t{impacts[at]});
      entries[entry - 1] = (entries[entry - 1] & ~(uint64_t{255} << 32)) | most << 32;
      postings[posting++] = static_cast<uint16_t>((row % kBlockRows) << 8 | impacts[at]);
    }
  }
}

}  // namespace perwatt
