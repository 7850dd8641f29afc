/* probes.h - what training shows while it goes on: curves, and where it forgets or learns by heart. */
#ifndef PITH_PROBES_H
#define PITH_PROBES_H

#include "verbs.h"
#include "../train/train.h"

/* ---- curves.c ---------------------------------------------------------------------------------------- */

/* A picture of the log, written beside svg and renamed. */
int curves_write(const char *log, const char *svg);

#endif
