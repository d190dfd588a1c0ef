// The walk: from the root, always to the vertex whose estimate is best, until none that is left can be worth it.
//
// What differs from the beam search of HNSW and its kin:
//   stop by distance, not by rank   A beam of width ef stops when the ef best seen are visited. Estimates carry an
//                                   error of known size, so here a vertex is visited when its estimate comes within
//                                   `margin` standard errors of the k-th best score. Half the visits at recall 0.99.
//   two margins                     What misses that margin by no more than kScoreMargin is scored from its int8
//                                   codes at the end (a fifth of a block's cache lines) without being visited.
//   a handicap for the dropped      Vertices that a filter drops are walked through like others where most are dropped: the
//                                   way to the rest leads over them. Where few are, others lead there too, so one that is
//                                   dropped must be better by `handicap` standard errors to be visited (compact only). How
//                                   many are dropped is counted on the way: around a query a filter may drop all, or none.
//   giving up                       From some number of visits on, comparing all survivors costs less than what is still to
//                                   come; the share of survivors among the visited, and how many candidates wait that are
//                                   worth a visit, tell a long walk from a short one.
//   an end to long walks            Few queries, far from what they are to find, have several times as many candidates within
//                                   the margin as others, and the later ones hardly change what is found: whoever asks may
//                                   bound how many are visited.
//   a loose frontier                Waiting candidates lie in no order. The best hundred or so stand in front of the rest; the
//                                   best of those is found by a scan of registers, and what fell behind the threshold is
//                                   squeezed out now and then.
//   results on their way            After the last visit the best k are mostly known, and what the caller reads of them is
//                                   asked for before the rest is scored.
//   one step ahead                  The next vertex is chosen, and its block asked for, before the current one is
//                                   expanded: expanding takes about as long as the memory.
//
// A walk is bound by cache lines that are in flight, not by arithmetic: 35 lines a visit at 384 dimensions cost 110 ns
// with several blocks on their way and 316 ns one after the other; from a hot cache half of the former.
//
// In the profile `compact`, and in `speed` where a walk goes by spokes, a hop takes two passes, one vertex apart: the neighbours that were never seen are marked and
// their spokes asked for; then, when those have come and the next vertex is already known, they are estimated, four at a
// time.
//
// Everything is a template over the unit's steps, instantiated inside the unit; hop.hpp says why all agree to the bit.
// It survives any bytes: vertices are checked before they are followed, and no loop depends on a number being finite.
#pragma once

#include "graph.hpp"
#include "sums.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr float kScoreMargin = 1.0f;
// Estimates from spokes err half as much. The margin keeps its unit all the same: with exact estimates, too, the way to the
// best leads over vertices that are worse than the k-th, so half the error does not make half the margin enough.
constexpr float kSpokeScoreMargin = 0.5f;
constexpr float kLowest = -3e38f;  // below every estimate that is finite, above the empty slot's -infinity
constexpr size_t kMostAsked = 256 << 10;  // bytes of results' rows: what L2 has room for beside all else
constexpr size_t kFront = 128;      // candidates in front; scanning so many costs less than squeezing them
constexpr float kShareStep = 0.125f;  // what the latest hop weighs in the share that may be returned: some eight count
constexpr float kLeastShare = 0.05f;  // of the visited that may be returned, where it is asked how many there are to come
constexpr size_t kFirstLook = 8;   // of the budget, a part after which a walk may find that it will not do
constexpr size_t kRootBest = 8;    // neighbours of the root to begin with: this many to twice as many (more for large k)

template <class Hop, class DotI8, bool BySpokes>
struct Walk {
  const GraphView& graph;
  Walker& walker;
  const size_t padded = graph.padded;
  const size_t stride = stride_of(graph);
  const size_t groups = graph.degree / kGroup;
  const size_t spoke_stride = spoke_stride_of(graph);
  const size_t visited = BySpokes && graph.edges ? padded + kHeadBytes + graph.degree * sizeof(int32_t) : stride;  // bytes

