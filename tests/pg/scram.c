/* SCRAM on both sides, with each message damaged in each way that has hurt somebody. */
#include "lib/tap.h"

#include "pg/bytes.h"
#include "pg/scram.h"

/* The example of RFC 7677. */
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED_KEY "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER_KEY "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define VERIFIER "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define FIRST "n,,n=user,r=" CLIENT_NONCE
#define OFFER "r=" CLIENT_NONCE SERVER_NONCE ",s=" SALT ",i=4096"
#define FINAL "c=biws,r=" CLIENT_NONCE SERVER_NONCE
#define PROOF "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define SIGNATURE "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

/* The same for a client without a name, which is what libpq and we send: made by Python's hashlib.
 * */
#define NAMELESS_PROOF "qvT2SWdEH5Q06albL+hjSYuUhCG7VndFyzIb7CK4n9k="
#define NAMELESS_SIGNATURE "v=3HO6Qt1M4MKJrmlKaoOqLAI0/0TV0HZe7J9H3MBtSOg="

static const mp_view mechanism = BYTES(MP_SCRAM_MECHANISM);
static const uint8_t process_secret[MP_SCRAM_KEY_SIZE] = {1, 2, 3};

static mp_scram_verifier verifier_of(const char *text) {
    mp_scram_verifier verifier;
    check(mp_scram_parse_verifier(mp_view_of(text), &verifier));
    return verifier;
}

/* ---- stored secrets ---- */

TEST(a_verifier_is_read_as_postgresql_stores_it) {
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    check_equal(verifier.iterations, 4096);
    check_equal(verifier.salt_size, 16);
    check(mp_scram_verifier_check(&verifier, BYTES("pencil")));
    check(!mp_scram_verifier_check(&verifier, BYTES("pencils")));
    check(!mp_scram_verifier_check(&verifier, BYTES("")));
}

TEST(a_damaged_verifier_is_none) {
    static const char *const rows[] = {"",
                                       "SCRAM-SHA-256",
                                       "SCRAM-SHA-256$",
                                       "SCRAM-SHA-256$4096",
                                       "SCRAM-SHA-256$4096:" SALT,
                                       "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY,
                                       "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":",
                                       "SCRAM-SHA-256$4096:" SALT "$:" SERVER_KEY,
                                       "SCRAM-SHA-256$0:" SALT "$" STORED_KEY ":" SERVER_KEY,
                                       "SCRAM-SHA-256$-1:" SALT "$" STORED_KEY ":" SERVER_KEY,
                                       "SCRAM-SHA-256$ 4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
                                       "SCRAM-SHA-256$9999999999:" SALT "$" STORED_KEY
                                       ":" SERVER_KEY,
                                       "SCRAM-SHA-256$4096:" SALT "=$" STORED_KEY ":" SERVER_KEY,
                                       "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY "=",
                                       "SCRAM-SHA-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY " ",
                                       "SCRAM-SHA-1$4096:" SALT "$" STORED_KEY ":" SERVER_KEY,
                                       "scram-sha-256$4096:" SALT "$" STORED_KEY ":" SERVER_KEY};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mp_scram_verifier verifier;
        check(!mp_scram_parse_verifier(mp_view_of(rows[i]), &verifier));
    }
}

TEST(a_verifier_that_is_made_of_a_password_knows_it) {
    mp_scram_verifier verifier, again;
    check(mp_scram_verifier_init(&verifier, BYTES("alice"), BYTES("pencil"), 10, process_secret));
    check(mp_scram_verifier_check(&verifier, BYTES("pencil")));
    check(!mp_scram_verifier_check(&verifier, BYTES("Pencil")));
    check(mp_scram_verifier_init(&again, BYTES("alice"), BYTES("pencil"), 10, process_secret));
    check(memcmp(&verifier, &again, sizeof again) == 0);
}

