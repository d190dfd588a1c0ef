// Reads of a file that is larger than memory: many small ones in flight at once, into memory of the caller's.
//
//   ring   one io_uring for each thread that searches, by plain system calls. What the page cache holds is copied while the
//          reads are handed over; the rest wait in the device's queue together.
//   pool   where the kernel or a container forbids io_uring: what the page cache holds is read at once, the rest by a bounded
//          number of threads.
//
// Both read the same bytes. A read that was interrupted or came back short goes on from where it is; one that failed, or met
// the end of the file, is thrown as ReadError once none is in flight any more, so the memory may be used again and the next
// search starts from nothing.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <exception>
#include <memory>
#include <string>

namespace perwatt {

struct Read {
  uint64_t offset;
  size_t bytes;
  uint8_t* into;
};

class ReadError : public std::exception {
 public:
  ReadError(int error, uint64_t offset) : error_(error), offset_(offset) {}
  int error() const { return error_; }  // errno; 0 where the file ended before it should
  uint64_t offset() const { return offset_; }
  const char* what() const noexcept override { return "a read failed"; }

 private:
  int error_;
  uint64_t offset_;
};

// What the system answered to a read, a count or a negative errno, as a check wants it to have been: for faults that no disk
// has at hand. Null in every search.
using Meddle = int64_t (*)(int64_t answer);

class Reader {
 public:
  virtual ~Reader() = default;
  // All of them, in any order; `reads` is used up.
  virtual void read(Read* reads, size_t count) = 0;
};

constexpr unsigned kRingDepth = 128;  // reads in flight of one search; an NVMe device has used up its gain by then
constexpr size_t kPoolThreads = 32;

// Null where the kernel gives none.
std::unique_ptr<Reader> make_ring(int file, Meddle meddle = nullptr);
std::unique_ptr<Reader> make_pool(int file, Meddle meddle = nullptr);  // for any number of threads at once

// A file open for reads at random places, and who reads it. Throws std::system_error where it cannot be opened.
class ReadFile {
 public:
  explicit ReadFile(const std::string& path);
  ~ReadFile();
  ReadFile(const ReadFile&) = delete;
  ReadFile& operator=(const ReadFile&) = delete;
  int handle() const { return handle_; }
  uint64_t bytes() const { return bytes_; }

 private:
  int handle_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace perwatt
