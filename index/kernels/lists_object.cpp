// The Python face of lists on disk (lists.hpp): what fills their arrays, and an object that checks once what it is given, keeps
// it alive, and lends each thread a reader.
#include "lists_object.hpp"

#include <nanobind/stl/pair.h>
#include <unistd.h>

#include <cmath>
#include <mutex>

#include "lists.hpp"
#include "parallel.hpp"
#include "python_arrays.hpp"
#include "shares.hpp"
#include "sieve.hpp"

namespace perwatt {
namespace {

using Bytes = Vector<const uint8_t>;
using Floats = Vector<const float>;

void check_frame(const Floats& frame, size_t dim) {
  require(dim >= 1 && dim <= kMaxGraphDim, "lists have 1 to 4,096 dimensions");
  require(frame.shape(0) == sieve_frame_floats(padded_dim(dim)) && frame.stride(0) == 1,
          "the frame has another length than its dimensions need");
}

template <class T>
void check_bytes(const Vector<T>& bytes, size_t least, const char* message) {
  require(bytes.shape(0) >= least && (bytes.shape(0) < 2 || bytes.stride(0) == 1), message);
}

void centres_of(Floats frame, Matrix<const float> centres, bool l2, Vector<uint8_t> out) {
  const size_t padded = padded_dim(centres.shape(1)), origin = padded * sizeof(float);
  check_frame(frame, centres.shape(1));
  check_contiguous(centres, "centres must be contiguous");
  check_bytes(out, origin + centres.shape(0) * centre_bytes(padded), "out is too short for the centres");
  std::memcpy(out.data(), frame.data(), origin);
  nb::gil_scoped_release unlocked;
  encode_centres(unit_named(""), frame.data(), centres.data(), centres.shape(0), centres.shape(1), l2, out.data() + origin);
}

std::pair<double, double> rows_of(Floats frame, Bytes centres, Matrix<const float> vectors, bool l2, Vector<const int32_t> lists,
                                  Vector<const int64_t> slots, Vector<const int32_t> rows, Vector<uint8_t> groups,
                                  std::optional<Vector<uint8_t>> records, size_t threads, const std::string& unit) {
  const Kernels& kernels = unit_named(unit);
  const size_t count = vectors.shape(0), dim = vectors.shape(1), padded = padded_dim(dim), origin = padded * sizeof(float);
  check_frame(frame, dim);
  check_contiguous(vectors, "vectors must be contiguous");
  require(centres.shape(0) >= origin, "there are no centres");
  const size_t most = (centres.shape(0) - origin) / centre_bytes(padded), room = groups.shape(0) / group_bytes(padded) * kGroup;
  check_bytes(groups, 0, "groups must be contiguous");
  check_bytes(centres, 0, "centres must be contiguous");
  require(lists.shape(0) == count && slots.shape(0) == count && rows.shape(0) == count,
          "lists, slots and rows must have one entry for each vector");
  require(count < 2 || (lists.stride(0) == 1 && slots.stride(0) == 1 && rows.stride(0) == 1),
          "lists, slots and rows must be contiguous");
  for (size_t i = 0; i < count; ++i) {
    require(lists.data()[i] >= 0 && static_cast<size_t>(lists.data()[i]) < most, "a list has no centre");
    require(slots.data()[i] < static_cast<int64_t>(room), "a slot is not in the groups");
  }
  if (records) check_bytes(*records, bytes_of_records(padded, count), "records are too short for the vectors");
  nb::gil_scoped_release unlocked;
  const Listing listing{vectors.data(), count, dim, l2, lists.data(), slots.data(), rows.data(), groups.data(),
                        records ? records->data() : nullptr};
  const Lengths longest = encode_rows(kernels, frame.data(), centres.data() + origin, listing, threads);
  return {longest.codes, longest.rest};
}

class Lists {
 public:
  Lists(Bytes centres, Vector<const uint32_t> starts, Bytes groups, const std::string& records, size_t count, size_t dim, bool l2,
        float gain, double code_norm, double rest_norm, const std::string& reader)
      : centres_(centres), starts_(starts), groups_(groups), file_(records) {
    require(count >= 1 && count < (size_t{1} << 31), "lists have 1 to 2^31 - 1 rows");
    require(dim >= 1 && dim <= kMaxGraphDim, "lists have 1 to 4,096 dimensions");
    signs_ = rotation_signs(padded_dim(dim));
    require(starts.shape(0) >= 2 && starts.stride(0) == 1, "starts must be contiguous, and at least two");
    const size_t padded = padded_dim(dim), lists = starts.shape(0) - 1, origin = padded * sizeof(float);
    check_bytes(centres, origin + lists * centre_bytes(padded), "centres are too short for the lists");
    require(starts.data()[0] == 0, "the first list must start at the first group");
    for (size_t i = 0; i < lists; ++i) require(starts.data()[i] <= starts.data()[i + 1], "starts must ascend");
    check_bytes(groups, starts.data()[lists] * group_bytes(padded), "groups are too short for the lists");
    require(code_norm >= 0.0 && rest_norm >= 0.0, "the norms of codes and rests must not be negative");
    require(reader == "auto" || reader == "ring" || reader == "pool", "the reader must be auto, ring or pool");
    require(file_.bytes() >= bytes_of_records(padded, count), "the file of records is too short for their count");
    view_.frame.root = centres.data();
    view_.frame.count = count;
    view_.frame.dim = dim;
    view_.frame.padded = padded;
    view_.frame.l2 = l2;
    view_.frame.gain = gain;
    view_.frame.code_norm = code_norm;
    view_.frame.rest_norm = rest_norm;
    view_.centres = centres.data() + origin;
    view_.starts = starts.data();
    view_.lists = lists;
    view_.groups = groups.data();
    if (reader != "pool") {
      std::unique_ptr<Reader> ring = make_ring(file_.handle());
      if (ring) {
        idle_.push_back({std::move(ring), getpid()});
        rings_ = true;
      }
    }
    require(rings_ || reader != "ring", "this system gives no io_uring");
    pool_ = make_pool(file_.handle());
  }

