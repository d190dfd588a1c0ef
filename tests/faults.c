// Preloaded by tests: sees every write, fsync and deletion of the files whose name contains $FAULT_FILE, and every fsync
// of a folder.
//
// With $FAULT_AT=n the n-th of them, and every later one, fails with $FAULT_ERRNO. With $FAULT_RECORD=path each is
// appended to that file as (operation, length of name, offset, size), the name and the bytes: what a disk was told, and
// when it was told to keep it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 3, DELETE = 4 };

static int watched(int fd, char *name, size_t room) {
  const char *part = getenv("FAULT_FILE");
  if (!part) return 0;
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, name, room - 1);
  if (size < 0) return 0;
  name[size] = 0;
  struct stat status;
  if (fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) return DELETE;  // its entries
  return strstr(name, part) != NULL && strstr(name, "-shm") == NULL;
}

static int failing(void) {
  static long seen = 0;
  const char *at = getenv("FAULT_AT");
  if (!at || ++seen < atol(at)) return 0;
  const char *error = getenv("FAULT_ERRNO");
  errno = error ? atoi(error) : EIO;
  return 1;
}

static void record(int32_t operation, const char *name, int64_t offset, const void *bytes, int64_t size) {
  const char *path = getenv("FAULT_RECORD");
  if (!path) return;
  static int out = -1;
  static ssize_t (*real)(int, const void *, size_t) = NULL;
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (out < 0) out = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  struct { int32_t operation, name; int64_t offset, size; } head = {operation, (int32_t)strlen(name), offset, size};
  if (real(out, &head, sizeof head) < 0 || real(out, name, strlen(name)) < 0) abort();
  if (bytes && size && real(out, bytes, (size_t)size) < 0) abort();
}

#define REAL(result, name, ...) \
  static result (*real)(__VA_ARGS__) = NULL; \
  if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off64_t), int fd, const void *bytes, size_t size,
                        off64_t offset) {
  char name[4096];
  if (watched(fd, name, sizeof name)) {
    if (failing()) return -1;
    record(WRITE, name, offset, bytes, (int64_t)size);
  }
  return real(fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
  REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
  return write_at(real, fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
  REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
  return write_at(real, fd, bytes, size, offset);
}

static int sync_with(int (*real)(int), int fd) {
  char name[4096];
  if (watched(fd, name, sizeof name)) {
    if (failing()) return -1;
    record(SYNC, name, 0, NULL, 0);
  }
  return real(fd);
}

int fsync(int fd) {
  REAL(int, fsync, int);
  return sync_with(real, fd);
}

int fdatasync(int fd) {
  REAL(int, fdatasync, int);
  return sync_with(real, fd);
}

static int truncate_with(int (*real)(int, off64_t), int fd, off64_t size) {
  char name[4096];
  if (watched(fd, name, sizeof name)) {
    if (failing()) return -1;
    record(TRUNCATE, name, size, NULL, 0);
  }
  return real(fd, size);
}

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  const char *part = getenv("FAULT_FILE");
  if (part && strstr(path, part) && !strstr(path, "-shm")) {
    if (failing()) return -1;
    record(DELETE, path, 0, NULL, 0);
  }
  return real(path);
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, ftruncate64, int, off64_t);
  return truncate_with(real, fd, size);
}

int ftruncate(int fd, off_t size) {
  REAL(int, ftruncate64, int, off64_t);
  return truncate_with(real, fd, size);
}
