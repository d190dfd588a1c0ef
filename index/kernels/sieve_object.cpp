// The Python face of the sieve (sieve.hpp): what fills its arrays, an object that checks them once and scans through them,
// and the merge of what it finds with what a generation found.
#include "sieve_object.hpp"

#include "encode.hpp"
#include "python_arrays.hpp"
#include "sieving.hpp"

namespace perwatt {
namespace {

using Floats = Vector<const float>;

void check_frame(const Floats& frame, size_t dim) {
  require(dim >= 1 && dim <= kMaxGraphDim, "a sieve has 1 to 4,096 dimensions");
  require(frame.shape(0) == sieve_frame_floats(padded_dim(dim)) && frame.stride(0) == 1,
          "the frame has another length than its dimensions need");
}

class Sieve {
 public:
  Sieve(Floats frame, Matrix<const uint8_t> groups, Matrix<const float> vectors, Matrix<const int8_t> codes, double step,
        double error_norm, double row_norm, Floats square_norms, bool l2)
      : frame_(frame), groups_(groups), vectors_(vectors), codes_(codes), square_norms_(square_norms), l2_(l2),
        code_rows_(code_rows_of(codes, vectors, step, error_norm, row_norm, square_norms, l2)) {
    check_frame(frame, vectors.shape(1));
    require(groups.shape(0) == vectors.shape(0) / kGroup && groups.shape(1) == sieve_bytes(padded_dim(vectors.shape(1))),
            "groups must be one for each 32 vectors, of the bytes that they need");
    check_contiguous(groups, "groups must be contiguous");
    signs_ = rotation_signs(padded_dim(vectors.shape(1)));
  }

  void search(Matrix<const float> queries, double margin, Floats least, std::optional<Vector<const uint64_t>> keep,
              Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> scored, const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    Scan scan = scan_of(queries, vectors_, l2_, rows, scores, scored);
    require(margin >= 0.0, "the margin must not be negative");
    require(least.shape(0) == queries.shape(0), "least must have one score for each query");
    std::vector<float> wanted(least.shape(0));
    for (size_t q = 0; q < wanted.size(); ++q) wanted[q] = least(q);  // often a column of a matrix
    scan.batch.keep = kept_rows(keep, vectors_.shape(0));
    nb::gil_scoped_release unlocked;
    scan_sieved(kernels, {frame_.data(), signs_.data(), groups_.data(), groups_.shape(0), margin}, scan.rows, code_rows_,
                scan.batch, wanted.data(), scan.answer);
  }

