// Preloaded by tests: sees every write, fsync, deletion and renaming of the files whose path contains $FAULT_FILE, and
// every fsync of a folder. $FAULT_CALL=write|sync|truncate|delete|rename leaves one kind of them, and no folders that
// are not named so.
//
// With $FAULT_AT=n the n-th of them, and every later one, fails with $FAULT_ERRNO; with $FAULT_KILL=before|after the
// process is killed there instead. With $FAULT_RECORD=path each but the renamings is appended to that file as
// (operation, length of name, offset, size), the name and the bytes: what a disk was told, and when it was told to keep
// it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 3, DELETE = 4, RENAME = 5 };
static const char *const CALLS[] = {"", "write", "sync", "truncate", "delete", "rename"};
static __thread int dying = 0;  // once this operation is done

static int named(const char *path) {
  const char *part = getenv("FAULT_FILE");
  return part && strstr(path, part) != NULL && strstr(path, "-shm") == NULL;
}

static int path_of(int fd, char *path, size_t room) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, room - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return 1;
}

static int watched(int fd, char *path, size_t room) {
  if (!getenv("FAULT_FILE") || !path_of(fd, path, room)) return 0;
  struct stat status;
  if (!getenv("FAULT_CALL") && fstat(fd, &status) == 0 && S_ISDIR(status.st_mode)) return 1;  // its entries
  return named(path);
}

static int failing(int32_t operation) {
  static long seen = 0;
  const char *at = getenv("FAULT_AT"), *call = getenv("FAULT_CALL"), *kill_when = getenv("FAULT_KILL");
  if (!at || (call && strcmp(call, CALLS[operation]) != 0) || ++seen < atol(at)) return 0;
  if (kill_when) {
    if (strcmp(kill_when, "after") != 0) kill(getpid(), SIGKILL);
    dying = 1;
    return 0;
  }
  const char *error = getenv("FAULT_ERRNO");
  errno = error ? atoi(error) : EIO;
  return 1;
}

static ssize_t done(ssize_t result) {
  if (dying) kill(getpid(), SIGKILL);
  return result;
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
    if (failing(WRITE)) return -1;
    record(WRITE, name, offset, bytes, (int64_t)size);
  }
  return done(real(fd, bytes, size, offset));
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
    if (failing(SYNC)) return -1;
    record(SYNC, name, 0, NULL, 0);
  }
  return (int)done(real(fd));
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
    if (failing(TRUNCATE)) return -1;
    record(TRUNCATE, name, size, NULL, 0);
  }
  return (int)done(real(fd, size));
}

int unlink(const char *path) {
  REAL(int, unlink, const char *);
  if (named(path)) {
    if (failing(DELETE)) return -1;
    record(DELETE, path, 0, NULL, 0);
  }
  return (int)done(real(path));
}

int unlinkat(int folder, const char *name, int flags) {
  REAL(int, unlinkat, int, const char *, int);
  char path[8192];
  if (folder != AT_FDCWD && path_of(folder, path, 4096)) {
    strncat(strcat(path, "/"), name, 4000);
    if (named(path)) {
      if (failing(DELETE)) return -1;
      record(DELETE, path, 0, NULL, 0);
    }
  }
  return (int)done(real(folder, name, flags));
}

int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  if ((named(from) || named(to)) && failing(RENAME)) return -1;
  return (int)done(real(from, to));
}

int ftruncate64(int fd, off64_t size) {
  REAL(int, ftruncate64, int, off64_t);
  return truncate_with(real, fd, size);
}

int ftruncate(int fd, off_t size) {
  REAL(int, ftruncate64, int, off64_t);
  return truncate_with(real, fd, size);
}
