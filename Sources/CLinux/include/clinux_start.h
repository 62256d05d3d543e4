#ifndef CLINUX_START_H
#define CLINUX_START_H

/// What the kernel started this program with. Swift's own CommandLine reads the arguments from /proc, which may not be
/// there, and the process's own environment may differ from the one that children are to get.
int clinux_argument_count(void);
char *_Nullable *_Nonnull clinux_argument_vector(void);
char *_Nullable *_Nonnull clinux_environment_vector(void);

#endif
