#define _GNU_SOURCE
#include "clinux_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_FOUND 4096
#define TEMPORARY_SECONDS 3600

struct found {
  char name[256];
  time_t changed;
};

struct rules {
  const char *prefix;
  const char *suffix;
  const char *lock_suffix;
  long keep;
  long seconds;
  const char *own;
};

static bool parse(struct rules *rules, const char *text, size_t length) {
  const char *fields[6];
  const char *at = text, *end = text + length;
  for (int i = 0; i < 6; i++) {
    const char *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
    if (zero == NULL) return false;
    fields[i] = at;
    at = zero + 1;
  }
  *rules = (struct rules){fields[0], fields[1], fields[2], strtol(fields[3], NULL, 10),
                          strtol(fields[4], NULL, 10), fields[5]};
  return true;
}

static bool ends_with(const char *name, const char *suffix) {
  size_t length = strlen(name), tail = strlen(suffix);
  return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

static int newest_first(const void *left, const void *right) {
  time_t a = ((const struct found *)left)->changed, b = ((const struct found *)right)->changed;
  return a < b ? 1 : a > b ? -1 : 0;
}

// A lock whose file was never written: its holder died or failed at its work.
static bool is_orphaned_lock(int directory, const struct rules *rules, const char *name) {
  if (rules->lock_suffix[0] == 0 || !ends_with(name, rules->lock_suffix)) return false;
  char file[512];
  size_t stem = strlen(name) - strlen(rules->lock_suffix);
  snprintf(file, sizeof file, "%.*s%s", (int)stem, name, rules->suffix);
  if (strcmp(file, rules->own) == 0) return false;
  return faccessat(directory, file, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

// Only when nobody has it.
static void remove_lock(int directory, const char *name) {
  int fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlinkat(directory, name, 0);
  close(fd);
}

// Under its lock, when it has one: nobody is at work on what it marks.
static void remove_one(int directory, const struct rules *rules, const char *name) {
  if (rules->lock_suffix[0] == 0) {
    unlinkat(directory, name, 0);
    return;
  }
  char lock[512];
  size_t stem = strlen(name) - strlen(rules->suffix);
  snprintf(lock, sizeof lock, "%.*s%s", (int)stem, name, rules->lock_suffix);
  int fd = openat(directory, lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno != ENOENT) return;
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
    close(fd);
    return;
  }
  unlinkat(directory, name, 0);
  if (fd < 0) return;
  unlinkat(directory, lock, 0);
  close(fd);
}

int clinux_prune(const char *path, const char *text, unsigned long length) {
  struct rules rules;
  if (!parse(&rules, text, length)) return EINVAL;
  int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (directory < 0) return errno;
  DIR *list = fdopendir(dup(directory));
  struct found *found = calloc(MAX_FOUND, sizeof *found);
  if (list == NULL || found == NULL) {
    if (list != NULL) closedir(list);
    free(found);
    close(directory);
    return ENOMEM;
  }
  time_t now = time(NULL);
  size_t count = 0;
  struct dirent *entry;
  while ((entry = readdir(list)) != NULL) {
    const char *name = entry->d_name;
    struct stat status;
    if (strncmp(name, rules.prefix, strlen(rules.prefix)) != 0 || strlen(name) >= sizeof found->name) continue;
    if (fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode)) continue;
    if (ends_with(name, ".tmp") && now - status.st_mtime > TEMPORARY_SECONDS) unlinkat(directory, name, 0);
    if (now - status.st_mtime > rules.seconds && is_orphaned_lock(directory, &rules, name)) remove_lock(directory, name);
    if (!ends_with(name, rules.suffix) || strlen(name) < strlen(rules.prefix) + strlen(rules.suffix)) continue;
    if (count == MAX_FOUND) continue;
    snprintf(found[count].name, sizeof found->name, "%s", name);
    found[count].changed = status.st_mtime;
    count++;
  }
  closedir(list);
  qsort(found, count, sizeof *found, newest_first);
  for (size_t i = 0; i < count; i++) {
    if ((long)i < rules.keep || now - found[i].changed <= rules.seconds) continue;
    if (strcmp(found[i].name, rules.own) != 0) remove_one(directory, &rules, found[i].name);
  }
  free(found);
  close(directory);
  return 0;
}
