// What the next program inherits. Each option acts at once, in the order given, so that a test can say
// `--block TERM --raise TERM` (a signal that is already pending at the start) and mean it.
#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

static void must(int result, const char *what) {
  if (result != 0) die("%s: %s", what, strerror(errno));
}

static void block_signal(int number) {
  unsigned long long bit = 1ULL << (number - 1);
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &bit, NULL, 8);
}

static void ignore_signal(int number) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  must(sigaction(number, &action, NULL), "sigaction");
}

/// `FD` (on /dev/null) or `FD=PATH`, without close-on-exec.
static void open_descriptor(const char *text) {
  char *end = NULL;
  int wanted = (int)strtol(text, &end, 10);
  const char *path = *end == '=' ? end + 1 : "/dev/null";
  int descriptor = open(path, O_RDWR);
  if (descriptor < 0) descriptor = open(path, O_RDONLY);
  if (descriptor < 0) die("open %s: %s", path, strerror(errno));
  if (descriptor != wanted) {
    if (dup2(descriptor, wanted) < 0) die("dup2 %d: %s", wanted, strerror(errno));
    close(descriptor);
  }
}

/// `NAME=SOFT` or `NAME=SOFT:HARD`.
static void set_limit(const char *text) {
  static const struct {
    const char *name;
    int resource;
  } names[] = {{"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC}, {"stack", RLIMIT_STACK},
               {"core", RLIMIT_CORE},     {"as", RLIMIT_AS},       {"fsize", RLIMIT_FSIZE}};
  const char *equals = strchr(text, '=');
  if (equals == NULL) die("--limit NAME=SOFT[:HARD], not %s", text);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strncmp(names[i].name, text, (size_t)(equals - text)) != 0) continue;
    struct rlimit limit;
    char *end = NULL;
    limit.rlim_cur = strtoull(equals + 1, &end, 10);
    limit.rlim_max = *end == ':' ? strtoull(end + 1, NULL, 10) : limit.rlim_cur;
    must(setrlimit(names[i].resource, &limit), "setrlimit");
    return;
  }
  die("unknown limit: %s", text);
}

static void set_groups(const char *text) {
  gid_t groups[32];
  size_t count = 0;
  if (strcmp(text, "none") != 0) {
    char *copy = strdup(text);
    for (char *part = strtok(copy, ","); part != NULL && count < 32; part = strtok(NULL, ","))
      groups[count++] = (gid_t)parse_number(part);
    free(copy);
  }
  must(setgroups(count, groups), "setgroups");
}

/// Takes a capability from the bounding set too, so that an exec as root does not bring it back.
static void drop_capability(int number) {
  must(prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "PR_CAPBSET_DROP");
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2];
  must((int)syscall(SYS_capget, &header, data), "capget");
  unsigned int bit = ~(1U << (number % 32));
  data[number / 32].effective &= bit;
  data[number / 32].permitted &= bit;
  data[number / 32].inheritable &= bit;
  must((int)syscall(SYS_capset, &header, data), "capset");
}

static void private_mounts(void) {
  must(unshare(CLONE_NEWNS), "unshare");
  must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount --make-rprivate");
}

static void read_only_root(void) {
  private_mounts();
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
  int result = (int)syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes);
  must(result, "mount_setattr");
}

static void fresh_proc(const char *options) {
  private_mounts();
  must(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, options), "mount /proc");
}

/// `PATH` or `PATH=OPTIONS` (`size=8192,nr_inodes=20`): an empty file system there, so that a folder can be
/// writable, or full, by itself.
static void mount_tmpfs(const char *text) {
  char path[4096], options[128] = "mode=0755";
  snprintf(path, sizeof path, "%s", text);
  char *equals = strchr(path, '=');
  if (equals != NULL) {
    *equals = 0;
    snprintf(options, sizeof options, "mode=0755,%s", equals + 1);
  }
  must(mount("none", path, "tmpfs", MS_NOSUID | MS_NODEV, options), "mount tmpfs");
}

/// `SOURCE=TARGET`: shows one folder in the place of another.
static void bind_mount(const char *text) {
  char source[4096];
  snprintf(source, sizeof source, "%s", text);
  char *equals = strchr(source, '=');
  if (equals == NULL) die("--bind SOURCE=TARGET, not %s", text);
  *equals = 0;
  must(mount(source, equals + 1, NULL, MS_BIND, NULL), "bind mount");
}

/// Moves this process into a control group, by the group's folder.
static void join_control_group(const char *folder) {
  char path[4096], text[32];
  snprintf(path, sizeof path, "%s/cgroup.procs", folder);
  int file = open(path, O_WRONLY | O_CLOEXEC);
  int length = snprintf(text, sizeof text, "%d", getpid());
  if (file < 0 || write(file, text, (size_t)length) != length) die("%s: %s", path, strerror(errno));
  close(file);
}

/// Fills the file system of a folder: to its last byte, or to its last inode.
static void fill(const char *folder, bool with_files) {
  char path[4096], block[4096];
  memset(block, 'x', sizeof block);
  for (int i = 0;; i++) {
    snprintf(path, sizeof path, "%s/filler-%d", folder, i);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) break;
    while (!with_files && write(file, block, sizeof block) > 0) continue;
    close(file);
    if (!with_files) break;
  }
  if (errno != ENOSPC) die("fill %s: %s", folder, strerror(errno));
}

