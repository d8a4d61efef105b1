/* Anything as what a client says in SCRAM: lines of mechanism, first message, last message. A last
 * message that ends in "p=@" gets the right proof, so that what follows is reached too. */
#include "fuzz/fuzz.h"

#include "pg/scram.h"

static const mp_view password = {"pencil", 6};

/* The line up to a newline, which is stepped over. */
static mp_view take_line(mp_view *rest) {
    const char *end = rest->size ? memchr(rest->data, '\n', rest->size) : NULL;
    mp_view line = {rest->data, end ? (size_t)(end - rest->data) : rest->size};
    size_t step = line.size + (end ? 1 : 0);
    *rest = (mp_view){rest->data + step, rest->size - step};
    return line;
}

/* Finish the last message as a client that knows the keys would. */
static mp_view prove(const mp_scram_server *server, const mp_scram_keys *keys, mp_view last,
                     char *text) {
    char signed_text[4096];
    uint8_t stored_key[MP_SCRAM_KEY_SIZE], proof[MP_SCRAM_KEY_SIZE];
    if (last.size < 4 || last.size > 1000 || memcmp(last.data + last.size - 4, ",p=@", 4) != 0)
        return last;
    size_t size = server->exchange.size;
    memcpy(signed_text, server->exchange.text, size);
    memcpy(signed_text + size, last.data, last.size - 4);
    size += last.size - 4;
    mp_view key = {(const char *)keys->client_key, MP_SCRAM_KEY_SIZE};
    expect(mp_crypto_sha256(key, stored_key));
    expect(mp_crypto_hmac(stored_key, (mp_view){signed_text, size}, proof));
    for (size_t i = 0; i < sizeof proof; i++) proof[i] ^= keys->client_key[i];
    memcpy(text, last.data, last.size - 1);
    return (mp_view){text, last.size - 1 +
                               mp_crypto_write_base64(proof, sizeof proof, text + last.size - 1)};
}

/* The keys of the password and the salt, as a client has them. */
static mp_scram_keys keys_of(const mp_scram_verifier *verifier) {
    mp_scram_keys keys;
    uint8_t salted[MP_SCRAM_KEY_SIZE];
    mp_view salt = {(const char *)verifier->salt, verifier->salt_size};
    expect(mp_crypto_pbkdf2(password, salt, verifier->iterations, salted));
    expect(mp_crypto_hmac(salted, (mp_view){"Client Key", 10}, keys.client_key));
    memcpy(keys.server_key, verifier->server_key, sizeof keys.server_key);
    return keys;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static mp_scram_server server;
    static const uint8_t secret[MP_SCRAM_KEY_SIZE] = {1};
    mp_scram_verifier verifier;
    mantis_error error = {0};
    char text[2048];
    uint8_t *copy = copy_of(data, size);
    mp_view rest = {(const char *)copy, size}, out = {0};
    mp_view mechanism = take_line(&rest), first = take_line(&rest), last = take_line(&rest);
    bool is_mock = size && data[size - 1] == '?';
    expect(mp_scram_verifier_init(&verifier, (mp_view){"alice", 5},
                                  is_mock ? (mp_view){0} : password, 1, secret));
    mantis_status status = mp_scram_server_first(&server, &verifier, (mp_view){"0123456789", 10},
                                                 mechanism, first, &out, &error);
    if (status == MANTIS_OK) {
        mp_scram_keys keys = keys_of(&verifier);
        expect(out.size > 10 && touch(out));
        status = mp_scram_server_final(&server, prove(&server, &keys, last, text), &out, &error);
        if (status == MANTIS_OK) {
            expect(!is_mock && memcmp(&keys, &server.keys, sizeof keys) == 0);
            expect(touch(out) && out.size == 46);
        }
    }
    if (status != MANTIS_OK) expect(error.sqlstate[0] && error.text[0]);
    expect(mp_scram_server_final(&server, last, &out, &error) == MANTIS_INVALID);
    mp_scram_parse_verifier((mp_view){(const char *)copy, size}, &verifier);
    free(copy);
    return 0;
}
