#define _GNU_SOURCE
#include "clinux_files.h"
#include "clinux_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MAX_PATH 4096
#define MAX_LOCKS 8
#define MAX_GUARDED 256

#define MAX_OWNER 1024

struct lock {
  int fd;
  char path[MAX_PATH];
  // What the file is to say while we hold it, and whether it does.
  char owner[MAX_OWNER];
  size_t owner_length;
  bool is_named;
  // What it said when the lock became ours: the name of a holder that vanished. Until what that one ran has had the
  // time to end, the file goes on saying so to those after us.
  char left[MAX_OWNER];
  size_t left_length;
  long settled_at;
};

// This runs in a process of its own with one thread, so plain statics do.
static struct lock locks[MAX_LOCKS];
static int lock_count;
static int guarded[MAX_GUARDED];
static int guarded_count;
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

static bool answer(uint32_t operation, int error, uint32_t stage, const void *bytes, size_t length) {
  struct clinux_file_reply reply = {operation, error, stage, (uint32_t)length};
  return send_all(&reply, sizeof reply) && (length == 0 || send_all(bytes, length));
}

// Reads `fd` from its start into `data`. Returns the size, or -1 with errno, or -2 when there is too much.
static ssize_t read_all(int fd) {
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
  if (fd < 0) return answer(CLINUX_FILE_READ, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0);
  ssize_t size = read_all(fd);
  int error = errno;
  close(fd);
  if (size == -1) return answer(CLINUX_FILE_READ, error, CLINUX_FILE_STAGE_READ, NULL, 0);
  if (size == -2) return answer(CLINUX_FILE_READ, EFBIG, CLINUX_FILE_STAGE_TOO_LARGE, NULL, 0);
  return answer(CLINUX_FILE_READ, 0, 0, data, (size_t)size);
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

static long milliseconds_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

// Another request ends the wait too.
static bool await_change(uint32_t timeout) {
  // The clock is cut to whole milliseconds: never early.
  long deadline = milliseconds_now() + (long)timeout + 1;
  // The watch comes before the look: what changes in between is seen by one of them.
  watch_directory();
  bool is_known = strcmp(seen_path, path) == 0;
  while (is_known && !has_changed()) {
    long left = deadline - milliseconds_now();
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
  return answer(CLINUX_FILE_AWAIT_CHANGE, 0, 0, NULL, 0);
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

// Makes this the content of a lock file. Over what is there, which needs no room on a full disk and, should it fail
// all the same, leaves that in place.
static bool say(int fd, const char *text, size_t length) {
  ssize_t size = length == 0 ? 0 : pwrite(fd, text, length, 0);
  if (size < 0) return false;
  if (size != (ssize_t)length) {
    errno = ENOSPC;
    return false;
  }
  return ftruncate(fd, (off_t)length) == 0;
}

// Whether each of our lock files names us. A full disk may have prevented that.
static bool name_locks(void) {
  bool named = true;
  for (int i = 0; i < lock_count; i++) {
    if (!locks[i].is_named) locks[i].is_named = say(locks[i].fd, locks[i].owner, locks[i].owner_length);
    named = named && locks[i].is_named;
  }
  return named;
}

// A lock of ours that somebody has removed the file of, most likely with its directory: others may have another lock
// under its name by now.
static const struct lock *removed_lock(void) {
  for (int i = 0; i < lock_count; i++) {
    struct stat now;
    if (fstat(locks[i].fd, &now) == 0 && now.st_nlink == 0) return &locks[i];
  }
  return NULL;
}

static bool write_file(uint32_t mode, size_t length) {
  // Nothing begins before its claim is written. So nothing runs that the next holder, should we vanish, would not wait
  // for.
  if (!name_locks()) return answer(CLINUX_FILE_WRITE, errno, CLINUX_FILE_STAGE_WRITE, NULL, 0);
  const struct lock *removed = removed_lock();
  if (removed != NULL) {
    return answer(CLINUX_FILE_WRITE, ESTALE, CLINUX_FILE_STAGE_REMOVED_LOCK, removed->path, strlen(removed->path));
  }
  char temporary[MAX_PATH + 32];
  snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid());
  // The lock of the phase makes us the only writer of this name; what is there was left by a crash.
  unlink(temporary);
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, (mode_t)mode);
  if (fd < 0) return answer(CLINUX_FILE_WRITE, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0);
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
  }
  return answer(CLINUX_FILE_WRITE, error, stage, NULL, 0);
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
      return answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, parent, strlen(parent));
    }
    *at = '/';
  }
  if (mkdir(whole, (mode_t)mode) == 0) return answer(CLINUX_FILE_DIRECTORY, 0, 0, NULL, 0);
  if (errno != EEXIST) {
    return answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  struct stat own, above;
  if (lstat(whole, &own) < 0) {
    return answer(CLINUX_FILE_DIRECTORY, errno, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  if (S_ISLNK(own.st_mode)) return answer(CLINUX_FILE_DIRECTORY, ELOOP, CLINUX_FILE_STAGE_SYMLINK, NULL, 0);
  if (!S_ISDIR(own.st_mode)) {
    return answer(CLINUX_FILE_DIRECTORY, ENOTDIR, CLINUX_FILE_STAGE_MAKE_DIRECTORY, whole, strlen(whole));
  }
  char *slash = strrchr(whole, '/');
  if (slash != NULL) slash[slash == whole] = 0;
  bool foreign = own.st_uid != geteuid() && own.st_uid != 0;
  if (slash != NULL && stat(whole, &above) == 0 && (above.st_mode & S_IWOTH) != 0 && foreign) {
    return answer(CLINUX_FILE_DIRECTORY, EPERM, CLINUX_FILE_STAGE_FOREIGN, NULL, 0);
  }
  return answer(CLINUX_FILE_DIRECTORY, 0, 0, NULL, 0);
}

// Somebody may have removed the file while we waited for its lock: then the lock is on nothing that others see.
static bool is_still_there(int fd) {
  struct stat ours, theirs;
  return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
         ours.st_dev == theirs.st_dev;
}

static void look_again(int signal) { (void)signal; }

// While it waits for a lock, the helper is interrupted each second: who holds it may have changed.
static void interrupt_each_second(bool on) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = look_again;
  sigaction(SIGALRM, &action, NULL);
  sigset_t alarm_only;
  sigemptyset(&alarm_only);
  sigaddset(&alarm_only, SIGALRM);
  struct itimerval every = {{on, 0}, {on, 0}};
  setitimer(ITIMER_REAL, &every, NULL);
  sigprocmask(on ? SIG_UNBLOCK : SIG_BLOCK, &alarm_only, NULL);
}

// Waits for the lock, telling of each holder. Returns 0, -1 with errno, or -2 when nobody listens any more.
static int wait_for_lock(int fd) {
  static char said[1024], now[1024];
  ssize_t said_length = -1;
  for (;;) {
    ssize_t length = pread(fd, now, sizeof now, 0);
    if (length < 0) length = 0;
    // A holder that has not written its name yet, or that is giving the lock back, is no news after a name.
    bool is_news = said_length < 0 || (length > 0 && (length != said_length || memcmp(now, said, (size_t)length) != 0));
    if (is_news) {
      if (!answer(CLINUX_FILE_LOCK, EWOULDBLOCK, CLINUX_FILE_STAGE_LOCK, now, (size_t)length)) return -2;
      memcpy(said, now, (size_t)length);
      said_length = length;
    }
    interrupt_each_second(true);
    int result = flock(fd, LOCK_EX);
    int error = errno;
    interrupt_each_second(false);
    errno = error;
    if (result == 0 || error != EINTR) return result;
  }
}

// Opens and locks. Returns the descriptor, -1 after an error that has been answered, -2 when nobody listens any more.
static int open_locked(void) {
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return answer(CLINUX_FILE_LOCK, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0) ? -1 : -2;
    int result = flock(fd, LOCK_EX | LOCK_NB);
    if (result < 0 && errno == EWOULDBLOCK) {
      result = wait_for_lock(fd);
      if (result == -2) {
        close(fd);
        return -2;
      }
    }
    if (result < 0) {
      int error = errno;
      close(fd);
      return answer(CLINUX_FILE_LOCK, error, CLINUX_FILE_STAGE_LOCK, NULL, 0) ? -1 : -2;
    }
    if (is_still_there(fd)) return fd;
    close(fd);
  }
}

