/* Anything as a password. */
#include "fuzz/fuzz.h"

#include "pg/saslprep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mp_saslprep once, twice;
    uint8_t *copy = copy_of(data, size);
    expect(mp_saslprep_init(&once, (mp_view){(const char *)copy, size}));
    expect(mp_saslprep_init(&twice, (mp_view){once.data, once.size}));
    expect(once.size == twice.size && memcmp(once.data, twice.data, once.size) == 0);
    mp_saslprep_finish(&once);
    mp_saslprep_finish(&twice);
    free(copy);
    return 0;
}
