/* SCRAM-SHA-256, as either side. */
#include "pg/scram.h"

#include "base/assert.h"
#include "pg/saslprep.h"
#include "pg/sqlstate.h"

#include <stdio.h>

#define PREFIX MP_SCRAM_MECHANISM "$"
#define KEY_TEXT_SIZE MP_CRYPTO_BASE64_SIZE(MP_SCRAM_KEY_SIZE)

static const mp_view client_key_label = {"Client Key", 10};
static const mp_view server_key_label = {"Server Key", 10};

/* ---- attributes: "r=abc,s=def" ---- */

static mantis_status malformed(mantis_error *error, const char *why) {
    return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION, "malformed SCRAM message: %s",
                            why);
}

static mantis_status no_openssl(mantis_error *error) {
    return mp_sqlstate_fail(error, MP_SQLSTATE_INTERNAL_ERROR,
                            "SCRAM: OpenSSL has no memory, or no SHA-256");
}

/* The text up to a character, which is stepped over, or to the end. */
static mp_view cut(mp_view *rest, char at) {
    const char *found = rest->size ? memchr(rest->data, at, rest->size) : NULL;
    size_t size = found ? (size_t)(found - rest->data) : rest->size;
    mp_view piece = {rest->data, size};
    size_t step = size + (found ? 1 : 0);
    *rest = (mp_view){rest->data + step, rest->size - step};
    return piece;
}

/* The value of the next attribute, which must have this name. */
static bool read_attribute(mp_view *rest, char name, mp_view *value) {
    if (rest->size < 2 || rest->data[0] != name || rest->data[1] != '=') return false;
    *rest = (mp_view){rest->data + 2, rest->size - 2};
    *value = cut(rest, ',');
    return true;
}

/* Can it be part of a nonce? */
static bool is_printable(mp_view text) {
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < 0x21 || text.data[i] > 0x7e || text.data[i] == ',') return false;
    return text.size > 0;
}

static bool is_acceptable(mp_view in) {
    return in.size > 0 && in.size <= MP_SCRAM_MESSAGE_SIZE_MAX && !memchr(in.data, 0, in.size);
}

/* A number of digits alone, from 1 on. */
static bool parse_count(mp_view text, uint32_t *out) {
    uint32_t value = 0;
    if (text.size == 0 || text.size > 9) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        value = value * 10 + (uint32_t)(text.data[i] - '0');
    }
    *out = value;
    return value > 0;
}

static bool parse_key(mp_view text, uint8_t key[MP_SCRAM_KEY_SIZE]) {
    size_t size;
    return mp_crypto_parse_base64(text, key, MP_SCRAM_KEY_SIZE, &size) && size == MP_SCRAM_KEY_SIZE;
}

/* ---- what is stored of a user ---- */

bool mp_scram_parse_verifier(mp_view text, mp_scram_verifier *out) {
    if (!mp_view_begins(text, PREFIX)) return false;
    mp_scram_verifier found = {0};
    size_t salt_size;
    mp_view rest = {text.data + strlen(PREFIX), text.size - strlen(PREFIX)};
    mp_view iterations = cut(&rest, ':'), salt = cut(&rest, '$');
    mp_view stored_key = cut(&rest, ':');
    if (!parse_count(iterations, &found.iterations) ||
        !mp_crypto_parse_base64(salt, found.salt, sizeof found.salt, &salt_size) ||
        !parse_key(stored_key, found.stored_key) || !parse_key(rest, found.server_key))
        return false;
    found.salt_size = (uint32_t)salt_size;
    *out = found;
    return true;
}

/* The two keys of a password. */
static bool make_keys(mp_view password, mp_view salt, uint32_t iterations, mp_scram_keys *keys) {
    mp_saslprep prepared;
    uint8_t salted[MP_CRYPTO_SHA256_SIZE];
    if (!mp_saslprep_init(&prepared, password)) return false;
    mp_view text = {prepared.data, prepared.size};
    bool is_done = mp_crypto_pbkdf2(text, salt, iterations, salted) &&
                   mp_crypto_hmac(salted, client_key_label, keys->client_key) &&
                   mp_crypto_hmac(salted, server_key_label, keys->server_key);
    mp_crypto_wipe(salted, sizeof salted);
    mp_saslprep_finish(&prepared);
    return is_done;
}