  float product_unit = 0.0f, sum_unit = 0.0f, sum_offset = 0.0f, square_norm = 0.0f, error_unit = 0.0f;
  float visit_above = kLowest, keep_above = kLowest;
  size_t waiting = 0, logged = 0;
  size_t front = 0, front_most = kFront;  // the first `front` candidates are those above `cut`
  float cut = kLowest;
  float share;   // of what hops newly met, that may be returned
  size_t limit;  // candidates that are kept waiting
  // Visits after which it is asked next whether the rest of the budget will do.
  size_t next_look = walker.effort.budget == SIZE_MAX ? SIZE_MAX : walker.effort.budget / kFirstLook + 1;
  // By spokes: how the sum of a spoke becomes a product, the root's score, and the error of every estimate.
  float spoke_unit = 0.0f, spoke_offset = 0.0f, hub = 0.0f, spoke_error = 0.0f;
  float handicaps[2] = {};  // of the dropped and of the others: without a branch, which nothing could foretell
  size_t asked = kMostAsked;  // bytes of results' rows that were asked for: none before the last visit
  size_t new_count = 0;
  int32_t news[BySpokes ? kMaxDegree + 1 : 1];

  Walk(const GraphView& graph_, Walker& walker_)
      : graph(graph_), walker(walker_), share(walker_.effort.share), limit(walker_.effort.frontier) {}

  static int32_t dot(const int8_t* query, const uint8_t* codes, size_t dim) {
    const int8_t* rows[1] = {reinterpret_cast<const int8_t*>(codes)};
    int32_t out[1];
    DotI8::template block<1>(query, rows, dim, out);
    return out[0];
  }

  float score(const uint8_t* block) const { return score(block, head_of(graph, block)); }

  float score(const uint8_t* block, const Head& head) const {
    return (head.scale * product_unit) * static_cast<float>(dot(walker.codes, block, padded)) + head.bias;
  }

  // Locality 1 is L2: the 35 lines of a block would push each other out of L1's fill buffers (measured: + 2 to 5 %).
  void fetch(int32_t vertex, size_t bytes) const {
    const uint8_t* block = graph.blocks + static_cast<size_t>(vertex) * stride;
    for (size_t offset = 0; offset < bytes; offset += 64) __builtin_prefetch(block + offset, 0, 1);
    if constexpr (BySpokes) __builtin_prefetch(block + bytes - 1, 0, 1);  // those need not begin with a line
  }

  // Whether it was not seen before; now it is. Without a branch: which of a vertex's neighbours are new nothing foretells.
  bool mark(int32_t vertex) {
    uint64_t& word = walker.seen[vertex >> 6];
    const uint64_t before = word;
    word = before | uint64_t{1} << (vertex & 63);
    const bool fresh = !(before >> (vertex & 63) & 1);
    if (logged < walker.log_slots) walker.log[logged] = vertex;
    logged += fresh;
    return fresh;
  }

  void prepare() {
    float sums[16] = {};
    const float* q = walker.query;
    const LookedUp found = look_up<Hop>(q, padded, walker.tables);
    sum_unit = found.unit;
    sum_offset = found.offset;
    for (size_t i = 0; i < padded; i += 16) {
      for (size_t j = 0; j < 16; ++j) sums[j] = sums[j] + q[i + j] * q[i + j];
    }
    for (size_t width = 8; width; width /= 2) {
      for (size_t j = 0; j < width; ++j) sums[j] = sums[j] + sums[j + width];
    }
    square_norm = sums[0];
    product_unit = found.largest / 127.0f;
    walker.square_norm = square_norm;
    walker.largest = found.largest;
    Hop::quantise(q, padded, 127.0f / found.largest, walker.codes);
    const float rms = BySpokes ? graph.spoke_rms : graph.edge_rms;
    error_unit = kSignError * rms / __builtin_sqrtf(static_cast<float>(padded)) * (graph.l2 ? 2.0f : 1.0f);
    if constexpr (BySpokes) {
      int32_t sum = 0;
      for (size_t i = 0; i < padded; ++i) sum += walker.codes[i];
      spoke_unit = 2.0f * product_unit;
      spoke_offset = -product_unit * static_cast<float>(3 * sum);
    }
    for (size_t i = 0; i < walker.kept + 16; ++i) walker.results[i] = INT64_MIN;
    walker.found = 0;
    walker.scored = 0;
    walker.visits = 0;
    walker.passed = 0;
    walker.gave_up = false;
  }

