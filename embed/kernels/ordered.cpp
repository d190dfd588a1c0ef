// How an order is found; ordered.hpp says what for.
#include "ordered.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace perwatt::bert {
namespace {

constexpr int kMostSum = 128;  // of a lane's codes of one sign

using Codes = std::array<std::array<int8_t, 4>, kOrderedPanel>;
using Sums = std::array<uint8_t, 4 * kOrderedPanel>;  // of each channel's two lanes, of either sign

// Four inputs with the codes that a panel's channels have there.
struct Four {
  size_t place;  // of the first way
  Codes codes;
  std::array<Sums, kWays> sums;
  std::array<bool, kWays> fits;
  int weight;  // how hard it is to find another for it
};

// A way to take four inputs.
struct Taken {
  const Four* four;
  size_t way;
};

bool together(const Sums& a, const Sums& b) {
  int most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, a[i] + b[i]);
  return most <= kMostSum;
}

int positive(int code) { return code > 0 ? code : 0; }

void add_up(Four& four) {
  four.weight = 1 << 30;
  for (size_t way = 0; way < kWays; ++way) {
    int weight = 0;
    for (size_t c = 0; c < kOrderedPanel; ++c) {
      for (size_t lane = 0; lane < 2; ++lane) {
        const int a = four.codes[c][kWay[way][2 * lane]], b = four.codes[c][kWay[way][2 * lane + 1]];
        const int up = positive(a) + positive(b), down = positive(-a) + positive(-b);
        four.sums[way][4 * c + 2 * lane] = static_cast<uint8_t>(std::min(up, 255));
        four.sums[way][4 * c + 2 * lane + 1] = static_cast<uint8_t>(std::min(down, 255));
        weight += up * up + down * down;
      }
    }
    four.fits[way] = together(four.sums[way], Sums{});
    if (four.fits[way]) four.weight = std::min(four.weight, weight);
  }
}

// Takes what is too much from the codes of lanes as the first way has them, and returns it.
Four cut(Four& four) {
  Four off{four.place, {}, {}, {}, 0};
  for (size_t c = 0; c < kOrderedPanel; ++c) {
    for (size_t lane = 0; lane < 2; ++lane) {
      int8_t* a = &four.codes[c][2 * lane];
      const int sum = a[0] + a[1], over = (sum < 0 ? -sum : sum) - kMostSum;
      if ((a[0] < 0) != (a[1] < 0) || over <= 0) continue;
      const int code = sum < 0 ? -over : over;
      a[0] = static_cast<int8_t>(a[0] - code);
      off.codes[c][2 * lane] = static_cast<int8_t>(code);
    }
  }
  add_up(four);
  add_up(off);
  return off;
}

std::vector<Four> fours_of(const int8_t* rows, size_t in) {
  std::vector<Four> fours;
  for (size_t k = 0; k < in; k += 4) {
    Four four{k / 4, {}, {}, {}, 0};
    for (size_t c = 0; c < kOrderedPanel; ++c) std::copy_n(rows + c * in + k, 4, four.codes[c].begin());
    add_up(four);
    const bool fits = std::find(four.fits.begin(), four.fits.end(), true) != four.fits.end();
    if (!fits) fours.push_back(cut(four));
    fours.push_back(four);
  }
  return fours;
}

// Ways of two that may be added up, or false.
bool match(const Four& a, const Four& b, Taken& first, Taken& second) {
  for (size_t i = 0; i < kWays; ++i) {
    for (size_t j = 0; a.fits[i] && j < kWays; ++j) {
      if (!b.fits[j] || !together(a.sums[i], b.sums[j])) continue;
      first = {&a, i};
      second = {&b, j};
      return true;
    }
  }
  return false;
}

struct Matches {
  std::vector<std::pair<Taken, Taken>> pairs;
  std::vector<Taken> alone;
};

// The hardest first, and to each the hardest that it can be added to; in the order of the inputs.
Matches matches(const std::vector<Four>& fours) {
  std::vector<const Four*> left;
  for (const Four& four : fours) left.push_back(&four);
  std::sort(left.begin(), left.end(), [](const Four* a, const Four* b) { return a->weight > b->weight; });
  Matches found;
  while (!left.empty()) {
    const Four* four = left.front();
    left.erase(left.begin());
    Taken first{}, second{};
    const auto fits = [&](const Four* each) { return match(*four, *each, first, second); };
    const auto other = std::find_if(left.begin(), left.end(), fits);
    if (other != left.end()) {
      left.erase(other);
      found.pairs.push_back({first, second});
    } else {
      const auto way = std::find(four->fits.begin(), four->fits.end(), true) - four->fits.begin();
      found.alone.push_back({four, static_cast<size_t>(way)});
    }
  }
  const auto before = [](const Taken& a, const Taken& b) { return a.four->place < b.four->place; };
  std::sort(found.pairs.begin(), found.pairs.end(), [&](const auto& a, const auto& b) { return before(a.first, b.first); });
  std::sort(found.alone.begin(), found.alone.end(), before);
  return found;
}

}  // namespace

Ordered ordered(const int8_t* codes, size_t out, size_t in) {
  const size_t panels = out / kOrderedPanel;
  Ordered made;
  std::vector<uint16_t> places;
  const auto take = [&](const Taken& taken) {
    places.push_back(static_cast<uint16_t>(4 * (taken.way * (in / 4) + taken.four->place)));
    for (const auto& four : taken.four->codes) {
      for (uint8_t i : kWay[taken.way]) made.codes.push_back(four[i]);
    }
  };
  for (size_t panel = 0; panel < panels; ++panel) {
    const std::vector<Four> fours = fours_of(codes + panel * kOrderedPanel * in, in);
    const Matches found = matches(fours);
    for (const auto& [first, second] : found.pairs) {
      take(first);
      take(second);
    }
    for (const Taken& alone : found.alone) take(alone);
    made.order.push_back(static_cast<int32_t>(places.size()));
    made.order.push_back(static_cast<int32_t>(found.pairs.size()));
  }
  made.codes.resize((made.codes.size() + 63) / 64 * 64);
  made.order.resize((2 * panels + (places.size() + 1) / 2 + 15) / 16 * 16);
  std::memcpy(made.order.data() + 2 * panels, places.data(), places.size() * sizeof(uint16_t));
  return made;
}

}  // namespace perwatt::bert