/// A child that the next program did not start: it waits for USR1 and ends with `code`.
static void foreign_child(int code) {
  pid_t child = fork();
  if (child < 0) die("fork: %s", strerror(errno));
  if (child > 0) return;
  sigset_t all;
  siginfo_t info;
  block_all(&all);
  close_range(3, ~0U, 0);
  say("foreign %d", getpid());
  while (next_signal(&all, &info) != SIGUSR1) continue;
  _exit(code);
}

static void terminal_stops_background_writers(void) {
  struct termios modes;
  must(tcgetattr(0, &modes), "tcgetattr");
  modes.c_lflag |= TOSTOP;
  must(tcsetattr(0, TCSANOW, &modes), "tcsetattr");
}

/// Options without a value. Returns false when `name` is none of them.
static bool apply_flag(const char *name) {
  if (strcmp(name, "--controlling-terminal") == 0) {
    // Session leader, terminal on standard input, its group in the foreground.
    if (getsid(0) != getpid() && setsid() < 0) die("setsid: %s", strerror(errno));
    must(ioctl(0, TIOCSCTTY, 0), "TIOCSCTTY");
    must(tcsetpgrp(0, getpgrp()), "tcsetpgrp");
  } else if (strcmp(name, "--tostop") == 0) {
    terminal_stops_background_writers();
  } else if (strcmp(name, "--private-mounts") == 0) {
    private_mounts();
  } else if (strcmp(name, "--mount-proc") == 0) {
    fresh_proc(NULL);
  } else if (strcmp(name, "--hidepid") == 0) {
    fresh_proc("hidepid=2");
  } else if (strcmp(name, "--no-proc") == 0) {
    private_mounts();
    must(mount("none", "/proc", "tmpfs", 0, NULL), "cover /proc");
  } else if (strcmp(name, "--read-only-root") == 0) {
    read_only_root();
  } else if (strcmp(name, "--remove-cwd") == 0) {
    char path[4096];
    if (getcwd(path, sizeof path) == NULL) die("getcwd: %s", strerror(errno));
    must(rmdir(path), "rmdir");
  } else {
    return false;
  }
  return true;
}

static void apply_option(const char *name, const char *value) {
  if (strcmp(name, "--ignore") == 0) {
    ignore_signal(parse_signal(value));
  } else if (strcmp(name, "--block") == 0) {
    block_signal(parse_signal(value));
  } else if (strcmp(name, "--raise") == 0) {
    kill(getpid(), parse_signal(value));
  } else if (strcmp(name, "--close") == 0) {
    close((int)parse_number(value));
  } else if (strcmp(name, "--open") == 0) {
    open_descriptor(value);
  } else if (strcmp(name, "--limit") == 0) {
    set_limit(value);
  } else if (strcmp(name, "--umask") == 0) {
    umask((mode_t)strtol(value, NULL, 8));
  } else if (strcmp(name, "--cwd") == 0) {
    must(chdir(value), value);
  } else if (strcmp(name, "--groups") == 0) {
    set_groups(value);
  } else if (strcmp(name, "--gid") == 0) {
    must(setresgid((gid_t)parse_number(value), (gid_t)parse_number(value), (gid_t)parse_number(value)), name);
  } else if (strcmp(name, "--uid") == 0) {
    must(setresuid((uid_t)parse_number(value), (uid_t)parse_number(value), (uid_t)parse_number(value)), name);
  } else if (strcmp(name, "--drop-capability") == 0) {
    drop_capability((int)parse_number(value));
  } else if (strcmp(name, "--seccomp") == 0) {
    install_seccomp_rule(value);
  } else if (strcmp(name, "--mount-tmpfs") == 0) {
    mount_tmpfs(value);
  } else if (strcmp(name, "--remount-read-only") == 0) {
    must(mount("none", value, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL), "remount");
  } else if (strcmp(name, "--bind") == 0) {
    bind_mount(value);
  } else if (strcmp(name, "--join") == 0) {
    join_control_group(value);
  } else if (strcmp(name, "--fill") == 0) {
    fill(value, false);
  } else if (strcmp(name, "--fill-inodes") == 0) {
    fill(value, true);
  } else if (strcmp(name, "--foreign-child") == 0) {
    foreign_child((int)parse_number(value));
  } else {
    die("unknown option: %s", name);
  }
}

int apply_inherited_state(int argc, char **argv, int first) {
  for (int i = first; i < argc; i++) {
    if (strcmp(argv[i], "--") == 0) {
      if (i + 1 >= argc) die("no command after --");
      return i + 1;
    }
    if (apply_flag(argv[i])) continue;
    if (i + 1 >= argc) die("%s needs a value", argv[i]);
    apply_option(argv[i], argv[i + 1]);
    i++;
  }
  die("no -- before the command");
}

int command_with(int argc, char **argv) {
  int command = apply_inherited_state(argc, argv, 2);
  execvp(argv[command], argv + command);
  die("exec %s: %s", argv[command], strerror(errno));
}