static mp_view view_of_key(const uint8_t key[MP_SCRAM_KEY_SIZE]) {
    return (mp_view){(const char *)key, MP_SCRAM_KEY_SIZE};
}

static mp_view salt_of(const mp_scram_verifier *verifier) {
    return (mp_view){(const char *)verifier->salt, verifier->salt_size};
}

bool mp_scram_verifier_init(mp_scram_verifier *verifier, mp_view user, mp_view password,
                            uint32_t iterations, const uint8_t secret[MP_SCRAM_KEY_SIZE]) {
    mp_scram_keys keys;
    uint8_t hash[MP_CRYPTO_SHA256_SIZE];
    *verifier = (mp_scram_verifier){.iterations = iterations, .salt_size = MP_SCRAM_SALT_SIZE};
    if (!mp_crypto_hmac(secret, user, hash)) return false;
    memcpy(verifier->salt, hash, MP_SCRAM_SALT_SIZE);
    verifier->is_mock = !password.data;
    if (verifier->is_mock) return true;
    bool is_done = make_keys(password, salt_of(verifier), iterations, &keys) &&
                   mp_crypto_sha256(view_of_key(keys.client_key), verifier->stored_key);
    memcpy(verifier->server_key, keys.server_key, sizeof keys.server_key);
    mp_crypto_wipe(&keys, sizeof keys);
    return is_done;
}

bool mp_scram_verifier_check(const mp_scram_verifier *verifier, mp_view password) {
    mp_scram_keys keys;
    bool is_right = make_keys(password, salt_of(verifier), verifier->iterations, &keys) &&
                    mp_crypto_is_equal(keys.server_key, verifier->server_key, MP_SCRAM_KEY_SIZE);
    mp_crypto_wipe(&keys, sizeof keys);
    return is_right && !verifier->is_mock;
}

/* ---- the exchange ---- */

static mp_view view_of_text(const mp_scram_exchange *exchange) {
    return (mp_view){exchange->text, exchange->size};
}

static mp_view nonce_of(const mp_scram_exchange *exchange) {
    return (mp_view){exchange->text + exchange->nonce_at, exchange->nonce_size};
}

/* Add to what is signed. There is always room: it has three parts, each of bounded size. */
static void add(mp_scram_exchange *exchange, mp_view text) {
    memcpy(exchange->text + exchange->size, text.data, text.size);
    exchange->size += text.size;
}

static void add_comma(mp_scram_exchange *exchange) { exchange->text[exchange->size++] = ','; }

/* The signature of what has been said, by a key. */
static bool sign(const mp_scram_exchange *exchange, const uint8_t key[MP_SCRAM_KEY_SIZE],
                 uint8_t out[MP_SCRAM_KEY_SIZE]) {
    return mp_crypto_hmac(key, view_of_text(exchange), out);
}

static void mix(uint8_t key[MP_SCRAM_KEY_SIZE], const uint8_t with[MP_SCRAM_KEY_SIZE]) {
    for (size_t i = 0; i < MP_SCRAM_KEY_SIZE; i++) key[i] ^= with[i];
}

/* ---- as a server ---- */

/* The header before what is signed: which channel binding the client can do, as whom it acts. */
static mantis_status read_binding_header(mp_view *rest, char *flag, mantis_error *error) {
    mp_view binding = cut(rest, ',');
    if (binding.size > 1 && binding.data[0] == 'p')
        return malformed(error, "channel binding, which was not offered");
    if (!mp_view_is(binding, "n") && !mp_view_is(binding, "y"))
        return malformed(error, "no flag of channel binding");
    *flag = binding.data[0];
    if (cut(rest, ',').size)
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "client uses authorization identity, but it is not supported");
    return MANTIS_OK;
}