static void clear_name(const struct lock *lock);

static bool take_lock(uint32_t settling, size_t length, bool must_be_named) {
  if (lock_count == MAX_LOCKS) return answer(CLINUX_FILE_LOCK, ENOLCK, CLINUX_FILE_STAGE_LOCK, NULL, 0);
  // `data` is needed for what the file says now.
  struct lock *lock = &locks[lock_count];
  lock->owner_length = length < MAX_OWNER ? length : MAX_OWNER;
  memcpy(lock->owner, data, lock->owner_length);
  int fd = open_locked();
  if (fd < 0) return fd == -1;
  // From here on the death of PID 1 is met by ending the groups first; until now it was to end us at once.
  prctl(PR_SET_PDEATHSIG, 0L, 0L, 0L, 0L);
  // A holder that gives its lock back empties the file: what is there names one that vanished.
  ssize_t left = read_all(fd);
  lock->left_length = left <= 0 ? 0 : left < MAX_OWNER ? (size_t)left : MAX_OWNER;
  memcpy(lock->left, data, lock->left_length);
  lock->settled_at = milliseconds_now() + (long)settling;
  snprintf(lock->path, MAX_PATH, "%s", path);
  lock->fd = fd;
  lock->is_named = false;
  lock_count++;
  // When that fails, those who wait do not learn whom they wait for; it is tried again before anything is written.
  if (!name_locks() && must_be_named) {
    int error = errno;
    clear_name(lock);
    close(lock->fd);
    lock_count--;
    return answer(CLINUX_FILE_LOCK, error, CLINUX_FILE_STAGE_WRITE, NULL, 0);
  }
  return answer(CLINUX_FILE_LOCK, 0, 0, lock->left, lock->left_length);
}

