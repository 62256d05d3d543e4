#define _GNU_SOURCE
#include "clinux_process.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static int take(struct clinux_exit *out, int extra) {
  siginfo_t info;
  info.si_pid = 0;
  // Never WSTOPPED or WCONTINUED: a stopped child has not ended. __WALL also takes children whose exit signal
  // is not SIGCHLD.
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL | extra) < 0) {
    return errno == EINTR ? 0 : -errno;
  }
  if (info.si_pid == 0) return 0;
  out->pid = info.si_pid;
  out->exit_code = info.si_code == CLD_EXITED ? info.si_status : 0;
  out->signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
  return 1;
}

int clinux_reap(struct clinux_exit *out) { return take(out, 0); }
int clinux_reap_peek(struct clinux_exit *out) { return take(out, WNOWAIT); }

int clinux_pidfd_open(int pid) {
  long fd = syscall(SYS_pidfd_open, pid, 0);
  return fd < 0 ? -errno : (int)fd;
}

int clinux_pidfd_signal(int pidfd, int signal) {
  return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

int clinux_subreaper_set(bool on) {
  return prctl(PR_SET_CHILD_SUBREAPER, on ? 1L : 0L, 0L, 0L, 0L) < 0 ? -errno : 0;
}

int clinux_subreaper_get(void) {
  int on = 0;
  return prctl(PR_GET_CHILD_SUBREAPER, &on, 0L, 0L, 0L) < 0 ? -errno : on != 0;
}

int clinux_death_signal_set(int signal) {
  return prctl(PR_SET_PDEATHSIG, (long)signal, 0L, 0L, 0L) < 0 ? -errno : 0;
}

int clinux_close_range_works(void) {
  // The highest number is never open, so this changes nothing.
  return syscall(SYS_close_range, ~0u, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) < 0 ? -errno : 1;
}

int clinux_process_read(int pid, struct clinux_process *out) {
  char path[40], text[512];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t size = read(fd, text, sizeof text - 1);
  int error = size < 0 ? -errno : 0;
  close(fd);
  if (error != 0) return error;
  text[size] = 0;
  // The name may itself contain spaces and parentheses: it ends at the last one.
  char *open_mark = strchr(text, '('), *close_mark = strrchr(text, ')');
  if (open_mark == NULL || close_mark == NULL || close_mark < open_mark) return -EINVAL;
  *close_mark = 0;
  memset(out, 0, sizeof *out);
  snprintf(out->name, sizeof out->name, "%s", open_mark + 1);
  out->pid = pid;
  unsigned long long start = 0;
  int fields = sscanf(close_mark + 1, " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                      &out->state, &out->parent, &out->group, &out->session, &start);
  out->start_time = start;
  return fields == 5 ? 0 : -EINVAL;
}

int clinux_process_list(struct clinux_process *out, int capacity) {
  DIR *directory = opendir("/proc");
  if (directory == NULL) return -errno;
  int count = 0;
  struct dirent *entry;
  while ((entry = readdir(directory)) != NULL) {
    char *end;
    long pid = strtol(entry->d_name, &end, 10);
    if (end == entry->d_name || *end != 0 || pid <= 0) continue;
    struct clinux_process process;
    if (clinux_process_read((int)pid, &process) != 0) continue;
    if (count < capacity) out[count] = process;
    count++;
  }
  closedir(directory);
  return count;
}

extern const Elf64_Ehdr __ehdr_start __attribute__((weak, visibility("hidden")));

void clinux_release_start_pages(void) {
  if (&__ehdr_start == NULL) return;
  const char *image = (const char *)&__ehdr_start;
  const Elf64_Phdr *segments = (const Elf64_Phdr *)(image + __ehdr_start.e_phoff);
  uintptr_t slide = 0;
  for (int i = 0; i < __ehdr_start.e_phnum; i++) {
    if (segments[i].p_type == PT_LOAD && segments[i].p_offset == 0) {
      slide = (uintptr_t)image - segments[i].p_vaddr;
    }
  }
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < __ehdr_start.e_phnum; i++) {
    if (segments[i].p_type != PT_LOAD || (segments[i].p_flags & PF_W) != 0) continue;
    uintptr_t start = (slide + segments[i].p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (slide + segments[i].p_vaddr + segments[i].p_filesz) & ~(page - 1);
    if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
  }
}

static int release_object(struct dl_phdr_info *object, size_t size, void *context) {
  (void)size;
  (void)context;
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0) continue;
    uintptr_t start = (object->dlpi_addr + segment->p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
    if (start < end) madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}

void clinux_release_library_pages(void) { dl_iterate_phdr(release_object, NULL); }

void clinux_stdio_ensure(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    // open takes the lowest free number, which is fd, since those below are open by now.
    int opened = open("/dev/null", O_RDWR);
    if (opened >= 0 && opened != fd) close(opened);
  }
}

int clinux_terminal_state(int fd) {
  pid_t session = 0;
  if (ioctl(fd, TIOCGSID, &session) < 0) return 0;
  return session == getpid() ? 1 : 2;
}

int clinux_terminal_release(int fd) { return ioctl(fd, TIOCNOTTY) < 0 ? -errno : 0; }