/* Read "n=user,r=nonce"; who it is has been said before, so the name is not looked at. */
static mantis_status read_client_first(mp_view bare, mp_view *nonce, mantis_error *error) {
    mp_view user;
    if (bare.size && bare.data[0] == 'm')
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "client requires an unsupported SCRAM extension");
    if (!read_attribute(&bare, 'n', &user)) return malformed(error, "attribute \"n\" expected");
    if (!read_attribute(&bare, 'r', nonce)) return malformed(error, "attribute \"r\" expected");
    if (!is_printable(*nonce) || nonce->size > MP_SCRAM_NONCE_SIZE_MAX)
        return malformed(error, "a nonce of printable characters expected");
    return MANTIS_OK;
}

/* Write the answer, and add it to what is signed. */
static void write_server_first(mp_scram_server *server, mp_view client_nonce, mp_view nonce,
                               mp_view *out) {
    mp_scram_exchange *exchange = &server->exchange;
    char salt[MP_CRYPTO_BASE64_SIZE(MP_SCRAM_SALT_SIZE_MAX)];
    size_t salt_size = mp_crypto_write_base64(server->verifier.salt, server->verifier.salt_size,
                                              salt);
    int size = snprintf(exchange->out, sizeof exchange->out, "r=%.*s%.*s,s=%.*s,i=%u",
                        (int)client_nonce.size, client_nonce.data, (int)nonce.size, nonce.data,
                        (int)salt_size, salt, server->verifier.iterations);
    *out = (mp_view){exchange->out, (size_t)size};
    exchange->nonce_at = exchange->size + 2;
    exchange->nonce_size = client_nonce.size + nonce.size;
    add(exchange, *out);
    add_comma(exchange);
}

mantis_status mp_scram_server_first(mp_scram_server *server, const mp_scram_verifier *verifier,
                                    mp_view nonce, mp_view mechanism, mp_view in, mp_view *out,
                                    mantis_error *error) {
    mp_view client_nonce, rest = in;
    mp_assert(nonce.size <= MP_SCRAM_NONCE_SIZE_MAX); /* or what is signed would not fit */
    *server = (mp_scram_server){.verifier = *verifier};
    if (!mp_view_is(mechanism, MP_SCRAM_MECHANISM))
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "client selected an invalid SASL authentication mechanism");
    if (!is_acceptable(in)) return malformed(error, "it is empty, too long, or has a zero byte");
    mantis_status status = read_binding_header(&rest, &server->binding_flag, error);
    if (status == MANTIS_OK) status = read_client_first(rest, &client_nonce, error);
    if (status != MANTIS_OK) return status;
    add(&server->exchange, rest);
    add_comma(&server->exchange);
    write_server_first(server, client_nonce, nonce, out);
    return MANTIS_OK;
}

/* Read "c=binding,r=nonce,…,p=proof". *bare is all before the proof. */
static mantis_status read_client_final(const mp_scram_server *server, mp_view in, mp_view *bare,
                                       uint8_t proof[MP_SCRAM_KEY_SIZE], mantis_error *error) {
    mp_view rest = in, value, nonce = nonce_of(&server->exchange);
    const char *binding = server->binding_flag == 'n' ? "biws" : "eSws"; /* "n,,", "y,," */
    if (!is_acceptable(in)) return malformed(error, "it is empty, too long, or has a zero byte");
    if (!read_attribute(&rest, 'c', &value)) return malformed(error, "attribute \"c\" expected");
    if (!mp_view_is(value, binding)) return malformed(error, "another channel binding than before");
    if (!read_attribute(&rest, 'r', &value)) return malformed(error, "attribute \"r\" expected");
    if (value.size != nonce.size || !mp_crypto_is_equal(value.data, nonce.data, nonce.size))
        return malformed(error, "nonce does not match");
    while (rest.size && rest.data[0] != 'p')
        cut(&rest, ','); /* extensions, which we know none of */
    size_t proof_at = (size_t)(rest.data - in.data);
    if (!read_attribute(&rest, 'p', &value) || rest.size || !parse_key(value, proof))
        return malformed(error, "a proof at the end expected");
    *bare = (mp_view){in.data, proof_at - 1};
    return MANTIS_OK;
}

