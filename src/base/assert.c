/* What a failed assertion does. */
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

void mp_assert_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "mantispool: bug: %s does not hold at %s:%d\n", condition, file, line);
    abort();
}
