/* Assertions that stay on in release builds. A bug stops the process where it shows first; bad luck
 * (no memory, a dead backend) is returned instead. Cite the invariant behind each. */
#ifndef MP_BASE_ASSERT_H
#define MP_BASE_ASSERT_H

/* Print what failed to standard error and abort. */
_Noreturn void mp_assert_failed(const char *condition, const char *file, int line);

#define mp_assert(condition)                                                                       \
    (__builtin_expect(!!(condition), 1) ? (void)0                                                  \
                                        : mp_assert_failed(#condition, __FILE__, __LINE__))

#endif
