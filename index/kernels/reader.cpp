// See reader.hpp. The structures of io_uring are spelt out, since the headers of the oldest systems that wheels are built on
// do not have them; they are part of the kernel's interface and do not change.
#include "reader.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace perwatt {
namespace {

// Whether there is more to read of it. Throws ReadError.
bool unfinished(Read& read, int64_t answer) {
  if (answer == -EINTR || answer == -EAGAIN) return true;
  if (answer < 0) throw ReadError(static_cast<int>(-answer), read.offset);
  if (answer == 0) throw ReadError(0, read.offset);
  const size_t got = std::min(static_cast<size_t>(answer), read.bytes);
  read.offset += got;
  read.into += got;
  read.bytes -= got;
  return read.bytes > 0;
}

int64_t answered(Meddle meddle, int64_t answer) { return meddle ? meddle(answer) : answer; }

constexpr long kSetup = 425, kEnter = 426;  // the same numbers on every architecture
constexpr uint8_t kOpRead = 22;
constexpr unsigned kGetEvents = 1, kSingleMapping = 1, kSince56 = 1u << 4;  // a feature that came with kOpRead
constexpr uint64_t kRingsAt = 0, kEntriesAt = 0x10000000;

struct Submission {
  uint8_t opcode, flags;
  uint16_t priority;
  int32_t file;
  uint64_t offset, into;
  uint32_t bytes, read_flags;
  uint64_t tag;
  uint64_t unused[3];
};
static_assert(sizeof(Submission) == 64);

struct Completion {
  uint64_t tag;
  int32_t answer;
  uint32_t flags;
};
static_assert(sizeof(Completion) == 16);

struct Parameters {
  uint32_t submissions, completions, flags, thread_processor, thread_idle, features, shared, reserved[3];
  struct {
    uint32_t head, tail, mask, entries, flags, dropped, array, reserved;
    uint64_t address;
  } submission;
  struct {
    uint32_t head, tail, mask, entries, overflow, completions, flags, reserved;
    uint64_t address;
  } completion;
};
static_assert(sizeof(Parameters) == 120);

class Mapping {
 public:
  Mapping() = default;
  ~Mapping() {
    if (at_) munmap(at_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  bool map(int handle, uint64_t offset, size_t bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, handle, static_cast<off_t>(offset));
    if (at == MAP_FAILED) return false;
    at_ = static_cast<uint8_t*>(at);
    bytes_ = bytes;
    return true;
  }
  template <class T>
  T* at(size_t offset) const {
    return reinterpret_cast<T*>(at_ + offset);
  }

 private:
  uint8_t* at_ = nullptr;
  size_t bytes_ = 0;
};

class Ring final : public Reader {
 public:
  Ring(int file, Meddle meddle) : file_(file), meddle_(meddle) {}
  ~Ring() override {
    if (handle_ >= 0) close(handle_);
  }

  bool open() {
    Parameters p{};
    handle_ = static_cast<int>(syscall(kSetup, kRingDepth, &p));
    if (handle_ < 0 || !(p.features & kSingleMapping) || !(p.features & kSince56)) return false;
    if (syscall(kEnter, handle_, 0, 0, 0, nullptr, 0) < 0) return false;  // a container may forbid one and not the other
    const size_t ring = std::max(p.submission.array + p.submissions * sizeof(uint32_t),
                                 p.completion.completions + p.completions * sizeof(Completion));
    if (!rings_.map(handle_, kRingsAt, ring) || !entries_.map(handle_, kEntriesAt, p.submissions * sizeof(Submission))) {
      return false;
    }
    submitted_ = rings_.at<uint32_t>(p.submission.tail);
    submission_mask_ = *rings_.at<uint32_t>(p.submission.mask);
    array_ = rings_.at<uint32_t>(p.submission.array);
    taken_ = rings_.at<uint32_t>(p.completion.head);
    completed_ = rings_.at<uint32_t>(p.completion.tail);
    completion_mask_ = *rings_.at<uint32_t>(p.completion.mask);
    completions_ = rings_.at<Completion>(p.completion.completions);
    depth_ = std::min(p.submissions, p.completions);
    return true;
  }

