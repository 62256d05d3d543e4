// Starts init programs, each with a probe as its child, and times them in turn:
//
//   launch start  ROUNDS WARMUP  COMMAND ::: COMMAND …     just before execve → child's first instruction
//   launch cold   ROUNDS WARMUP  COMMAND ::: COMMAND …     the same, the init program read from the disk
//   launch signal ROUNDS BLOCK   COMMAND ::: COMMAND …     USR1 to the init → handler in the child
//   launch stop   ROUNDS WARMUP  COMMAND ::: COMMAND …     child's own end → end of the init seen
//
// Every round visits each command once, forwards in even rounds and backwards in odd ones: a machine
// that gets slower or faster then does so for all of them. Results are lines on stdout,
// "<index of the command> <what> <nanoseconds or count>".

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "clock.h"

enum { MOST_COMMANDS = 8, PATIENCE_MS = 10000 };

struct running {
  pid_t pid;
  int output;       // our end of its stdout
  int64_t started;  // the clock just before execve
};

static int64_t *shared_clock;  // written by the forked child, read by us: survives its execve

static void give_up(const char *what, const char *about) {
  fprintf(stderr, "launch: %s: %s: %s\n", what, about, errno ? strerror(errno) : "no answer");
  exit(1);
}

static void kill_and_give_up(struct running *one, const char *what, const char *about) {
  int reason = errno;
  kill(one->pid, SIGTERM);
  for (int i = 0; i < 200 && waitpid(one->pid, NULL, WNOHANG) == 0; i++) pause_for(5000000);
  kill(one->pid, SIGKILL);
  errno = reason;
  give_up(what, about);
}

static struct running start(char **command) {
  int ends[2];
  struct running result = {0, -1, 0};
  if (pipe2(ends, O_CLOEXEC) < 0) give_up("pipe2", command[0]);
  result.pid = fork();
  if (result.pid < 0) give_up("fork", command[0]);
  if (result.pid == 0) {
    // No terminal on stdin: the init programs would hand it over, which is not what is measured.
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    *shared_clock = clock_now();
    execv(command[0], command);
    _exit(127);
  }
  close(ends[1]);
  result.output = ends[0];
  return result;
}

// Reads one sample; 0 when none came in time or the child is gone.
static int sample(struct running *one, int64_t *value) {
  struct pollfd ready = {one->output, POLLIN, 0};
  errno = 0;
  if (poll(&ready, 1, PATIENCE_MS) != 1) return 0;
  return read(one->output, value, sizeof *value) == sizeof *value;
}

static void evict(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (file < 0 || fstat(file, &info) < 0) give_up("open", path);
  fdatasync(file);
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  // Believe the kernel, not the advice: count what stayed.
  size_t pages = ((size_t)info.st_size + 4095) / 4096;
  unsigned char *resident = malloc(pages);
  void *view = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, file, 0);
  if (view == MAP_FAILED || !resident || mincore(view, (size_t)info.st_size, resident) < 0) {
    give_up("mincore", path);
  }
  size_t stayed = 0;
  for (size_t i = 0; i < pages; i++) stayed += resident[i] & 1;
  munmap(view, (size_t)info.st_size);
  free(resident);
  close(file);
  if (stayed * 20 > pages) {
    fprintf(stderr, "launch: %s stayed in the page cache (%zu of %zu pages)\n", path, stayed, pages);
    exit(1);
  }
}

static void time_start(char **command, int index, int print, int cold) {
  int64_t first;
  if (cold) evict(command[0]);
  struct running one = start(command);
  if (!sample(&one, &first)) kill_and_give_up(&one, "no first instruction", command[0]);
  waitpid(one.pid, NULL, 0);
  close(one.output);
  if (print) printf("%d start %lld\n", index, (long long)(first - *shared_clock));
}

