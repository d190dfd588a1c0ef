// Rows into the groups of a sieve (sieve.hpp), and a scan through it.
#pragma once

#include "scan.hpp"
#include "sieve.hpp"

namespace perwatt {

// The frame of a sieve, from rows float32 (count, dim) like those that it will hold: sieve_frame_floats of them.
void make_sieve_frame(const Kernels& kernels, const float* vectors, size_t count, size_t dim, bool l2, float* frame);

// Rows float32 (count, dim), a multiple of kGroup, into as many groups as they fill.
void make_sieve_groups(const Kernels& kernels, const float* frame, const float* vectors, size_t count, size_t dim,
                       bool l2, uint8_t* groups);

struct SieveRows {
  const float* frame;
  const float* signs;  // rotation_signs
  const uint8_t* groups;
  size_t count;  // of groups; rows beyond them are scored without a look at signs
  double margin;  // in standard errors
};

// As scan_i8 on one thread, but that a row may be missed (sieve.hpp). least: for each query the score that a row must reach
// to be of interest, -infinity for any. answer.rescored: rows that were scored from their codes.
void scan_sieved(const Kernels& kernels, const SieveRows& sieve, const FloatRows& rows, const CodeRows& codes,
                 const Batch& batch, const float* least, const Answer& answer);

}  // namespace perwatt
