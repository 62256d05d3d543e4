#define _GNU_SOURCE
#include "clinux_files.h"
#include "clinux_process.h"
#include "file_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

// The locks that a file helper holds, and the process groups that end before they go.

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

static struct lock locks[MAX_LOCKS];
static int lock_count;
static int guarded[MAX_GUARDED];
static int guarded_count;

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

bool clinux_locks_name(void) {
  bool named = true;
  for (int i = 0; i < lock_count; i++) {
    if (!locks[i].is_named) locks[i].is_named = say(locks[i].fd, locks[i].owner, locks[i].owner_length);
    named = named && locks[i].is_named;
  }
  return named;
}

// Somebody may have removed the file while we waited for its lock: then the lock is on nothing that others see.
static bool is_still_there(const char *path, int fd) {
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

// When a file was touched last; zero when that cannot be told.
static struct timespec touched(int fd) {
  struct stat status;
  struct timespec never = {0, 0};
  return fstat(fd, &status) == 0 ? status.st_mtim : never;
}

// Waits for the lock, telling of each holder and of each sign of its life. Returns 0, -1 with errno, or -2 when nobody
// listens any more.
static int wait_for_lock(int fd) {
  static char said[1024], now[1024];
  ssize_t said_length = -1;
  struct timespec seen = {0, 0};
  for (;;) {
    struct timespec last = touched(fd);
    ssize_t length = pread(fd, now, sizeof now, 0);
    if (length < 0) length = 0;
    bool is_touched = last.tv_sec != seen.tv_sec || last.tv_nsec != seen.tv_nsec;
    // A holder that has not written its name yet, or that is giving the lock back, is no news after a name.
    bool is_news = said_length < 0 || (length > 0 && (is_touched || length != said_length ||
                                                      memcmp(now, said, (size_t)length) != 0));
    if (is_news) {
      seen = last;
      if (!clinux_file_answer(CLINUX_FILE_LOCK, EWOULDBLOCK, CLINUX_FILE_STAGE_LOCK, now, (size_t)length)) return -2;
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
static int open_locked(const char *path) {
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return clinux_file_answer(CLINUX_FILE_LOCK, errno, CLINUX_FILE_STAGE_OPEN, NULL, 0) ? -1 : -2;
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
      return clinux_file_answer(CLINUX_FILE_LOCK, error, CLINUX_FILE_STAGE_LOCK, NULL, 0) ? -1 : -2;
    }
    if (is_still_there(path, fd)) return fd;
    close(fd);
  }
}

// What a lock file says once it is given back in order: nothing, unless what our predecessor ran may still do so.
static void clear_name(const struct lock *lock) {
  bool is_settled = lock->left_length == 0 || clinux_file_milliseconds() >= lock->settled_at;
  if (!say(lock->fd, lock->left, is_settled ? 0 : lock->left_length)) {
    // The next holder waits a little for what we ran to end, though it has: nothing worse.
  }
}

bool clinux_locks_take(const char *path, uint32_t settling, bool must_be_named, char *data, size_t length) {
  if (lock_count == MAX_LOCKS) return clinux_file_answer(CLINUX_FILE_LOCK, ENOLCK, CLINUX_FILE_STAGE_LOCK, NULL, 0);
  // `data` is needed for what the file says now.
  struct lock *lock = &locks[lock_count];
  lock->owner_length = length < MAX_OWNER ? length : MAX_OWNER;
  memcpy(lock->owner, data, lock->owner_length);
  int fd = open_locked(path);
  if (fd < 0) return fd == -1;
  // From here on the death of PID 1 is met by ending the groups first; until now it was to end us at once.
  prctl(PR_SET_PDEATHSIG, 0L, 0L, 0L, 0L);
  // A holder that gives its lock back empties the file: what is there names one that vanished.
  ssize_t left = clinux_file_read_all(fd, data);
  lock->left_length = left <= 0 ? 0 : left < MAX_OWNER ? (size_t)left : MAX_OWNER;
  memcpy(lock->left, data, lock->left_length);
  lock->settled_at = clinux_file_milliseconds() + (long)settling;
  snprintf(lock->path, MAX_PATH, "%s", path);
  lock->fd = fd;
  lock->is_named = false;
  lock_count++;
  // When that fails, those who wait do not learn whom they wait for; it is tried again before anything is written.
  if (!clinux_locks_name() && must_be_named) {
    int error = errno;
    clear_name(lock);
    close(lock->fd);
    lock_count--;
    return clinux_file_answer(CLINUX_FILE_LOCK, error, CLINUX_FILE_STAGE_WRITE, NULL, 0);
  }
  return clinux_file_answer(CLINUX_FILE_LOCK, 0, 0, lock->left, lock->left_length);
}

bool clinux_locks_release(const char *path) {
  for (int i = 0; i < lock_count; i++) {
    if (strcmp(locks[i].path, path) != 0) continue;
    clear_name(&locks[i]);
    close(locks[i].fd);
    locks[i] = locks[--lock_count];
    return clinux_file_answer(CLINUX_FILE_UNLOCK, 0, 0, NULL, 0);
  }
  return clinux_file_answer(CLINUX_FILE_UNLOCK, ENOENT, CLINUX_FILE_STAGE_LOCK, NULL, 0);
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

void clinux_locks_touch(void) {
  for (int i = 0; i < lock_count; i++) {
    if (futimens(locks[i].fd, NULL) != 0) {
      // Those who wait see fewer signs of life than there are.
    }
  }
}

bool clinux_locks_held(void) { return lock_count > 0; }

bool clinux_locks_stand(void) {
  for (int i = 0; i < lock_count; i++) {
    struct stat ours, theirs;
    if (fstat(locks[i].fd, &ours) < 0) continue;
    // A file system that cannot say it now may do so later; nothing can be written there meanwhile anyway.
    if (stat(locks[i].path, &theirs) < 0 ? errno == ENOENT : ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev) {
      return false;
    }
  }
  return true;
}

void clinux_locks_guard(int group) {
  if (guarded_count < MAX_GUARDED) guarded[guarded_count++] = group;
}

void clinux_locks_unguard(int group) {
  for (int i = 0; i < guarded_count; i++) {
    if (guarded[i] == group) guarded[i--] = guarded[--guarded_count];
  }
}

void clinux_locks_begin(void) {
  lock_count = 0;
  guarded_count = 0;
}

void clinux_locks_end(void) {
  if (lock_count > 0) end_guarded_groups();
  for (int i = 0; i < lock_count; i++) clear_name(&locks[i]);
}
