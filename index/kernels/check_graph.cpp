// The graph of every unit against the scalar one's, to the bit: encoded bytes, refined links, found rows, with float32 and
// without. Then the same walk over damaged blocks, which must come to an end inside its memory. Prints a fingerprint of all
// that was computed, which is the same on every architecture.
#include "check.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>

#include "parcel.hpp"
#include "encode.hpp"
#include "refine.hpp"
#include "restored.hpp"
#include "search.hpp"

namespace perwatt {
namespace {

constexpr size_t kDegree = 32;

enum class Profile { speed, wide, packed };  // speed with spokes; the latter two: compact

struct Shape {
  size_t count, dim;
  bool l2;
};

// Integers in a small range: exact in float32, with duplicates and ties, and no generator of a library is involved in
// anything but bits.
std::vector<float> points(const Shape& shape, std::mt19937& random) {
  std::vector<float> centres(8 * shape.dim), vectors(shape.count * shape.dim);
  for (float& value : centres) value = static_cast<float>(random() % 41) - 20.0f;
  for (size_t i = 0; i < vectors.size(); ++i) {
    const size_t row = i / shape.dim, centre = row * 7 % 8;
    vectors[i] = centres[centre * shape.dim + i % shape.dim] + static_cast<float>(random() % 15) - 7.0f;
  }
  for (size_t i = 0; i < shape.dim; ++i) vectors[i] = 0.0f;  // a zero vector, and ten equal ones
  for (size_t row = 1; row <= 10 && row < shape.count; ++row) {
    for (size_t i = 0; i < shape.dim; ++i) vectors[row * shape.dim + i] = 3.0f;
  }
  return vectors;
}

struct Built {
  std::vector<uint8_t> blocks, root, spokes, rests;
  GraphView view;
};

Built build(const Kernels& unit, const Shape& shape, const std::vector<float>& vectors,
            const std::vector<int32_t>& links, bool l2, Profile profile, bool dropped = false) {
  const size_t padded = padded_dim(shape.dim);
  std::vector<int32_t> roots;
  for (size_t r = 0; r < shape.count && r < 40; ++r) roots.push_back(static_cast<int32_t>(r * 17 % shape.count));
  const bool edges = profile == Profile::speed, packed = profile == Profile::packed;
  const size_t stride = edges ? block_bytes(padded, 1) : compact_bytes(padded, kDegree, packed);
  Built built{std::vector<uint8_t>(shape.count * stride),
              std::vector<uint8_t>(root_bytes(padded, (roots.size() + kGroup - 1) / kGroup)),
              std::vector<uint8_t>(shape.count * spoke_bytes(padded, packed || edges)),
              std::vector<uint8_t>(dropped ? shape.count * rest_bytes(padded) : 0), {}};
  built.view = encode(unit, {vectors.data(), shape.count, shape.dim, kDegree, links.data(), roots.data(), roots.size(),
                             l2, built.blocks.data(), built.root.data(), edges, built.spokes.data(),
                             dropped ? built.rests.data() : nullptr, packed}, 2);
  return built;
}

// vectors: none where they were dropped. Returns the scores.
std::vector<float> search_all(const Kernels& unit, const Built& built, const std::vector<float>& vectors,
                              const std::vector<float>& queries, size_t k, const uint64_t* keep, bool by_spokes,
                              std::vector<int64_t>& rows, std::vector<int64_t>& scored) {
  const GraphView& view = built.view;
  const size_t count = queries.size() / view.dim;
  const std::vector<float> signs = rotation_signs(view.padded);
  Scratch scratch(view);
  rows.assign(count * k, -2);
  scored.assign(count, 0);
  std::vector<float> scores(count * k);
  const FloatRows float_rows{vectors.empty() ? nullptr : vectors.data(), view.dim, view.count, view.dim,
                             view.l2 ? Metric::l2 : Metric::ip};
  // Through a filter the frontier widens, what is dropped is put back, and every other walk is given up at some point.
  const size_t budget = keep && k > 1 ? 40 : SIZE_MAX;
  const float share = keep ? 0.25f : 1.0f, least = k > 1 ? 0.125f : 0.0f;
  const size_t most = keep ? SIZE_MAX : 4 * k + 16, enough = keep ? 2 * k : SIZE_MAX;  // without one, long walks end
  const Effort effort{0.8f, 64 + 4 * k, 8 * (64 + 4 * k), share, 0.4f, 8, least, by_spokes, budget, most, enough};
  search(unit, view, signs.data(), float_rows, effort, keep, {queries.data(), count, k, 0}, scratch,
         {rows.data(), scores.data(), scored.data()});
  return scores;
}

uint64_t mixed(uint64_t fingerprint, const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) {
    fingerprint = (fingerprint ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3ull;
  }
  return fingerprint;
}

template <class T>
uint64_t mixed(uint64_t fingerprint, const std::vector<T>& values) {
  return mixed(fingerprint, values.data(), values.size() * sizeof(T));
}

// What is found and given back where the float32 rows were dropped: by walks, which must score as the scan does, and by
// scans on one thread and several, of all rows and of picked ones.
uint64_t check_dropped(const Kernels& unit, const Built& built, const std::vector<float>& queries, const uint64_t* keep,
                       uint64_t fingerprint) {
  const GraphView& view = built.view;
  const size_t count = queries.size() / view.dim, k = std::min<size_t>(10, view.count);
  const std::vector<float> signs = rotation_signs(view.padded);
  std::vector<uint32_t> at;
  for (size_t row = 0; row < view.count; ++row) {
    if (keep[row >> 6] >> (row & 63) & 1) at.push_back(static_cast<uint32_t>(row));
  }
  std::vector<int64_t> rows, scored, all(count * view.count), some(count * k), rescored(count);
  std::vector<float> all_scores(count * view.count), some_scores(count * k);
  for (const size_t threads : {1, 3, 20}) {
    scan_restored(unit, view, signs.data(), {queries.data(), count, view.count, 0}, threads,
                  {all.data(), all_scores.data(), rescored.data()});
    fingerprint = mixed(mixed(fingerprint, all), all_scores);
  }
  const std::vector<float> found = search_all(unit, built, {}, queries, k, nullptr, view.edges, rows, scored);
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t* mine = all.data() + i / k * view.count;
    const size_t place = static_cast<size_t>(std::find(mine, mine + view.count, rows[i]) - mine);
    if (rows[i] < 0 || (place < view.count && all_scores[i / k * view.count + place] == found[i])) continue;
    std::printf("%s: %zu x %zu: a walk scores row %lld as %g\n", unit.name, view.count, view.dim,
                static_cast<long long>(rows[i]), static_cast<double>(found[i]));
    std::exit(1);
  }
  fingerprint = mixed(mixed(fingerprint, rows), found);
  Batch batch{queries.data(), count, k, 0};
  batch.keep = keep;
  scan_restored(unit, view, signs.data(), batch, 2, {some.data(), some_scores.data(), rescored.data()});
  fingerprint = mixed(mixed(fingerprint, some), some_scores);
  if (!at.empty()) {
    batch.keep = nullptr;
    batch.at = at.data();
    batch.at_count = at.size();
    rows = some;
    scan_restored(unit, view, signs.data(), batch, 1, {some.data(), some_scores.data(), rescored.data()});
    if (rows != some) {
      std::printf("%s: %zu x %zu: picked rows are not those that a filter keeps\n", unit.name, view.count, view.dim);
      std::exit(1);
    }
  }
  std::vector<float> restored(view.count * view.dim);
  restore_rows(view, signs.data(), 0, view.count, 2, restored.data());
  return mixed(fingerprint, restored);
}

// Whoever changes numbers and the hash with them gets a refusal or wrong links, and nothing worse.
void survive_parcels(const Kernels& unit, const GraphView& view, const Plan& plan, std::mt19937& random) {
  Drafting drafting(unit, view, {nullptr, view.count}, plan, 2);
  const size_t parts = drafting.parts().count();
  const std::vector<uint8_t> parcel = parcel_of(drafting, 0, parts);
  const std::vector<uint8_t> reply = reply_to(unit, parcel.data(), parcel.size(), 1);
  for (int damage = 0; damage < 40; ++damage) {
    std::vector<uint8_t> changed = damage % 2 ? reply : parcel;
    const size_t reach = damage % 4 < 2 ? std::min<size_t>(changed.size(), 80) : changed.size();
    for (int i = 0; i <= damage % 3; ++i) changed[16 + random() % (reach - 16)] = static_cast<uint8_t>(random());
    reseal(changed);
    try {
      if (damage % 2) {
        take_reply(drafting, 0, parts, hash_of_parcel(parcel.data()), changed.data(), changed.size());
      } else {
        reply_to(unit, changed.data(), changed.size(), 1);
      }
    } catch (const std::invalid_argument&) {
    }
  }
  uint64_t done = 0;
  std::vector<int32_t> links(view.count * plan.degree);
  drafting.link(1, &done, links.data());
}

// The same links where the parts are done elsewhere, from bytes, two at a time; and what is damaged is refused.
void check_parcels(const Kernels& unit, const GraphView& view, const Plan& plan, const std::vector<int32_t>& links,
                   std::mt19937& random) {
  Drafting drafting(unit, view, {nullptr, view.count}, plan, 2);
  const size_t parts = drafting.parts().count();
  uint64_t done = 0;
  for (size_t first = 0; first < parts; first += 2) {
    const size_t last = std::min(first + 2, parts);
    std::vector<uint8_t> parcel = parcel_of(drafting, first, last);
    std::vector<uint8_t> reply = reply_to(unit, parcel.data(), parcel.size(), 2);
    const uint64_t hash = hash_of_parcel(parcel.data());
    parcel[random() % parcel.size()] ^= 1;
    reply[random() % reply.size()] ^= 1;
    size_t refused = 0;
    try {
      reply_to(unit, parcel.data(), parcel.size(), 1);
    } catch (const std::invalid_argument&) {
      ++refused;
    }
    try {
      take_reply(drafting, first, last, hash, reply.data(), reply.size());
    } catch (const std::invalid_argument&) {
      ++refused;
    }
    if (refused != 2) {
      std::printf("%s: %zu x %zu: a damaged parcel or reply was taken\n", unit.name, view.count, view.dim);
      std::exit(1);
    }
    parcel = parcel_of(drafting, first, last);
    reply = reply_to(unit, parcel.data(), parcel.size(), 1);
    take_reply(drafting, first, last, hash, reply.data(), reply.size());
  }
  std::vector<int32_t> found(links.size());
  drafting.link(2, &done, found.data());
  if (found == links) return survive_parcels(unit, view, plan, random);
  std::printf("%s: %zu x %zu: links of parcels are not those of a draft\n", unit.name, view.count, view.dim);
  std::exit(1);
}

// Fingerprint of one unit: everything that it computes for this shape.
uint64_t check(const Kernels& unit, const Shape& shape, Profile profile) {
  std::mt19937 random(static_cast<uint32_t>(shape.count * 7919 + shape.dim));
  const std::vector<float> vectors = points(shape, random);
  std::vector<int32_t> links(shape.count * kDegree, -1), refined(links.size());
  for (size_t i = 0; i < links.size(); ++i) {
    if (shape.count > 1 && random() % 4) links[i] = static_cast<int32_t>(random() % shape.count);
  }
  uint64_t fingerprint = 0xCBF29CE484222325ull;
  for (const Reach reach : {Reach{10, 30}, Reach{20, 60}}) {
    const Built by_distance = build(unit, shape, vectors, links, true, profile);
    refine(unit, by_distance.view, links.data(), {nullptr, shape.count}, reach, 2, refined.data());
    links.swap(refined);
  }
  fingerprint = mixed(fingerprint, links);
  const std::vector<int32_t> picked{0, static_cast<int32_t>(shape.count / 2), static_cast<int32_t>(shape.count - 1)};
  Built built = build(unit, shape, vectors, links, true, profile);
  if (shape.count > 2) refine(unit, built.view, links.data(), {picked.data(), 3}, {10, 30}, 1, refined.data());
  fingerprint = mixed(fingerprint, refined);
  built = build(unit, shape, vectors, links, shape.l2, profile);
  fingerprint = mixed(mixed(mixed(fingerprint, built.blocks), built.root), built.spokes);
  uint64_t done = 0;
  const Plan plan{3, 40, 20, 6, 3, kDegree, true};
  Drafting drafting(unit, built.view, {nullptr, shape.count}, plan, 2);
  drafting.meet(0, drafting.parts().count(), 2, &done);
  drafting.link(2, &done, links.data());
  fingerprint = mixed(fingerprint, links);
  check_parcels(unit, built.view, plan, links, random);

  std::vector<float> queries(12 * shape.dim);
  for (float& value : queries) value = static_cast<float>(random() % 31) - 15.0f;
  for (size_t i = 0; i < shape.dim; ++i) queries[i] = 0.0f;
  std::vector<uint64_t> keep((shape.count + 63) / 64);
  for (uint64_t& word : keep) word = (static_cast<uint64_t>(random()) << 32 | random()) & 0x5555555555555555ull;
  std::vector<int64_t> rows, scored;
  for (size_t k : {size_t{1}, size_t{10}, shape.count}) {
    if (k > shape.count) continue;
    for (const uint64_t* filter : {static_cast<const uint64_t*>(nullptr), static_cast<const uint64_t*>(keep.data())}) {
      for (const bool by_spokes : {false, true}) {
        if (by_spokes && profile != Profile::speed) continue;  // compact has nothing else
        search_all(unit, built, vectors, queries, k, filter, by_spokes, rows, scored);
        for (const int64_t row : rows) {
          if (row < -1 || row >= static_cast<int64_t>(shape.count) ||
              (filter && row >= 0 && !(filter[row >> 6] >> (row & 63) & 1))) {
            std::printf("%s: %zu x %zu: found row %lld\n", unit.name, shape.count, shape.dim, static_cast<long long>(row));
            std::exit(1);
          }
        }
        fingerprint = mixed(mixed(fingerprint, rows), scored);
      }
    }
  }

  const Built dropped = build(unit, shape, vectors, links, shape.l2, profile, true);
  fingerprint = mixed(mixed(fingerprint, dropped.blocks), dropped.rests);
  fingerprint = check_dropped(unit, dropped, queries, keep.data(), fingerprint);

  const std::vector<float> few(queries.begin(), queries.begin() + static_cast<std::ptrdiff_t>(3 * shape.dim));
  for (int damage = 0; damage < 20; ++damage) {
    const bool with_rests = damage % 2;
    Built damaged = with_rests ? dropped : built;
    damaged.view.blocks = damaged.blocks.data();
    damaged.view.root = damaged.root.data();
    damaged.view.spokes = damaged.spokes.data();
    for (int i = 0; i < damage; ++i) damaged.spokes[random() % damaged.spokes.size()] = static_cast<uint8_t>(random());
    for (int i = 0; i < 1 << (damage / 2); ++i) damaged.blocks[random() % damaged.blocks.size()] = static_cast<uint8_t>(random());
    for (int i = 0; i < damage; ++i) damaged.root[random() % damaged.root.size()] = static_cast<uint8_t>(random());
    if (with_rests) damaged.view.rests = damaged.rests.data();
    const std::vector<float> none;
    search_all(unit, damaged, with_rests ? none : vectors, few, std::min<size_t>(10, shape.count), nullptr, damage & 2, rows, scored);
  }
  return fingerprint;
}

}  // namespace

