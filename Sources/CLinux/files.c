#define _GNU_SOURCE
#include "clinux_files.h"
#include "file_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Milliseconds from one look to the next, whether the files of held locks are still there.
#define LOOK_AT_LOCKS_EVERY 5000

// This runs in a process of its own with one thread, so plain statics do.
static char path[MAX_PATH];
static char *data;
static int peer;
// The file that was read last, as it was then: what AWAIT_CHANGE compares with.
static char seen_path[MAX_PATH];
static struct stat seen;
static bool seen_missing;
static int notifications = -1;

static bool receive(void *buffer, size_t length) {
  for (size_t at = 0; at < length;) {
    ssize_t size = read(peer, (char *)buffer + at, length - at);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    at += (size_t)size;
  }
  return true;
}

static bool send_all(const void *buffer, size_t length) {
  for (size_t at = 0; at < length;) {
    ssize_t size = send(peer, (const char *)buffer + at, length - at, MSG_NOSIGNAL);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    at += (size_t)size;
  }
  return true;
}

bool clinux_file_answer(uint32_t operation, int error, uint32_t stage, const void *bytes, size_t length) {
  struct clinux_file_reply reply = {operation, error, stage, (uint32_t)length};
  return send_all(&reply, sizeof reply) && (length == 0 || send_all(bytes, length));
}

ssize_t clinux_file_read_all(int fd, char *data) {
  size_t at = 0;
  while (at <= CLINUX_FILE_LIMIT) {
    ssize_t size = pread(fd, data + at, CLINUX_FILE_LIMIT + 1 - at, (off_t)at);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return -1;
    if (size == 0) return (ssize_t)at;
    at += (size_t)size;
  }
  return -2;
}

static bool read_file(void) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  memcpy(seen_path, path, sizeof seen_path);
  seen_missing = fd < 0 || fstat(fd, &seen) < 0;
  if (fd < 0) return clinux_file_answer(CLINUX_FILE_READ, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0);
  ssize_t size = clinux_file_read_all(fd, data);
  int error = errno;
  close(fd);
  if (size == -1) return clinux_file_answer(CLINUX_FILE_READ, error, CLINUX_FILE_STAGE_READ, NULL, 0);
  if (size == -2) return clinux_file_answer(CLINUX_FILE_READ, EFBIG, CLINUX_FILE_STAGE_TOO_LARGE, NULL, 0);
  return clinux_file_answer(CLINUX_FILE_READ, 0, 0, data, (size_t)size);
}

// A file that is replaced has another inode; one that is written in place another time.
static bool has_changed(void) {
  struct stat now;
  bool missing = stat(path, &now) < 0;
  if (missing || seen_missing) return missing != seen_missing;
  return now.st_ino != seen.st_ino || now.st_dev != seen.st_dev || now.st_size != seen.st_size ||
         now.st_mtim.tv_sec != seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec;
}

static void watch_directory(void) {
  if (notifications >= 0) return;
  char parent[MAX_PATH];
  snprintf(parent, sizeof parent, "%s", path);
  char *slash = strrchr(parent, '/');
  if (slash == NULL) return;
  slash[slash == parent] = 0;
  notifications = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (notifications < 0) return;
  if (inotify_add_watch(notifications, parent, IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_ONLYDIR) < 0) {
    // No directory, no more watches, or a file system without them: the caller's poll remains.
    close(notifications);
    notifications = -1;
  }
}

long clinux_file_milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

// Another request ends the wait too.
static bool await_change(uint32_t timeout) {
  // The clock is cut to whole milliseconds: never early.
  long deadline = clinux_file_milliseconds() + (long)timeout + 1;
  // The watch comes before the look: what changes in between is seen by one of them.
  watch_directory();
  bool is_known = strcmp(seen_path, path) == 0;
  while (is_known && !has_changed()) {
    long left = deadline - clinux_file_milliseconds();
    if (left <= 0) break;
    struct pollfd wanted[2] = {{peer, POLLIN, 0}, {notifications, POLLIN, 0}};
    int count = poll(wanted, notifications >= 0 ? 2 : 1, (int)left);
    if ((count < 0 && errno != EINTR) || (count > 0 && wanted[0].revents != 0)) break;
    if (count > 0) {
      char events[4096];
      while (read(notifications, events, sizeof events) > 0) {
      }
    }
  }
  return clinux_file_answer(CLINUX_FILE_AWAIT_CHANGE, 0, 0, NULL, 0);
}

