// The Python face of the graph: an object that checks once what it is given, keeps it alive, and lends each thread the
// memory of its walks.
#include "graph_object.hpp"

#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>

#include <mutex>

#include "draft_object.hpp"
#include "encode.hpp"
#include "parallel.hpp"
#include "python_arrays.hpp"
#include "refine.hpp"
#include "restored.hpp"
#include "search.hpp"

namespace perwatt {
namespace {

using Bytes = Vector<const uint8_t>;
using Links = Matrix<const int32_t>;

void check_shape(size_t count, size_t dim, size_t degree) {
  require(count >= 1 && count < (size_t{1} << 31), "a graph has 1 to 2^31 - 1 vertices");
  require(dim >= 1 && dim <= kMaxGraphDim, "a graph has 1 to 4,096 dimensions");
  require(degree >= kGroup && degree % kGroup == 0 && degree <= 256, "the degree must be 32, or a multiple up to 256");
}

void check_links(const Links& links, size_t count, size_t degree) {
  require(links.shape(0) == count && links.shape(1) == degree, "links must be (count, degree)");
  check_contiguous(links, "links must be contiguous");
  for (size_t i = 0; i < count * degree; ++i) {
    require(links.data()[i] >= -1 && links.data()[i] < static_cast<int64_t>(count), "a link leads out of the graph");
  }
}

size_t block_bytes_of(size_t padded, size_t degree, bool compact, bool packed) {
  return compact ? compact_bytes(padded, degree, packed) : block_bytes(padded, degree / kGroup);
}

// Of a graph as it is given: edges, whether blocks have codes of them; spokes, whether they are there.
void check_profile(bool edges, bool spokes, bool packed, size_t count, size_t degree) {
  require(edges || spokes, "a graph without codes of edges has spokes");
  require(!edges || !spokes || degree == kGroup, "a graph with codes of edges and spokes has a degree of 32");
  require(!packed || !edges, "only a compact graph is packed");
  require(!packed || count <= kMostPacked, "a packed graph has at most 2^24 - 1 vertices");
}

template <class T>
void check_spokes(const std::optional<Vector<T>>& spokes, size_t count, size_t padded, bool packed) {
  if (!spokes) return;
  require(spokes->shape(0) < 2 || spokes->stride(0) == 1, "spokes must be contiguous");
  require(spokes->shape(0) >= count * spoke_bytes(padded, packed), "spokes are too short for their count and dimensions");
}

template <class T>
void check_rests(const std::optional<Vector<T>>& rests, size_t count, size_t padded) {
  if (!rests) return;
  require(rests->shape(0) < 2 || rests->stride(0) == 1, "rests must be contiguous");
  require(rests->shape(0) >= count * rest_bytes(padded), "rests are too short for their count and dimensions");
}

class Graph {
 public:
  Graph(Bytes blocks, Bytes root, size_t count, size_t dim, size_t degree, bool l2, float gain, float edge_rms,
        std::optional<Bytes> spokes, std::optional<Bytes> rests, double code_norm, double rest_norm, bool packed,
        bool edges, float spoke_rms)
      : blocks_(blocks), root_(root), spokes_(spokes), rests_(rests) {
    check_shape(count, dim, degree);
    signs_ = rotation_signs(padded_dim(dim));
    check_profile(edges, spokes.has_value(), packed, count, degree);
    const size_t padded = padded_dim(dim), stride = block_bytes_of(padded, degree, !edges, packed);
    check_spokes(spokes, count, padded, packed || edges);
    check_rests(rests, count, padded);
    require(!rests || (code_norm >= 0.0 && rest_norm >= 0.0), "the norms of codes and rests must not be negative");
    require(blocks.shape(0) < 2 || blocks.stride(0) == 1, "blocks must be contiguous");
    require(root.shape(0) < 2 || root.stride(0) == 1, "root must be contiguous");
    require(blocks.shape(0) >= count * stride, "blocks are too short for their count and dimensions");
    require(root.shape(0) >= root_bytes(padded, 1), "the root is too short");
    const size_t groups = (root.shape(0) - root_bytes(padded, 0)) / group_bytes(padded);
    view_ = {blocks.data(), root.data(), count, dim, padded, degree, groups, l2, gain, edge_rms,
             spokes ? spokes->data() : nullptr, rests ? rests->data() : nullptr, packed, code_norm, rest_norm, edges, spoke_rms};
  }

