// The Python face of the inverted index of impacts (impacts.hpp).
#include "impacts_object.hpp"

#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "impacts.hpp"
#include "python_arrays.hpp"

namespace perwatt {
namespace {

template <class T>
using Flat = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Table = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

// Over arrays that Python owns, which are held as long as this.
class ImpactIndex {
 public:
  ImpactIndex(Table<const uint64_t> terms, Flat<const uint64_t> entries, Flat<const uint16_t> postings, size_t rows)
      : terms_(terms), entries_(entries), postings_(postings) {
    require(rows <= kMostImpactRows, "there may be 2^30 rows of impacts at most");
    require(terms.shape(0) >= 1 && terms.shape(1) == 2, "terms must be (tokens + 1, 2)");
    const uint64_t* at = terms.data();
    for (size_t i = 2; i < 2 * terms.shape(0); ++i) require(at[i] >= at[i - 2], "terms must not fall");
    require(at[2 * terms.shape(0) - 2] == entries.shape(0) && at[2 * terms.shape(0) - 1] == postings.shape(0),
            "terms must end with the entries and postings");
    index_ = {at, entries.data(), postings.data(), terms.shape(0) - 1, rows};
  }

  auto search(Flat<const uint32_t> tokens, Flat<const uint32_t> weights, size_t k,
              std::optional<Vector<const uint64_t>> keep) const {
    require(tokens.shape(0) == weights.shape(0), "there must be a weight for each token");
    require(tokens.shape(0) <= kMostTerms, "a query may have 256 tokens at most");
    require(k >= 1, "k must be at least 1");
    std::vector<Term> query;
    for (size_t i = 0; i < tokens.shape(0); ++i) {
      const Term term{tokens.data()[i], weights.data()[i]};
      require(term.token < index_.tokens, "a token is not in the vocabulary");
      require(term.weight < 65536, "a weight must be below 65,536");
      query.push_back(term);
    }
    const uint64_t* kept = kept_rows(keep, index_.rows);
    size_t visited = 0;
    std::vector<ImpactHit> found;
    {
      nb::gil_scoped_release unlocked;
      found = search_impacts(index_, query, k, kept, &visited);
    }
    auto* rows = new int64_t[found.size()];
    nb::capsule rows_owner(rows, [](void* at) noexcept { delete[] static_cast<int64_t*>(at); });
    auto* scores = new float[found.size()];
    nb::capsule scores_owner(scores, [](void* at) noexcept { delete[] static_cast<float*>(at); });
    for (size_t i = 0; i < found.size(); ++i) {
      rows[i] = found[i].row;
      scores[i] = found[i].score;
    }
    using Rows = nb::ndarray<nb::numpy, int64_t, nb::ndim<1>>;
    using Scores = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
    return std::make_tuple(Rows(rows, {found.size()}, rows_owner), Scores(scores, {found.size()}, scores_owner), visited);
  }

  size_t spread(Flat<uint32_t> tokens, Flat<uint8_t> impacts, Flat<int64_t> ends) const {
    require(tokens.shape(0) == postings_.shape(0) && impacts.shape(0) == postings_.shape(0) && ends.shape(0) == index_.rows,
            "there must be a place for each posting and each row");
    nb::gil_scoped_release unlocked;
    return spread_impacts(index_, tokens.data(), impacts.data(), ends.data());
  }

 private:
  Table<const uint64_t> terms_;
  Flat<const uint64_t> entries_;
  Flat<const uint16_t> postings_;
  Impacts index_{};
};

void check_rows(const Flat<const uint32_t>& tokens, const Flat<const int64_t>& ends, size_t vocabulary) {
  require(ends.shape(0) <= kMostImpactRows, "there may be 2^30 rows of impacts at most");
  int64_t end = 0;
  for (size_t row = 0; row < ends.shape(0); ++row) {
    require(ends.data()[row] >= end, "ends must not fall");
    end = ends.data()[row];
  }
  require(static_cast<size_t>(end) == tokens.shape(0), "the last end must be the number of tokens");
  for (size_t i = 0; i < tokens.shape(0); ++i) require(tokens.data()[i] < vocabulary, "a token is not in the vocabulary");
}

constexpr const char* kTerms = "terms must be (tokens + 1, 2)";

void count(Flat<const uint32_t> tokens, Flat<const int64_t> ends, Table<uint64_t> terms) {
  require(terms.shape(0) >= 1 && terms.shape(1) == 2, kTerms);
  check_rows(tokens, ends, terms.shape(0) - 1);
  nb::gil_scoped_release unlocked;
  count_impacts(tokens.data(), ends.data(), ends.shape(0), terms.shape(0) - 1, terms.data());
}

void fill(Flat<const uint32_t> tokens, Flat<const uint8_t> impacts, Flat<const int64_t> ends, Table<const uint64_t> terms,
          Flat<uint64_t> entries, Flat<uint16_t> postings) {
  require(terms.shape(0) >= 1 && terms.shape(1) == 2, kTerms);
  const size_t vocabulary = terms.shape(0) - 1;
  check_rows(tokens, ends, vocabulary);
  std::vector<uint64_t> counted(2 * (vocabulary + 1));
  count_impacts(tokens.data(), ends.data(), ends.shape(0), vocabulary, counted.data());
  require(std::equal(counted.begin(), counted.end(), terms.data()), "terms must be those that were counted");
  require(impacts.shape(0) == tokens.shape(0) && entries.shape(0) == counted[2 * vocabulary] &&
              postings.shape(0) == counted[2 * vocabulary + 1],
          "there must be as many impacts, entries and postings as were counted");
  nb::gil_scoped_release unlocked;
  fill_impacts(tokens.data(), impacts.data(), ends.data(), ends.shape(0), vocabulary, terms.data(), entries.data(),
               postings.data());
}

}  // namespace

void bind_impacts(nb::module_& m) {
  m.def("count_impacts", count, "tokens"_a.noconvert(), "ends"_a.noconvert(), "terms"_a.noconvert());
  m.def("fill_impacts", fill, "tokens"_a.noconvert(), "impacts"_a.noconvert(), "ends"_a.noconvert(),
        "terms"_a.noconvert(), "entries"_a.noconvert(), "postings"_a.noconvert());
  nb::class_<ImpactIndex>(m, "ImpactIndex")
      .def(nb::init<Table<const uint64_t>, Flat<const uint64_t>, Flat<const uint16_t>, size_t>(), "terms"_a.noconvert(),
           "entries"_a.noconvert(), "postings"_a.noconvert(), "rows"_a)
      .def("search", &ImpactIndex::search, "tokens"_a.noconvert(), "weights"_a.noconvert(), "k"_a,
           "keep"_a.noconvert().none() = nb::none())
      .def("spread", &ImpactIndex::spread, "tokens"_a.noconvert(), "impacts"_a.noconvert(), "ends"_a.noconvert());
}

}  // namespace perwatt