TEST(a_user_who_is_not_there_has_a_salt_like_one_who_is) {
    static const uint8_t other_secret[MP_SCRAM_KEY_SIZE] = {9};
    mp_scram_verifier known, unknown, bob, other;
    mp_view alice = BYTES("alice"), none = {0};
    check(mp_scram_verifier_init(&known, alice, BYTES("pencil"), 10, process_secret));
    check(mp_scram_verifier_init(&unknown, alice, none, 10, process_secret));
    check(mp_scram_verifier_init(&bob, BYTES("bob"), none, 10, process_secret));
    check(mp_scram_verifier_init(&other, alice, none, 10, other_secret));
    check_equal(unknown.salt_size, known.salt_size);
    check_equal(unknown.iterations, known.iterations);
    check(memcmp(unknown.salt, known.salt, known.salt_size) == 0);
    check(memcmp(unknown.salt, bob.salt, bob.salt_size) != 0);
    check(memcmp(unknown.salt, other.salt, other.salt_size) != 0);
    check(!mp_scram_verifier_check(&unknown, BYTES("")));
}

/* ---- as a server ---- */

/* Begin an exchange; answers what the server says, or the error. */
static mantis_status begin_server(mp_scram_server *server, const mp_scram_verifier *verifier,
                                  mp_view first, mp_view *out, mantis_error *error) {
    return mp_scram_server_first(server, verifier, BYTES(SERVER_NONCE), mechanism, first, out,
                                 error);
}

TEST(the_server_of_rfc_7677_says_what_it_should) {
    static mp_scram_server server;
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    mp_view out;
    check_equal(begin_server(&server, &verifier, BYTES(FIRST), &out, NULL), MANTIS_OK);
    check_view(out, OFFER);
    check_equal(mp_scram_server_final(&server, BYTES(FINAL ",p=" PROOF), &out, NULL), MANTIS_OK);
    check_view(out, SIGNATURE);
    uint8_t hash[MP_SCRAM_KEY_SIZE]; /* the client's key is the one whose hash is stored */
    check(mp_crypto_sha256((mp_view){(char *)server.keys.client_key, MP_SCRAM_KEY_SIZE}, hash));
    check(memcmp(hash, verifier.stored_key, sizeof hash) == 0);
    check(memcmp(server.keys.server_key, verifier.server_key, sizeof hash) == 0);
}

TEST(a_first_message_that_is_wrong_is_refused) {
    static const struct {
        mp_view first;
        const char *sqlstate, *text;
    } rows[] = {
        {BYTES(""), "08P01", "empty"},
        {BYTES("n"), "08P01", "attribute \"n\" expected"},
        {BYTES("n,"), "08P01", "attribute \"n\" expected"},
        {BYTES("n,,"), "08P01", "attribute \"n\" expected"},
        {BYTES("x,,n=,r=abc"), "08P01", "no flag"},
        {BYTES(",,n=,r=abc"), "08P01", "no flag"},
        {BYTES("nn,,n=,r=abc"), "08P01", "no flag"},
        {BYTES("p=tls-server-end-point,,n=,r=abc"), "08P01", "channel binding"},
        {BYTES("p,,n=,r=abc"), "08P01", "no flag"},
        {BYTES("n,a=alice,n=,r=abc"), "0A000", "authorization identity"},
        {BYTES("n,,m=x,n=,r=abc"), "0A000", "extension"},
        {BYTES("n,,r=abc"), "08P01", "attribute \"n\" expected"},
        {BYTES("n,,n="), "08P01", "attribute \"r\" expected"},
        {BYTES("n,,n=,x=abc"), "08P01", "attribute \"r\" expected"},
        {BYTES("n,,n=,r="), "08P01", "nonce"},
        {BYTES("n,,n=,r=a b"), "08P01", "nonce"},
        {BYTES("n,,n=,r=a\x7f"), "08P01", "nonce"},
        {BYTES("n,,n=,r=a\xc3\xa4"), "08P01", "nonce"},
        {BYTES("n,,n=,r=a\0b"), "08P01", "zero byte"},
    };
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static mp_scram_server server;
        mantis_error error = {0};
        mp_view out;
        check_equal(begin_server(&server, &verifier, rows[i].first, &out, &error), MANTIS_INVALID);
        check_view(mp_view_of(error.sqlstate), rows[i].sqlstate);
        check_contains(error.text, rows[i].text);
        check_equal(mp_scram_server_final(&server, BYTES(FINAL ",p=" PROOF), &out, NULL),
                    MANTIS_INVALID);
    }
}

