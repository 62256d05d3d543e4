// The kernel calls that Swift's Glibc module does not offer, or that must run between clone and exec
// where no Swift code may. Every function returns a value >= 0 or a negated errno, unless it says otherwise;
// none of them touches errno's caller-visible meaning.
#ifndef CLINUX_H
#define CLINUX_H

#include "clinux_events.h"
#include "clinux_files.h"
#include "clinux_memory.h"
#include "clinux_process.h"
#include "clinux_signals.h"
#include "clinux_socket.h"
#include "clinux_spawn.h"
#include "clinux_start.h"

#endif
