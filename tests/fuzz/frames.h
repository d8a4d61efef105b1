/* A stream of messages, walked over whole and in pieces. Both must find the same. */
#ifndef MP_TESTS_FUZZ_FRAMES_H
#define MP_TESTS_FUZZ_FRAMES_H

#include "fuzz/fuzz.h"
#include "pg/wire.h"

#define MESSAGES_MAX 512

/* A message that was found: enough to compare. */
typedef struct sighting {
    uint8_t type;
    uint32_t size;
    uint32_t sum; /* of its bytes */
} sighting;

typedef struct sightings {
    sighting found[MESSAGES_MAX];
    uint32_t count;
    bool is_bad;
} sightings;

/* Walk over a stream in pieces of this size; 0: whole. look is called with each message that is
 * there whole, and with one of which only a part is there when there is no more. */
static void walk(const mp_wire_rules *rules, const uint8_t *data, size_t size, size_t piece_size,
                 void (*look)(const mp_message *message), sightings *out) {
    mp_wire wire = {0};
    size_t done = 0, there = 0;
    *out = (sightings){0};
    while (there < size && !out->is_bad) {
        size_t left = size - there;
        there += piece_size && piece_size < left ? piece_size : left;
        uint8_t *piece = copy_of(data + done, there - done);
        size_t at = 0, before = 0;
        mp_wire_found found;
        mp_message message;
        do {
            found = mp_wire_scan(&wire, rules, piece, there - done, &at, &message);
            expect(at >= before && at <= there - done);
            before = at;
            if (found == MP_WIRE_END) expect(wire.rest == 0 || at == there - done);
            if (found == MP_WIRE_WHOLE || found == MP_WIRE_PART) {
                expect(message.have <= message.size);
                if (found == MP_WIRE_WHOLE || there == size) look(&message);
            }
            if (found == MP_WIRE_WHOLE && out->count < MESSAGES_MAX)
                out->found[out->count++] =
                    (sighting){message.type, message.size,
                               touch((mp_view){(const char *)message.body, message.size})};
        } while (found == MP_WIRE_WHOLE);
        out->is_bad = found == MP_WIRE_BAD;
        done += at;
        free(piece);
    }
}

static void check_frames(mp_wire_side side, const char *wanted, const uint8_t *data, size_t size,
                         void (*look)(const mp_message *message)) {
    static sightings whole, pieces;
    mp_wire_rules rules;
    uint8_t choice = take_byte(&data, &size);
    mp_wire_rules_init(&rules, side, choice & 128 ? 300 : MP_WIRE_LENGTH_MAX,
                       choice & 64 ? wanted : wanted + 3);
    walk(&rules, data, size, 0, look, &whole);
    walk(&rules, data, size, 1 + (choice & 63) + size / 256, look, &pieces);
    expect(whole.count == pieces.count && whole.is_bad == pieces.is_bad);
    for (uint32_t i = 0; i < whole.count; i++) {
        expect(whole.found[i].type == pieces.found[i].type);
        expect(whole.found[i].size == pieces.found[i].size);
        expect(whole.found[i].sum == pieces.found[i].sum);
    }
}

#endif
