#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clinux_files.h"

struct search {
  const char *path;
  size_t path_length;
  char *out;
  size_t capacity;
  size_t length;
};

// A link of /proc ends in " (deleted)" when its file is; it holds the mount all the same.
static bool is_inside(const struct search *search, const char *target) {
  if (strncmp(target, search->path, search->path_length) != 0) return false;
  char next = target[search->path_length];
  return next == 0 || next == '/' || search->path_length == 1;
}

static void report(struct search *search, int pid, const char *kind, const char *target) {
  size_t room = search->capacity - search->length;
  int size = snprintf(search->out + search->length, room, "%d %s %s\n", pid, kind, target);
  if (size > 0 && (size_t)size < room) search->length += (size_t)size;
}

// Reading the link does not touch the file system that it leads to.
static void look_at_link(struct search *search, int pid, const char *kind, const char *link) {
  char target[4096];
  ssize_t size = readlink(link, target, sizeof target - 1);
  if (size <= 0) return;
  target[size] = 0;
  if (is_inside(search, target)) report(search, pid, kind, target);
}

static void look_at_descriptors(struct search *search, int pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *directory = opendir(path);
  if (directory == NULL) return;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    if (entry->d_name[0] == '.') continue;
    char link[64 + sizeof entry->d_name];
    snprintf(link, sizeof link, "/proc/%d/fd/%s", pid, entry->d_name);
    look_at_link(search, pid, "file", link);
  }
  closedir(directory);
}

static void look_at_maps(struct search *search, int pid) {
  char path[64], *line = NULL, last[4096] = "";
  size_t capacity = 0;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return;
  while (getline(&line, &capacity, file) > 0) {
    char *target = strchr(line, '/');
    if (target == NULL) continue;
    target[strcspn(target, "\n")] = 0;
    // A file is mapped in several pieces: once is enough.
    if (!is_inside(search, target) || strcmp(target, last) == 0) continue;
    snprintf(last, sizeof last, "%s", target);
    report(search, pid, "map", target);
  }
  free(line);
  fclose(file);
}

long clinux_find_holders(const char *path, char *out, unsigned long capacity) {
  struct search search = {.path = path, .path_length = strlen(path), .out = out, .capacity = capacity};
  while (search.path_length > 1 && path[search.path_length - 1] == '/') search.path_length--;
  if (path[0] != '/') return -EINVAL;
  DIR *processes = opendir("/proc");
  if (processes == NULL) return -errno;
  struct dirent *entry;
  while ((entry = readdir(processes)) != NULL) {
    char *end;
    long pid = strtol(entry->d_name, &end, 10);
    if (end == entry->d_name || *end != 0 || pid <= 0) continue;
    static const char *const links[][2] = {{"cwd", "cwd"}, {"root", "root"}, {"exe", "program"}};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
      char link[64];
      snprintf(link, sizeof link, "/proc/%ld/%s", pid, links[i][0]);
      look_at_link(&search, (int)pid, links[i][1], link);
    }
    look_at_descriptors(&search, (int)pid);
    look_at_maps(&search, (int)pid);
  }
  closedir(processes);
  return (long)search.length;
}
