/* Statuses from errno and from RocksDB's texts. */
#include "store/fault.h"

#include <errno.h>
#include <string.h>

mantis_status mp_fault_of_errno(int os_errno) {
    switch (os_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return MANTIS_FULL;
    case ENOMEM: return MANTIS_NOMEM;
    case ENAMETOOLONG:
    case ENOTDIR: return MANTIS_INVALID;
    default: return MANTIS_IO;
    }
}

mantis_status mp_fault_of_text(const char *text) {
    if (strstr(text, "No space left") || strstr(text, "NoSpace") || strstr(text, "SpaceLimit") ||
        strstr(text, "Disk quota exceeded") || strstr(text, "File too large"))
        return MANTIS_FULL;
    if (strstr(text, "lock hold by") || strstr(text, "While lock file")) return MANTIS_LOCKED;
    if (strncmp(text, "Corruption", 10) == 0 || strstr(text, "checksum mismatch") ||
        strstr(text, "No such file") || strstr(text, "does not exist") ||
        strncmp(text, "Not implemented", 15) == 0 || strncmp(text, "Invalid argument", 16) == 0)
        return MANTIS_CORRUPT;
    return MANTIS_IO;
}