void check_graphs(const std::vector<const Kernels*>& kernels) {
  uint64_t all = 0;
  size_t cases = 0;
  for (const size_t dim : {1, 50, 64, 129, 384}) {
    for (const size_t count : {1, 2, 31, 33, 500}) {
      for (const bool l2 : {false, true}) {
        const Shape shape{count, dim, l2};
        for (const Profile profile : {Profile::speed, Profile::wide, Profile::packed}) {
          const bool compact = profile != Profile::speed, wide = profile == Profile::wide;
          if (compact && (dim == 50 || count == 2 || count == 31)) continue;  // an emulator has all day, its user not
          if (wide && dim == 384) continue;  // of older generations
          const uint64_t expected = check(kScalar, shape, profile);
          decltype(Kernels::walk) checked = nullptr;
          for (const Kernels* unit : kernels) {
            if (unit == &kScalar || unit->walk == checked) continue;  // sve256 walks with i8mm's code
            checked = unit->walk;
            if (check(*unit, shape, profile) == expected) continue;
            std::printf("%s: the graph of %zu x %zu (%s, %s) is not the scalar one\n", unit->name, count, dim,
                        l2 ? "l2" : "ip", wide ? "compact, wide" : compact ? "compact" : "speed");
            std::exit(1);
          }
          all = mixed(all, &expected, sizeof expected);
          ++cases;
        }
      }
    }
  }
  std::printf("graphs of %zu shapes agree, fingerprint %016llx\n", cases, static_cast<unsigned long long>(all));
}

}  // namespace perwatt
