// Lists whose rows lie on a disk: every unit's answers against the scalar one's, to the bit, by a ring and by a pool of threads;
// a search of all lists with a margin that nothing exceeds against a scan; and both readers through faults that no disk has at
// hand. Prints a fingerprint, the same on every architecture.
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

#include "check.hpp"
#include "lists.hpp"
#include "sieving.hpp"

namespace perwatt {
namespace {

[[noreturn]] void fail(const char* unit, const char* what, size_t count, size_t dim) {
  std::printf("lists, %s: %zu rows of %zu dimensions: %s\n", unit, count, dim, what);
  std::exit(1);
}

void require(bool holds, const char* unit, const char* what, size_t count, size_t dim) {
  if (!holds) fail(unit, what, count, dim);
}

class Temporary {
 public:
  explicit Temporary(const std::vector<uint8_t>& bytes) {
    char name[] = "/tmp/perwatt-check-XXXXXX";
    const int handle = mkstemp(name);
    if (handle < 0 || write(handle, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      std::printf("lists: no file can be written to /tmp\n");
      std::exit(1);
    }
    close(handle);
    path_ = name;
  }
  ~Temporary() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::unique_ptr<Reader>> readers_of(int file, Meddle meddle = nullptr) {
  std::vector<std::unique_ptr<Reader>> readers;
  readers.push_back(make_pool(file, meddle));
  if (std::unique_ptr<Reader> ring = make_ring(file, meddle)) readers.push_back(std::move(ring));
  return readers;
}

// Rows, lists and records of one shape, made by a unit.
struct Made {
  size_t count, dim, padded, lists;
  bool l2;
  std::vector<float> vectors, frame;
  std::vector<uint8_t> centres, groups, records;
  std::vector<uint32_t> starts;
  Lengths longest{};

  Made(const Kernels& unit, size_t count_, size_t dim_, size_t lists_, bool l2_, size_t threads)
      : count(count_), dim(dim_), padded(padded_dim(dim_)), lists(lists_), l2(l2_), vectors(count * dim),
        frame(sieve_frame_floats(padded)), centres(padded * sizeof(float) + lists * centre_bytes(padded)) {
    std::mt19937 random(static_cast<uint32_t>(count * 31 + dim));
    for (float& value : vectors) value = static_cast<float>(random() % 41) - 20.0f;
    for (size_t row = 0; row < count; row += 9) std::copy_n(vectors.begin(), dim, &vectors[row * dim]);  // ties
    make_sieve_frame(unit, vectors.data(), count, dim, l2, frame.data());
    std::memcpy(centres.data(), frame.data(), padded * sizeof(float));
    encode_centres(unit, frame.data(), vectors.data(), lists, dim, l2, centres.data() + padded * sizeof(float));
    std::vector<int32_t> of_list(count), numbers(count);
    std::vector<int64_t> slots(count);
    starts.push_back(0);
    for (size_t list = 0; list < lists; ++list) {
      size_t size = 0;
      for (size_t row = list; row < count; row += lists, ++size) {
        of_list[row] = static_cast<int32_t>(list);
        slots[row] = static_cast<int64_t>(starts[list] * kGroup + size);
        numbers[row] = static_cast<int32_t>(row);
      }
      starts.push_back(starts[list] + static_cast<uint32_t>((size + kGroup - 1) / kGroup));
    }
    groups.resize(starts[lists] * group_bytes(padded));
    empty_groups(groups.data(), starts[lists], padded);
    records.resize(bytes_of_records(padded, count));
    longest = encode_rows(unit, frame.data(), centres.data() + padded * sizeof(float),
                          {vectors.data(), count, dim, l2, of_list.data(), slots.data(), numbers.data(), groups.data(), records.data()},
                          threads);
  }

  ListsView view() const {
    ListsView view{};
    view.frame.root = centres.data();
    view.frame.count = count;
    view.frame.dim = dim;
    view.frame.padded = padded;
    view.frame.l2 = l2;
    view.frame.gain = frame[2 * padded];
    view.frame.code_norm = longest.codes;
    view.frame.rest_norm = longest.rest;
    view.centres = centres.data() + padded * sizeof(float);
    view.starts = starts.data();
    view.lists = lists;
    view.groups = groups.data();
    return view;
  }
};

struct Found {
  std::vector<int64_t> rows, compared;
  std::vector<float> scores;

  Found(size_t count, size_t k) : rows(count * k), compared(count), scores(count * k) {}
  Answer answer() { return {rows.data(), scores.data(), compared.data()}; }
  bool operator==(const Found& other) const {
    return rows == other.rows && std::memcmp(scores.data(), other.scores.data(), scores.size() * sizeof(float)) == 0;
  }
};

uint64_t mixed(uint64_t fingerprint, const void* data, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) fingerprint = (fingerprint ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3ull;
  return fingerprint;
}

// What a search for some of the rows finds by a unit and a reader, through a filter and without; a fingerprint of all.
uint64_t check(const Kernels& unit, const Made& made, Reader& reader) {
  constexpr size_t kQueries = 19;  // more than are asked at once
  const std::vector<float> signs = rotation_signs(made.padded);
  const size_t count = made.count, dim = made.dim;
  std::vector<uint64_t> third((count + 63) / 64);
  for (size_t row = 0; row < count; row += 3) third[row / 64] |= uint64_t{1} << row % 64;
  std::vector<uint32_t> picked;
  for (size_t row = 0; row < count; row += 3) picked.push_back(static_cast<uint32_t>(row));
  std::atomic<uint64_t> reads{0};
  uint64_t print = 0xCBF29CE484222325ull;
  for (const uint64_t* keep : {static_cast<const uint64_t*>(nullptr), static_cast<const uint64_t*>(third.data())}) {
    const size_t survivors = keep ? (count + 2) / 3 : count;
    for (size_t k : {size_t{1}, size_t{10}, count}) {
      const Batch batch{made.vectors.data() + (count > kQueries ? (count - kQueries) * dim : 0), std::min(count, kQueries), k, 0, keep};
      Found scanned(batch.count, k), searched(batch.count, k), few(batch.count, k);
      scan_records(unit, made.view(), signs.data(), reader, 0, count, batch, scanned.answer());
      search_lists(unit, made.view(), signs.data(), reader, {made.lists, 1e6f, 0, 7}, survivors, batch, searched.answer(), reads);
      require(scanned == searched, unit.name, "a search of everything and a scan differ", count, dim);
      if (keep) {
        Found at(batch.count, k);
        Batch some = batch;
        some.keep = nullptr;
        some.at = picked.data();
        some.at_count = picked.size();
        scan_records(unit, made.view(), signs.data(), reader, 0, count, some, at.answer());
        require(at == scanned, unit.name, "picked rows and a filter differ", count, dim);
      }
      search_lists(unit, made.view(), signs.data(), reader, {1, 1.0f, 0}, survivors, batch, few.answer(), reads);
      for (const Found& found : {scanned, few}) {
        print = mixed(print, found.rows.data(), found.rows.size() * sizeof(int64_t));
        print = mixed(print, found.scores.data(), found.scores.size() * sizeof(float));
      }
    }
  }
  std::vector<float> restored(count * dim);
  restore_records(made.view(), signs.data(), reader, 0, count, restored.data());
  const double tolerance = 0.05;  // of values up to 20
  for (size_t i = 0; i < restored.size(); ++i) {
    require(std::abs(restored[i] - made.vectors[i]) < tolerance, unit.name, "a restored row is not what it was", count, dim);
  }
  print = mixed(print, restored.data(), restored.size() * sizeof(float));
  print = mixed(print, made.groups.data(), made.groups.size());
  return mixed(print, made.records.data(), made.records.size());
}

std::atomic<size_t> answers{0};
constexpr size_t kBytes = 1 << 20, kReads = 300, kMost = 5000;

int64_t short_and_interrupted(int64_t answer) {
  const size_t turn = answers++;
  if (turn % 3 == 1) return -EINTR;
  return answer > 1 ? (answer + 1) / 2 : answer;
}
std::atomic<bool> faulty{true};
int64_t failing(int64_t answer) { return answers++ % 7 == 3 && faulty ? -EIO : answer; }
int64_t ending(int64_t answer) { return answers++ % 7 == 3 && faulty ? 0 : answer; }

// Reads of all sizes at all places; what came of them.
bool reads_well(Reader& reader, const std::vector<uint8_t>& file) {
  std::mt19937 random(7);
  std::vector<uint8_t> memory(kReads * kMost);
  std::vector<Read> reads, wanted;
  for (size_t i = 0; i < kReads; ++i) {
    const size_t bytes = 1 + random() % kMost;
    reads.push_back({random() % (kBytes - bytes), bytes, memory.data() + i * kMost});
  }
  wanted = reads;
  reader.read(reads.data(), reads.size());
  for (const Read& each : wanted) {
    if (std::memcmp(each.into, file.data() + each.offset, each.bytes) != 0) return false;
  }
  return true;
}

void check_readers() {
  std::mt19937 random(3);
  std::vector<uint8_t> bytes(kBytes);
  for (uint8_t& each : bytes) each = static_cast<uint8_t>(random());
  const Temporary file(bytes);
  const ReadFile opened(file.path());
  const auto say = [](bool holds, const char* what) { require(holds, "readers", what, kReads, kMost); };
  for (const auto& reader : readers_of(opened.handle(), short_and_interrupted)) {
    say(reads_well(*reader, bytes), "short and interrupted reads lose bytes");
  }
  for (const auto& [meddle, expected] : {std::pair{&failing, EIO}, std::pair{&ending, 0}}) {
    for (const auto& reader : readers_of(opened.handle(), meddle)) {
      faulty = true;
      int error = -1;
      try {
        reads_well(*reader, bytes);
      } catch (const ReadError& thrown) {
        error = thrown.error();
      }
      say(error == expected, "a fault is not told");
      faulty = false;
      say(reads_well(*reader, bytes), "after a fault nothing is read any more");
    }
  }
  for (const auto& reader : readers_of(opened.handle())) {
    uint8_t into[8];
    Read beyond{kBytes - 4, sizeof into, into};
    bool told = false;
    try {
      reader->read(&beyond, 1);
    } catch (const ReadError& thrown) {
      told = thrown.error() == 0 && thrown.offset() == kBytes;
    }
    say(told, "the end of a file is not told");
  }
  const std::unique_ptr<Reader> pool = make_pool(opened.handle(), short_and_interrupted);
  std::vector<std::thread> threads;
  std::atomic<size_t> well{0};
  for (size_t i = 0; i < 4; ++i) threads.emplace_back([&] { well += reads_well(*pool, bytes); });
  for (std::thread& thread : threads) thread.join();
  say(well == threads.size(), "searches that share a pool disturb each other");
}

}  // namespace

void check_lists(const std::vector<const Kernels*>& kernels) {
  check_readers();
  uint64_t all = 0;
  for (const bool l2 : {false, true}) {
    for (const auto& [count, dim, lists] : {std::tuple<size_t, size_t, size_t>{1, 1, 1}, {33, 3, 2}, {300, 65, 7}, {700, 128, 20}, {150, 384, 4}}) {
      uint64_t expected = 0;
      for (size_t u = 0; u < kernels.size(); ++u) {
        const Made made(*kernels[u], count, dim, lists, l2, 1 + u % 2);
        const Temporary file(made.records);
        const ReadFile opened(file.path());
        for (const auto& reader : readers_of(opened.handle())) {
          const uint64_t print = check(*kernels[u], made, *reader);
          if (expected == 0) expected = print;
          require(print == expected, kernels[u]->name, "another answer than other units and readers", count, dim);
        }
      }
      all = mixed(all, &expected, sizeof expected);
    }
  }
  std::printf("lists on disk: %016llx\n", static_cast<unsigned long long>(all));
}

}  // namespace perwatt