TEST(a_client_may_say_that_it_could_bind_channels_and_may_extend) {
    static mp_scram_server server;
    static const char *const firsts[] = {"y,,n=,r=abc", "n,,n=,r=abc,x=more", "n,,n=a=2Cb,r=abc"};
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    mp_view out;
    for (size_t i = 0; i < 3; i++) {
        check_equal(begin_server(&server, &verifier, mp_view_of(firsts[i]), &out, NULL), MANTIS_OK);
        check_view(out, "r=abc" SERVER_NONCE ",s=" SALT ",i=4096");
    }
}

TEST(long_messages_and_nonces_are_refused) {
    static mp_scram_server server;
    static char first[1100];
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    mp_view out;
    for (size_t nonce = 1; nonce < 1050; nonce++) {
        int size = snprintf(first, sizeof first, "n,,n=,r=%0*d", (int)nonce, 1);
        mantis_status status = begin_server(&server, &verifier, (mp_view){first, (size_t)size},
                                            &out, NULL);
        check_equal(status, nonce <= 256 ? MANTIS_OK : MANTIS_INVALID);
    }
    for (size_t name = 1; name < 1050; name++) {
        int size = snprintf(first, sizeof first, "n,,n=%0*d,r=abc", (int)name, 1);
        mantis_status status = begin_server(&server, &verifier, (mp_view){first, (size_t)size},
                                            &out, NULL);
        check_equal(status, name <= 1024 - 11 ? MANTIS_OK : MANTIS_INVALID);
    }
}

TEST(another_mechanism_than_the_offered_one_is_refused) {
    static const char *const names[] = {"", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "PLAIN",
                                        "scram-sha-256"};
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        static mp_scram_server server;
        mantis_error error = {0};
        mp_view out;
        check_equal(mp_scram_server_first(&server, &verifier, BYTES(SERVER_NONCE),
                                          mp_view_of(names[i]), BYTES(FIRST), &out, &error),
                    MANTIS_INVALID);
        check_contains(error.text, "invalid SASL authentication mechanism");
    }
}

/* An exchange up to this last message of the client: its outcome. */
static mantis_status end_server(const char *verifier_text, const char *first, mp_view last,
                                mantis_error *error) {
    static mp_scram_server server;
    mp_scram_verifier verifier = verifier_of(verifier_text);
    mp_view out;
    check_equal(begin_server(&server, &verifier, mp_view_of(first), &out, NULL), MANTIS_OK);
    mantis_status status = mp_scram_server_final(&server, last, &out, error);
    if (status != MANTIS_OK) { /* there is no second try */
        check_equal(mp_scram_server_final(&server, BYTES(FINAL ",p=" PROOF), &out, NULL),
                    MANTIS_INVALID);
        static const uint8_t zeros[MP_SCRAM_KEY_SIZE];
        check(memcmp(server.keys.client_key, zeros, sizeof zeros) == 0);
    }
    return status;
}

