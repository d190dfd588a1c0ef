// Compares every unit that this processor can run with exact arithmetic, without Python: the check of a
// cross-compiled build under an emulator, and of a sanitizer build. Prints a line for each unit; exits 1 at the first
// difference. The Python tests do the same through the bindings.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "check.hpp"
#include "dispatch.hpp"

namespace {

using perwatt::Kernels;

struct Case {
  size_t dim, count, misalignment;
};

[[noreturn]] void fail(const Kernels& unit, const char* kernel, const Case& c, double expected, double found) {
  std::printf("%s %s: dim %zu, %zu rows, misaligned by %zu: expected %.9g, found %.9g\n", unit.name, kernel, c.dim,
              c.count, c.misalignment, expected, found);
  std::exit(1);
}

// gamma(n) of kernels.hpp
double gamma(size_t n) {
  const double nu = static_cast<double>(n) * std::ldexp(1.0, -24);
  return nu / (1.0 - nu);
}

std::vector<uint32_t> backwards(size_t count) {
  std::vector<uint32_t> rows(count);
  for (size_t i = 0; i < count; ++i) rows[i] = static_cast<uint32_t>(count - 1 - i);
  return rows;
}

void check_i8(const Kernels& unit, const Case& c, std::mt19937& random) {
  const size_t stride = c.dim + 3;
  std::vector<int8_t> query(c.dim + c.misalignment), rows(c.count * stride + c.misalignment);
  std::uniform_int_distribution<int> any(-128, 127), extreme(0, 1);
  for (int8_t& code : query) code = static_cast<int8_t>(extreme(random) ? -128 : any(random));
  for (int8_t& code : rows) code = static_cast<int8_t>(extreme(random) ? (extreme(random) ? -128 : 127) : any(random));
  const int8_t* q = query.data() + c.misalignment;
  const int8_t* x = rows.data() + c.misalignment;
  std::vector<int32_t> straight(c.count), picked(c.count);
  const std::vector<uint32_t> at = backwards(c.count);
  unit.dot_i8(q, x, stride, c.count, c.dim, straight.data());
  unit.dot_i8_at(q, x, stride, at.data(), c.count, c.dim, picked.data());
  for (size_t r = 0; r < c.count; ++r) {
    int64_t sum = 0;
    for (size_t i = 0; i < c.dim; ++i) sum += int64_t{q[i]} * x[r * stride + i];
    if (straight[r] != sum) fail(unit, "dot_i8", c, static_cast<double>(sum), straight[r]);
    if (picked[c.count - 1 - r] != sum) fail(unit, "dot_i8_at", c, static_cast<double>(sum), picked[c.count - 1 - r]);
  }
}

void check_f32(const Kernels& unit, const Case& c, std::mt19937& random) {
  const size_t stride = c.dim + 1;
  std::vector<float> query(c.dim + c.misalignment), rows(c.count * stride + c.misalignment);
  std::normal_distribution<float> any;
  for (float& value : query) value = any(random);
  for (float& value : rows) value = any(random);
  const float* q = query.data() + c.misalignment;
  const float* x = rows.data() + c.misalignment;
  std::vector<float> dot(c.count), l2(c.count), dot_at(c.count), l2_at(c.count);
  const std::vector<uint32_t> at = backwards(c.count);
  unit.dot_f32(q, x, stride, c.count, c.dim, dot.data());
  unit.l2_f32(q, x, stride, c.count, c.dim, l2.data());
  unit.dot_f32_at(q, x, stride, at.data(), c.count, c.dim, dot_at.data());
  unit.l2_f32_at(q, x, stride, at.data(), c.count, c.dim, l2_at.data());
  for (size_t r = 0; r < c.count; ++r) {
    double product = 0, magnitude = 0, distance = 0;
    for (size_t i = 0; i < c.dim; ++i) {
      const double a = q[i], b = x[r * stride + i];
      product += a * b;
      magnitude += std::abs(a * b);
      distance += (a - b) * (a - b);
    }
    if (!(std::abs(dot[r] - product) <= gamma(c.dim) * magnitude)) fail(unit, "dot_f32", c, product, dot[r]);
    if (!(std::abs(l2[r] - distance) <= gamma(c.dim + 3) * distance)) fail(unit, "l2_f32", c, distance, l2[r]);
    // Wherever a row lies, and whatever it is scored with, its bits are the same.
    if (dot_at[c.count - 1 - r] != dot[r]) fail(unit, "dot_f32_at", c, dot[r], dot_at[c.count - 1 - r]);
    if (l2_at[c.count - 1 - r] != l2[r]) fail(unit, "l2_f32_at", c, l2[r], l2_at[c.count - 1 - r]);
  }
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // an emulator takes minutes
  const std::vector<const perwatt::Kernels*> runnable = perwatt::units().able();
  for (const perwatt::Kernels* unit : runnable) {
    std::mt19937 random(1);
    size_t cases = 0;
    for (size_t dim : {0, 1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 384, 514}) {
      for (size_t count : {0, 1, 3, 4, 5, 9}) {
        for (size_t misalignment : {0, 1, 5}) {
          const Case c{dim, count, misalignment};
          check_i8(*unit, c, random);
          check_f32(*unit, c, random);
          ++cases;
        }
      }
    }
    std::printf("%s: %zu cases agree\n", unit->name, cases);
  }
  perwatt::check_scans(runnable);
  perwatt::check_graphs(runnable);
  perwatt::check_sieves(runnable);
  perwatt::check_lists(runnable);
  return 0;
}