  // The k-th result says how far from the query the walk is, and with that how large the errors are.
  void narrow() {
    const int64_t key = walker.results[walker.k - 1];
    const float kth = score_of(key);
    if constexpr (BySpokes) return narrow(kth, spoke_error);
    float square = square_norm - kth;
    if (!graph.l2) {
      const uint8_t* block = graph.blocks + static_cast<size_t>(vertex_of(key)) * stride;
      square = (square_norm + head_of(graph, block).square_norm) - 2.0f * kth;
    }
    narrow(kth, square > 0.0f ? error_unit * __builtin_sqrtf(square) : 0.0f);
  }

  void narrow(float kth, float error) {
    visit_above = kth - walker.effort.margin * error;
    const float limit = kth - (walker.effort.margin + (BySpokes ? kSpokeScoreMargin : kScoreMargin)) * error;
    if (limit > keep_above) keep_above = limit;
  }

  void ask_for(int32_t vertex) {
    const char* row = walker.rows.first + static_cast<size_t>(vertex) * walker.rows.stride;
    for (size_t offset = 0; offset < walker.rows.bytes; offset += 64) __builtin_prefetch(row + offset, 0, 1);
    asked += walker.rows.bytes;
  }

  bool dropped(int32_t vertex) const { return walker.keep && !(walker.keep[vertex >> 6] >> (vertex & 63) & 1); }

  void offer(float score, int32_t vertex) {
    ++walker.scored;
    if (dropped(vertex)) return;
    ++walker.passed;
    const size_t place = Hop::insert(walker.results, walker.found, walker.kept, key_of(score, vertex));
    if (place >= walker.k) return;
    if (asked < kMostAsked) ask_for(vertex);
    if (walker.found >= walker.k) narrow();
  }

  void expand(const uint8_t* group, size_t count, float base) {
    alignas(64) uint16_t sums[kGroup];
    alignas(64) float estimates[kGroup];
    for (; count; --count, group += group_bytes(padded)) {
      Hop::scan(group + 8 * kGroup, walker.tables, padded / 4, sums);
      uint32_t mask = Hop::estimate(sums, reinterpret_cast<const uint16_t*>(group + 4 * kGroup),
                                    reinterpret_cast<const uint16_t*>(group + 6 * kGroup), base, sum_unit, sum_offset,
                                    keep_above, estimates);
      const int32_t* vertices = reinterpret_cast<const int32_t*>(group);
      const size_t first = waiting;
      for (; mask; mask &= mask - 1) {
        const int j = __builtin_ctz(mask);
        const int32_t vertex = vertices[j];
        if (static_cast<uint32_t>(vertex) >= graph.count) continue;
        walker.estimates[waiting] = estimates[j];
        walker.waiting[waiting] = vertex;
        waiting += mark(vertex);
      }
      if (walker.keep) {
        size_t kept = 0;
        for (size_t i = first; i < waiting; ++i) kept += !dropped(walker.waiting[i]);
        meet(waiting - first, kept);
      }
      settle(first);
    }
  }

  // The neighbours of a compact block that are new, and their spokes on the way.
  void gather(int32_t vertex) {
    const uint8_t* block = graph.blocks + static_cast<size_t>(vertex) * stride;
    const Neighbours neighbours(block, padded, graph.packed);
    new_count = 0;
    size_t kept = 0;
    for (size_t j = 0; j < graph.degree; ++j) {
      const int32_t other = static_cast<int32_t>(neighbours[j]);
      if (static_cast<uint32_t>(other) >= graph.count) continue;
      news[new_count] = other;
      new_count += mark(other);
    }
    for (size_t i = 0; i < new_count; ++i) {
      const uint8_t* spoke = graph.spokes + static_cast<size_t>(news[i]) * spoke_stride;
      for (size_t offset = 0; offset < spoke_stride; offset += 64) __builtin_prefetch(spoke + offset, 0, 2);
      __builtin_prefetch(spoke + spoke_stride - 1, 0, 2);
      if (walker.keep) kept += !dropped(news[i]);
    }
    if (walker.keep) meet(new_count, kept);
  }

