/* A pool's figures as text and JSON: every figure is there, once, and both say the same. */
#include "report/report.h"

#include "lib/tap.h"

#include <mantis/pool.h>
#include <mantis/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