  void search(Matrix<const float> queries, std::optional<Matrix<const float>> vectors, float margin, size_t frontier,
              std::optional<Vector<const uint64_t>> keep, Matrix<int64_t> rows, Matrix<float> scores,
              Vector<int64_t> scored, size_t threads, const std::string& unit, float handicap, float share, size_t room,
              size_t trial, float least_share, size_t budget, bool by_spokes, size_t most, size_t enough) {
    const auto bound = [](size_t asked) { return asked ? asked : SIZE_MAX; };  // 0: none
    const Kernels& kernels = unit_named(unit);
    const Scan scan =
        vectors ? scan_of(queries, *vectors, view_.l2, rows, scores, scored) : scan_of(queries, rows, scores, scored);
    require(queries.shape(1) == view_.dim && (!vectors || vectors->shape(0) == view_.count),
            "vectors must be those of the graph");
    require(vectors || view_.rests, "a graph without rests is searched with its vectors");
    require(frontier >= kGroup && frontier <= (size_t{1} << 24), "the frontier must be 32 to 2^24");
    require(room <= (size_t{1} << 24), "the room must be at most 2^24");
    require(rows.shape(1) <= view_.count, "k must not be larger than the graph");
    const Effort effort{margin,      frontier,  room,          share,       handicap,     trial,
                        least_share, by_spokes, bound(budget), bound(most), bound(enough)};
    const uint64_t* bits = kept_rows(keep, view_.count);
    nb::gil_scoped_release unlocked;
    const size_t k = scan.batch.k;
    in_parallel(threads, scan.batch.count, kQueriesPerRange, [&] {
      return [&, lent = Lent(*this)](size_t first, size_t last) {
        Batch part = scan.batch;
        part.queries += first * view_.dim;
        part.count = last - first;
        perwatt::search(kernels, view_, signs_.data(), scan.rows, effort, bits, part, lent.scratch(),
                        {scan.answer.rows + first * k, scan.answer.scores + first * k, scan.answer.rescored + first});
      };
    });
  }

  void scan(Matrix<const float> queries, Matrix<int64_t> rows, Matrix<float> scores, Vector<int64_t> rescored,
            size_t threads, std::optional<Vector<const uint64_t>> keep, std::optional<Vector<const uint32_t>> at,
            const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    Scan scan = scan_of(queries, rows, scores, rescored);
    require(queries.shape(1) == view_.dim, "queries and vectors must have the same number of dimensions");
    require(view_.rests, "a graph without rests has no rows to scan");
    scan.batch.keep = kept_rows(keep, view_.count);
    require(!at || (!keep && threads == 1), "picked rows are already filtered, and scanned by one thread");
    if (at) pick_rows(*at, view_.count, scan.batch);
    nb::gil_scoped_release unlocked;
    scan_restored(kernels, view_, signs_.data(), scan.batch, threads, scan.answer);
  }

  void restore(size_t first, Matrix<float> out, size_t threads) {
    require(view_.rests, "a graph without rests has no rows to restore");
    require(first <= view_.count && out.shape(0) <= view_.count - first, "there are not so many rows");
    require(out.shape(1) == view_.dim, "out must have the graph's dimensions");
    check_contiguous(out, "out must be contiguous");
    nb::gil_scoped_release unlocked;
    restore_rows(view_, signs_.data(), first, out.shape(0), threads, out.data());
  }

  void refine(Links links, std::optional<Vector<const int32_t>> which, size_t k, size_t kept, size_t threads,
              Matrix<int32_t> out, const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    check_links(links, view_.count, view_.degree);
    require(out.shape(0) == view_.count && out.shape(1) == view_.degree, "out must be (count, degree)");
    check_contiguous(out, "out must be contiguous");
    const Which looking = checked(which);
    require(k >= 1 && kept >= k && kept <= 4096, "k must be at least 1, kept at least k and at most 4,096");
    nb::gil_scoped_release unlocked;
    perwatt::refine(kernels, view_, links.data(), looking, {k, kept}, threads, out.data());
  }

  // A draft of links of `degree` between `which` vertices; all if there are none.
  std::unique_ptr<DraftObject> draft(std::optional<Vector<const int32_t>> which, size_t fan, size_t leaf, size_t near,
                                     size_t drawn, size_t strangers, size_t degree, bool connected, size_t threads,
                                     const std::string& unit) {
    const Kernels& kernels = unit_named(unit);
    require(degree >= 1 && degree <= kMaxDegree, "the degree must be 1 to 256");
    require(!connected || degree == view_.degree, "links that are connected must have the graph's degree");
    require(fan >= 1 && fan <= 64 && leaf >= 2 && leaf <= 8192, "fan must be 1 to 64, and leaf 2 to 8,192");
    require(near >= 1 && near <= 128 && drawn <= 32 && strangers <= 16,
            "near must be 1 to 128, drawn at most 32, and strangers at most 16");
    const Which linked = checked(which);
    nb::gil_scoped_release unlocked;
    const Plan plan{fan, leaf, near, drawn, strangers, degree, connected};
    return std::make_unique<DraftObject>(kernels, view_, linked, plan, threads);
  }

