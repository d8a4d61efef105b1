/* Scans and transactions on a table of PostgreSQL keep the contracts of mantis/store.h. */
#include "ground.h"

/* ---- scans ---- */

typedef struct seen_keys {
    char keys[4096]; /* with blanks between */
    int count, stop_after;
    mantis_conn other; /* to write with meanwhile */
    bool writes;
} seen_keys;

static bool on_entry(const mantis_entry *entry, void *arg) {
    seen_keys *seen = arg;
    size_t length = strlen(seen->keys);
    check(entry->version > 0 && entry->expires_ms == 0);
    check(entry->value_size == 1 && memcmp(entry->value, "v", 1) == 0);
    if (length + entry->key_size + 2 < sizeof seen->keys)
        snprintf(seen->keys + length, sizeof seen->keys - length, "%s%.*s", length ? " " : "",
                 (int)entry->key_size, (const char *)entry->key);
    if (seen->writes && seen->count == 0) {
        set(seen->other, "0099x", "new");
        delete (seen->other, "0098");
    }
    return ++seen->count != seen->stop_after;
}

static const char *scan(mantis_conn conn, const char *prefix, uint32_t limit, mantis_cursor *cursor,
                        seen_keys *seen) {
    seen->keys[0] = '\0';
    seen->count = 0;
    OK(mantis_conn_scan(conn, prefix, strlen(prefix), limit, cursor, on_entry, seen, error));
    return seen->keys;
}

TEST(a_scan_visits_a_prefix_in_the_order_of_bytes) {
    mantis_pool *pool = pool_open("scan");
    mantis_conn conn = borrow(pool);
    seen_keys seen = {0};
    check(strcmp(scan(conn, "", 0, NULL, &seen), "") == 0);
    const char *keys[] = {"b", "ab", "a", "\xff\xff", "B", "\xff", "abc", "ac", "\xff\xff z"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) set(conn, keys[i], "v");
    check(strcmp(scan(conn, "", 0, NULL, &seen), "B a ab abc ac b \xff \xff\xff \xff\xff z") == 0);
    check(strcmp(scan(conn, "a", 0, NULL, &seen), "a ab abc ac") == 0);
    check(strcmp(scan(conn, "ab", 10, NULL, &seen), "ab abc") == 0);
    check(strcmp(scan(conn, "\xff", 10, NULL, &seen), "\xff \xff\xff \xff\xff z") == 0);
    check(strcmp(scan(conn, "x", 10, NULL, &seen), "") == 0);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_cursor_goes_on_behind_the_last_entry_and_knows_the_end) {
    mantis_pool *pool = pool_open("cursor");
    mantis_conn conn = borrow(pool);
    mantis_cursor cursor = {0};
    seen_keys seen = {0}, stopping = {.stop_after = 1};
    const char *keys[] = {"a1", "a2", "a3", "a4", "a5", "b"};
    for (size_t i = 0; i < 6; i++) set(conn, keys[i], "v");
    check(strcmp(scan(conn, "a", 2, &cursor, &seen), "a1 a2") == 0 && !cursor.at_end);
    check(strcmp(scan(conn, "a", 5, &cursor, &stopping), "a3") == 0 && !cursor.at_end);
    check(strcmp(scan(conn, "a", 2, &cursor, &seen), "a4 a5") == 0 && cursor.at_end);
    check(strcmp(scan(conn, "a", 2, &cursor, &seen), "") == 0 && cursor.at_end);
    mantis_cursor_free(&cursor);
    check(strcmp(scan(conn, "a", 0, &cursor, &stopping), "a1") == 0 && !cursor.at_end);
    check(strcmp(scan(conn, "b", 0, &cursor, &seen), "b") == 0 && cursor.at_end);
    mantis_cursor_free(&cursor);
    mantis_conn_release(&conn);
    pool_close(pool);
}

static void fill(mantis_conn conn, int count) {
    static char keys[1000][8];
    static mantis_write writes[1000];
    for (int i = 0; i < count; i++) {
        snprintf(keys[i], sizeof keys[i], "%04d", i);
        writes[i] = (mantis_write){keys[i], 4, "v", 1, 0};
    }
    OK(mantis_conn_batch(conn, writes, (size_t)count, MANTIS_DURABLE_DEFAULT, error));
}

