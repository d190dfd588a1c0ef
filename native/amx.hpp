// The shape of matrix tiles (AMX): 16 rows of 64 bytes each. To be included by units that are compiled for them.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace perwatt {
namespace {

// The shape belongs to the thread; it is set for one call and given back, so that the kernel need not save 8 KB at every
// later switch of threads.
struct TileSession {
  struct alignas(64) Config {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t bytes_a_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  };
  TileSession() {
    const Config config;
    _tile_loadconfig(&config);
  }
  ~TileSession() { _tile_release(); }
  TileSession(const TileSession&) = delete;
};

// The tile intrinsics do not tell the compiler that they read and write memory.
inline void settle() { asm volatile("" ::: "memory"); }

}  // namespace
}  // namespace perwatt
