#ifndef CLINUX_SIGNALS_H
#define CLINUX_SIGNALS_H

#include <stdint.h>

/// What this process inherited, and what `--inherit-signals` hands on. Bit n-1 stands for signal n.
struct clinux_signal_state {
  uint64_t blocked;
  uint64_t ignored;
};

/// One signal as it arrived. `code` is si_code: <= 0 when a process sent it, > 0 when the kernel did.
struct clinux_signal {
  int32_t number;
  int32_t code;
  int32_t pid;
  uint32_t uid;
};

/// Blocks all 64 signals, gives SIGCHLD its default disposition back (a parent that ignored it would make
/// the kernel reap our children unseen) and stores what was inherited. Must be the first thing that main does.
void clinux_signals_take_over(struct clinux_signal_state *_Nonnull inherited);

/// The next pending signal, waited for without any descriptor. Returns the signal's number or -errno.
int clinux_signal_wait(struct clinux_signal *_Nonnull out);

/// Like clinux_signal_wait, but returns 0 at once when no signal is pending.
int clinux_signal_poll(struct clinux_signal *_Nonnull out);

/// Takes a pending `number` away if a call of our own made it (the kernel signs it with our number, or with none);
/// one that another process sent stays pending.
void clinux_signal_discard_own(int number);

/// A descriptor that is readable while a blocked signal is pending: a signalfd.
int clinux_signalfd_create(void);
/// Reads at most `capacity` signals. Returns their number, 0 when none is pending.
int clinux_signalfd_read(int fd, struct clinux_signal *_Nonnull out, int capacity);

/// For systems that refuse signalfd: handlers that write what they get into a pipe, whose read end is returned.
/// Unblocks what it handles; interrupted calls are restarted or answer EINTR.
int clinux_signal_pipe_create(void);
/// Reads from the pipe of clinux_signal_pipe_create, like clinux_signalfd_read.
int clinux_signal_pipe_read(int fd, struct clinux_signal *_Nonnull out, int capacity);

/// Sends a signal with raw kill(2). Returns 0 or -errno.
int clinux_kill(int pid, int signal);

#endif
