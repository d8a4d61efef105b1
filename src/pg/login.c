/* Logging in to a server. */
#include "pg/login.h"

#include "pg/request.h"
#include "pg/secret.h"
#include "pg/sqlstate.h"

static mantis_status refuse_method(mantis_error *error, const char *name) {
    return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_AUTHORIZATION,
                            "the server asks for %s authentication, which is not allowed here",
                            name);
}

static mantis_status lack_secret(mantis_error *error, const char *name) {
    return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_PASSWORD,
                            "the server asks for %s authentication, for which no fitting secret of "
                            "this user is known",
                            name);
}

static mantis_status answer_cleartext(mp_login *login, mp_wire_out *out, mantis_error *error) {
    if (!(login->methods & MP_LOGIN_CLEARTEXT)) return refuse_method(error, "cleartext");
    if (mp_secret_kind_of(login->secret) != MP_SECRET_PLAIN) return lack_secret(error, "cleartext");
    mp_request_write_password(out, login->secret);
    login->stage = MP_LOGIN_ANSWERED;
    return MANTIS_OK;
}

static mantis_status answer_md5(mp_login *login, mp_view salt, mp_wire_out *out,
                                mantis_error *error) {
    char answer[MP_SECRET_MD5_SIZE];
    if (!(login->methods & MP_LOGIN_MD5)) return refuse_method(error, "MD5");
    if (!mp_secret_make_md5(login->secret, login->user, (const uint8_t *)salt.data, answer))
        return lack_secret(error, "MD5");
    mp_request_write_password(out, (mp_view){answer, sizeof answer});
    login->stage = MP_LOGIN_ANSWERED;
    return MANTIS_OK;
}

static mantis_status answer_sasl(mp_login *login, mp_view mechanisms, mp_view nonce,
                                 mp_wire_out *out, mantis_error *error) {
    if (!(login->methods & MP_LOGIN_SCRAM)) return refuse_method(error, "SASL");
    if (!mp_answer_has_mechanism(mechanisms, MP_SCRAM_MECHANISM))
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "none of the server's SASL authentication mechanisms are "
                                "supported; " MP_SCRAM_MECHANISM " is");
    if (!login->keys && mp_secret_kind_of(login->secret) != MP_SECRET_PLAIN)
        return lack_secret(error, "SCRAM");
    mp_view first = mp_scram_client_first(&login->scram, nonce);
    mp_request_write_sasl(out, mp_view_of(MP_SCRAM_MECHANISM), first);
    login->stage = MP_LOGIN_SASL_BEGUN;
    return MANTIS_OK;
}

static mantis_status continue_sasl(mp_login *login, mp_view in, mp_wire_out *out,
                                   mantis_error *error) {
    mp_view final;
    mantis_status status = mp_scram_client_final(&login->scram, login->secret, login->keys, in,
                                                 &final, error);
    if (status != MANTIS_OK) return status;
    mp_request_write_sasl_next(out, final);
    login->stage = MP_LOGIN_SASL_PROVEN;
    return MANTIS_OK;
}

static mantis_status finish_sasl(mp_login *login, mp_view in, mantis_error *error) {
    mantis_status status = mp_scram_client_check(&login->scram, in, error);
    if (status == MANTIS_OK) login->stage = MP_LOGIN_SASL_CHECKED;
    return status;
}

static mantis_status accept(mp_login *login, mantis_error *error) {
    bool is_asked = login->stage != MP_LOGIN_BEGUN;
    if (!is_asked && !(login->methods & MP_LOGIN_NOTHING))
        return mp_sqlstate_fail(error, MP_SQLSTATE_INVALID_AUTHORIZATION,
                                "the server asks for no authentication, which is not allowed here");
    if (is_asked && login->stage != MP_LOGIN_ANSWERED && login->stage != MP_LOGIN_SASL_CHECKED)
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "the server ends the authentication before it has shown that it "
                                "knows the secret");
    login->stage = MP_LOGIN_DONE;
    return MANTIS_OK;
}

/* May the server say this now? Whether all may be well, accept() looks at. */
static bool is_turn_of(uint32_t kind, mp_login_stage stage) {
    switch (kind) {
    case MP_ANSWER_AUTH_OK: return stage != MP_LOGIN_DONE;
    case MP_ANSWER_AUTH_SASL_CONTINUE: return stage == MP_LOGIN_SASL_BEGUN;
    case MP_ANSWER_AUTH_SASL_FINAL: return stage == MP_LOGIN_SASL_PROVEN;
    default: return stage == MP_LOGIN_BEGUN;
    }
}

mantis_status mp_login_answer(mp_login *login, const mp_message *message, mp_view nonce,
                              mp_wire_out *out, mantis_error *error) {
    mp_answer_authentication asked;
    if (!mp_answer_parse_authentication(message, &asked))
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "invalid authentication message from the server");
    if (!is_turn_of(asked.kind, login->stage))
        return mp_sqlstate_fail(error, MP_SQLSTATE_PROTOCOL_VIOLATION,
                                "the server's authentication message came out of turn");
    switch (asked.kind) {
    case MP_ANSWER_AUTH_OK: return accept(login, error);
    case MP_ANSWER_AUTH_CLEARTEXT: return answer_cleartext(login, out, error);
    case MP_ANSWER_AUTH_MD5: return answer_md5(login, asked.data, out, error);
    case MP_ANSWER_AUTH_SASL: return answer_sasl(login, asked.data, nonce, out, error);
    case MP_ANSWER_AUTH_SASL_CONTINUE: return continue_sasl(login, asked.data, out, error);
    case MP_ANSWER_AUTH_SASL_FINAL: return finish_sasl(login, asked.data, error);
    default:
        return mp_sqlstate_fail(error, MP_SQLSTATE_FEATURE_NOT_SUPPORTED,
                                "the server asks for authentication method %u, which is not "
                                "supported",
                                asked.kind);
    }
}

void mp_login_finish(mp_login *login) { mp_crypto_wipe(login, sizeof *login); }