TEST(a_long_scan_sees_the_table_as_it_was_when_it_began) {
    mantis_pool *pool = pool_open("longscan");
    mantis_conn conn = borrow(pool), other = borrow(pool);
    fill(conn, 500);
    for (uint32_t limit = 0; limit <= 500; limit += 250) {
        seen_keys seen = {.other = other, .writes = limit == 0};
        scan(conn, "", limit, NULL, &seen);
        check_equal(seen.count, limit == 0 ? 500 : (int)limit);
        if (limit == 0) set(conn, "0098", "v"), delete (conn, "0099x");
    }
    seen_keys seen = {.stop_after = 130};
    mantis_cursor cursor = {0};
    scan(conn, "", 0, &cursor, &seen);
    check(seen.count == 130 && !cursor.at_end);
    seen.stop_after = 0;
    scan(conn, "", 0, &cursor, &seen);
    check(seen.count == 370 && cursor.at_end);
    check(PQtransactionStatus(native_of(conn)) == PQTRANS_IDLE);
    mantis_cursor_free(&cursor);
    mantis_conn_release(&conn);
    mantis_conn_release(&other);
    pool_close(pool);
}

TEST(a_scan_does_not_see_what_is_past_its_time) {
    mantis_pool *pool = pool_open("scanttl");
    mantis_conn conn = borrow(pool);
    mantis_write write = {"gone", 4, "v", 1, 1};
    seen_keys seen = {0};
    set(conn, "here", "v");
    OK(mantis_conn_set_with(conn, &write, MANTIS_DURABLE_DEFAULT, error));
    for (bool is_there = true; is_there;) OK(mantis_conn_exists(conn, "gone", 4, &is_there, error));
    check(strcmp(scan(conn, "", 0, NULL, &seen), "here") == 0);
    mantis_conn_release(&conn);
    pool_close(pool);
}

/* ---- transactions ---- */

static void begin(mantis_conn conn) {
    OK(mantis_conn_begin(conn, MANTIS_TRANSACTION_WRITE, error));
}

static mantis_status commit(mantis_conn conn) {
    last = (mantis_error){0};
    mantis_status status = mantis_conn_commit(conn, MANTIS_DURABLE_DEFAULT, &last);
    check(PQtransactionStatus(native_of(conn)) == PQTRANS_IDLE); /* it is over, however it ends */
    return status;
}

/* Two connections of a pool, and a table with a, b and c in it. */
typedef struct conn_pair {
    mantis_pool *pool;
    mantis_conn one, two;
} conn_pair;

static conn_pair pair_open(const char *table) {
    conn_pair pair = {.pool = pool_open(table)};
    pair.one = borrow(pair.pool);
    pair.two = borrow(pair.pool);
    for (const char *key = "a\0b\0c\0"; *key; key += 2) set(pair.one, key, "old");
    return pair;
}

static void pair_close(conn_pair *pair) {
    mantis_conn_release(&pair->one);
    mantis_conn_release(&pair->two);
    pool_close(pair->pool);
}

TEST(a_transaction_is_seen_by_itself_alone_until_it_is_committed) {
    conn_pair pair = pair_open("alone");
    begin(pair.one);
    set(pair.one, "a", "new");
    delete (pair.one, "b");
    expect(pair.one, "a", "new");
    expect(pair.one, "b", NULL);
    expect(pair.two, "a", "old");
    expect(pair.two, "b", "old");
    check_equal(commit(pair.one), MANTIS_OK);
    expect(pair.two, "a", "new");
    expect(pair.two, "b", NULL);
    pair_close(&pair);
}

TEST(a_rollback_forgets_and_is_fine_without_a_transaction) {
    conn_pair pair = pair_open("forget");
    OK(mantis_conn_rollback(pair.one, error));
    begin(pair.one);
    set(pair.one, "a", "new");
    OK(mantis_conn_rollback(pair.one, error));
    OK(mantis_conn_rollback(pair.one, error));
    expect(pair.one, "a", "old");
    REFUSED(mantis_conn_commit(pair.one, MANTIS_DURABLE_DEFAULT, error), MANTIS_INVALID);
    pair_close(&pair);
}