 private:
  Floats frame_;
  Matrix<const uint8_t> groups_;
  Matrix<const float> vectors_;
  Matrix<const int8_t> codes_;
  Floats square_norms_;
  bool l2_;
  CodeRows code_rows_;
  std::vector<float> signs_;
};

void make_frame(Matrix<const float> vectors, bool l2, Vector<float> frame, const std::string& unit) {
  const Kernels& kernels = unit_named(unit);
  check_frame(Floats(frame), vectors.shape(1));
  check_contiguous(vectors, "vectors must be contiguous");
  require(vectors.shape(0) >= 1, "a frame is made from at least one vector");
  nb::gil_scoped_release unlocked;
  make_sieve_frame(kernels, vectors.data(), vectors.shape(0), vectors.shape(1), l2, frame.data());
}

void make_groups(Floats frame, Matrix<const float> vectors, bool l2, Matrix<uint8_t> groups, const std::string& unit) {
  const Kernels& kernels = unit_named(unit);
  const size_t count = vectors.shape(0), dim = vectors.shape(1);
  check_frame(frame, dim);
  check_contiguous(vectors, "vectors must be contiguous");
  require(count % kGroup == 0 && groups.shape(0) == count / kGroup && groups.shape(1) == sieve_bytes(padded_dim(dim)),
          "groups must be one for each 32 vectors, of the bytes that they need");
  check_contiguous(groups, "groups must be contiguous");
  nb::gil_scoped_release unlocked;
  make_sieve_groups(kernels, frame.data(), vectors.data(), count, dim, l2, groups.data());
}

// Puts the hits of a second part, with `offset` added to their rows, in their places among those of the first, which keeps
// its k; for the queries from `first` on. Stops before a query in which a hit of the second part has the same score as
// another hit, since ids decide then and are not known here. Returns how many queries are done.
size_t merge(Matrix<int64_t> rows, Matrix<float> scores, Matrix<const int64_t> other_rows,
             Matrix<const float> other_scores, int64_t offset, size_t first) {
  const size_t count = rows.shape(0), k = rows.shape(1), width = other_rows.shape(1);
  require(scores.shape(0) == count && scores.shape(1) == k && other_rows.shape(0) == count &&
              other_scores.shape(0) == count && other_scores.shape(1) == width,
          "rows and scores of a part must have the same shape, and both parts as many queries");
  check_contiguous(rows, "rows must be contiguous");
  check_contiguous(scores, "scores must be contiguous");
  check_contiguous(other_rows, "other_rows must be contiguous");
  check_contiguous(other_scores, "other_scores must be contiguous");
  std::vector<int64_t> best(k);
  std::vector<float> best_scores(k);
  for (size_t q = first; q < count; ++q) {
    int64_t* mine = rows.data() + q * k;
    float* my_scores = scores.data() + q * k;
    const int64_t* theirs = other_rows.data() + q * width;
    const float* their_scores = other_scores.data() + q * width;
    size_t i = 0, j = 0, placed = 0;
    const auto mine_left = [&] { return i < k && mine[i] >= 0; };
    const auto theirs_left = [&] { return j < width && theirs[j] >= 0; };
    if (!theirs_left()) continue;
    for (; placed < k && (mine_left() || theirs_left()); ++placed) {
      if (mine_left() && theirs_left() && my_scores[i] == their_scores[j]) return q;
      if (mine_left() && !(theirs_left() && their_scores[j] > my_scores[i])) {
        best[placed] = mine[i];
        best_scores[placed] = my_scores[i++];
        continue;
      }
      best[placed] = theirs[j] + offset;
      best_scores[placed] = their_scores[j++];
      if (theirs_left() && their_scores[j] == best_scores[placed]) return q;
    }
    std::copy_n(best.begin(), placed, mine);
    std::copy_n(best_scores.begin(), placed, my_scores);
  }
  return count;
}

}  // namespace

void bind_sieve(nb::module_& m) {
  m.def("sieve_frame_floats", [](size_t dim) { return sieve_frame_floats(padded_dim(dim)); }, "dim"_a);
  m.def("sieve_bytes", [](size_t dim) { return sieve_bytes(padded_dim(dim)); }, "dim"_a);
  m.def("sieve_frame", make_frame, "vectors"_a.noconvert(), "l2"_a, "frame"_a.noconvert(), "unit"_a = "");
  m.def("sieve_groups", make_groups, "frame"_a.noconvert(), "vectors"_a.noconvert(), "l2"_a, "groups"_a.noconvert(),
        "unit"_a = "");
  m.def("merge", merge, "rows"_a.noconvert(), "scores"_a.noconvert(), "other_rows"_a.noconvert(),
        "other_scores"_a.noconvert(), "offset"_a, "first"_a = 0);
  nb::class_<Sieve>(m, "Sieve")
      .def(nb::init<Floats, Matrix<const uint8_t>, Matrix<const float>, Matrix<const int8_t>, double, double, double, Floats,
                    bool>(),
           "frame"_a.noconvert(), "groups"_a.noconvert(), "vectors"_a.noconvert(), "codes"_a.noconvert(), "step"_a,
           "error_norm"_a, "row_norm"_a, "square_norms"_a.noconvert(), "l2"_a)
      .def("search", &Sieve::search, "queries"_a.noconvert(), "margin"_a, "least"_a.noconvert(),
           "keep"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(), "scored"_a.noconvert(),
           "unit"_a = "");
}

}  // namespace perwatt
