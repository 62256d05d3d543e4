// Makes orphans for the PID 1 of its own PID namespace to reap, and watches that PID 1:
//
//   orphans stream COUNT quiet   one after the other, each as soon as the last one's parent is gone
//   orphans burst  COUNT quiet   all are dead and unreaped when their parent ends: PID 1 inherits them at once
//   orphans storm  COUNT quiet   all live, are PID 1's, and die at the same moment
//
// With `forwarded` in place of `quiet`, USR1 after USR1 is sent to PID 1 meanwhile, which forwards it
// here; with `direct` the same signals come straight here, to show what the load alone costs.
//
// Prints "<what> <number>" lines: `seconds` until not one of them was left, even as a zombie;
// `processor`, nanoseconds of PID 1 per orphan (quiet only); `zombies` left (0, unless PID 1 failed);
// with signals `sent`, `lost`, and `median` and `slowest` in nanoseconds from the kill to the handler.

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "clock.h"

enum { MOST_SIGNALS = 100000 };
static const int64_t patience = 60000000000;

static void give_up(const char *what) {
  fprintf(stderr, "orphans: %s: %s\n", what, strerror(errno));
  _exit(1);
}

static int64_t processor_time_of_pid_1(int when_asleep) {
  char state = 0;
  for (int i = 0; when_asleep && i < 1000 && state != 'S'; i++) {
    FILE *stat = fopen("/proc/1/stat", "re");
    if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1) give_up("read /proc/1/stat");
    fclose(stat);
    if (state != 'S') pause_for(100000);
  }
  int64_t total = 0;
  DIR *threads = opendir("/proc/1/task");
  if (!threads) give_up("read /proc/1/task");
  for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    char path[300];
    long long spent = 0;
    snprintf(path, sizeof path, "/proc/1/task/%s/schedstat", entry->d_name);
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%lld", &spent) != 1) give_up(path);
    fclose(file);
    total += spent;
  }
  closedir(threads);
  return total;
}

static int count_zombies(void) {
  int zombies = 0;
  DIR *all = opendir("/proc");
  if (!all) give_up("read /proc");
  for (struct dirent *entry; (entry = readdir(all)) != NULL;) {
    char path[300], state = 0;
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
    FILE *stat = fopen(path, "re");
    if (stat && fscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'Z') zombies++;
    if (stat) fclose(stat);
  }
  closedir(all);
  return zombies;
}

static int processes_of_the_machine(void) {
  struct sysinfo info;
  return sysinfo(&info) == 0 ? info.procs : 0;
}

// Signal 0 to "everybody" finds every process of the namespace but PID 1 and the caller, zombies
// included: ESRCH means that all were reaped. But it walks over all processes under the lock that
// reaping needs, and would slow down what is measured. So it is asked only when the machine's own
// count, which costs nothing, says that nearly all are gone, or after a while (others may have
// started processes meanwhile).
static void wait_until_alone(int full, int count) {
  int64_t began = clock_now(), until = began + patience;
  for (; clock_now() < until; pause_for(500000)) {
    int nearly = full - processes_of_the_machine() >= count - count / 50;
    if (!nearly && clock_now() - began < 3000000000) continue;
    if (kill(-1, 0) < 0 && errno == ESRCH) return;
  }
}

static void make_stream(int count) {
  for (int i = 0; i < count; i++) {
    pid_t parent = fork();
    if (parent < 0) give_up("fork");
    if (parent == 0) {
      pid_t orphan = fork();
      _exit(orphan < 0);
    }
    int status;
    while (waitpid(parent, &status, 0) < 0 && errno == EINTR) {
    }
    if (status != 0) give_up("fork of an orphan");
  }
}