  std::string reader() const { return rings_ ? "ring" : "pool"; }
  size_t lists() const { return view_.lists; }
  uint64_t reads() const { return reads_; }

  void search(Matrix<const float> queries, size_t lists, float margin, std::optional<Vector<const uint64_t>> keep,
              size_t survivors, Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> scored, size_t threads, size_t budget,
              const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    Scan scan = scan_of(queries, rows, scores, scored);
    require(queries.shape(1) == view_.frame.dim, "queries and vectors must have the same number of dimensions");
    require(lists >= 1 && margin >= 0.0f, "at least one list is searched, and the margin must not be negative");
    scan.batch.keep = kept_rows(keep, view_.frame.count);
    nb::gil_scoped_release unlocked;
    const size_t k = scan.batch.k, dim = view_.frame.dim;
    in_parallel(threads, scan.batch.count, kQueriesPerRange, [&] {
      return [&, lent = Lent(*this)](size_t first, size_t last) {
        Batch part = scan.batch;
        part.queries += first * dim;
        part.count = last - first;
        search_lists(kernels, view_, signs_.data(), lent.reader(), {lists, margin, budget}, survivors, part,
                     {scan.answer.rows + first * k, scan.answer.scores + first * k, scan.answer.rescored + first}, reads_);
      };
    });
  }

  void scan(Matrix<const float> queries, Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> rescored, size_t threads,
            std::optional<Vector<const uint64_t>> keep, std::optional<Vector<const uint32_t>> at, const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    Scan scan = scan_of(queries, rows, scores, rescored);
    require(queries.shape(1) == view_.frame.dim, "queries and vectors must have the same number of dimensions");
    scan.batch.keep = kept_rows(keep, view_.frame.count);
    require(!at || (!keep && threads == 1), "picked rows are already filtered, and scanned by one thread");
    if (at) pick_rows(*at, view_.frame.count, scan.batch);
    nb::gil_scoped_release unlocked;
    in_shares(threads, view_.frame.count, view_.frame.dim, scan.batch, scan.answer,
              [&](size_t first, size_t last, const Batch& part, const Answer& out) {
                const Lent lent(*this);
                scan_records(kernels, view_, signs_.data(), lent.reader(), first, last, part, out);
              });
  }

  void restore(size_t first, Matrix<float> out) {
    require(first <= view_.frame.count && out.shape(0) <= view_.frame.count - first, "there are not so many rows");
    require(out.shape(1) == view_.frame.dim, "out must have the lists' dimensions");
    check_contiguous(out, "out must be contiguous");
    nb::gil_scoped_release unlocked;
    const Lent lent(*this);
    restore_records(view_, signs_.data(), lent.reader(), first, out.shape(0), out.data());
  }

 private:
  static constexpr size_t kQueriesPerRange = 16;  // whose reads are in flight together

  struct Owned {
    std::unique_ptr<Reader> ring;
    pid_t owner;
  };

  // A thread's reader, for as long as its part of a batch takes. A ring belongs to the process that made it.
  class Lent {
   public:
    explicit Lent(Lists& lists) : lists_(&lists), owned_(lists.borrow()) {}
    Lent(Lent&&) = default;
    ~Lent() {
      if (owned_.ring) lists_->give_back(std::move(owned_));
    }
    Reader& reader() const { return owned_.ring ? *owned_.ring : *lists_->pool_; }

