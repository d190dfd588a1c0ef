// An inverted index of weights that a model gave documents: which rows hold a token, and how much of it each.
//
// A row holds a token with an impact of 1 to 255, a query asks for it with a weight of 16 bits. The sum of their products is
// an integer below 2^32 for kMostTerms tokens, and the score is that sum as float32: the same in any order, on any processor,
// and however the rows are cut into shards.
//
//   terms      of each token, and behind the last: its first entry and its first posting
//   entries    a token's blocks of 64 rows, ascending: block (24 bits), largest impact in it (8), its first posting,
//              counted from the token's first (32)
//   postings   the rows of a block, ascending: row within the block (8 bits), impact (8)
//
// A search adds up, for each block, what a row of it could score at most, and looks into blocks from the highest bound down
// until no bound can beat the k-th best: of the block-max methods the one whose inner loops have no branches between lists
// (block-max pruning, Mallia, Suel and Tonellotto, SIGIR 2024). A block is one word of a filter's bitmap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace perwatt {

constexpr size_t kBlockRows = 64;
constexpr size_t kMostTerms = 256;            // 256 * 65,535 * 255 < 2^32
constexpr size_t kMostImpactRows = size_t{1} << 30;  // their blocks have numbers of 24 bits

struct Impacts {
  const uint64_t* terms;  // (tokens + 1, 2)
  const uint64_t* entries;
  const uint16_t* postings;
  size_t tokens, rows;
};

struct Term {
  uint32_t token;
  uint32_t weight;  // below 2^16
};

struct ImpactHit {
  float score;
  uint32_t row;
};

// The best k rows with a score above 0, best first, ties by row.
// keep: a bit for each row that may be a hit, or null; visited: how many blocks were looked into.
std::vector<ImpactHit> search_impacts(const Impacts& index, const std::vector<Term>& query, size_t k, const uint64_t* keep,
                                      size_t* visited);

// Of rows that hold tokens[ends[r - 1]] ... tokens[ends[r] - 1], each of them once: fills terms.
void count_impacts(const uint32_t* tokens, const int64_t* ends, size_t rows, size_t vocabulary, uint64_t* terms);

// The entries and postings of those rows, for the terms that were counted.
void fill_impacts(const uint32_t* tokens, const uint8_t* impacts, const int64_t* ends, size_t rows, size_t vocabulary,
                  const uint64_t* terms, uint64_t* entries, uint16_t* postings);

// The way back: of each row its tokens, ascending, and their impacts. ends: (rows); tokens and impacts have a place for each
// posting. Postings of rows that are not there are left out; returns how many are not.
size_t spread_impacts(const Impacts& index, uint32_t* tokens, uint8_t* impacts, int64_t* ends);

}  // namespace perwatt
