// The Python face of the kernels: checks shapes and strides, releases the GIL, calls. Whether the numbers are
// finite is checked once by the callers in Python, where the row can be named.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "bandwidth.hpp"
#include "bind_units.hpp"
#include "draft_object.hpp"
#include "graph_object.hpp"
#include "impacts_object.hpp"
#include "lists_object.hpp"
#include "python_arrays.hpp"
#include "queries.hpp"
#include "sieve_object.hpp"

namespace perwatt {
namespace {

template <class A, class B>
void check_rows(const Vector<const A>& query, const Matrix<const B>& rows) {
  require(rows.shape(1) == query.shape(0), "query and rows must have the same number of dimensions");
  require(query.shape(0) <= kMaxDim, "more than 65,536 dimensions");
  require(query.shape(0) < 2 || query.stride(0) == 1, "query must be contiguous");
  require(rows.shape(1) < 2 || rows.stride(1) == 1, "rows must be contiguous along their dimensions");
  require(rows.shape(0) < 2 || rows.stride(0) >= 0, "rows must not run backwards");
}

template <class In, class Out, class Rows, class At>
void one_to_many(const Vector<const In>& query, const Matrix<const In>& rows, const Vector<Out>& out,
                 const nb::object& at, Rows score_rows, At score_at) {
  check_rows(query, rows);
  const size_t dim = query.shape(0);
  require(out.shape(0) < 2 || out.stride(0) == 1, "out must be contiguous");
  if (at.is_none()) {
    require(out.shape(0) == rows.shape(0), "out must have one entry for each row");
    nb::gil_scoped_release unlocked;
    score_rows(query.data(), rows.data(), stride_of(rows), rows.shape(0), dim, out.data());
    return;
  }
  const auto picked = nb::cast<Vector<const uint32_t>>(at, false);
  require(out.shape(0) == picked.shape(0), "out must have one entry for each row number");
  require(picked.shape(0) < 2 || picked.stride(0) == 1, "at must be contiguous");
  for (size_t i = 0; i < picked.shape(0); ++i) {
    require(picked.data()[i] < rows.shape(0), "a row number is not in rows");
  }
  nb::gil_scoped_release unlocked;
  score_at(query.data(), rows.data(), stride_of(rows), picked.data(), picked.shape(0), dim, out.data());
}

}  // namespace
}  // namespace perwatt