// Makes the orphans of a burst (dead already) or of a storm (alive, waiting for the gate). Returns the
// descriptor whose closing sets them off.
static int make_at_gate(int count, int dead) {
  int gate[2], made[2];
  if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(made, O_CLOEXEC) < 0) give_up("pipe2");
  pid_t parent = fork();
  if (parent < 0) give_up("fork");
  if (parent == 0) {
    char none = 0;
    pid_t *all = calloc((size_t)count, sizeof *all);
    signal(SIGUSR1, SIG_IGN);  // a PID 1 that signals the whole group reaches them too
    close(gate[1]);
    for (int i = 0; i < count; i++) {
      all[i] = fork();
      if (all[i] < 0) _exit(1);
      if (all[i] == 0) {
        while (!dead && read(gate[0], &none, 1) < 0 && errno == EINTR) {
        }
        _exit(0);
      }
    }
    for (int i = 0; dead && i < count; i++) {
      siginfo_t info;
      waitid(P_PID, (id_t)all[i], &info, WEXITED | WNOWAIT);  // dead, and left unreaped
    }
    if (write(made[1], &none, 1) != 1) _exit(1);
    while (dead && read(gate[0], &none, 1) < 0 && errno == EINTR) {
    }
    _exit(0);
  }
  close(gate[0]);
  close(made[1]);
  char none;
  if (read(made[0], &none, 1) != 1) {
    fprintf(stderr, "orphans: cannot have %d processes here (a limit on processes or memory)\n", count);
    _exit(1);
  }
  close(made[0]);
  return gate[1];
}

static atomic_llong answered;  // the clock of the last answer; 0: none since the last signal
static atomic_int is_measuring, stop_sending, sent;
static int64_t latencies[MOST_SIGNALS];
static int lost;

static void answer(int number) {
  (void)number;
  atomic_store(&answered, clock_now());
}

static void *send_signals(void *target) {
  pid_t pid = *(pid_t *)target;
  while (!atomic_load(&stop_sending) && sent < MOST_SIGNALS) {
    atomic_store(&answered, 0);
    int64_t began = clock_now(), deadline = began + 5000000000;
    if (kill(pid, SIGUSR1) < 0) give_up("kill");
    while (atomic_load(&answered) == 0 && clock_now() < deadline) pause_for(20000);
    int64_t seen = atomic_load(&answered);
    if (seen == 0) {
      lost++;
      seen = deadline;
    }
    // Those that were answered before it began say nothing about the burst.
    if (atomic_load(&is_measuring)) latencies[sent++] = seen - began;
    pause_for(1000000);
  }
  return NULL;
}

static int ascending(const void *left, const void *right) {
  int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;
  return a < b ? -1 : a > b;
}

int main(int argc, char **argv) {
  if (argc != 4) return 64;
  int count = atoi(argv[2]);
  int is_quiet = strcmp(argv[3], "quiet") == 0;
  pid_t target = strcmp(argv[3], "forwarded") == 0 ? 1 : getpid();
  pthread_t sender;
  alarm(300);
  int is_stream = strcmp(argv[1], "stream") == 0;
  int gate = is_stream ? -1 : make_at_gate(count, strcmp(argv[1], "burst") == 0);
  pause_for(200000000);  // PID 1 finishes its own start; what was made comes to rest
  if (!is_quiet) {
    // Handled in this thread only: the sender must not be its own witness.
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    signal(SIGUSR1, answer);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    if (pthread_create(&sender, NULL, send_signals, &target) != 0) give_up("pthread_create");
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    for (int64_t until = clock_now() + 50000000; clock_now() < until;) pause_for(5000000);
    atomic_store(&is_measuring, 1);
  }
  int full = processes_of_the_machine();
  int64_t spent = processor_time_of_pid_1(is_quiet), began = clock_now();
  if (is_stream) {
    make_stream(count);
  } else {
    close(gate);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
  }
  wait_until_alone(full, is_stream ? 0 : count);
  printf("seconds %.6f\n", (double)(clock_now() - began) / 1e9);
  if (is_quiet) {
    spent = processor_time_of_pid_1(1) - spent;
    printf("processor %.0f\n", (double)spent / count);
  } else {
    for (int64_t until = clock_now() + patience; atomic_load(&sent) == 0 && clock_now() < until;) {
      pause_for(1000000);  // a burst can be over before the first answer
    }
    atomic_store(&stop_sending, 1);
    pthread_join(sender, NULL);
    if (sent == 0) give_up("no signal was answered");
    qsort(latencies, (size_t)atomic_load(&sent), sizeof latencies[0], ascending);
    printf("sent %d\nlost %d\n", sent, lost);
    printf("median %lld\nslowest %lld\n", (long long)latencies[sent / 2], (long long)latencies[sent - 1]);
  }
  printf("zombies %d\n", count_zombies());
  return 0;
}
