"""The tables of the sources, the .def files, as the documents made from them see them."""

import re

from tree import ROOT


def strings_of(text):
    """The value of adjacent C string literals."""
    return "".join(re.findall(r'"((?:\\.|[^"\\])*)"', text)).replace('\\"', '"')


def split_arguments(text):
    """The arguments of a macro call, at its own commas."""
    pieces, depth, in_string, piece = [], 0, False, ""
    for index, char in enumerate(text):
        if char == '"' and text[index - 1] != "\\":
            in_string = not in_string
        if not in_string and char in "()":
            depth += 1 if char == "(" else -1
        if char == "," and depth == 0 and not in_string:
            pieces.append(piece.strip())
            piece = ""
        else:
            piece += char
    return pieces + [piece.strip()]


def settings():
    """The settings, each as (name, unit, default, least, most, never, meaning)."""
    text = (ROOT / "src/core/settings.def").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    for call in re.findall(r"MP_SETTING\((.*?)\)\s*(?=MP_SETTING|$|#)", text, flags=re.DOTALL):
        name, unit, default, least, most, never, meaning = split_arguments(call)
        yield (name, strings_of(unit), default, least, most, never, strings_of(meaning))