static void time_stop(char **command, int index, int print) {
  int64_t value;
  struct running one = start(command);
  if (!sample(&one, &value)) kill_and_give_up(&one, "the child does not run", command[0]);
  pause_for(30000000);  // a stop from rest, not in the middle of the start
  int64_t asked = clock_now();
  kill(one.pid, SIGTERM);
  if (!sample(&one, &value)) kill_and_give_up(&one, "the child was not stopped", command[0]);
  int64_t deadline = asked + (int64_t)PATIENCE_MS * 1000000;
  // A blocking wait sees the end as soon as the kernel tells it; the alarm is the deadline.
  alarm((unsigned)((deadline - asked) / 1000000000) + 1);
  int status;
  if (waitpid(one.pid, &status, 0) != one.pid) kill_and_give_up(&one, "wait", command[0]);
  int64_t ended = clock_now();
  alarm(0);
  close(one.output);
  if (!print) return;
  printf("%d stop %lld\n", index, (long long)(ended - value));
  printf("%d asked %lld\n", index, (long long)(ended - asked));
  printf("%d code %d\n", index, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// Processor time of all threads of a process, in nanoseconds, once it has gone to sleep.
static int64_t processor_time(pid_t pid) {
  char path[300], state = 0;
  for (int i = 0; i < 200 && state != 'S'; i++) {
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *stat = fopen(path, "re");
    if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1) give_up("read", path);
    fclose(stat);
    if (state != 'S') pause_for(100000);
  }
  int64_t total = 0;
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *threads = opendir(path);
  if (!threads) give_up("read", path);
  for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    long long spent = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%lld", &spent) != 1) give_up("read", path);
    fclose(file);
    total += spent;
  }
  closedir(threads);
  return total;
}

static void time_signals(char ***commands, int count, int rounds, int block) {
  struct running all[MOST_COMMANDS];
  int64_t value, spent[MOST_COMMANDS] = {0};
  int lost[MOST_COMMANDS] = {0};
  for (int c = 0; c < count; c++) {
    all[c] = start(commands[c]);
    if (!sample(&all[c], &value)) kill_and_give_up(&all[c], "the child does not run", commands[c][0]);
  }
  pause_for(200000000);
  // Round -1 warms up and is not printed.
  for (int round = -1; round < rounds; round++) {
    for (int turn = 0; turn < count; turn++) {
      int c = round & 1 ? count - 1 - turn : turn;
      int64_t before = processor_time(all[c].pid);
      for (int i = 0; i < block; i++) {
        int64_t sent = clock_now();
        if (kill(all[c].pid, SIGUSR1) < 0) give_up("kill", commands[c][0]);
        if (!sample(&all[c], &value)) {
          lost[c]++;
        } else if (round >= 0) {
          printf("%d latency %lld\n", c, (long long)(value - sent));
        }
        // Lets the init go back to sleep: the next sample begins from rest, with a warm processor.
        for (int64_t until = clock_now() + 100000; clock_now() < until;) {
        }
      }
      if (round >= 0) spent[c] += processor_time(all[c].pid) - before;
    }
  }
  for (int c = 0; c < count; c++) {
    printf("%d processor %lld\n%d lost %d\n", c, (long long)spent[c] / (rounds * block), c, lost[c]);
    kill(all[c].pid, SIGTERM);
  }
  for (int c = 0; c < count; c++) waitpid(all[c].pid, NULL, 0);
}

static void too_late(int number) { (void)number; }

int main(int argc, char **argv) {
  char **commands[MOST_COMMANDS];
  int count = 0;
  if (argc < 5) return 64;
  const char *what = argv[1];
  int rounds = atoi(argv[2]), extra = atoi(argv[3]);
  for (int i = 4; i < argc && count < MOST_COMMANDS; i++) {
    commands[count++] = &argv[i];
    while (i < argc && strcmp(argv[i], ":::") != 0) i++;
    if (i < argc) argv[i] = NULL;
  }
  shared_clock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared_clock == MAP_FAILED) give_up("mmap", what);
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = too_late;  // without SA_RESTART: interrupts the wait
  sigaction(SIGALRM, &action, NULL);

  if (strcmp(what, "signal") == 0) {
    time_signals(commands, count, rounds, extra);
    return 0;
  }
  for (int round = -extra; round < rounds; round++) {
    for (int turn = 0; turn < count; turn++) {
      int c = round & 1 ? count - 1 - turn : turn;
      if (strcmp(what, "stop") == 0) {
        time_stop(commands[c], c, round >= 0);
      } else {
        time_start(commands[c], c, round >= 0, strcmp(what, "cold") == 0);
      }
    }
  }
  return 0;
}