  template <int R>
  void weigh(const int32_t* vertices) {
    const uint8_t* spokes[R];
    int32_t sums[R];
    for (int r = 0; r < R; ++r) spokes[r] = graph.spokes + static_cast<size_t>(vertices[r]) * spoke_stride;
    Hop::template spokes<R>(walker.codes, spokes, padded, sums);
    for (int r = 0; r < R; ++r) {
      float factors[2];
      __builtin_memcpy(factors, spokes[r] + code_bytes(padded), sizeof factors);
      const float product = static_cast<float>(sums[r]) * spoke_unit + spoke_offset;
      float estimate = (hub + factors[0]) + factors[1] * product;
      if (walker.keep) estimate -= handicaps[walker.keep[vertices[r] >> 6] >> (vertices[r] & 63) & 1];
      walker.estimates[waiting] = estimate;
      walker.waiting[waiting] = vertices[r];
      waiting += estimate > keep_above;
    }
  }

  // A function of its own, or the registers of its loop are short of what the rest of a hop keeps in them.
  [[gnu::noinline]] void weigh_news() {
    const size_t first = waiting;
    size_t i = 0;
    for (; i + 4 <= new_count; i += 4) weigh<4>(news + i);
    for (; i < new_count; ++i) weigh<1>(news + i);
    new_count = 0;
    settle(first);
  }

  // What a hop newly met, and how many of those may be returned. Where few may, the frontier widens: what leads to them is
  // dropped itself.
  void meet(size_t met, size_t kept) {
    if (met == 0) return;
    share += (static_cast<float>(kept) / static_cast<float>(met) - share) * kShareStep;
    adapt();
  }

  void adapt() {
    const float spare = share > 0.5f ? 2.0f * share - 1.0f : 0.0f, through = share + 0.5f * spare;
    if constexpr (BySpokes) handicaps[0] = walker.effort.handicap * spare * spoke_error;
    const float frontier = static_cast<float>(walker.effort.frontier), room = static_cast<float>(walker.effort.room);
    const float wanted = through >= 1.0f ? frontier : frontier / (through > 1e-3f ? through : 1e-3f);
    const size_t wider = wanted < room ? static_cast<size_t>(wanted) : walker.effort.room;
    if (wider > limit) limit = wider;
  }

  // The candidates from `first` on are new: the best of them go in front.
  void settle(size_t first) {
    if (front == first && cut == kLowest) {
      front = waiting;
    } else {
      for (size_t i = first; i < waiting; ++i) {
        if (walker.estimates[i] > cut) bring_forward(i);
      }
    }
    if (waiting > limit) shrink(limit / 4, limit / 2, limit);
  }

  void bring_forward(size_t i) {
    const float estimate = walker.estimates[i];
    const int32_t vertex = walker.waiting[i];
    walker.estimates[i] = walker.estimates[front];
    walker.waiting[i] = walker.waiting[front];
    walker.estimates[front] = estimate;
    walker.waiting[front++] = vertex;
  }

  // A threshold that `least` to `most` of the first n candidates are above, or more where they are equal.
  float threshold(size_t n, size_t least, size_t most) const {
    float high = Hop::maximum(walker.estimates, n);
    float low = Hop::minimum(walker.estimates, n);
    low -= __builtin_fabsf(low) * 1e-6f + 1e-30f;  // where all are equal, all stay
    for (int step = 0; step < 24; ++step) {
      const float middle = 0.5f * (low + high);
      const size_t above = Hop::count_above(walker.estimates, n, middle);
      if (above < least) {
        high = middle;
        continue;
      }
      low = middle;
      if (above <= most) break;
    }
    return low;
  }

  // Keeps what is above a threshold, in its order.
  void squeeze(float above) {
    waiting = Hop::compress(walker.estimates, walker.waiting, waiting, above);
    if (above >= cut) front = waiting;
  }

