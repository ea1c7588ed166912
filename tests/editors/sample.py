"""What is typed in the editors that are driven through a terminal: a file, the place in it, and beginnings of lines.

Which code a model writes, and where it prefers silence, is its own affair; so there are several beginnings for each
purpose, and a test takes the first that gets a fill.
"""

SAMPLE = """import json
import os


def load(path):
    with open(path) as handle:
        return json.load(handle)


def save(path, value):
    with open(path, "w") as handle:
        json.dump(value, handle)


def names(folder):
    result = []
    for name in os.listdir(folder):

    return result
"""
_ASTRAL_LINE = '    notes["😀 𝒳 begun"] = json.dumps(value)\n'
TEXT = SAMPLE.replace('    with open(path, "w")', _ASTRAL_LINE + '    with open(path, "w")')
"""The same with characters of two UTF-16 units before the place."""
ROW = TEXT[: TEXT.index("\n\n    return result")].count("\n") + 1  # the empty line
INDENTATION = 8 * " "  # of what is typed there

PLAIN = ("result.app", "path = os.path.jo", "value = json.", "with open(", "result = [na", "for value in ", "if name.")
ASTRAL = tuple(f'notes["😀 𝒳 {word}"] = ' + call for word in ("done", "ended") for call in ("json.du", "json.", "js"))
BRACKETS = ("result.append(", "print(", "load(", "path = os.path.join(", "with open(")  # before a closing one
LETTERS = ("result.app", "json.loa", "json.dum", "path = os.path.joi")  # three of a word that goes on

HEADS = (
    "def load2(path):",
    "def save2(path, value):",
    "def load_one(path):",
    "def save_as(value, path):",
    "def load_two(path, default):",
    "def load(path, default=None):",
    "def dump(value, path):",
)


def lines_with(rest: str) -> list[str]:
    """The file's lines with `rest`, indented, in the empty one."""
    lines: list[str] = [*TEXT.split("\n")]
    lines[ROW] = INDENTATION + rest
    return lines


def lines_with_empty_body(head: str) -> list[str]:
    """The file's lines and a function without a body; its indentation is the last line but one."""
    return [*TEXT.split("\n"), "", head, 4 * " ", ""]


def accepted(lines: list[str], row: int, preview: str) -> list[str]:
    """What the lines become when a menu's entry is taken, by its preview and not by the edit it carries.

    preview: the whole line at the cursor, and those the fill adds below it, without the first one's indentation; it
    says nothing in columns.
    """
    line = lines[row]
    indentation = line[: len(line) - len(line.lstrip())]
    return [*lines[:row], *(indentation + preview).splitlines(), *lines[row + 1 :]]