TEST(a_last_message_that_is_wrong_is_refused) {
    static const struct {
        mp_view last;
        const char *sqlstate, *text;
    } rows[] = {
        {BYTES(""), "08P01", "empty"},
        {BYTES("r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF), "08P01", "attribute \"c\""},
        {BYTES("c=eSws,r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF), "08P01", "channel binding"},
        {BYTES("c=,r=" CLIENT_NONCE SERVER_NONCE ",p=" PROOF), "08P01", "channel binding"},
        {BYTES("c=biws"), "08P01", "attribute \"r\""},
        {BYTES("c=biws,p=" PROOF), "08P01", "attribute \"r\""},
        {BYTES("c=biws,r=" CLIENT_NONCE ",p=" PROOF), "08P01", "nonce"},
        {BYTES("c=biws,r=" CLIENT_NONCE SERVER_NONCE "x,p=" PROOF), "08P01", "nonce"},
        {BYTES("c=biws,r=" CLIENT_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k1,p=" PROOF), "08P01",
         "nonce"},
        {BYTES("c=biws,r=,p=" PROOF), "08P01", "nonce"},
        {BYTES(FINAL), "08P01", "a proof"},
        {BYTES(FINAL ","), "08P01", "a proof"},
        {BYTES(FINAL ",p="), "08P01", "a proof"},
        {BYTES(FINAL ",p=AAAA"), "08P01", "a proof"},
        {BYTES(FINAL ",p=" PROOF "AAAA"), "08P01", "a proof"},
        {BYTES(FINAL ",p=" PROOF ",x=y"), "08P01", "a proof"},
        {BYTES(FINAL ",p=!HzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "08P01", "a proof"},
        {BYTES(FINAL ",p=" PROOF "\0"), "08P01", "zero byte"},
        {BYTES(FINAL ",x=y,p=" PROOF), "28P01", "password authentication failed"},
        {BYTES(FINAL ",p=AHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), "28P01", "failed"},
        {BYTES(FINAL ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "28P01", "failed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        mantis_error error = {0};
        check_equal(end_server(VERIFIER, FIRST, rows[i].last, &error), MANTIS_INVALID);
        check_view(mp_view_of(error.sqlstate), rows[i].sqlstate);
        check_contains(error.text, rows[i].text);
    }
    check_equal(end_server(VERIFIER, FIRST, BYTES(FINAL ",p=" PROOF), NULL), MANTIS_OK);
}

TEST(every_changed_bit_of_a_proof_is_noticed) {
    uint8_t proof[MP_SCRAM_KEY_SIZE];
    size_t size;
    check(mp_crypto_parse_base64(BYTES(PROOF), proof, sizeof proof, &size));
    for (size_t bit = 0; bit < 8 * sizeof proof; bit++) {
        char last[256] = FINAL ",p=";
        proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
        mp_crypto_write_base64(proof, sizeof proof, last + strlen(last));
        proof[bit / 8] ^= (uint8_t)(1 << bit % 8);
        check_equal(end_server(VERIFIER, FIRST, mp_view_of(last), NULL), MANTIS_INVALID);
    }
}

TEST(the_flag_of_channel_binding_must_be_the_one_that_was_said_first) {
    mantis_error error = {0};
    check_equal(end_server(VERIFIER, "y,,n=user,r=" CLIENT_NONCE, BYTES(FINAL ",p=" PROOF), &error),
                MANTIS_INVALID);
    check_contains(error.text, "channel binding");
}

/* ---- both sides ---- */

/* Log in; answers the outcome of the server and, in *client_status, of the client. */
static mantis_status log_in(const mp_scram_verifier *verifier, mp_view password,
                            const mp_scram_keys *keys, mp_scram_keys *captured,
                            mantis_status *client_status) {
    static mp_scram_client client;
    static mp_scram_server server;
    mp_view out;
    mp_view first = mp_scram_client_first(&client, BYTES("client+nonce/012"));
    check_equal(begin_server(&server, verifier, first, &out, NULL), MANTIS_OK);
    mp_view offer = out;
    check_equal(mp_scram_client_final(&client, password, keys, offer, &out, NULL), MANTIS_OK);
    mantis_status status = mp_scram_server_final(&server, out, &out, NULL);
    *client_status = MANTIS_INVALID;
    if (status == MANTIS_OK) *client_status = mp_scram_client_check(&client, out, NULL);
    if (captured) *captured = server.keys;
    return status;
}

TEST(both_sides_agree_on_a_password) {
    mp_scram_verifier verifier = verifier_of(VERIFIER);
    mantis_status client_status;
    check_equal(log_in(&verifier, BYTES("pencil"), NULL, NULL, &client_status), MANTIS_OK);
    check_equal(client_status, MANTIS_OK);
    check_equal(log_in(&verifier, BYTES("pen"), NULL, NULL, &client_status), MANTIS_INVALID);
}

TEST(a_mock_refuses_every_password) {
    mp_scram_verifier mock;
    mantis_status client_status;
    check(mp_scram_verifier_init(&mock, BYTES("alice"), (mp_view){0}, 10, process_secret));
    check_equal(log_in(&mock, BYTES("pencil"), NULL, NULL, &client_status), MANTIS_INVALID);
    check_equal(log_in(&mock, BYTES(""), NULL, NULL, &client_status), MANTIS_INVALID);
    mock.is_mock = false; /* and it is not by chance: no password has an empty key */
    check_equal(log_in(&mock, BYTES("pencil"), NULL, NULL, &client_status), MANTIS_INVALID);
}

TEST(keys_seen_at_a_login_log_in_where_the_same_secret_is_stored) {
    mp_scram_verifier verifier = verifier_of(VERIFIER), other;
    mp_scram_keys keys, again;
    mantis_status client_status;
    check_equal(log_in(&verifier, BYTES("pencil"), NULL, &keys, &client_status), MANTIS_OK);
    check_equal(log_in(&verifier, (mp_view){0}, &keys, &again, &client_status), MANTIS_OK);
    check_equal(client_status, MANTIS_OK);
    check(memcmp(&keys, &again, sizeof keys) == 0);
    check(mp_scram_verifier_init(&other, BYTES("alice"), BYTES("pencil"), 10, process_secret));
    check_equal(log_in(&other, (mp_view){0}, &keys, NULL, &client_status), MANTIS_INVALID);
}

/* ---- as a client ---- */

/* Answer a server's offer: the outcome. */
static mantis_status answer_offer(mp_scram_client *client, mp_view offer, mp_view *out,
                                  mantis_error *error) {
    mp_scram_client_first(client, BYTES(CLIENT_NONCE));
    return mp_scram_client_final(client, BYTES("pencil"), NULL, offer, out, error);
}

TEST(a_client_without_a_name_proves_what_it_should) {
    static mp_scram_client client;
    mp_view out;
    check_view(mp_scram_client_first(&client, BYTES(CLIENT_NONCE)), "n,,n=,r=" CLIENT_NONCE);
    check_equal(mp_scram_client_final(&client, BYTES("pencil"), NULL, BYTES(OFFER), &out, NULL),
                MANTIS_OK);
    check_view(out, FINAL ",p=" NAMELESS_PROOF);
    check_equal(mp_scram_client_check(&client, BYTES(NAMELESS_SIGNATURE), NULL), MANTIS_OK);
}

/* CVE-2026-6665 and its like: a hostile server. */
TEST(a_servers_offer_that_is_wrong_is_refused) {
    static const struct {
        mp_view offer;
        const char *text;
    } rows[] = {
        {BYTES(""), "empty"},
        {BYTES("e=other-error"), "attribute \"r\""},
        {BYTES("r=" SERVER_NONCE ",s=" SALT ",i=4096"), "nonce"},
        {BYTES("r=" CLIENT_NONCE ",s=" SALT ",i=4096"), "nonce"},
        {BYTES("r=,s=" SALT ",i=4096"), "nonce"},
        {BYTES("r=" CLIENT_NONCE "\x01,s=" SALT ",i=4096"), "nonce"},
        {BYTES("r=" CLIENT_NONCE "x"), "attribute \"s\""},
        {BYTES("r=" CLIENT_NONCE "x,i=4096"), "attribute \"s\""},
        {BYTES("r=" CLIENT_NONCE "x,s=,i=4096"), "salt"},
        {BYTES("r=" CLIENT_NONCE "x,s=?,i=4096"), "salt"},
        {BYTES("r=" CLIENT_NONCE "x,s=W22Z=,i=4096"), "salt"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i="), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=0"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=-1"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=4096x"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=1000001"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=2147483648"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=4294967297"), "iteration"},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=4096,x=y"), "iteration"},
        {BYTES("m=x,r=" CLIENT_NONCE "x,s=" SALT ",i=4096"), "attribute \"r\""},
        {BYTES("r=" CLIENT_NONCE "x,s=" SALT ",i=4096\0"), "zero byte"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static mp_scram_client client;
        mantis_error error = {0};
        mp_view out;
        check_equal(answer_offer(&client, rows[i].offer, &out, &error), MANTIS_INVALID);
        check_view(mp_view_of(error.sqlstate), "08P01");
        check_contains(error.text, rows[i].text);
        check_equal(mp_scram_client_check(&client, BYTES(NAMELESS_SIGNATURE), NULL),
                    MANTIS_INVALID);
    }
}

TEST(a_servers_nonce_and_salt_may_be_long_but_not_endless) {
    static mp_scram_client client;
    static char offer[2000];
    mp_view out;
    for (size_t nonce = 1; nonce < 1200; nonce += 7) {
        int size = snprintf(offer, sizeof offer, "r=" CLIENT_NONCE "%0*d,s=" SALT ",i=1",
                            (int)nonce, 1);
        mantis_status status = answer_offer(&client, (mp_view){offer, (size_t)size}, &out, NULL);
        check_equal(status, size <= 1024 ? MANTIS_OK : MANTIS_INVALID);
        if (status == MANTIS_OK) check(out.size > nonce);
    }
    for (size_t salt = 4; salt < 1200; salt += 4) {
        int size = snprintf(offer, sizeof offer, "r=" CLIENT_NONCE "x,s=%0*d,i=1", (int)salt, 1);
        mantis_status status = answer_offer(&client, (mp_view){offer, (size_t)size}, &out, NULL);
        check_equal(status, size <= 1024 ? MANTIS_OK : MANTIS_INVALID);
    }
}

TEST(a_server_that_does_not_know_the_secret_is_noticed) {
    static const struct {
        mp_view last;
        const char *sqlstate, *text;
    } rows[] = {
        {BYTES(SIGNATURE), "28P01", "server does not know"},
        {BYTES("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "28P01", "does not know"},
        {BYTES("e=invalid-proof"), "28P01", "invalid-proof"},
        {BYTES(""), "08P01", "empty"},
        {BYTES("v="), "08P01", "signature"},
        {BYTES("v=AAAA"), "08P01", "signature"},
        {BYTES(NAMELESS_SIGNATURE ",x=y"), "08P01", "signature"},
        {BYTES("x=y"), "08P01", "signature"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static mp_scram_client client;
        mantis_error error = {0};
        mp_view out;
        check_equal(answer_offer(&client, BYTES(OFFER), &out, NULL), MANTIS_OK);
        check_equal(mp_scram_client_check(&client, rows[i].last, &error), MANTIS_INVALID);
        check_view(mp_view_of(error.sqlstate), rows[i].sqlstate);
        check_contains(error.text, rows[i].text);
    }
}

TEST(messages_out_of_turn_are_refused) {
    static mp_scram_client client;
    static mp_scram_server server;
    mp_view out;
    check_equal(mp_scram_server_final(&server, BYTES(FINAL ",p=" PROOF), &out, NULL),
                MANTIS_INVALID);
    check_equal(mp_scram_client_final(&client, BYTES("pencil"), NULL, BYTES(OFFER), &out, NULL),
                MANTIS_INVALID);
    check_equal(mp_scram_client_check(&client, BYTES(NAMELESS_SIGNATURE), NULL), MANTIS_INVALID);
    check_equal(answer_offer(&client, BYTES(OFFER), &out, NULL), MANTIS_OK);
    check_equal(mp_scram_client_final(&client, BYTES("pencil"), NULL, BYTES(OFFER), &out, NULL),
                MANTIS_INVALID);
}

/* ---- base64 ---- */

TEST(base64_is_what_it_should_be_for_every_length) {
    static const char *const rows[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                       "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t size = 0; size <= 6; size++) {
        char text[16];
        uint8_t data[8];
        size_t found;
        check_equal(mp_crypto_write_base64("foobar", size, text), strlen(rows[size]));
        check(memcmp(text, rows[size], strlen(rows[size])) == 0);
        check(mp_crypto_parse_base64(mp_view_of(rows[size]), data, sizeof data, &found));
        check_equal(found, size);
        check(memcmp(data, "foobar", size) == 0);
        check(size == 0 || !mp_crypto_parse_base64(mp_view_of(rows[size]), data, size - 1, &found));
    }
}

TEST(what_is_no_base64_is_refused) {
    static const char *const rows[] = {
        "Z",    "Zg",     "Zg=",   "Zg===",    "=",    "====", "Z===",       "Zh==",    "Zm9=",
        "Z g=", "Zm9v\n", "Zm9v=", "Zg==Zg==", "Zm=v", "Zm9-", "\xc3\xa4==", "Zm9v    "};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t data[16];
        size_t size;
        if (mp_crypto_parse_base64(mp_view_of(rows[i]), data, sizeof data, &size))
            tap_fail(__FILE__, __LINE__, "\"%s\" is refused", rows[i]);
    }
}

TEST(nonces_are_of_their_size_and_differ) {
    char first[MP_CRYPTO_NONCE_SIZE], second[MP_CRYPTO_NONCE_SIZE];
    check(mp_crypto_nonce(first) && mp_crypto_nonce(second));
    check(memcmp(first, second, sizeof first) != 0);
    check(!memchr(first, ',', sizeof first) && !memchr(first, '=', sizeof first));
}

TAP_MAIN
