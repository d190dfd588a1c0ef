// See parcel.hpp.
#include "parcel.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "carving.hpp"
#include "parallel.hpp"

namespace perwatt {
namespace {

constexpr uint64_t kParcel = 0x31304c4352415750ull;  // "PWARCL01"
constexpr uint64_t kReply = 0x3130594c50455750ull;   // "PWEPLY01"
constexpr size_t kMostVertices = (size_t{1} << 31) - 1;
constexpr uint32_t kInfinity = 0x7F800000u;

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}

// Eight bytes at a time; what is hashed is a multiple of 8 bytes long.
uint64_t hash_of(const uint8_t* bytes, size_t size) {
  uint64_t hash = size;
  for (size_t at = 0; at < size; at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + at, 8);
    hash = random_of(hash ^ word);
  }
  return hash;
}

// Where each array of a parcel or a reply lies.
class Places {
 public:
  explicit Places(size_t head) : next_(head) {}
  size_t take(size_t bytes) { return std::exchange(next_, next_ + whole(bytes, 8)); }
  size_t size() const { return next_; }

 private:
  size_t next_;
};

struct ParcelPlaces : Places {
  explicit ParcelPlaces(const ParcelHead& head)
      : Places(sizeof(ParcelHead)), stride(compact_bytes(head.padded, 0, true)), names(take(head.vertices * 4)),
        starts(take((head.parts + 1) * 8)), members(take(head.members * 4)), blocks(take(head.vertices * stride)) {}
  size_t stride, names, starts, members, blocks;
};

struct ReplyPlaces : Places {
  explicit ReplyPlaces(const ReplyHead& head)
      : Places(sizeof(ReplyHead)), sizes(take(2 * head.vertices)), met(take(head.met * 8)) {}
  size_t sizes, met;
};

template <class Head>
std::vector<uint8_t> sealed(std::vector<uint8_t> bytes, const Head& head) {
  std::memcpy(bytes.data(), &head, sizeof head);
  reseal(bytes);
  return bytes;
}

template <class Head>
Head opened(const uint8_t* bytes, size_t size, uint64_t magic, const char* what) {
  Head head;
  require(size >= sizeof head && size % 8 == 0, what);
  std::memcpy(&head, bytes, sizeof head);
  require(head.magic == magic && head.hash == hash_of(bytes + 16, size - 16), what);
  return head;
}

// The vertices of some parts, ascending.
std::vector<uint32_t> names_of(const Parts& parts, size_t first, size_t last) {
  std::vector<uint32_t> names(parts.members.begin() + static_cast<std::ptrdiff_t>(parts.starts[first]),
                              parts.members.begin() + static_cast<std::ptrdiff_t>(parts.starts[last]));
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

template <class T>
std::vector<T> array_at(const uint8_t* bytes, size_t place, size_t count) {
  std::vector<T> array(count);
  if (count) std::memcpy(array.data(), bytes + place, count * sizeof(T));
  return array;
}

struct Parcel {
  ParcelHead head;
  std::vector<uint32_t> names;
  Parts parts;
  GraphView graph;
};

Parcel parcel_at(const uint8_t* bytes, size_t size) {
  constexpr const char* kDamaged = "the parcel is damaged: its bytes do not have the hash that it states";
  const ParcelHead head = opened<ParcelHead>(bytes, size, kParcel, kDamaged);
  constexpr const char* kWrong = "the parcel's numbers do not fit together";
  require(head.total <= kMostVertices && head.vertices <= head.total && head.parts >= 1, kWrong);
  require(head.parts <= size && head.members <= size && head.first <= kMostVertices, kWrong);
  require(head.padded >= kPadding && head.padded % kPadding == 0 && head.padded <= kMaxGraphDim, kWrong);
  require(head.leaf >= 2 && head.leaf <= 8192 && head.near >= 1 && head.near <= 128 && head.drawn <= 32, kWrong);
  const ParcelPlaces places(head);
  require(places.size() == size, kWrong);
  Parcel parcel{head, array_at<uint32_t>(bytes, places.names, head.vertices), {}, {}};
  const std::vector<uint64_t> starts = array_at<uint64_t>(bytes, places.starts, head.parts + 1);
  require(starts.front() == 0 && starts.back() == head.members && std::is_sorted(starts.begin(), starts.end()), kWrong);
  parcel.parts.starts.assign(starts.begin(), starts.end());
  parcel.parts.members = array_at<uint32_t>(bytes, places.members, head.members);
  for (const uint32_t member : parcel.parts.members) require(member < head.vertices, kWrong);
  for (size_t i = 0; i < parcel.names.size(); ++i) {
    require(parcel.names[i] < head.total && (i == 0 || parcel.names[i - 1] < parcel.names[i]), kWrong);
  }
  parcel.graph.blocks = bytes + places.blocks;
  parcel.graph.count = head.vertices;
  parcel.graph.dim = parcel.graph.padded = head.padded;
  parcel.graph.l2 = parcel.graph.packed = true;
  return parcel;
}

}  // namespace