// What a lock file says once it is given back in order: nothing, unless what our predecessor ran may still do so.
static void clear_name(const struct lock *lock) {
  bool is_settled = lock->left_length == 0 || milliseconds_now() >= lock->settled_at;
  if (!say(lock->fd, lock->left, is_settled ? 0 : lock->left_length)) {
    // The next holder waits a little for what we ran to end, though it has: nothing worse.
  }
}

static bool release_lock(void) {
  for (int i = 0; i < lock_count; i++) {
    if (strcmp(locks[i].path, path) != 0) continue;
    clear_name(&locks[i]);
    close(locks[i].fd);
    locks[i] = locks[--lock_count];
    return answer(CLINUX_FILE_UNLOCK, 0, 0, NULL, 0);
  }
  return answer(CLINUX_FILE_UNLOCK, ENOENT, CLINUX_FILE_STAGE_LOCK, NULL, 0);
}

// Whether anybody in the group still runs. Zombies are of no account: their new parent may be one that never reaps, and
// the lock must not wait for that.
static bool group_runs(int group) {
  enum { CAPACITY = 4096 };
  struct clinux_process *list = malloc(CAPACITY * sizeof *list);
  int count = list == NULL ? -ENOMEM : clinux_process_list(list, CAPACITY);
  bool runs = false, knows_us = false;
  for (int i = 0; i < count && i < CAPACITY; i++) {
    if (list[i].group == group && list[i].state != 'Z' && list[i].state != 'X') runs = true;
    if (list[i].pid == getpid() && strcmp(list[i].name, "supervisor-file") == 0) knows_us = true;
  }
  free(list);
  // Where it cannot be told (no /proc, or another namespace's), they count as running.
  return runs || !knows_us || count > CAPACITY;
}

static void end_guarded_groups(void) {
  for (int i = 0; i < guarded_count; i++) kill(-guarded[i], SIGKILL);
  for (int i = 0; i < guarded_count; i++) {
    // Not our children: nobody tells us of their end, so ask.
    while (kill(-guarded[i], SIGKILL) == 0 && group_runs(guarded[i])) {
      struct timespec pause = {0, 2000000};
      nanosleep(&pause, NULL);
    }
  }
}

int clinux_file_helper_main(int socket_fd, const void *unused) {
  (void)unused;
  peer = socket_fd;
  lock_count = 0;
  guarded_count = 0;
  seen_path[0] = 0;
  notifications = -1;
  data = malloc(CLINUX_FILE_LIMIT + 1);
  if (data == NULL) return 1;
  prctl(PR_SET_PDEATHSIG, (long)SIGKILL, 0L, 0L, 0L);
  struct clinux_file_request request;
  bool alive = true;
  while (alive && receive(&request, sizeof request)) {
    if (request.path_length >= MAX_PATH || request.data_length > CLINUX_FILE_LIMIT) return 1;
    if (!receive(path, request.path_length) || !receive(data, request.data_length)) break;
    path[request.path_length] = 0;
    switch (request.operation) {
      case CLINUX_FILE_READ: alive = read_file(); break;
      case CLINUX_FILE_WRITE: alive = write_file(request.mode, request.data_length); break;
      case CLINUX_FILE_DIRECTORY: alive = make_directory(request.mode); break;
      case CLINUX_FILE_LOCK: alive = take_lock(request.mode, request.data_length, false); break;
      case CLINUX_FILE_LOCK_NAMED: alive = take_lock(request.mode, request.data_length, true); break;
      case CLINUX_FILE_HOLDERS: {
        long size = clinux_find_holders(path, data, CLINUX_FILE_LIMIT);
        alive = size < 0 ? answer(CLINUX_FILE_HOLDERS, (int)-size, CLINUX_FILE_STAGE_READ, NULL, 0)
                         : answer(CLINUX_FILE_HOLDERS, 0, 0, data, (size_t)size);
        break;
      }
      case CLINUX_FILE_UNLOCK: alive = release_lock(); break;
      case CLINUX_FILE_AWAIT_CHANGE: alive = await_change(request.mode); break;
      case CLINUX_FILE_REMOVE:
        alive = unlink(path) == 0 || errno == ENOENT
                    ? answer(CLINUX_FILE_REMOVE, 0, 0, NULL, 0)
                    : answer(CLINUX_FILE_REMOVE, errno, CLINUX_FILE_STAGE_REMOVE, NULL, 0);
        break;
      case CLINUX_FILE_PRUNE:
        data[request.data_length] = 0;
        alive = answer(CLINUX_FILE_PRUNE, clinux_prune(path, data, request.data_length), CLINUX_FILE_STAGE_REMOVE, NULL, 0);
        break;
      case CLINUX_FILE_GUARD:
        if (guarded_count < MAX_GUARDED) guarded[guarded_count++] = (int)request.mode;
        break;
      case CLINUX_FILE_UNGUARD:
        for (int i = 0; i < guarded_count; i++) {
          if (guarded[i] == (int)request.mode) guarded[i--] = guarded[--guarded_count];
        }
        break;
      default: return 1;
    }
  }
  if (lock_count > 0) end_guarded_groups();
  for (int i = 0; i < lock_count; i++) clear_name(&locks[i]);
  return 0;
}