TEST(a_transaction_sees_the_table_as_it_was_when_it_began) {
    conn_pair pair = pair_open("asitwas");
    seen_keys seen = {0};
    mantis_write writes[] = {{"a", 1, NULL, 0, 0}, {"b", 1, "v", 1, 0}, {"c", 1, "v", 1, 0}};
    OK(mantis_conn_batch(pair.two, writes, 3, MANTIS_DURABLE_DEFAULT, error));
    OK(mantis_conn_begin(pair.one, MANTIS_TRANSACTION_SNAPSHOT, error));
    set(pair.two, "d", "v");
    delete (pair.two, "b");
    expect(pair.one, "b", "v");
    expect(pair.one, "d", NULL);
    check(strcmp(scan(pair.one, "", 0, NULL, &seen), "b c") == 0);
    REFUSED(mantis_conn_set(pair.one, "a", 1, "v", 1, error), MANTIS_INVALID);
    check_contains(last.text, "a snapshot only reads");
    expect(pair.one, "c", "v"); /* that cost nothing */
    check_equal(commit(pair.one), MANTIS_OK);
    check(strcmp(scan(pair.one, "", 0, NULL, &seen), "c d") == 0);
    pair_close(&pair);
}

TEST(a_plain_write_to_a_key_that_was_read_is_a_conflict) {
    conn_pair pair = pair_open("conflict");
    const struct {
        const char *key, *value; /* of the plain write; NULL deletes */
        bool exists;             /* the key is read by exists */
    } cases[] = {{"a", "plain", false}, {"a", NULL, false},  {"new", "plain", false},
                 {"a", "plain", true},  {"new2", "x", true}, {"a", NULL, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key = cases[i].key;
        mantis_value found = {0};
        bool is_there;
        if (strcmp(key, "a") == 0) set(pair.two, "a", "old");
        begin(pair.one);
        if (cases[i].exists) OK(mantis_conn_exists(pair.one, key, strlen(key), &is_there, error));
        else (void)get(pair.one, key, &found);
        mantis_value_free(&found);
        set(pair.one, "c", "mine");
        if (cases[i].value) set(pair.two, key, cases[i].value);
        else delete (pair.two, key);
        check_equal(commit(pair.one), MANTIS_CONFLICT);
        check_contains(last.sqlstate, "40001");
        expect(pair.two, "c", "old");
        expect(pair.two, key, cases[i].value);
    }
    pair_close(&pair);
}

TEST(a_write_to_another_key_is_none) {
    conn_pair pair = pair_open("noconflict");
    seen_keys seen = {0};
    set(pair.one, "a", "v"), set(pair.one, "b", "v"), set(pair.one, "c", "v");
    begin(pair.one);
    expect(pair.one, "a", "v");
    expect(pair.one, "missing", NULL);
    scan(pair.one, "", 0, NULL, &seen); /* what it sees is not checked */
    set(pair.one, "a", "mine");
    set(pair.two, "b", "theirs");
    set(pair.two, "d", "theirs");
    check_equal(commit(pair.one), MANTIS_OK);
    expect(pair.two, "a", "mine");
    check(strcmp(sql(pair.two, "SELECT count(*) FROM noconflict"), "4") == 0); /* no mark is left */
    pair_close(&pair);
}

TEST(a_key_that_was_deleted_or_set_by_itself_is_none) {
    conn_pair pair = pair_open("byitself");
    begin(pair.one);
    expect(pair.one, "a", "old");
    delete (pair.one, "a");
    expect(pair.one, "a", NULL);
    expect(pair.one, "new", NULL);
    set(pair.one, "new", "v");
    expect(pair.one, "new", "v");
    delete (pair.one, "new");
    expect(pair.one, "new", NULL);
    set(pair.one, "b", "v");
    expect(pair.one, "b", "v");
    check_equal(commit(pair.one), MANTIS_OK);
    expect(pair.two, "a", NULL);
    expect(pair.two, "new", NULL);
    expect(pair.two, "b", "v");
    pair_close(&pair);
}

/* One of two transactions at a time, each of which has read what the other has written. */
typedef struct committing {
    pthread_t thread;
    mantis_conn conn;
    mantis_status status;
} committing;

static void *run_commit(void *arg) {
    committing *self = arg;
    self->status = mantis_conn_commit(self->conn, MANTIS_DURABLE_DEFAULT, NULL);
    return NULL;
}

TEST(of_two_that_read_what_the_other_writes_one_is_refused) {
    conn_pair pair = pair_open("skew");
    const char *keys[] = {"a", "b", "no", "none"};
    for (int i = 0; i < 4; i += 2) { /* keys that are there, and keys that are not */
        committing sides[] = {{.conn = pair.one}, {.conn = pair.two}};
        begin(pair.one);
        begin(pair.two);
        expect(pair.one, keys[i], i ? NULL : "old");
        expect(pair.two, keys[i + 1], i ? NULL : "old");
        set(pair.one, keys[i + 1], "one");
        set(pair.two, keys[i], "two");
        for (int side = 0; side < 2; side++)
            check_equal(pthread_create(&sides[side].thread, NULL, run_commit, &sides[side]), 0);
        for (int side = 0; side < 2; side++) pthread_join(sides[side].thread, NULL);
        bool one = sides[0].status == MANTIS_OK, two = sides[1].status == MANTIS_OK;
        check(one != two);
        check_equal(sides[one ? 1 : 0].status, MANTIS_CONFLICT);
        expect(pair.one, keys[i + 1], one ? "one" : i ? NULL : "old");
        expect(pair.one, keys[i], two ? "two" : i ? NULL : "old");
    }
    pair_close(&pair);
}

static _Atomic int64_t conflicts;

/* Take one from a and add it to b, or the other way round; never below 0 together. */
static void *transfer(void *arg) {
    mantis_pool *pool = arg;
    static _Atomic unsigned numbers;
    unsigned number = numbers++;
    for (int done = 0; done < 25;) {
        mantis_conn conn = borrow(pool);
        mantis_value a = {0}, b = {0};
        char texts[2][16] = {"", ""};
        begin(conn);
        mantis_status status = get(conn, "a", &a);
        if (status == MANTIS_OK) status = get(conn, "b", &b);
        if (status == MANTIS_OK) {
            memcpy(texts[0], a.data, a.size), memcpy(texts[1], b.data, b.size);
            int amounts[] = {number_of(texts[0]), number_of(texts[1])}, step = number % 2 ? 1 : -1;
            snprintf(texts[0], sizeof texts[0], "%d", amounts[0] + step);
            snprintf(texts[1], sizeof texts[1], "%d", amounts[1] - step);
            status = mantis_conn_set(conn, "a", 1, texts[0], strlen(texts[0]), NULL);
        }
        if (status == MANTIS_OK)
            status = mantis_conn_set(conn, "b", 1, texts[1], strlen(texts[1]), NULL);
        if (status == MANTIS_OK) status = commit(conn);
        check(status == MANTIS_OK || status == MANTIS_CONFLICT);
        done += status == MANTIS_OK;
        conflicts += status == MANTIS_CONFLICT;
        mantis_value_free(&a);
        mantis_value_free(&b);
        mantis_conn_release(&conn); /* rolls back what is open */
    }
    return NULL;
}

TEST(transfers_of_many_threads_lose_nothing) {
    mantis_pool *pool = pool_open("transfer");
    mantis_conn conn = borrow(pool);
    set(conn, "a", "100");
    set(conn, "b", "100");
    mantis_conn_release(&conn);
    run_threads(4, transfer, pool);
    conn = borrow(pool);
    expect(conn, "a", "100"); /* as many steps up as down */
    expect(conn, "b", "100");
    printf("# %lld conflicts\n", (long long)conflicts);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(after_a_conflict_nothing_goes_but_a_rollback) {
    conn_pair pair = pair_open("after");
    begin(pair.one);
    set(pair.two, "a", "plain");
    REFUSED(mantis_conn_set(pair.one, "a", 1, "mine", 4, error), MANTIS_CONFLICT);
    REFUSED(mantis_conn_get(pair.one, "b", 1, &(mantis_value){0}, error), MANTIS_CONFLICT);
    check_contains(last.text, "roll it back");
    check_equal(commit(pair.one), MANTIS_CONFLICT);
    expect(pair.one, "a", "plain");
    begin(pair.one);
    set(pair.one, "a", "mine");
    check_equal(commit(pair.one), MANTIS_OK);
    pair_close(&pair);
}

TEST(after_a_statement_of_ones_own_has_failed_nothing_goes_but_a_rollback) {
    conn_pair pair = pair_open("ownfails");
    for (int reads = 0; reads < 2; reads++) {
        begin(pair.one);
        if (reads) expect(pair.one, "b", "old");
        set(pair.one, "a", "mine");
        PQclear(PQexec(native_of(pair.one), "SELECT 1 / 0"));
        REFUSED(mantis_conn_get(pair.one, "b", 1, &(mantis_value){0}, error), MANTIS_INVALID);
        check_contains(last.text, "a statement of the borrower's own has failed");
        check_equal(commit(pair.one), MANTIS_INVALID);
        expect(pair.two, "a", "old");
    }
    begin(pair.one);
    set(pair.one, "a", "mine");
    sql(pair.one, "SAVEPOINT here");
    PQclear(PQexec(native_of(pair.one), "SELECT 1 / 0"));
    sql(pair.one, "ROLLBACK TO here"); /* takes the failure back */
    check_equal(commit(pair.one), MANTIS_OK);
    expect(pair.two, "a", "mine");
    pair_close(&pair);
}

TEST(a_connection_has_one_transaction_at_a_time) {
    conn_pair pair = pair_open("single");
    begin(pair.one);
    REFUSED(mantis_conn_begin(pair.one, MANTIS_TRANSACTION_WRITE, error), MANTIS_BUSY);
    mantis_write write = {"a", 1, "v", 1, 0};
    REFUSED(mantis_conn_compare_and_set(pair.one, &write, 1, MANTIS_DURABLE_DEFAULT, NULL, error),
            MANTIS_INVALID);
    set(pair.one, "a", "new");
    check_equal(commit(pair.one), MANTIS_OK);
    sql(pair.one, "BEGIN");
    REFUSED(mantis_conn_begin(pair.one, MANTIS_TRANSACTION_WRITE, error), MANTIS_BUSY);
    sql(pair.one, "COMMIT");
    begin(pair.one);
    sql(pair.one, "COMMIT"); /* ended by hand */
    begin(pair.one);
    check_equal(commit(pair.one), MANTIS_OK);
    pair_close(&pair);
}

TEST(what_a_transaction_has_read_is_bounded) {
    mantis_pool *pool = pool_open_as("bounded", "", 1024);
    mantis_conn conn = borrow(pool);
    char key[400];
    memset(key, 'k', sizeof key);
    begin(conn);
    bool is_there = false;
    OK(mantis_conn_exists(conn, key, sizeof key, &is_there, error));
    OK(mantis_conn_exists(conn, key, sizeof key, &is_there, error));
    REFUSED(mantis_conn_exists(conn, key, sizeof key, &is_there, error), MANTIS_TOO_BIG);
    check_contains(last.text, "conn_memory_max");
    check_equal(commit(conn), MANTIS_OK); /* the first two are checked, and the third not needed */
    mantis_conn_release(&conn);
    pool_close(pool);
}

TEST(a_released_transaction_leaves_nothing) {
    mantis_pool *pool = pool_open("left");
    for (int i = 0; i < 3; i++) {
        mantis_conn conn = borrow(pool);
        begin(conn);
        expect(conn, "k", NULL);
        set(conn, "k", "v");
        mantis_conn_release(&conn);
    }
    mantis_conn conn = borrow(pool);
    expect(conn, "k", NULL);
    mantis_conn_release(&conn);
    pool_close(pool);
}

TAP_MAIN
