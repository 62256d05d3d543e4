// libpq (https://www.postgresql.org/docs/current/libpq.html) as a Swift module. Debian: libpq-dev.
// pkg-config says where it is; without that program Debian's folder is known here.
#if __has_include(<libpq-fe.h>)
#include <libpq-fe.h>
#else
#include <postgresql/libpq-fe.h>
#endif