std::vector<uint8_t> parcel_of(const Drafting& drafting, size_t first, size_t last) {
  const Parts& parts = drafting.parts();
  const GraphView& graph = drafting.graph();
  const Plan& plan = drafting.plan();
  const std::vector<uint32_t> names = names_of(parts, first, last);
  const size_t start = parts.starts[first], members = parts.starts[last] - start;
  const ParcelHead head{kParcel, 0, drafting.which().count, names.size(), first, last - first, members,
                        static_cast<uint32_t>(graph.padded), static_cast<uint32_t>(plan.leaf),
                        static_cast<uint32_t>(plan.near), static_cast<uint32_t>(plan.drawn)};
  const ParcelPlaces places(head);
  std::vector<uint8_t> bytes(places.size());
  std::memcpy(bytes.data() + places.names, names.data(), names.size() * 4);
  for (size_t i = 0; i <= head.parts; ++i) {
    const uint64_t relative = parts.starts[first + i] - start;
    std::memcpy(bytes.data() + places.starts + 8 * i, &relative, 8);
  }
  for (size_t i = 0; i < members; ++i) {
    const auto place = std::lower_bound(names.begin(), names.end(), parts.members[start + i]) - names.begin();
    const uint32_t member = static_cast<uint32_t>(place);
    std::memcpy(bytes.data() + places.members + 4 * i, &member, 4);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const uint8_t* block = block_of(graph, static_cast<size_t>(drafting.which()[names[i]]));
    uint8_t* copy = bytes.data() + places.blocks + i * places.stride;
    std::memcpy(copy, block, graph.padded);
    put_short_head(head_of(graph, block), true, copy + graph.padded);
  }
  return sealed(std::move(bytes), head);
}

uint64_t hash_of_parcel(const uint8_t* parcel) {
  ParcelHead head;
  std::memcpy(&head, parcel, sizeof head);
  return head.hash;
}

void reseal(std::vector<uint8_t>& bytes) {
  const uint64_t hash = hash_of(bytes.data() + 16, bytes.size() - 16);
  std::memcpy(bytes.data() + 8, &hash, sizeof hash);
}

std::vector<uint8_t> reply_to(const Kernels& kernels, const uint8_t* bytes, size_t size, size_t threads) {
  const Parcel parcel = parcel_at(bytes, size);
  const ParcelHead& head = parcel.head;
  const Plan plan{1, head.leaf, head.near, head.drawn, 0, 1, false};
  Everyone everyone(parcel.names.data(), head.vertices, static_cast<uint32_t>(head.total), plan.near, plan.drawn);
  in_parallel(threads, head.parts, 1, [&] {
    return [&, carver = Carver(kernels, parcel.graph, {nullptr, head.vertices}, plan, everyone)](size_t first,
                                                                                                size_t last) mutable {
      for (size_t i = first; i < last; ++i) {
        const size_t start = parcel.parts.starts[i];
        carver.carve(parcel.parts.members.data() + start, parcel.parts.starts[i + 1] - start, 1, random_of(head.first + i));
      }
    };
  });
  ReplyHead reply{kReply, 0, head.hash, head.vertices, 0};
  for (Meetings* meetings : {&everyone.nearest, &everyone.drawn}) {
    for (const uint32_t some : meetings->lists().sizes) reply.met += some;
  }
  const ReplyPlaces places(reply);
  std::vector<uint8_t> out(places.size());
  uint8_t *sizes = out.data() + places.sizes, *met = out.data() + places.met;
  for (Meetings* meetings : {&everyone.nearest, &everyone.drawn}) {
    for (size_t i = 0; i < head.vertices; ++i) {
      const size_t some = meetings->lists().sizes[i];
      *sizes++ = static_cast<uint8_t>(some);
      if (some) std::memcpy(met, meetings->begin(i), some * sizeof(Met));
      met += some * sizeof(Met);
    }
  }
  return sealed(std::move(out), reply);
}

void take_reply(Drafting& drafting, size_t first, size_t last, uint64_t parcel, const uint8_t* bytes, size_t size) {
  const ReplyHead head =
      opened<ReplyHead>(bytes, size, kReply, "the reply is damaged: its bytes do not have the hash that it states");
  require(head.parcel == parcel, "the reply is to another parcel");
  constexpr const char* kWrong = "the reply's numbers do not fit together";
  const std::vector<uint32_t> names = names_of(drafting.parts(), first, last);
  require(head.vertices == names.size() && head.met <= size, kWrong);
  const ReplyPlaces places(head);
  require(places.size() == size, kWrong);
  Everyone& everyone = drafting.everyone();
  for (const bool checked : {false, true}) {
    const uint8_t *sizes = bytes + places.sizes, *met = bytes + places.met;
    size_t left = head.met;
    std::vector<Met> list, space;
    for (Meetings* meetings : {&everyone.nearest, &everyone.drawn}) {
      for (const uint32_t name : names) {
        const size_t some = *sizes++;
        require(some <= meetings->width() && some <= left, kWrong);
        left -= some;
        list = array_at<Met>(met, 0, some);
        met += some * sizeof(Met);
        if (checked) {
          meetings->add(name, list, space);
          continue;
        }
        for (size_t i = 0; i < some; ++i) {
          const uint32_t turn = static_cast<uint32_t>(list[i]);
          require(list[i] >> 32 <= kInfinity && turn > 0 && turn < everyone.total && (i == 0 || list[i - 1] < list[i]), kWrong);
        }
      }
    }
    require(left == 0, kWrong);
  }
}

}  // namespace perwatt