  // Drops what is behind the threshold; if too much is left, raises the threshold until `least` to `most` are.
  void shrink(size_t least, size_t most, size_t limit) {
    squeeze(keep_above);
    if (waiting <= limit * 3 / 4) return;
    const float low = threshold(waiting, least, most);
    if (low > keep_above) keep_above = low;
    squeeze(low);
    if (waiting > limit) waiting = limit;
    if (front > waiting) front = waiting;
  }

  // Leaves in front the best few of what is there, or chooses anew of all where nothing is.
  void sort_out() {
    if (front == 0 || front == waiting || keep_above >= cut) {
      squeeze(keep_above);
      front = waiting;
      cut = kLowest;
    }
    front_most = kFront;
    if (front <= kFront / 2) return;
    const size_t candidates = front, some = kFront / 4 > candidates / 64 ? kFront / 4 : candidates / 64;
    cut = threshold(candidates, some, 2 * some);
    front = 0;
    for (size_t i = 0; i < candidates; ++i) {
      if (walker.estimates[i] > cut) bring_forward(i);
    }
    if (2 * front > front_most) front_most = 2 * front;
  }

  // Takes the best waiting candidate, if it is worth a visit, and asks for its block; -1 if none is.
  int32_t next() {
    if (front == 0 || front > front_most) sort_out();
    if (front == 0) return -1;
    const size_t best = Hop::greatest(walker.estimates, front);
    if (!(walker.estimates[best] >= visit_above)) return -1;
    const int32_t vertex = walker.waiting[best];
    --front;
    walker.estimates[best] = walker.estimates[front];
    walker.waiting[best] = walker.waiting[front];
    --waiting;
    walker.estimates[front] = walker.estimates[waiting];
    walker.waiting[front] = walker.waiting[waiting];
    fetch(vertex, visited);
    ++walker.visits;
    return vertex;
  }

  // Whether it costs less by now to compare all that may be returned: the budget is spent, too few of the visited may be
  // returned, or more than is left of the budget waits to be visited.
  bool give_up() {
    const Effort& effort = walker.effort;
    const bool ends =
        walker.visits >= effort.budget ||
        (walker.visits >= effort.trial &&
         static_cast<float>(walker.passed) < effort.least_share * static_cast<float>(walker.visits)) ||
        (walker.visits >= next_look && hopeless());
    walker.gave_up = ends && !has_visited(effort.enough);
    return ends;
  }

  bool has_visited(size_t most) const { return walker.passed >= most && walker.found >= walker.k; }

  // Whether nothing more is visited, although there would be something.
  bool over() {
    return give_up() || has_visited(walker.effort.most);
  }

  bool hopeless() {
    next_look = walker.visits + walker.visits / 4;
    if (walker.found < walker.k) return false;
    return walker.visits + to_come() > walker.effort.budget;
  }

  // Visits that are still worth it: of what waits by now, and no more than until they are enough.
  size_t to_come() const {
    const size_t worth = Hop::count_above(walker.estimates, waiting, visit_above), enough = walker.effort.enough;
    if (enough == SIZE_MAX) return worth;
    if (walker.passed >= enough) return 0;
    const float left = static_cast<float>(enough - walker.passed) / (share > kLeastShare ? share : kLeastShare);
    return left < static_cast<float>(worth) ? static_cast<size_t>(left) : worth;
  }