  void read(Read* reads, size_t count) override {
    std::vector<uint32_t> again;  // those that are to go on
    again.reserve(depth_);        // no allocation may fail while reads are under way
    size_t next = 0, left = count;
    unsigned in_flight = 0, waiting = 0;  // of these, those that the kernel has not been handed
    bool failed = false;
    ReadError error(0, 0);
    while (failed ? in_flight > 0 : left > 0) {
      while (!failed && in_flight < depth_ && (!again.empty() || next < count)) {
        uint32_t which = static_cast<uint32_t>(next);
        if (again.empty()) {
          ++next;
        } else {
          which = again.back();
          again.pop_back();
        }
        push(reads[which], which);
        ++in_flight;
        ++waiting;
      }
      // Where no more are to be handed over, for all of them; otherwise until there is room for as many again.
      const bool last = again.empty() && (next == count || failed);
      const long handed = syscall(kEnter, handle_, waiting, last ? in_flight : (in_flight + 1) / 2, kGetEvents, nullptr, 0);
      if (handed >= 0) {
        waiting -= static_cast<unsigned>(handed);
      } else if (errno != EINTR && errno != EAGAIN && errno != EBUSY) {
        std::terminate();  // reads may be under way into memory that the caller is about to give back
      }
      uint32_t head = *taken_;
      const uint32_t tail = __atomic_load_n(completed_, __ATOMIC_ACQUIRE);
      for (; head != tail; ++head) {
        const Completion& done = completions_[head & completion_mask_];
        const uint32_t which = static_cast<uint32_t>(done.tag);
        --in_flight;
        try {
          if (unfinished(reads[which], answered(meddle_, done.answer))) {
            again.push_back(which);
          } else {
            --left;
          }
        } catch (const ReadError& thrown) {
          error = failed ? error : thrown;
          failed = true;
        }
      }
      __atomic_store_n(taken_, head, __ATOMIC_RELEASE);
    }
    if (failed) throw error;
  }

 private:
  void push(const Read& read, uint32_t which) {
    const uint32_t tail = *submitted_, slot = tail & submission_mask_;
    Submission& entry = *entries_.at<Submission>(slot * sizeof(Submission));
    entry = {};
    entry.opcode = kOpRead;
    entry.file = file_;
    entry.offset = read.offset;
    entry.into = reinterpret_cast<uint64_t>(read.into);
    entry.bytes = static_cast<uint32_t>(std::min<size_t>(read.bytes, 1u << 30));
    entry.tag = which;
    array_[slot] = slot;
    __atomic_store_n(submitted_, tail + 1, __ATOMIC_RELEASE);
  }

  int file_, handle_ = -1;
  Meddle meddle_;
  Mapping rings_, entries_;
  uint32_t *submitted_ = nullptr, *array_ = nullptr, *taken_ = nullptr, *completed_ = nullptr;
  uint32_t submission_mask_ = 0, completion_mask_ = 0;
  unsigned depth_ = 0;
  Completion* completions_ = nullptr;
};

// Threads that wait for reads. They are started when they are first needed, and none survives a fork: the child starts its own.
class Pool final : public Reader {
 public:
  Pool(int file, Meddle meddle) : file_(file), meddle_(meddle), team_(new Team) {}
  ~Pool() override {
    if (getpid() != team_->owner) {
      team_.release();  // its threads are the parent's
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(team_->mutex);
      team_->stop = true;
    }
    team_->work.notify_all();
    for (std::thread& thread : team_->threads) thread.join();
  }

  void read(Read* reads, size_t count) override {
    std::vector<Read*> left;
    for (size_t i = 0; i < count; ++i) {
      if (!at_once(reads[i])) left.push_back(&reads[i]);
    }
    if (left.empty()) return;
    Job job{left.data(), left.size()};
    Team& team = joined(left.size());
    std::unique_lock<std::mutex> lock(team.mutex);
    if (team.threads.empty() || left.size() == 1) {
      while (job.next < job.count) take(lock, job);
    } else {
      team.jobs.push_back(&job);
      team.work.notify_all();
      job.finished.wait(lock, [&] { return job.done == job.count; });
    }
    if (job.failed) throw job.error;
  }

