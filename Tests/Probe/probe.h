// Probe: a program of many small parts for the tests that drive the built supervisor from outside.
// It plays the child (what did I inherit? which signals reach me?), the family of a badly behaved child,
// the hostile environment (refused system calls, closed descriptors, no /proc), and the stage manager that
// starts the program under test and ends whatever is left of it.
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdnoreturn.h>
#include <sys/types.h>

/// Writes one line to standard output with a single write(2), so that lines of several processes on one
/// pipe never mix. A line that cannot be written is lost without a word: the reader has gone.
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// Prints the reason to standard error and ends with 125, a code that no scenario uses.
noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/// A signal by number (`15`), name (`TERM`, `SIGTERM`) or real-time offset (`RTMIN+3`); dies when unknown.
int parse_signal(const char *text);

/// A whole number; dies when it is none.
long parse_number(const char *text);

/// Monotonic milliseconds.
long long now_ms(void);

/// Waits until a signal of `set` (which must be blocked) arrives; returns its number.
int next_signal(const sigset_t *set, siginfo_t *info);

/// Blocks every signal that can be blocked and returns that set in `set`.
void block_all(sigset_t *set);

/// Default dispositions for 1..64 and an empty mask, by raw system calls (glibc hides 32 and 33).
void reset_signals(void);

/// Applies `--ignore`, `--block`, `--close`, … in the order given, up to and including `--`.
/// Returns the index of the command in `argv`. See inherit.c for the list.
int apply_inherited_state(int argc, char **argv, int first);

/// Installs a seccomp filter for one rule such as `pidfd_open:ENOSYS`; see seccomp.c for the names.
void install_seccomp_rule(const char *rule);

int command_launch(int argc, char **argv);
int command_with(int argc, char **argv);
int command_state(int argc, char **argv);
int command_on_signal(int argc, char **argv);
int command_family(int argc, char **argv);
int command_orphans(int argc, char **argv);
int command_parent(int argc, char **argv);
int command_claim(int argc, char **argv);
int command_eat(int argc, char **argv);
int command_hold(int argc, char **argv);
int command_frozen(int argc, char **argv);