/* Whose key makes the proof from the signature? It is right if its hash is what is stored. */
static mantis_status check_proof(mp_scram_server *server, uint8_t proof[MP_SCRAM_KEY_SIZE],
                                 mantis_error *error) {
    const mp_scram_verifier *verifier = &server->verifier;
    uint8_t signature[MP_SCRAM_KEY_SIZE], stored_key[MP_SCRAM_KEY_SIZE];
    if (!sign(&server->exchange, verifier->stored_key, signature)) return no_openssl(error);
    mix(proof, signature);
    if (!mp_crypto_sha256(view_of_key(proof), stored_key)) return no_openssl(error);
    bool is_right = mp_crypto_is_equal(stored_key, verifier->stored_key, sizeof stored_key);
    if (!is_right || verifier->is_mock)
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_PASSWORD,
                                "password authentication failed");
    memcpy(server->keys.client_key, proof, MP_SCRAM_KEY_SIZE);
    memcpy(server->keys.server_key, verifier->server_key, MP_SCRAM_KEY_SIZE);
    return MANTIS_OK;
}

mantis_status mp_scram_server_final(mp_scram_server *server, mp_view in, mp_view *out,
                                    mantis_error *error) {
    mp_scram_exchange *exchange = &server->exchange;
    uint8_t proof[MP_SCRAM_KEY_SIZE], signature[MP_SCRAM_KEY_SIZE];
    mp_view bare = {0};
    if (!server->binding_flag) return malformed(error, "the last message came first");
    mantis_status status = read_client_final(server, in, &bare, proof, error);
    server->binding_flag = 0; /* there is no second try */
    if (status != MANTIS_OK) return status;
    add(exchange, bare);
    status = check_proof(server, proof, error);
    mp_crypto_wipe(proof, sizeof proof);
    if (status != MANTIS_OK) return status;
    if (!sign(exchange, server->verifier.server_key, signature)) return no_openssl(error);
    memcpy(exchange->out, "v=", 2);
    size_t size = mp_crypto_write_base64(signature, sizeof signature, exchange->out + 2);
    *out = (mp_view){exchange->out, 2 + size};
    return MANTIS_OK;
}

/* ---- as a client ---- */

mp_view mp_scram_client_first(mp_scram_client *client, mp_view nonce) {
    mp_scram_exchange *exchange = &client->exchange;
    mp_assert(nonce.size <= MP_SCRAM_NONCE_SIZE_MAX); /* or what is signed would not fit */
    *client = (mp_scram_client){0};
    int size = snprintf(exchange->out, sizeof exchange->out, "n,,n=,r=%.*s", (int)nonce.size,
                        nonce.data);
    mp_view first = {exchange->out, (size_t)size};
    add(exchange, (mp_view){first.data + 3, first.size - 3}); /* without "n,," */
    exchange->nonce_at = exchange->size - nonce.size;
    exchange->nonce_size = nonce.size;
    add_comma(exchange);
    return first;
}

/* What the server says first. */
typedef struct server_offer {
    mp_view nonce;
    uint8_t salt[MP_SCRAM_MESSAGE_SIZE_MAX];
    size_t salt_size;
    uint32_t iterations;
} server_offer;

