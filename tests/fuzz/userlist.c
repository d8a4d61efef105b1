/* Anything as auth_file, and its secrets. */
#include "fuzz/fuzz.h"

#include "pg/userlist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t salt[MP_ANSWER_SALT_SIZE] = {1, 2, 3, 4};
    char *text = (char *)copy_of(data, size);
    mp_userlist list = {.text = text, .size = size};
    mp_userlist_user user;
    mantis_error error = {0};
    uint32_t line = 0;
    mantis_status status;
    while ((status = mp_userlist_read(&list, &user, &error)) != MANTIS_NOT_FOUND) {
        expect(list.line > line && list.at <= size);
        line = list.line;
        if (status != MANTIS_OK) {
            expect(status == MANTIS_INVALID && strstr(error.text, "line"));
            continue;
        }
        expect(user.name.size > 0 && user.name.size <= MP_USERLIST_USER_SIZE_MAX);
        expect(!memchr(user.name.data, '\n', user.name.size));
        touch(user.name);
        touch(user.secret);
        expect(user.kind == mp_secret_kind_of(user.secret));
        if (user.kind == MP_SECRET_SCRAM) continue; /* its iterations are the file's to choose */
        mp_view answer = {text, size < MP_SECRET_MD5_SIZE ? size : MP_SECRET_MD5_SIZE};
        bool is_plain = user.kind == MP_SECRET_PLAIN;
        expect(mp_secret_check_password(user.secret, user.name, user.secret) == is_plain);
        expect(!mp_secret_check_md5(user.secret, user.name, salt, answer));
    }
    expect(list.at == size);
    free(text);
    return 0;
}