static int sync_directory_of(const char *file) {
  char parent[MAX_PATH];
  snprintf(parent, sizeof parent, "%s", file);
  char *slash = strrchr(parent, '/');
  if (slash == NULL) return 0;
  slash[slash == parent] = 0;
  int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  // Some file systems cannot sync a directory and say EINVAL; the rename stands all the same.
  int error = fsync(fd) < 0 && errno != EINVAL ? errno : 0;
  close(fd);
  return error;
}

static bool write_file(uint32_t mode, size_t length) {
  if (!clinux_locks_stand()) return clinux_file_answer(CLINUX_FILE_WRITE, ESTALE, CLINUX_FILE_STAGE_LOCK_GONE, NULL, 0);
  // Nothing begins before its claim is written. So nothing runs that the next holder, should we vanish, would not wait
  // for.
  if (!clinux_locks_name()) return clinux_file_answer(CLINUX_FILE_WRITE, errno, CLINUX_FILE_STAGE_WRITE, NULL, 0);
  char temporary[MAX_PATH + 32];
  snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid());
  // The lock of the phase makes us the only writer of this name; what is there was left by a crash.
  unlink(temporary);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
  if (fd < 0) return clinux_file_answer(CLINUX_FILE_WRITE, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0);
  uint32_t stage = 0;
  int error = 0;
  for (size_t at = 0; at < length && error == 0;) {
    ssize_t size = write(fd, data + at, length - at);
    if (size < 0 && errno != EINTR) {
      error = errno;
      stage = CLINUX_FILE_STAGE_WRITE;
    }
    if (size > 0) at += (size_t)size;
  }
  if (error == 0 && fsync(fd) < 0) {
    error = errno;
    stage = CLINUX_FILE_STAGE_SYNC;
  }
  if (close(fd) < 0 && error == 0) {
    error = errno;
    stage = CLINUX_FILE_STAGE_WRITE;
  }
  if (error == 0 && rename(temporary, path) < 0) {
    error = errno;
    stage = CLINUX_FILE_STAGE_RENAME;
  }
  if (error != 0) {
    unlink(temporary);
  } else {
    error = sync_directory_of(path);
    stage = error != 0 ? CLINUX_FILE_STAGE_SYNC : 0;
    clinux_locks_touch();
  }
  return clinux_file_answer(CLINUX_FILE_WRITE, error, stage, NULL, 0);
}

