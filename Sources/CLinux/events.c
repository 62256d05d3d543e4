#define _GNU_SOURCE
#include "clinux_events.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

_Static_assert(CLINUX_READABLE == EPOLLIN && CLINUX_WRITABLE == EPOLLOUT && CLINUX_ERROR == EPOLLERR &&
                   CLINUX_HANGUP == EPOLLHUP && CLINUX_PEER_CLOSED == EPOLLRDHUP,
               "readiness bits are epoll's");

int clinux_epoll_create(void) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static int control(int epoll, int operation, int fd, uint32_t readiness, uint64_t token) {
  struct epoll_event event = {.events = readiness, .data.u64 = token};
  return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

int clinux_epoll_add(int epoll, int fd, uint32_t readiness, uint64_t token) {
  return control(epoll, EPOLL_CTL_ADD, fd, readiness, token);
}

int clinux_epoll_modify(int epoll, int fd, uint32_t readiness, uint64_t token) {
  return control(epoll, EPOLL_CTL_MOD, fd, readiness, token);
}

int clinux_epoll_remove(int epoll, int fd) { return control(epoll, EPOLL_CTL_DEL, fd, 0, 0); }

int clinux_epoll_wait(int epoll, struct clinux_event *events, int capacity, int timeout_ms) {
  struct epoll_event raw[64];
  if (capacity > 64) capacity = 64;
  int count = epoll_wait(epoll, raw, capacity, timeout_ms);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  for (int i = 0; i < count; i++) {
    events[i].readiness = raw[i].events;
    events[i].token = raw[i].data.u64;
  }
  return count;
}

int clinux_timerfd_create(void) {
  int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

int clinux_timerfd_arm(int fd, uint64_t deadline_ns) {
  struct itimerspec when = {0};
  when.it_value.tv_sec = (time_t)(deadline_ns / 1000000000u);
  when.it_value.tv_nsec = (long)(deadline_ns % 1000000000u);
  return timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL) < 0 ? -errno : 0;
}

int clinux_timerfd_drain(int fd) {
  uint64_t expirations;
  return read(fd, &expirations, sizeof expirations) < 0 ? -errno : 0;
}

static uint64_t nanoseconds(clockid_t clock) {
  struct timespec now = {0};
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clinux_monotonic_ns(void) { return nanoseconds(CLOCK_MONOTONIC); }
uint64_t clinux_realtime_ns(void) { return nanoseconds(CLOCK_REALTIME); }
