// A search of a graph: each query into the frame, the walk, and the few that it found once more in float32, or where that
// was not kept by their restored rows (restored.hpp).
#pragma once

#include "graph.hpp"
#include "scan.hpp"
#include "scratch.hpp"

namespace perwatt {

// Answers as the scans do: k best of `batch`, best first, ties by row, -1 where the walk found fewer. `rows` has no base
// where the float32 rows were not kept, and the graph has rests then.
// `keep`: a bit for each row that may be returned, or null. answer.rescored: vectors that were scored from int8. A walk that
// gave up finds nothing.
void search(const Kernels& kernels, const GraphView& graph, const float* signs, const FloatRows& rows,
            const Effort& effort, const uint64_t* keep, const Batch& batch, Scratch& scratch, const Answer& answer);

}  // namespace perwatt