NB_MODULE(_native, m) {
  using namespace perwatt;

  bind_units(m, units());
  m.def("active", [] { return std::string(active()->name); });
  m.def("use", [](const std::string& name) { return use(name); }, "name"_a);

  m.def("read_sum",
        [](Vector<const uint8_t> bytes, size_t streams) {
          require(bytes.shape(0) < 2 || bytes.stride(0) == 1, "bytes must be contiguous");
          require(streams == 1 || streams == 2 || streams == 4, "streams must be 1, 2 or 4");
          require(bytes.shape(0) % (streams * kReadBytes) == 0, "bytes must be whole steps of every stream");
          nb::gil_scoped_release unlocked;
          return read_sum(bytes.data(), bytes.shape(0), streams);
        },
        "bytes"_a.noconvert(), "streams"_a);
  m.def("dot_i8",
        [](Vector<const int8_t> query, Matrix<const int8_t> rows, Vector<int32_t> out, nb::object at,
           const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          one_to_many<int8_t, int32_t>(query, rows, out, at, kernels.dot_i8, kernels.dot_i8_at);
        },
        "query"_a.noconvert(), "rows"_a.noconvert(), "out"_a.noconvert(), "at"_a.none() = nb::none(), "unit"_a = "");
  m.def("dot_f32",
        [](Vector<const float> query, Matrix<const float> rows, Vector<float> out, nb::object at,
           const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          one_to_many<float, float>(query, rows, out, at, kernels.dot_f32, kernels.dot_f32_at);
        },
        "query"_a.noconvert(), "rows"_a.noconvert(), "out"_a.noconvert(), "at"_a.none() = nb::none(), "unit"_a = "");
  m.def("l2_f32",
        [](Vector<const float> query, Matrix<const float> rows, Vector<float> out, nb::object at,
           const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          one_to_many<float, float>(query, rows, out, at, kernels.l2_f32, kernels.l2_f32_at);
        },
        "query"_a.noconvert(), "rows"_a.noconvert(), "out"_a.noconvert(), "at"_a.none() = nb::none(), "unit"_a = "");

  m.def("dots_i8",
        [](Matrix<const int8_t> queries, Matrix<const int8_t> rows, Matrix<int32_t> out, const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          const size_t dim = queries.shape(1);
          require(rows.shape(1) == dim && dim <= kMaxDim, "queries and rows must have the same number of dimensions");
          require((queries.shape(1) < 2 || queries.stride(1) == 1) && (rows.shape(1) < 2 || rows.stride(1) == 1),
                  "queries and rows must be contiguous along their dimensions");
          require((queries.shape(0) < 2 || queries.stride(0) >= 0) && (rows.shape(0) < 2 || rows.stride(0) >= 0),
                  "queries and rows must not run backwards");
          require(out.shape(0) == queries.shape(0) && out.shape(1) == rows.shape(0), "out must be (queries, rows)");
          check_contiguous(out, "out must be contiguous");
          nb::gil_scoped_release unlocked;
          kernels.dots_i8(queries.data(), stride_of(queries), queries.shape(0), rows.data(), stride_of(rows),
                          rows.shape(0), dim, out.data(), rows.shape(0));
        },
        "queries"_a.noconvert(), "rows"_a.noconvert(), "out"_a.noconvert(), "unit"_a = "");
  m.def("prepare",
        [](Matrix<const float> queries, double longest, size_t threads, std::optional<Matrix<float>> unit_length) {
          const size_t count = queries.shape(0), dim = queries.shape(1);
          check_contiguous(queries, "queries must be contiguous");
          if (unit_length) {
            require(unit_length->shape(0) == count && unit_length->shape(1) == dim, "queries and unit_length must have the same shape");
            check_contiguous(*unit_length, "unit_length must be contiguous");
          }
          nb::gil_scoped_release unlocked;
          return prepare(queries.data(), count, dim, longest, unit_length.has_value(), threads,
                         unit_length ? unit_length->data() : nullptr);
        },
        "queries"_a.noconvert(), "longest"_a, "threads"_a, "unit_length"_a.noconvert().none() = nb::none());

  bind_graph(m);
  bind_draft(m);
  bind_sieve(m);
  bind_lists(m);
  bind_impacts(m);

  m.def("scan_f32",
        [](Matrix<const float> queries, Matrix<const float> vectors, bool l2, size_t threads,
           Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> rescored, std::optional<Vector<const uint64_t>> keep, const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          Scan scan = scan_of(queries, vectors, l2, rows, scores, rescored);
          scan.batch.keep = kept_rows(keep, vectors.shape(0));
          nb::gil_scoped_release unlocked;
          scan_f32(kernels, scan.rows, scan.batch, threads, scan.answer);
        },
        "queries"_a.noconvert(), "vectors"_a.noconvert(), "l2"_a, "threads"_a, "rows"_a.noconvert(),
        "scores"_a.noconvert(), "rescored"_a.noconvert(), "keep"_a.noconvert().none() = nb::none(),
        "unit"_a = "");
  m.def("scan_i8",
        [](Matrix<const float> queries, Matrix<const float> vectors, Matrix<const int8_t> codes, double step,
           double error_norm, double row_norm, Vector<const float> square_norms, bool l2, size_t threads,
           Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> rescored, std::optional<Vector<const uint64_t>> keep,
           std::optional<Vector<const uint32_t>> at, const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          Scan scan = scan_of(queries, vectors, l2, rows, scores, rescored);
          scan.batch.keep = kept_rows(keep, vectors.shape(0));
          const CodeRows code_rows = code_rows_of(codes, vectors, step, error_norm, row_norm, square_norms, l2);
          if (at) {
            require(!keep && threads == 1, "picked rows are already filtered, and scanned by one thread");
            pick_rows(*at, vectors.shape(0), scan.batch);
          }
          nb::gil_scoped_release unlocked;
          scan_i8(kernels, scan.rows, code_rows, scan.batch, threads, scan.answer);
        },
        "queries"_a.noconvert(), "vectors"_a.noconvert(), "codes"_a.noconvert(), "step"_a, "error_norm"_a,
        "row_norm"_a, "square_norms"_a.noconvert(), "l2"_a, "threads"_a, "rows"_a.noconvert(),
        "scores"_a.noconvert(), "rescored"_a.noconvert(), "keep"_a.noconvert().none() = nb::none(),
        "at"_a.noconvert().none() = nb::none(), "unit"_a = "");
  m.def("rescore",
        [](Matrix<const float> queries, Matrix<const float> vectors, Matrix<const int64_t> candidates, bool l2,
           Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> rescored, const std::string& unit) {
          const Kernels& kernels = unit_named(unit);
          const Scan scan = scan_of(queries, vectors, l2, rows, scores, rescored);
          const size_t width = candidates.shape(1);
          require(candidates.shape(0) == queries.shape(0), "candidates must have one row for each query");
          require(candidates.shape(0) == 0 || width < 2 ||
                      (candidates.stride(1) == 1 && candidates.stride(0) == static_cast<int64_t>(width)),
                  "candidates must be contiguous");
          const int64_t count = static_cast<int64_t>(vectors.shape(0));
          for (size_t i = 0; i < candidates.shape(0) * width; ++i) {
            require(candidates.data()[i] >= -1 && candidates.data()[i] < count, "a candidate is not in vectors");
          }
          nb::gil_scoped_release unlocked;
          rescore(kernels, scan.rows, candidates.data(), width, scan.batch, scan.answer);
        },
        "queries"_a.noconvert(), "vectors"_a.noconvert(), "candidates"_a.noconvert(), "l2"_a, "rows"_a.noconvert(),
        "scores"_a.noconvert(), "rescored"_a.noconvert(), "unit"_a = "");
}
