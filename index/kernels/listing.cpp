// Rows into lists and records (lists.hpp): the same bytes whatever the unit and the threads.
#include <cstring>

#include "lists.hpp"
#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr size_t kRowsPerRange = 64;

// What one row puts into its group.
struct Edge {
  uint16_t add, mul;
};

void into_frame(const Kernels& kernels, const float* frame, const float* signs, const float* vector, size_t dim,
                size_t padded, float* x) {
  const float *origin = frame, gain = frame[2 * padded];
  kernels.rotate(vector, dim, padded, signs, x);
  for (size_t i = 0; i < padded; ++i) x[i] = (x[i] - origin[i]) * gain;
}

}  // namespace

void encode_centres(const Kernels& kernels, const float* frame, const float* centres, size_t count, size_t dim, bool l2,
                    uint8_t* out) {
  const size_t padded = padded_dim(dim);
  const std::vector<float> signs = rotation_signs(padded);
  std::vector<float> x(padded);
  for (size_t i = 0; i < count; ++i) {
    into_frame(kernels, frame, signs.data(), centres + i * dim, dim, padded, x.data());
    uint8_t* centre = out + i * centre_bytes(padded);
    put_whole_head(encode_vertex(x.data(), padded, l2, reinterpret_cast<int8_t*>(centre)), centre + padded);
  }
}

Lengths encode_rows(const Kernels& kernels, const float* frame, const uint8_t* centres, const Listing& listing,
                    size_t threads) {
  const size_t padded = padded_dim(listing.dim), tables = padded / 4;
  const std::vector<float> signs = rotation_signs(padded);
  std::vector<Edge> edges(listing.count);
  std::vector<uint8_t> codes(listing.count * tables);  // four signs in each
  std::vector<Lengths> lengths(listing.records ? listing.count : 0);
  if (listing.records) std::memset(listing.records, 0, bytes_of_records(padded, listing.count));
  in_parallel(threads, listing.count, kRowsPerRange, [&] {
    return [&, x = std::vector<float>(padded), centre = std::vector<float>(padded),
            group = std::vector<uint8_t>(group_bytes(padded))](size_t first, size_t last) mutable {
      for (size_t r = first; r < last; ++r) {
        into_frame(kernels, frame, signs.data(), listing.vectors + r * listing.dim, listing.dim, padded, x.data());
        if (listing.records) {
          uint8_t* record = listing.records + place_of_record(padded, r);
          int8_t* of_record = reinterpret_cast<int8_t*>(record);
          Head head = encode_vertex(x.data(), padded, listing.l2, of_record);
          lengths[r] = encode_rest(x.data(), padded, listing.l2, of_record, head, record + padded);
          const float factors[2] = {head.restored_scale, head.restored_norm};
          std::memcpy(record + padded + rest_bytes(padded), factors, sizeof factors);
        }
        if (listing.slots[r] < 0) continue;
        const uint8_t* of_list = centres + static_cast<size_t>(listing.lists[r]) * centre_bytes(padded);
        const Head head = whole_head(of_list + padded);
        for (size_t i = 0; i < padded; ++i) centre[i] = head.step * static_cast<float>(static_cast<int8_t>(of_list[i]));
        const float* neighbour = x.data();
        const int32_t which = 0;
        kernels.encode_edges(centre.data(), &neighbour, &which, 1, padded, listing.l2, group.data());
        std::memcpy(&edges[r].add, group.data() + 4 * kGroup, sizeof edges[r].add);
        std::memcpy(&edges[r].mul, group.data() + 6 * kGroup, sizeof edges[r].mul);
        for (size_t t = 0; t < tables; ++t) codes[r * tables + t] = group[8 * kGroup + 16 * t] & 15;
      }
    };
  });
  // One after the other: two rows of a group share bytes.
  for (size_t r = 0; r < listing.count; ++r) {
    if (listing.slots[r] < 0) continue;
    const size_t slot = static_cast<size_t>(listing.slots[r]) % kGroup;
    uint8_t* group = listing.groups + static_cast<size_t>(listing.slots[r]) / kGroup * group_bytes(padded);
    std::memcpy(group + slot * sizeof(int32_t), &listing.rows[r], sizeof(int32_t));
    std::memcpy(group + 4 * kGroup + slot * sizeof(uint16_t), &edges[r].add, sizeof(uint16_t));
    std::memcpy(group + 6 * kGroup + slot * sizeof(uint16_t), &edges[r].mul, sizeof(uint16_t));
    uint8_t* signs_of = group + 8 * kGroup + slot % 16;
    const int shift = slot < 16 ? 0 : 4;
    for (size_t t = 0; t < tables; ++t) {
      signs_of[16 * t] |= static_cast<uint8_t>(codes[r * tables + t] << shift);
    }
  }
  Lengths longest{0.0, 0.0};
  for (const Lengths& each : lengths) {
    longest.codes = std::max(longest.codes, each.codes);
    longest.rest = std::max(longest.rest, each.rest);
  }
  return longest;
}

void empty_groups(uint8_t* groups, size_t count, size_t padded) {
  for (size_t g = 0; g < count; ++g, groups += group_bytes(padded)) {
    std::memset(groups, 0, group_bytes(padded));
    int32_t* rows = reinterpret_cast<int32_t*>(groups);
    uint16_t* add = reinterpret_cast<uint16_t*>(groups + 4 * kGroup);
    for (size_t slot = 0; slot < kGroup; ++slot) {
      rows[slot] = -1;
      add[slot] = kEmptyAdd;
    }
  }
}

}  // namespace perwatt
