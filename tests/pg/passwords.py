#!/usr/bin/env python3
"""SASLprep beside Python's own Unicode: every character, and texts that are hard to normalize."""

import os
import random
import stringprep
import sys
import unicodedata

from lab import Driver

from cases import case, main

PROHIBITED = [stringprep.in_table_a1, stringprep.in_table_c12, stringprep.in_table_c21_c22,
              stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5,
              stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
              stringprep.in_table_c9]


def is_prohibited(text):
    """As RFC 3454 has it, of a mapped text."""
    if any(table(char) for char in text for table in PROHIBITED):
        return True
    rightward = [stringprep.in_table_d1(char) for char in text]
    if not any(rightward):
        return False
    return any(map(stringprep.in_table_d2, text)) or not rightward[0] or not rightward[-1]


def prepared(password):
    """A password in bytes as PostgreSQL hashes it."""
    if password.isascii():
        return password
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    mapped = "".join(" " if stringprep.in_table_c12(char) else char for char in text
                     if stringprep.in_table_c12(char) or not stringprep.in_table_b1(char))
    if not mapped or is_prohibited(mapped):
        return password
    return unicodedata.normalize("NFKC", mapped).encode("utf-8")


def check_all(driver, passwords):
    for password, found in zip(passwords, driver.prepare(passwords), strict=True):
        assert found == prepared(password), f"{password!r}: {found!r}, not {prepared(password)!r}"


@case
def the_examples_of_rfc_4013_are_prepared(driver):
    examples = {"I\u00adX": b"IX", "user": b"user", "USER": b"USER", "\u00aa": b"a",
                "\u2168": b"IX", "\u0007\u00e4": b"\x07\xc3\xa4",
                "\u06271": b"\xd8\xa71", "a\u00a0b": b"a b", "\u00ad": b"\xc2\xad"}
    found = driver.prepare([text.encode("utf-8") for text in examples])
    assert found == list(examples.values()), found


@case
def every_character_is_prepared_as_python_does(driver):
    is_long = os.environ.get("MANTIS_TEST_LONG")
    codes = [code for code in range(1, 0x110000) if not 0xD800 <= code < 0xE000]
    assigned = [code for code in codes if not stringprep.in_table_a1(chr(code))
                and not 0xF0000 <= code]
    others = codes if is_long else random.Random(1).sample(codes, 20000)
    # an x on both sides shows that it is in its own place, and makes bidirectional texts fail
    check_all(driver, [chr(code).encode("utf-8") for code in sorted({*assigned, *others})])
    check_all(driver, [f"x{chr(code)}x".encode() for code in others[:20000]])


def hard_text(rng, pools):
    return "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randrange(1, 12)))


@case
def texts_with_many_marks_are_prepared_as_python_does(driver):
    known = [chr(code) for code in range(0x80, 0x30000) if not 0xD800 <= code < 0xE000
             and not stringprep.in_table_a1(chr(code))]
    marks = [char for char in known if unicodedata.combining(char)]
    composed = [char for char in known if unicodedata.decomposition(char)]
    hangul = [chr(code) for code in (*range(0x1100, 0x1113), *range(0x1161, 0x1176),
                                     *range(0x11A8, 0x11C3), *range(0xAC00, 0xAC40))]
    right = [char for char in known if stringprep.in_table_d1(char)]
    latin = list("abcdefgAEIOU \u00ad\u200b\u3000")
    rng = random.Random(20241123)
    texts = []
    for pools in ([latin, marks], [latin, marks, composed], [hangul], [right], [right, latin],
                  [known], [latin, marks, hangul, composed]):
        texts += [hard_text(rng, pools).encode() for _ in range(3000)]
    check_all(driver, texts)


@case
def what_is_not_utf8_stays_as_it_is(driver):
    rng = random.Random(2)
    broken = [b"\xff", b"\xc3", b"\xc3(", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xed\xa0\x80",
              b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"a\xe2\x82", b"\x80", b"\xf0\x9f\x98"]
    broken += [rng.randbytes(rng.randrange(1, 20)).replace(b"\n", b"") or b"x"
               for _ in range(5000)]
    check_all(driver, broken)


@case
def long_passwords_are_prepared_whole(driver):
    check_all(driver, [("\ufdfa" * 5000).encode(), ("a\u0301\u0323" * 5000).encode(),
                       ("\u0301\u0323" * 5000).encode(), b"x" * 65000])


if __name__ == "__main__":
    main(Driver(sys.argv[1]))