   private:
    Lists* lists_;
    Owned owned_;
  };

  Owned borrow() {
    if (!rings_) return {};
    const pid_t self = getpid();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (!idle_.empty()) {
        Owned owned = std::move(idle_.back());
        idle_.pop_back();
        if (owned.owner == self) return owned;
      }
    }
    return {make_ring(file_.handle()), self};  // where there are no more of them, the pool reads
  }

  void give_back(Owned owned) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(owned));
  }

  Bytes centres_;
  Vector<const uint32_t> starts_;
  Bytes groups_;
  ReadFile file_;
  std::vector<float> signs_;
  ListsView view_{};
  bool rings_ = false;
  std::mutex mutex_;
  std::vector<Owned> idle_;
  std::unique_ptr<Reader> pool_;
  std::atomic<uint64_t> reads_{0};
};

// As Python's own reads fail: OSError with the system's number, EOFError where the file ended.
void translate(const std::exception_ptr& thrown, void*) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ReadError& error) {
    if (error.error() == 0) {
      PyErr_Format(PyExc_EOFError, "it ends at byte %llu", static_cast<unsigned long long>(error.offset()));
    } else {
      errno = error.error();
      PyErr_SetFromErrno(PyExc_OSError);
    }
  } catch (const std::system_error& error) {
    errno = error.code().value();
    PyErr_SetFromErrno(PyExc_OSError);
  }
}

}  // namespace

void bind_lists(nb::module_& m) {
  nb::register_exception_translator(translate);
  m.def("has_ring", [] { return make_ring(-1) != nullptr; });
  m.def("group_bytes", [](size_t dim) { return group_bytes(padded_dim(dim)); }, "dim"_a);
  m.def("centre_bytes", [](size_t dim) { return centre_bytes(padded_dim(dim)); }, "dim"_a);
  m.def("record_bytes", [](size_t dim) { return record_bytes(padded_dim(dim)); }, "dim"_a);
  m.def("records_a_page", [](size_t dim) { return records_a_page(padded_dim(dim)); }, "dim"_a);
  m.def("bytes_of_records", [](size_t dim, uint64_t count) { return bytes_of_records(padded_dim(dim), count); }, "dim"_a,
        "count"_a);
  m.def("encode_centres", centres_of, "frame"_a.noconvert(), "centres"_a.noconvert(), "l2"_a, "out"_a.noconvert());
  m.def("empty_groups",
        [](size_t dim, Vector<uint8_t> groups) {
          const size_t padded = padded_dim(dim);
          check_bytes(groups, 0, "groups must be contiguous");
          empty_groups(groups.data(), groups.shape(0) / group_bytes(padded), padded);
        },
        "dim"_a, "groups"_a.noconvert());
  m.def("encode_rows", rows_of, "frame"_a.noconvert(), "centres"_a.noconvert(), "vectors"_a.noconvert(), "l2"_a,
        "lists"_a.noconvert(), "slots"_a.noconvert(), "rows"_a.noconvert(), "groups"_a.noconvert(),
        "records"_a.noconvert().none(), "threads"_a, "unit"_a = "");
  nb::class_<Lists>(m, "Lists")
      .def(nb::init<Bytes, Vector<const uint32_t>, Bytes, const std::string&, size_t, size_t, bool, float, double, double,
                    const std::string&>(),
           "centres"_a.noconvert(), "starts"_a.noconvert(), "groups"_a.noconvert(), "records"_a, "count"_a, "dim"_a, "l2"_a,
           "gain"_a, "code_norm"_a, "rest_norm"_a, "reader"_a = "auto")
      .def_prop_ro("reader", &Lists::reader)
      .def_prop_ro("lists", &Lists::lists)
      .def_prop_ro("reads", &Lists::reads)
      .def("search", &Lists::search, "queries"_a.noconvert(), "lists"_a, "margin"_a, "keep"_a.noconvert().none(), "survivors"_a,
           "rows"_a.noconvert(), "scores"_a.noconvert(), "scored"_a.noconvert(), "threads"_a = 1, "budget"_a = 0, "unit"_a = "")
      .def("scan", &Lists::scan, "queries"_a.noconvert(), "rows"_a.noconvert(), "scores"_a.noconvert(),
           "rescored"_a.noconvert(), "threads"_a = 1, "keep"_a.noconvert().none() = nb::none(),
           "at"_a.noconvert().none() = nb::none(), "unit"_a = "")
      .def("restore", &Lists::restore, "first"_a, "out"_a.noconvert());
}

}  // namespace perwatt