 private:
  struct Job {
    Read** reads;
    size_t count, next = 0, done = 0;
    bool failed = false;
    ReadError error{0, 0};
    std::condition_variable finished{};
  };
  struct Team {
    pid_t owner = getpid();
    std::mutex mutex;
    std::condition_variable work;
    std::deque<Job*> jobs;
    std::vector<std::thread> threads;
    bool stop = false;
  };

  // What the page cache has. Whether that was all of it.
  bool at_once(Read& read) {
#ifdef RWF_NOWAIT
    for (;;) {
      const iovec part{read.into, read.bytes};
      const ssize_t got = preadv2(file_, &part, 1, static_cast<off_t>(read.offset), RWF_NOWAIT);
      const int64_t answer = answered(meddle_, got < 0 ? -errno : got);
      if (answer <= 0) return false;  // who waits for it sees an error too
      if (!unfinished(read, answer)) return true;
    }
#endif
    return false;
  }

  // The threads of this process, as many as are useful.
  Team& joined(size_t useful) {
    const std::lock_guard<std::mutex> joining(joining_);
    if (getpid() != team_->owner) {
      team_.release();
      team_.reset(new Team);
    }
    Team& team = *team_;
    const std::lock_guard<std::mutex> lock(team.mutex);
    try {
      while (team.threads.size() < std::min(useful, kPoolThreads)) team.threads.emplace_back([this, &team] { serve(team); });
    } catch (const std::system_error&) {  // the system gives no more threads
    }
    return team;
  }

  void serve(Team& team) {
    std::unique_lock<std::mutex> lock(team.mutex);
    for (;;) {
      team.work.wait(lock, [&] { return team.stop || !team.jobs.empty(); });
      if (team.jobs.empty()) return;
      Job& job = *team.jobs.front();
      if (job.next + 1 == job.count) team.jobs.pop_front();
      take(lock, job);
    }
  }

  // The next read of a job, with the lock released while it is under way.
  void take(std::unique_lock<std::mutex>& lock, Job& job) {
    Read& read = *job.reads[job.next++];
    bool failed = job.failed;
    ReadError error(0, 0);
    lock.unlock();
    try {
      while (!failed) {
        const ssize_t got = pread(file_, read.into, read.bytes, static_cast<off_t>(read.offset));
        if (!unfinished(read, answered(meddle_, got < 0 ? -errno : got))) break;
      }
    } catch (const ReadError& thrown) {
      failed = true;
      error = thrown;
    }
    lock.lock();
    if (failed && !job.failed) {
      job.failed = true;
      job.error = error;
    }
    if (++job.done == job.count) job.finished.notify_one();
  }

  int file_;
  Meddle meddle_;
  std::mutex joining_;
  std::unique_ptr<Team> team_;
};

}  // namespace

std::unique_ptr<Reader> make_ring(int file, Meddle meddle) {
  auto ring = std::make_unique<Ring>(file, meddle);
  if (!ring->open()) return nullptr;
  return ring;
}

std::unique_ptr<Reader> make_pool(int file, Meddle meddle) { return std::make_unique<Pool>(file, meddle); }

ReadFile::ReadFile(const std::string& path) : handle_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (handle_ < 0) throw std::system_error(errno, std::generic_category(), path);
  struct stat status {};
  if (fstat(handle_, &status) == 0) bytes_ = static_cast<uint64_t>(status.st_size);
#ifdef POSIX_FADV_RANDOM
  // Rows lie anywhere: what is read ahead of one is of no use.
  posix_fadvise(handle_, 0, 0, POSIX_FADV_RANDOM);
#endif
}

ReadFile::~ReadFile() {
  if (handle_ >= 0) close(handle_);
}

}  // namespace perwatt
