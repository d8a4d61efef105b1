"""The public headers as the documents made from them see them: declarations and their contracts."""

import re

NO_DECLARATION = ("#if", "#endif", "#else", "#undef", "#include", "extern \"C\"", "}")
TAGS = ["Owner", "Threads", "Blocks", "Errors"]


def comment_text(lines):
    """The lines of a comment without its stars."""
    text = "\n".join(lines).strip()
    text = text[2:-2].strip()
    return [re.sub(r"^ \* ?|^ \*$", "", line) for line in text.split("\n")]


def blocks_of(text):
    """(comment lines or None, code lines) for each declaration and each comment of its own."""
    lines = text.splitlines()
    comment, index = None, 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if not line.strip():
            if comment is not None:
                yield comment, []
            comment = None
        elif line.startswith("/*"):
            if comment is not None:
                yield comment, []
            gathered = [line]
            while "*/" not in lines[index - 1]:
                gathered.append(lines[index])
                index += 1
            comment = comment_text(gathered)
        elif line.startswith(NO_DECLARATION):
            if comment is not None:
                yield comment, []
            comment = None
        else:
            code = [line]
            while not is_complete(code):
                code.append(lines[index])
                index += 1
            yield comment, code
            comment = None


def is_complete(code):
    """Is this the whole of a declaration or macro?"""
    if code[0].startswith("#"):
        return not code[-1].endswith("\\")
    text = re.sub(r"/\*.*?\*/", "", "\n".join(code), flags=re.DOTALL)
    return text.count("{") == text.count("}") and text.rstrip().endswith(";")


def title_of(code):
    """The name that a declaration declares."""
    text = re.sub(r"/\*.*?\*/", "", "\n".join(code), flags=re.DOTALL)
    if code[0].startswith("#define"):
        return re.match(r"#define (\w+)", text).group(1)
    if code[0].startswith("typedef") and "{" not in text and "(*" in text:
        return re.search(r"\(\*(\w+)\)", text).group(1)
    if code[0].startswith("typedef") or "{" in text:
        return re.search(r"(\w+);\s*$", text.strip()).group(1)
    call = re.search(r"(\w+)\(", text)
    return call.group(1) if call else re.search(r"(\w+);", text).group(1)


def section_of(comment):
    """The title that a comment gives to what follows, or None."""
    found = comment and re.match(r"^---- (.*) ----$", comment[0])
    return found and found.group(1)[0].upper() + found.group(1)[1:]


def split_contract(comment):
    """A contract as its sentences, line by line, and its tags as (tag, text)."""
    sentences, tags = [], []
    for line in comment:
        pieces = re.split(r"\s{2,}(?=(?:%s)\b)" % "|".join(TAGS), line)
        for piece in pieces:
            tag = piece.split(" ", 1)[0]
            if tag in TAGS:
                tags.append([tag, piece[len(tag):].strip()])
            elif tags:
                tags[-1][1] += " " + piece.strip()
            else:
                sentences.append(piece)
    return sentences, tags