static bool make_directory(uint32_t mode) {
  char parent[MAX_PATH];
  snprintf(parent, sizeof parent, "%s", path);
  size_t length = strlen(parent);
  while (length > 1 && parent[length - 1] == '/') parent[--length] = 0;
  char whole[MAX_PATH];
  snprintf(whole, sizeof whole, "%s", parent);
  for (char *at = parent + 1; *at != 0; at++) {
    if (*at != '/') continue;
    *at = 0;
    if (mkdir(parent, 0755) < 0 && errno != EEXIST) {
      return clinux_file_answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, parent, strlen(parent));
    }
    *at = '/';
  }
  if (mkdir(whole, (mode_t)mode) == 0) return clinux_file_answer(CLINUX_FILE_DIRECTORY, 0, 0, NULL, 0);
  if (errno != EEXIST) {
    return clinux_file_answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  struct stat own, above;
  if (lstat(whole, &own) < 0) {
    return clinux_file_answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  if (S_ISLNK(own.st_mode)) return clinux_file_answer(CLINUX_FILE_DIRECTORY, ELOOP, CLINUX_FILE_STAGE_SYMLINK, NULL, 0);
  if (!S_ISDIR(own.st_mode)) {
    return clinux_file_answer(CLINUX_FILE_DIRECTORY, ENOTDIR, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  char *slash = strrchr(whole, '/');
  if (slash != NULL) slash[slash == whole] = 0;
  bool foreign = own.st_uid != geteuid() && own.st_uid != 0;
  if (slash != NULL && stat(whole, &above) == 0 && (above.st_mode & S_IWOTH) != 0 && foreign) {
    return clinux_file_answer(CLINUX_FILE_DIRECTORY, EPERM, CLINUX_FILE_STAGE_FOREIGN, NULL, 0);
  }
  return clinux_file_answer(CLINUX_FILE_DIRECTORY, 0, 0, NULL, 0);
}

// Waits for a request. False when a lock that is held is on a file that others do not see any more: what it protects
// must end before the next holder begins.
static bool await_request(void) {
  while (clinux_locks_held()) {
    struct pollfd socket = {peer, POLLIN, 0};
    int ready = poll(&socket, 1, LOOK_AT_LOCKS_EVERY);
    if (ready > 0) return true;
    if (!clinux_locks_stand()) return false;
  }
  return true;
}

int clinux_file_helper_main(int socket_fd, const void *unused) {
  (void)unused;
  peer = socket_fd;
  clinux_locks_begin();
  seen_path[0] = 0;
  notifications = -1;
  data = malloc(CLINUX_FILE_LIMIT + 1);
  if (data == NULL) return 1;
  prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
  struct clinux_file_request request;
  bool alive = true;
  while (alive && await_request() && receive(&request, sizeof request)) {
    if (request.path_length >= MAX_PATH || request.data_length > CLINUX_FILE_LIMIT) return 1;
    if (!receive(path, request.path_length) || !receive(data, request.data_length)) break;
    path[request.path_length] = 0;
    switch (request.operation) {
      case CLINUX_FILE_READ: alive = read_file(); break;
      case CLINUX_FILE_WRITE: alive = write_file(request.mode, request.data_length); break;
      case CLINUX_FILE_DIRECTORY: alive = make_directory(request.mode); break;
      case CLINUX_FILE_LOCK:
      case CLINUX_FILE_LOCK_NAMED: {
        bool must_be_named = request.operation == CLINUX_FILE_LOCK_NAMED;
        alive = clinux_locks_take(path, request.mode, must_be_named, data, request.data_length);
        break;
      }
      case CLINUX_FILE_HOLDERS: {
        long size = clinux_find_holders(path, data, CLINUX_FILE_LIMIT);
        alive = size < 0 ? clinux_file_answer(CLINUX_FILE_HOLDERS, (int)-size, CLINUX_FILE_STAGE_READ, NULL, 0)
                         : clinux_file_answer(CLINUX_FILE_HOLDERS, 0, 0, data, (size_t)size);
        break;
      }
      case CLINUX_FILE_UNLOCK: alive = clinux_locks_release(path); break;
      case CLINUX_FILE_AWAIT_CHANGE: alive = await_change(request.mode); break;
      case CLINUX_FILE_REMOVE:
        alive = unlink(path) == 0 || errno == ENOENT
                    ? clinux_file_answer(CLINUX_FILE_REMOVE, 0, 0, NULL, 0)
                    : clinux_file_answer(CLINUX_FILE_REMOVE, errno, CLINUX_FILE_STAGE_REMOVE, NULL, 0);
        break;
      case CLINUX_FILE_PRUNE:
        data[request.data_length] = 0;
        alive = clinux_file_answer(CLINUX_FILE_PRUNE, clinux_prune(path, data, request.data_length), CLINUX_FILE_STAGE_REMOVE, NULL, 0);
        break;
      case CLINUX_FILE_GUARD:
        clinux_locks_guard((int)request.mode);
        break;
      case CLINUX_FILE_UNGUARD:
        clinux_locks_unguard((int)request.mode);
        break;
      default: return 1;
    }
  }
  clinux_locks_end();
  return 0;
}
