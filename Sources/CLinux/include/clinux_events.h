#ifndef CLINUX_EVENTS_H
#define CLINUX_EVENTS_H

#include <stdint.h>

// Readiness bits, as of epoll(7).
#define CLINUX_READABLE 0x001u
#define CLINUX_WRITABLE 0x004u
#define CLINUX_ERROR 0x008u
#define CLINUX_HANGUP 0x010u
#define CLINUX_PEER_CLOSED 0x2000u

struct clinux_event {
  uint32_t readiness;
  uint64_t token;
};

int clinux_epoll_create(void);
int clinux_epoll_add(int epoll, int fd, uint32_t readiness, uint64_t token);
int clinux_epoll_modify(int epoll, int fd, uint32_t readiness, uint64_t token);
int clinux_epoll_remove(int epoll, int fd);
/// Waits at most `timeout_ms` (-1: for ever). Returns the number of events; EINTR counts as none.
int clinux_epoll_wait(int epoll, struct clinux_event *_Nonnull events, int capacity, int timeout_ms);

int clinux_timerfd_create(void);
/// Arms the timer for an absolute CLOCK_MONOTONIC time in nanoseconds; 0 disarms it.
int clinux_timerfd_arm(int fd, uint64_t deadline_ns);
/// Takes the expiration count, so that the descriptor is quiet again.
int clinux_timerfd_drain(int fd);

/// CLOCK_MONOTONIC in nanoseconds: stands still while the machine is suspended.
uint64_t clinux_monotonic_ns(void);
/// CLOCK_REALTIME in nanoseconds since 1970.
uint64_t clinux_realtime_ns(void);

#endif
