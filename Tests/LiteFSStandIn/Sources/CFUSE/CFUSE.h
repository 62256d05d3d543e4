// libfuse 3 (https://libfuse.github.io/doxygen) as a Swift module. Debian: libfuse3-dev.
#define FUSE_USE_VERSION 35
#include <fuse3/fuse_lowlevel.h>
