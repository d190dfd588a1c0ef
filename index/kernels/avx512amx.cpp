// AVX-512 with VNNI, and matrix tiles (AMX) where several queries meet many rows: Sapphire Rapids and later.
//
// tdpbssd multiplies 16 rows by 16 queries over 64 dimensions, signed by signed, in 16 cycles: a product of two vectors of
// 384 dimensions takes 0.4 cycles, where vpdpbusd alone takes 3. Rows are tiles as they lie. Queries want their
// dimensions in fours across the columns, a transpose that is made once a call; and sums come out row by row, where the
// caller wants them query by query, which is the same transpose again. One query would leave 15 of 16 columns empty, so it
// stays with vpdpbusd, and so does the walk.
#define PERWATT_UNIT avx512amx
#include "amx.hpp"
#include "vnni.hpp"

namespace perwatt::PERWATT_UNIT {
namespace {

constexpr size_t kTile = 16;                     // rows of a tile, and its columns of 32 bits
constexpr size_t kTileBytes = 64;                // of a row: dimensions at once
constexpr size_t kRowTiles = 4;                  // at once: a tile's sum takes 52 cycles, three others fill them
constexpr size_t kLeastQueries = 4;              // fewer are quicker without tiles
constexpr size_t kMostDim = 2048;                // 32 KiB of queries on the stack; wider vectors go without tiles

// Sixteen registers of sixteen 32-bit lanes, transposed.
inline void transpose(__m512i (&x)[16]) {
  __m512i y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
  // x[4 g + j] has column j of each of its quarters' four columns, for the rows 4 g to 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i low = _mm512_shuffle_i32x4(x[j], x[4 + j], 0x88), high = _mm512_shuffle_i32x4(x[j], x[4 + j], 0xDD);
    const __m512i low2 = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0x88);
    const __m512i high2 = _mm512_shuffle_i32x4(x[8 + j], x[12 + j], 0xDD);
    y[j] = _mm512_shuffle_i32x4(low, low2, 0x88);
    y[8 + j] = _mm512_shuffle_i32x4(low, low2, 0xDD);
    y[4 + j] = _mm512_shuffle_i32x4(high, high2, 0x88);
    y[12 + j] = _mm512_shuffle_i32x4(high, high2, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = y[i];
}

inline __mmask64 mask_of(size_t left) { return left < 64 ? (1ull << left) - 1ull : ~0ull; }

// Up to sixteen queries as tiles of [16 fours of dimensions][16 queries][4]; what is beyond them is zero.
inline void pack(const int8_t* queries, size_t stride, size_t count, size_t dim, int8_t* out) {
  for (size_t i = 0; i < dim; i += kTileBytes, out += kTile * kTileBytes) {
    __m512i fours[16];
    for (size_t q = 0; q < 16; ++q) {
      fours[q] = q < count ? _mm512_maskz_loadu_epi8(mask_of(dim - i), queries + q * stride + i) : _mm512_setzero_si512();
    }
    transpose(fours);
    for (size_t q = 0; q < 16; ++q) _mm512_store_si512(out + q * kTileBytes, fours[q]);
  }
}

// The sums of T tiles of rows, transposed, for the first `count` queries.
template <size_t T>
inline void write(const int32_t* sums, size_t count, int32_t* out, size_t out_stride) {
  for (size_t t = 0; t < T; ++t) {
    __m512i lines[16];
#pragma GCC unroll 16
    for (size_t r = 0; r < 16; ++r) lines[r] = _mm512_load_si512(sums + (t * kTile + r) * kTile);
    transpose(lines);
    for (size_t q = 0; q < count; ++q) _mm512_storeu_si512(out + q * out_stride + t * kTile, lines[q]);
  }
}

// The last dimensions of T tiles of rows, where they do not fill a tile: nothing beyond a row may be read.
template <size_t T>
inline void copy_rest(const int8_t* rows, size_t stride, size_t left, int8_t* out) {
  for (size_t r = 0; r < T * kTile; ++r) {
    _mm512_store_si512(out + r * kTileBytes, _mm512_maskz_loadu_epi8(mask_of(left), rows + r * stride));
  }
}

template <size_t T>
inline void step(const int8_t* rows, size_t stride, const int8_t* packed) {
  _tile_loadd(7, packed, kTileBytes);
  _tile_loadd(4, rows, stride);
  _tile_dpbssd(0, 4, 7);
  if constexpr (T == kRowTiles) {
    _tile_loadd(5, rows + kTile * stride, stride);
    _tile_dpbssd(1, 5, 7);
    _tile_loadd(6, rows + 2 * kTile * stride, stride);
    _tile_dpbssd(2, 6, 7);
    _tile_loadd(4, rows + 3 * kTile * stride, stride);
    _tile_dpbssd(3, 4, 7);
  }
}

// T tiles of rows, one or kRowTiles, against the packed queries.
template <size_t T>
inline void multiply(const int8_t* packed, size_t query_count, const int8_t* rows, size_t stride, size_t dim, int32_t* out,
                     size_t out_stride) {
  alignas(64) int32_t sums[T * kTile * kTile];
  _tile_zero(0);
  if constexpr (T == kRowTiles) {
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  size_t i = 0;
  for (; i + kTileBytes <= dim; i += kTileBytes) step<T>(rows + i, stride, packed + i * kTile);
  if (i < dim) {
    alignas(64) int8_t rest[T * kTile * kTileBytes];
    copy_rest<T>(rows + i, stride, dim - i, rest);
    settle();
    step<T>(rest, kTileBytes, packed + i * kTile);
  }
  _tile_stored(0, sums, kTile * sizeof(int32_t));
  if constexpr (T == kRowTiles) {
    _tile_stored(1, sums + kTile * kTile, kTile * sizeof(int32_t));
    _tile_stored(2, sums + 2 * kTile * kTile, kTile * sizeof(int32_t));
    _tile_stored(3, sums + 3 * kTile * kTile, kTile * sizeof(int32_t));
  }
  settle();
  write<T>(sums, query_count, out, out_stride);
}

// dots_i8 of kernels.hpp. Rows that fill no tile, and queries that are too few for one, go without.
void many_by_tiles(const int8_t* queries, size_t query_stride, size_t query_count, const int8_t* base, size_t stride,
                   size_t count, size_t dim, int32_t* out, size_t out_stride) {
  size_t q = 0;
  const size_t tiled = dim <= kMostDim ? count / kTile * kTile : 0;
  if (tiled > 0 && query_count >= kLeastQueries) {
    alignas(64) int8_t packed[kTile * kMostDim];
    const TileSession session;
    while (query_count - q >= kLeastQueries) {
      const size_t some = query_count - q < kTile ? query_count - q : kTile;
      const int8_t* mine = queries + q * query_stride;
      int32_t* outs = out + q * out_stride;
      pack(mine, query_stride, some, dim, packed);
      settle();
      size_t r = 0;
      for (; r + kRowTiles * kTile <= tiled; r += kRowTiles * kTile) {
        multiply<kRowTiles>(packed, some, base + r * stride, stride, dim, outs + r, out_stride);
      }
      for (; r < tiled; r += kTile) multiply<1>(packed, some, base + r * stride, stride, dim, outs + r, out_stride);
      many_to_rows<DotI8>(mine, query_stride, some, base + r * stride, stride, count - r, dim, outs + r, out_stride);
      q += some;
    }
  }
  many_to_rows<DotI8>(queries + q * query_stride, query_stride, query_count - q, base, stride, count, dim,
                      out + q * out_stride, out_stride);
}

constexpr Kernels with_tiles(Kernels kernels) {
  kernels.dots_i8 = many_by_tiles;
  kernels.mirrors = false;
  return kernels;
}

constexpr Kernels kTable =
    with_tiles(table<DotI8, SumF32<Product>, SumF32<SquaredDifference>, VnniHop>("avx512amx"));

}  // namespace
}  // namespace perwatt::PERWATT_UNIT

extern const perwatt::Kernels perwatt::kAvx512Amx = perwatt::PERWATT_UNIT::kTable;
