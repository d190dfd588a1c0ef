// See refine.hpp. Every list is computed from the old graph, so order and threads do not matter.
//
// Measured on 100,000 x 384 (WordNet glosses), visits for recall@10 0.95 and 0.99: FAISS HNSW, degree 16,
// efConstruction 20: 71 and 161; after one pass 29 and 75; after a second, wider one 27 and 54. SymphonyQG's own graph:
// 28 and 67.
#include "refine.hpp"

#include "linking.hpp"
#include "parallel.hpp"
#include "scratch.hpp"

namespace perwatt {
namespace {

constexpr size_t kSpare = 32;  // remembered to fill free slots with
constexpr size_t kFrontier = 256;
constexpr float kMargin = 1.3f;
constexpr size_t kRowsPerRange = 64;

// The nearest others of a vertex, by a walk from the root, and its old neighbours.
class Surroundings {
 public:
  Surroundings(const Kernels& kernels, const GraphView& graph, Reach reach)
      : kernels_(kernels), graph_(graph), reach_(reach), scratch_(graph) {}

  const std::vector<int32_t>& of(int32_t vertex, const int32_t* old) {
    const uint8_t* block = block_of(graph_, static_cast<size_t>(vertex));
    const int8_t* codes = reinterpret_cast<const int8_t*>(block);
    const float step = head_of(graph_, block).step;
    for (size_t i = 0; i < graph_.padded; ++i) scratch_.query()[i] = step * static_cast<float>(codes[i]);
    Walker& walker = scratch_.walker(reach_.k, reach_.kept, {kMargin, kFrontier}, nullptr);
    kernels_.walk(graph_, walker);
    found_.clear();
    for (size_t i = 0; i < walker.found; ++i) found_.push_back(vertex_of(walker.results[i]));
    for (size_t i = 0; i < graph_.degree; ++i) {
      if (old[i] >= 0) found_.push_back(old[i]);
    }
    std::sort(found_.begin(), found_.end());
    found_.erase(std::unique(found_.begin(), found_.end()), found_.end());
    std::erase(found_, vertex);
    return found_;
  }

 private:
  const Kernels& kernels_;
  const GraphView& graph_;
  Reach reach_;
  Scratch scratch_;
  std::vector<int32_t> found_;
};

}  // namespace

void refine(const Kernels& kernels, const GraphView& graph, const int32_t* links, Which which, Reach reach,
            size_t threads, int32_t* out) {
  const size_t degree = graph.degree;
  Chosen chosen(Lists<Candidate>(which.count, degree + kSpare));
  in_parallel(threads, which.count, kRowsPerRange, [&] {
    return [&, pruner = Pruner(kernels, graph, degree), around = Surroundings(kernels, graph, reach),
            candidates = std::vector<Candidate>()](size_t first, size_t last) mutable {
      for (size_t i = first; i < last; ++i) {
        const int32_t vertex = which[i];
        candidates.clear();
        pruner.measure(vertex, around.of(vertex, links + static_cast<size_t>(vertex) * degree), candidates);
        const size_t good = pruner.prune(vertex, candidates);
        candidates.resize(std::min(good + kSpare, candidates.size()));
        chosen.lists.set(i, candidates);
        chosen.kept[i] = static_cast<uint32_t>(good);
      }
    };
  });
  link_up(kernels, graph, links, which, chosen, degree, threads, out);
  connect(graph, {nullptr, graph.count}, out);
}

}  // namespace perwatt
