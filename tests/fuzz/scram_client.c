/* Anything as a server's authentication messages: a byte with the kind, a byte with the size, the
 * data; again. An '@' in a continuation is our nonce; a final "@" is the right signature. */
#include "fuzz/fuzz.h"

#include "pg/login.h"
#include "pg/secret.h"

#define NONCE "clientnonce"
#define DATA_MAX 1400

static const mp_scram_keys keys = {{1}, {2}};

/* Is there an iteration count that would take long? With keys it is not computed. */
static bool is_slow(mp_view text) {
    for (size_t i = 0; i + 3 < text.size; i++)
        if (text.data[i] == 'i' && text.data[i + 1] == '=' && text.size - i > 4) return true;
    return false;
}

/* Replace what stands for our nonce or the right signature. */
static mp_view complete(const mp_login *login, mp_view text, char *out) {
    size_t size = 0;
    if (login->scram.is_signed && text.size == 1 && text.data[0] == '@') {
        memcpy(out, "v=", 2);
        size = mp_crypto_write_base64(login->scram.signature, MP_SCRAM_KEY_SIZE, out + 2);
        return (mp_view){out, size + 2};
    }
    for (size_t i = 0; i < text.size; i++) {
        bool is_nonce = text.data[i] == '@' && size < 2 * DATA_MAX;
        if (is_nonce) memcpy(out + size, NONCE, strlen(NONCE));
        else out[size] = text.data[i];
        size += is_nonce ? strlen(NONCE) : 1;
    }
    return (mp_view){out, size};
}

static mantis_status say(mp_login *login, uint32_t kind, mp_view text) {
    static uint8_t in_data[8 * DATA_MAX], out_data[4 * DATA_MAX];
    mp_wire_out in = {.data = in_data, .size = sizeof in_data};
    mp_wire_out out = {.data = out_data, .size = sizeof out_data};
    mantis_error error = {0};
    mp_wire_begin(&in, MP_ANSWER_AUTHENTICATION);
    mp_wire_write_u32(&in, kind);
    mp_wire_write_bytes(&in, text.data, text.size);
    mp_wire_commit(&in, MP_ANSWER_AUTHENTICATION);
    expect(!in.is_full);
    uint32_t size = (uint32_t)in.length - MP_WIRE_HEAD;
    uint8_t *body = copy_of(in_data + MP_WIRE_HEAD, size);
    mp_message message = {body, size, size, MP_ANSWER_AUTHENTICATION};
    mp_login_stage before = login->stage;
    mantis_status status = mp_login_answer(login, &message, (mp_view){NONCE, strlen(NONCE)}, &out,
                                           &error);
    free(body);
    expect(!out.is_full);
    touch((mp_view){(const char *)out_data, out.length});
    if (status != MANTIS_OK) expect(error.sqlstate[0] && error.text[0] && out.length == 0);
    bool may_end = before == MP_LOGIN_BEGUN || before == MP_LOGIN_ANSWERED ||
                   before == MP_LOGIN_SASL_CHECKED;
    if (status == MANTIS_OK && login->stage == MP_LOGIN_DONE) expect(kind == 0 && may_end);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const secrets[] = {"pencil", "", "md50123456789abcdef0123456789abcdef", "x"};
    static char text[16 * DATA_MAX];
    uint8_t choice = take_byte(&data, &size);
    mp_login login = {.user = {"alice", 5},
                      .secret = mp_view_of(secrets[choice & 3]),
                      .keys = choice & 4 ? &keys : NULL,
                      .methods = choice >> 4};
    mantis_status status = MANTIS_OK;
    while (size && status == MANTIS_OK) {
        uint32_t kind = take_byte(&data, &size);
        size_t wanted = 4u * take_byte(&data, &size);
        if (wanted > size) wanted = size;
        mp_view said = {(const char *)data, wanted};
        data += wanted;
        size -= wanted;
        if (!login.keys && is_slow(said)) break;
        status = say(&login, kind, complete(&login, said, text));
    }
    mp_login_finish(&login);
    expect(login.stage == MP_LOGIN_BEGUN);
    return 0;
}
