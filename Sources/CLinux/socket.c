#define _GNU_SOURCE
#include "clinux_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static socklen_t fill(const struct clinux_address *address, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  if (address->length == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(address->port);
    memcpy(&v4->sin_addr, address->bytes, 4);
    return sizeof *v4;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(address->port);
  memcpy(&v6->sin6_addr, address->bytes, 16);
  return sizeof *v6;
}

static int failed(int fd) {
  int error = -errno;
  close(fd);
  return error;
}

int clinux_tcp_listen(const struct clinux_address *address, int backlog) {
  struct sockaddr_storage storage;
  socklen_t length = fill(address, &storage);
  int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int on = 1, off = 0;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (address->length == 16) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  if (bind(fd, (struct sockaddr *)&storage, length) < 0) return failed(fd);
  if (listen(fd, backlog) < 0) return failed(fd);
  return fd;
}

int clinux_bound_port(int fd) {
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  if (getsockname(fd, (struct sockaddr *)&storage, &length) < 0) return -errno;
  if (storage.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&storage)->sin_port);
  if (storage.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&storage)->sin6_port);
  return -EAFNOSUPPORT;
}

int clinux_tcp_connect(const struct clinux_address *address, bool *pending) {
  struct sockaddr_storage storage;
  socklen_t length = fill(address, &storage);
  int fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  *pending = false;
  if (connect(fd, (struct sockaddr *)&storage, length) < 0) {
    if (errno != EINPROGRESS) return failed(fd);
    *pending = true;
  }
  return fd;
}

int clinux_socket_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
  return error;
}

// sun_path holds 108 bytes; a longer path is reached as /proc/self/fd/DIRECTORY/NAME.
static int address_for(const char *path, struct sockaddr_un *out, int *directory) {
  *directory = -1;
  memset(out, 0, sizeof *out);
  out->sun_family = AF_UNIX;
  if (strlen(path) < sizeof out->sun_path) {
    memcpy(out->sun_path, path, strlen(path) + 1);
    return 0;
  }
  const char *slash = strrchr(path, '/');
  if (slash == NULL || slash == path || strlen(path) >= 4096) return -ENAMETOOLONG;
  char parent[4096];
  memcpy(parent, path, (size_t)(slash - path));
  parent[slash - path] = 0;
  int fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int size = snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", fd, slash + 1);
  if (size < 0 || (size_t)size >= sizeof out->sun_path) {
    close(fd);
    return -ENAMETOOLONG;
  }
  *directory = fd;
  return 0;
}

int clinux_unix_listen(const char *path, uint32_t mode, int backlog) {
  struct sockaddr_un address;
  int directory;
  int result = address_for(path, &address, &directory);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  result = fd < 0 ? -errno : fd;
  if (fd >= 0) {
    // The socket's own mode is the most that its file gets, and chmod gives back what the umask took. Not with umask(2):
    // that is the whole process's, and would change what its other threads make meanwhile.
    fchmod(fd, mode);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
      result = failed(fd);
    } else if (chmod(address.sun_path, mode) < 0) {
      result = failed(fd);
      unlink(address.sun_path);
    }
    if (result >= 0 && listen(fd, backlog) < 0) result = failed(fd);
  }
  if (directory >= 0) close(directory);
  return result;
}

int clinux_unix_connect(const char *path) {
  struct sockaddr_un address;
  int directory;
  int result = address_for(path, &address, &directory);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  result = fd < 0 ? -errno : fd;
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) result = failed(fd);
  if (directory >= 0) close(directory);
  return result;
}

int clinux_unix_connect_within(const char *path, int timeout_ms) {
  struct sockaddr_un address;
  int directory;
  int result = address_for(path, &address, &directory);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (timeout_ms > 0 ? 0 : SOCK_NONBLOCK), 0);
  result = fd < 0 ? -errno : fd;
  if (fd >= 0 && timeout_ms > 0) {
    if (timeout_ms > 60000) timeout_ms = 60000;
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  }
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    result = failed(fd);
  } else if (fd >= 0 && timeout_ms > 0 && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
    result = failed(fd);
  }
  if (directory >= 0) close(directory);
  return result;
}

int clinux_accept(int fd) {
  int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  return accepted < 0 ? -errno : accepted;
}

int clinux_peer_credentials(int fd, int32_t *pid, uint32_t *uid, uint32_t *gid) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return -errno;
  *pid = peer.pid;
  *uid = peer.uid;
  *gid = peer.gid;
  return 0;
}

long clinux_read(int fd, void *buffer, size_t length) {
  ssize_t size;
  do {
    size = read(fd, buffer, length);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? -(long)errno : size;
}

long clinux_write(int fd, const void *buffer, size_t length) {
  ssize_t size;
  do {
    size = send(fd, buffer, length, MSG_NOSIGNAL);
    if (size < 0 && errno == ENOTSOCK) size = write(fd, buffer, length);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? -(long)errno : size;
}

int clinux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

long clinux_write_now(int fd, const void *buffer, size_t length) {
  ssize_t size;
  do {
    size = send(fd, buffer, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (size < 0 && errno == ENOTSOCK) size = write(fd, buffer, length);
  } while (size < 0 && errno == EINTR);
  return size < 0 ? -(long)errno : size;
}

int clinux_reopen_for_writing(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0 || (!S_ISFIFO(status.st_mode) && !S_ISCHR(status.st_mode))) return fd;
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  int opened = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  return opened < 0 ? fd : opened;
}

int clinux_wait_writable(int fd, int timeout_ms) {
  struct pollfd item = {.fd = fd, .events = POLLOUT};
  return poll(&item, 1, timeout_ms) > 0 && (item.revents & POLLOUT) != 0;
}