  void begin() {
    const uint8_t* root = graph.root + padded * sizeof(float);
    const Head head = whole_head(root + padded);
    const float base = score(root, head);
    if constexpr (BySpokes) {
      hub = base;
      const float square = graph.l2 ? square_norm - base : (square_norm + head.square_norm) - 2.0f * base;
      spoke_error = square > 0.0f ? error_unit * __builtin_sqrtf(square) : 0.0f;
    }
    const uint8_t* group = root + padded + kHeadBytes;
    alignas(64) uint16_t sums[kGroup];
    alignas(64) float estimates[kGroup];
    for (size_t g = 0; g < graph.root_groups; ++g, group += group_bytes(padded)) {
      Hop::scan(group + 8 * kGroup, walker.tables, padded / 4, sums);
      uint32_t mask = Hop::estimate(sums, reinterpret_cast<const uint16_t*>(group + 4 * kGroup),
                                    reinterpret_cast<const uint16_t*>(group + 6 * kGroup), base, sum_unit, sum_offset,
                                    kLowest, estimates);
      for (; mask; mask &= mask - 1) {
        const int j = __builtin_ctz(mask);
        walker.estimates[waiting] = estimates[j];
        walker.waiting[waiting++] = reinterpret_cast<const int32_t*>(group)[j];
      }
    }
    const size_t best = walker.k / 8 > kRootBest ? walker.k / 8 : kRootBest;
    if (waiting > 2 * best) shrink(best, 2 * best, waiting);
    keep_above = kLowest;  // that was a choice of where to begin, not of what may be an answer
    size_t kept = 0;
    for (size_t i = 0; i < waiting; ++i) {
      const int32_t vertex = walker.waiting[i];
      if (static_cast<uint32_t>(vertex) >= graph.count || !mark(vertex)) continue;
      walker.estimates[kept] = walker.estimates[i];
      walker.waiting[kept++] = vertex;
    }
    waiting = front = kept;
    cut = kLowest;
    if (walker.keep) adapt();
  }

  void visit_all() {
    if constexpr (BySpokes) return visit_all_in_two_passes();
    for (int32_t current = next(); current >= 0 && !over();) {
      int32_t following = next();
      const uint8_t* block = graph.blocks + static_cast<size_t>(current) * stride;
      const float base = score(block);
      offer(base, current);
      expand(block + padded + kHeadBytes, groups, base);
      if (following < 0) following = next();
      current = following;
    }
  }

  void visit_all_in_two_passes() {
    int32_t current = next();
    if (current >= 0) gather(current);
    while (current >= 0 && !over()) {
      int32_t following = next();
      if (!dropped(current)) offer(score(graph.blocks + static_cast<size_t>(current) * stride), current);
      weigh_news();
      if (following < 0) following = next();
      if (following >= 0) gather(following);
      current = following;
    }
  }

  // What was worth a score but no visit.
  void score_rest() {
    waiting = Hop::compress(walker.estimates, walker.waiting, waiting, keep_above);
    if (walker.keep) {
      size_t kept = 0;
      for (size_t i = 0; i < waiting; ++i) {
        walker.waiting[kept] = walker.waiting[i];
        kept += !dropped(walker.waiting[i]);
      }
      waiting = kept;
    }
    constexpr size_t ahead = 8;
    const size_t scored_bytes = padded + (graph.packed ? kShortHeadBytes : sizeof(Head));
    for (size_t i = 0; i < waiting && i < ahead; ++i) fetch(walker.waiting[i], scored_bytes);
    asked = 0;
    for (size_t i = 0; i < walker.found && i < walker.k && asked < kMostAsked; ++i) ask_for(vertex_of(walker.results[i]));
    for (size_t i = 0; i < waiting; ++i) {
      if (i + ahead < waiting) fetch(walker.waiting[i + ahead], scored_bytes);
      const int32_t vertex = walker.waiting[i];
      offer(score(graph.blocks + static_cast<size_t>(vertex) * stride), vertex);
    }
  }

  void forget() {
    if (logged <= walker.log_slots) {
      for (size_t i = 0; i < logged; ++i) walker.seen[walker.log[i] >> 6] = 0;
    } else {
      __builtin_memset(walker.seen, 0, (graph.count + 63) / 64 * sizeof(uint64_t));
    }
  }

  void run() {
    prepare();
    begin();
    visit_all();
    if (walker.gave_up) {
      walker.found = 0;
    } else {
      score_rest();
    }
    forget();
  }
};

template <class Hop, class DotI8>
inline void walk(const GraphView& graph, Walker& walker) {
  if (!graph.edges || (graph.spokes && walker.effort.by_spokes)) {
    Walk<Hop, DotI8, true>(graph, walker).run();
  } else {
    Walk<Hop, DotI8, false>(graph, walker).run();
  }
}

}  // namespace
}  // namespace perwatt::PERWATT_UNIT
