#ifndef CLINUX_SOCKET_H
#define CLINUX_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// An IPv4 or IPv6 address with a port. `length` is 4 or 16.
struct clinux_address {
  uint8_t bytes[16];
  uint8_t length;
  uint16_t port;
};

/// A listening TCP socket (non-blocking, close-on-exec, SO_REUSEADDR; `::` also takes IPv4).
int clinux_tcp_listen(const struct clinux_address *_Nonnull address, int backlog);
/// The port that a bound socket has, or -errno.
int clinux_bound_port(int fd);
/// Starts a non-blocking connection. Returns the descriptor; `*pending` tells that writability will end it.
int clinux_tcp_connect(const struct clinux_address *_Nonnull address, bool *_Nonnull pending);
/// The error of a finished connection attempt: 0 or an errno (not negated).
int clinux_socket_error(int fd);

/// A listening UNIX socket with the given permission bits. The path may be longer than 107 bytes: it is reached
/// through its directory's descriptor.
int clinux_unix_listen(const char *_Nonnull path, uint32_t mode, int backlog);
/// A blocking connection to a UNIX socket.
int clinux_unix_connect(const char *_Nonnull path);
/// A non-blocking connection to a UNIX socket, for which it waits at most `timeout_ms` (0: not at all; at most a
/// minute). A listener that is there, but has too many connections waiting already, is -EAGAIN.
int clinux_unix_connect_within(const char *_Nonnull path, int timeout_ms);
/// The next connection, non-blocking and close-on-exec; -EAGAIN when there is none.
int clinux_accept(int fd);
/// Who is at the other end of a UNIX socket.
int clinux_peer_credentials(int fd, int32_t *_Nonnull pid, uint32_t *_Nonnull uid, uint32_t *_Nonnull gid);

/// read(2), write(2) without SIGPIPE and without EINTR. 0 from read is the end of the stream.
long clinux_read(int fd, void *_Nonnull buffer, size_t length);
long clinux_write(int fd, const void *_Nonnull buffer, size_t length);
/// Like clinux_write, but answers -EAGAIN instead of waiting: for sockets always, for pipes and terminals when the
/// descriptor is non-blocking.
long clinux_write_now(int fd, const void *_Nonnull buffer, size_t length);
int clinux_close(int fd);
/// A second open file for the pipe or terminal behind `fd`, non-blocking without changing it for those who share
/// `fd`; `fd` itself for what never blocks or cannot be opened again (regular files, sockets).
int clinux_reopen_for_writing(int fd);
/// Waits until `fd` takes bytes, at most `timeout_ms`. 1: it does; 0: time is up.
int clinux_wait_writable(int fd, int timeout_ms);

#endif