 private:
  // What a walk took some 16 us for, times this, is what a thread is started for, which takes about as long as one or two.
  static constexpr size_t kQueriesPerRange = 8;

  Which checked(const std::optional<Vector<const int32_t>>& which) const {
    if (!which) return {nullptr, view_.count};
    require(which->shape(0) < 2 || which->stride(0) == 1, "which must be contiguous");
    for (size_t i = 0; i < which->shape(0); ++i) {
      const int32_t vertex = which->data()[i];
      require(vertex >= 0 && vertex < static_cast<int64_t>(view_.count) && (i == 0 || which->data()[i - 1] < vertex),
              "which must be vertices in ascending order");
    }
    static const int32_t none = 0;  // an empty array may have no address, and null would mean all
    return {which->shape(0) ? which->data() : &none, which->shape(0)};
  }

  // A thread's memory, for as long as its part of a batch takes.
  class Lent {
   public:
    explicit Lent(Graph& graph) : graph_(&graph), scratch_(graph.borrow()) {}
    Lent(Lent&&) = default;
    ~Lent() {
      if (scratch_) graph_->give_back(std::move(scratch_));
    }
    Scratch& scratch() const { return *scratch_; }

   private:
    Graph* graph_;
    std::unique_ptr<Scratch> scratch_;
  };

  std::unique_ptr<Scratch> borrow() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Scratch> scratch = std::move(idle_.back());
        idle_.pop_back();
        return scratch;
      }
    }
    return std::make_unique<Scratch>(view_);
  }

  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(scratch));
  }

  Bytes blocks_, root_;
  std::optional<Bytes> spokes_, rests_;
  std::vector<float> signs_;
  GraphView view_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> idle_;
};

void check_roots(const Vector<const int32_t>& roots, size_t count, size_t padded, const Vector<uint8_t>& root) {
  const size_t groups = (roots.shape(0) + kGroup - 1) / kGroup;
  require(groups >= 1 && (roots.shape(0) < 2 || roots.stride(0) == 1), "roots must be contiguous, and at least one");
  for (size_t i = 0; i < roots.shape(0); ++i) {
    require(roots.data()[i] >= 0 && roots.data()[i] < static_cast<int64_t>(count), "a root leads out of the graph");
  }
  require(root.shape(0) == root_bytes(padded, groups), "root has another length than its groups need");
  check_contiguous(root, "root must be contiguous");
}

// Gain, root mean squares of the edges and of the spokes; with rests also their norms.
std::tuple<float, float, float, double, double> encode_graph(
    Matrix<const float> vectors, Links links, Vector<const int32_t> roots, bool l2, Vector<uint8_t> blocks,
    Vector<uint8_t> root, size_t threads, const std::string& unit, std::optional<Vector<uint8_t>> spokes,
    std::optional<Vector<uint8_t>> rests, bool in_files, bool packed, bool edges) {
  const Kernels& kernels = unit_named(unit);
  const size_t count = vectors.shape(0), dim = vectors.shape(1), degree = links.shape(1);
  check_shape(count, dim, degree);
  check_contiguous(vectors, "vectors must be contiguous");
  check_links(links, count, degree);
  const size_t padded = padded_dim(dim);
  check_roots(roots, count, padded, root);
  check_profile(edges, spokes.has_value(), packed, count, degree);
  require(blocks.shape(0) >= count * block_bytes_of(padded, degree, !edges, packed), "blocks are too short");
  check_contiguous(blocks, "blocks must be contiguous");
  check_spokes(spokes, count, padded, packed || edges);
  check_rests(rests, count, padded);
  nb::gil_scoped_release unlocked;
  const Encoding encoding{vectors.data(), count, dim, degree, links.data(), roots.data(), roots.shape(0), l2,
                          blocks.data(), root.data(), edges, spokes ? spokes->data() : nullptr,
                          rests ? rests->data() : nullptr, packed, in_files};
  const GraphView view = encode(kernels, encoding, threads);
  return {view.gain, view.edge_rms, view.spoke_rms, view.code_norm, view.rest_norm};
}

// Gives the vertices of a compact graph other neighbours: no code depends on them.
void relink(Vector<uint8_t> blocks, Links links, size_t dim, bool packed) {
  const size_t count = links.shape(0), degree = links.shape(1), padded = padded_dim(dim);
  check_shape(count, dim, degree);
  check_links(links, count, degree);
  check_profile(false, true, packed, count, degree);
  const size_t stride = compact_bytes(padded, degree, packed);
  require(blocks.shape(0) >= count * stride, "blocks are too short");
  check_contiguous(blocks, "blocks must be contiguous");
  for (size_t r = 0; r < count; ++r) {
    put_neighbours(links.data() + r * degree, degree, padded, packed, blocks.data() + r * stride);
  }
}

