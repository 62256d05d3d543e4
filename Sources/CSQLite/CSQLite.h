// SQLite (https://www.sqlite.org) as a Swift module. Debian: libsqlite3-dev.
#include <sqlite3.h>