static mantis_status read_server_first(const mp_scram_client *client, mp_view in, server_offer *out,
                                       mantis_error *error) {
    mp_view own = nonce_of(&client->exchange), salt, iterations;
    if (!read_attribute(&in, 'r', &out->nonce)) return malformed(error, "attribute \"r\" expected");
    if (!is_printable(out->nonce) || out->nonce.size <= own.size ||
        memcmp(out->nonce.data, own.data, own.size) != 0)
        return malformed(error, "nonce does not match");
    if (!read_attribute(&in, 's', &salt)) return malformed(error, "attribute \"s\" expected");
    if (!mp_crypto_parse_base64(salt, out->salt, sizeof out->salt, &out->salt_size) ||
        out->salt_size == 0)
        return malformed(error, "invalid salt");
    if (!read_attribute(&in, 'i', &iterations) || in.size ||
        !parse_count(iterations, &out->iterations) || out->iterations > MP_SCRAM_ITERATIONS_MAX)
        return malformed(error, "invalid iteration count");
    return MANTIS_OK;
}

/* The proof by the client's key; and the signature that the server's key will make. */
static bool prove(mp_scram_client *client, const mp_scram_keys *keys,
                  uint8_t proof[MP_SCRAM_KEY_SIZE]) {
    uint8_t stored_key[MP_SCRAM_KEY_SIZE];
    client->is_signed = mp_crypto_sha256(view_of_key(keys->client_key), stored_key) &&
                        sign(&client->exchange, stored_key, proof) &&
                        sign(&client->exchange, keys->server_key, client->signature);
    mix(proof, keys->client_key);
    return client->is_signed;
}

/* Write "c=biws,r=nonce,p=proof". */
static mantis_status write_client_final(mp_scram_client *client, mp_view nonce,
                                        const mp_scram_keys *keys, mp_view *out,
                                        mantis_error *error) {
    mp_scram_exchange *exchange = &client->exchange;
    uint8_t proof[MP_SCRAM_KEY_SIZE] = {0};
    int size = snprintf(exchange->out, sizeof exchange->out, "c=biws,r=%.*s", (int)nonce.size,
                        nonce.data);
    *out = (mp_view){exchange->out, (size_t)size};
    add(exchange, *out);
    bool is_done = prove(client, keys, proof);
    memcpy(exchange->out + out->size, ",p=", 3);
    out->size += 3;
    out->size += mp_crypto_write_base64(proof, sizeof proof, exchange->out + out->size);
    mp_crypto_wipe(proof, sizeof proof);
    return is_done ? MANTIS_OK : no_openssl(error);
}

mantis_status mp_scram_client_final(mp_scram_client *client, mp_view password,
                                    const mp_scram_keys *keys, mp_view in, mp_view *out,
                                    mantis_error *error) {
    server_offer offer = {0};
    mp_scram_keys own;
    if (client->is_signed || client->exchange.nonce_size == 0)
        return malformed(error, "it came at the wrong time");
    if (!is_acceptable(in)) return malformed(error, "it is empty, too long, or has a zero byte");
    mantis_status status = read_server_first(client, in, &offer, error);
    if (status != MANTIS_OK) return status;
    mp_view salt = {(const char *)offer.salt, offer.salt_size};
    if (!keys && !make_keys(password, salt, offer.iterations, &own)) return no_openssl(error);
    add(&client->exchange, in);
    add_comma(&client->exchange);
    status = write_client_final(client, offer.nonce, keys ? keys : &own, out, error);
    if (!keys) mp_crypto_wipe(&own, sizeof own);
    return status;
}

mantis_status mp_scram_client_check(mp_scram_client *client, mp_view in, mantis_error *error) {
    uint8_t signature[MP_SCRAM_KEY_SIZE];
    mp_view value;
    if (!client->is_signed) return malformed(error, "it came at the wrong time");
    if (!is_acceptable(in)) return malformed(error, "it is empty, too long, or has a zero byte");
    if (read_attribute(&in, 'e', &value))
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_PASSWORD,
                                "error received from server in SCRAM exchange: %.*s",
                                MP_VIEW_ARGS(value));
    if (!read_attribute(&in, 'v', &value) || in.size || !parse_key(value, signature))
        return malformed(error, "a signature expected");
    if (!mp_crypto_is_equal(signature, client->signature, sizeof signature))
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_PASSWORD,
                                "incorrect server signature: the server does not know the secret");
    return MANTIS_OK;
}