void encode_graph_root(Matrix<const float> vectors, Vector<const int32_t> roots, bool l2, Vector<uint8_t> root,
                       size_t threads, const std::string& unit) {
  const Kernels& kernels = unit_named(unit);
  const size_t count = vectors.shape(0), dim = vectors.shape(1);
  check_shape(count, dim, kGroup);
  check_contiguous(vectors, "vectors must be contiguous");
  check_roots(roots, count, padded_dim(dim), root);
  nb::gil_scoped_release unlocked;
  const Encoding encoding{vectors.data(), count, dim, kGroup, nullptr, roots.data(), roots.shape(0), l2, nullptr, root.data()};
  encode_root(kernels, encoding, threads);
}

}  // namespace

void bind_graph(nb::module_& m) {
  m.def("block_bytes",
        [](size_t dim, size_t degree, bool compact, bool packed) {
          return block_bytes_of(padded_dim(dim), degree, compact, packed);
        },
        "dim"_a, "degree"_a, "compact"_a = false, "packed"_a = false);
  m.def("spoke_bytes", [](size_t dim, bool packed) { return spoke_bytes(padded_dim(dim), packed); }, "dim"_a, "packed"_a);
  m.def("rest_bytes", [](size_t dim) { return rest_bytes(padded_dim(dim)); }, "dim"_a);
  m.def("root_bytes",
        [](size_t dim, size_t roots) { return root_bytes(padded_dim(dim), (roots + kGroup - 1) / kGroup); }, "dim"_a,
        "roots"_a);
  m.def("encode", encode_graph, "vectors"_a.noconvert(), "links"_a.noconvert(), "roots"_a.noconvert(), "l2"_a,
        "blocks"_a.noconvert(), "root"_a.noconvert(), "threads"_a, "unit"_a = "",
        "spokes"_a.noconvert() = nb::none(), "rests"_a.noconvert() = nb::none(), "in_files"_a = false,
        "packed"_a = false, "edges"_a = true);
  m.def("encode_root", encode_graph_root, "vectors"_a.noconvert(), "roots"_a.noconvert(), "l2"_a, "root"_a.noconvert(),
        "threads"_a, "unit"_a = "");
  m.def("relink", relink, "blocks"_a.noconvert(), "links"_a.noconvert(), "dim"_a, "packed"_a);
  nb::class_<Graph>(m, "Graph")
      .def(nb::init<Bytes, Bytes, size_t, size_t, size_t, bool, float, float, std::optional<Bytes>, std::optional<Bytes>,
                    double, double, bool, bool, float>(),
           "blocks"_a.noconvert(), "root"_a.noconvert(), "count"_a, "dim"_a, "degree"_a, "l2"_a, "gain"_a, "edge_rms"_a,
           "spokes"_a.noconvert() = nb::none(), "rests"_a.noconvert() = nb::none(), "code_norm"_a = 0.0,
           "rest_norm"_a = 0.0, "packed"_a = false, "edges"_a = true, "spoke_rms"_a = 0.0f)
      .def("search", &Graph::search, "queries"_a.noconvert(), "vectors"_a.noconvert().none(), "margin"_a, "frontier"_a,
           "keep"_a.noconvert().none(), "rows"_a.noconvert(), "scores"_a.noconvert(), "scored"_a.noconvert(),
           "threads"_a = 1, "unit"_a = "", "handicap"_a = 0.0f, "share"_a = 1.0f, "room"_a = 0, "trial"_a = 0,
           "least_share"_a = 0.0f, "budget"_a = 0, "by_spokes"_a = false, "most"_a = 0, "enough"_a = 0)
      .def("scan", &Graph::scan, "queries"_a.noconvert(), "rows"_a.noconvert(), "scores"_a.noconvert(),
           "rescored"_a.noconvert(), "threads"_a = 1, "keep"_a.noconvert().none() = nb::none(),
           "at"_a.noconvert().none() = nb::none(), "unit"_a = "")
      .def("restore", &Graph::restore, "first"_a, "out"_a.noconvert(), "threads"_a = 1)
      .def("refine", &Graph::refine, "links"_a.noconvert(), "which"_a.noconvert().none(), "k"_a, "kept"_a,
           "threads"_a, "out"_a.noconvert(), "unit"_a = "")
      .def("draft", &Graph::draft, "which"_a.noconvert().none(), "fan"_a, "leaf"_a, "near"_a, "drawn"_a, "strangers"_a,
           "degree"_a, "connected"_a, "threads"_a, "unit"_a = "", nb::keep_alive<0, 1>());
}

}  // namespace perwatt
