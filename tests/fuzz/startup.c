/* Anything as the first packet of a client. */
#include "fuzz/fuzz.h"

#include "pg/startup.h"

static void look_at_options(mp_view options) {
    mp_startup_setting setting;
    mantis_error error;
    size_t at = 0, before = 0;
    while (mp_startup_next_option(options, &at, &setting, &error) == MP_STARTUP_OPTION_SETTING) {
        expect(at > before && at <= options.size);
        expect(setting.name.size > 0 && setting.name.size + setting.value.size < options.size);
        touch(setting.name);
        touch(setting.value);
        before = at;
    }
}

/* A login with the same names, written as we write one, is read as the same. */
static void look_at_written(const mp_startup *login) {
    static uint8_t data[2 * MP_STARTUP_SIZE_MAX];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_startup again;
    size_t packet_size;
    mp_startup_begin(&out);
    mp_startup_write_param(&out, mp_view_of("user"), login->user);
    mp_startup_write_param(&out, mp_view_of("database"), login->database);
    if (login->options.data) mp_startup_write_param(&out, mp_view_of("options"), login->options);
    mp_startup_commit(&out);
    if (out.length > MP_STARTUP_SIZE_MAX) return;
    expect(mp_startup_parse(data, out.length, &again, &packet_size, NULL) == MP_STARTUP_DONE);
    expect(packet_size == out.length && again.user.size == login->user.size);
    expect(again.database.size == login->database.size);
    expect(again.options.size == login->options.size);
}

static void look_at_cancel(const mp_startup *cancel, const uint8_t *packet, size_t packet_size) {
    uint8_t data[512];
    mp_wire_out out = {.data = data, .size = sizeof data};
    mp_startup_write_cancel(&out, cancel->cancel_pid, cancel->cancel_key);
    expect(out.length == packet_size && memcmp(data, packet, packet_size) == 0);
}

static void look_at_login(const mp_startup *login) {
    mp_view name, value;
    uint32_t at = 0, before = 0;
    uint8_t data[2 * MP_STARTUP_SIZE_MAX];
    mp_wire_out out = {.data = data, .size = sizeof data};
    expect(login->user.size > 0 && login->user.size <= MP_STARTUP_USER_SIZE_MAX);
    expect(login->database.size > 0 && login->database.size <= MP_STARTUP_DATABASE_SIZE_MAX);
    touch(login->user);
    touch(login->database);
    while (mp_startup_next_param(login, &at, &name, &value)) {
        expect(at > before && name.size > 0);
        touch(name);
        touch(value);
        before = at;
    }
    if (login->options.data) look_at_options(login->options);
    mp_startup_write_negotiation(login, &out);
    expect(!out.is_full);
    bool has_names = login->extensions_count > 0;
    expect(has_names ? out.length > 13 : out.length == 13);
    look_at_written(login);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mp_startup startup;
    mantis_error error = {0};
    size_t packet_size;
    mp_startup_found found = mp_startup_parse(data, size, &startup, &packet_size, &error);
    expect(packet_size <= MP_STARTUP_SIZE_MAX);
    if (found == MP_STARTUP_MORE) expect(size < 4 || size < packet_size);
    if (found == MP_STARTUP_BAD) expect(error.sqlstate[0] && error.text[0]);
    if (found != MP_STARTUP_DONE) return 0;
    expect(packet_size <= size);
    if (startup.kind == MP_STARTUP_LOGIN) look_at_login(&startup);
    if (startup.kind == MP_STARTUP_CANCEL) look_at_cancel(&startup, data, packet_size);
    if (startup.kind == MP_STARTUP_SSL) {
        uint8_t written[8];
        mp_wire_out out = {.data = written, .size = sizeof written};
        mp_startup_write_ssl(&out);
        expect(out.length == packet_size && memcmp(written, data, packet_size) == 0);
    }
    return 0;
}
