"""Path globs as .gitignore has them (gitignore(5), "PATTERN FORMAT"), and braces as editors have them.

A pattern with a slash that is not its last character is anchored, others match at any depth; a trailing slash is for
directories; `**` crosses slashes, `*`, `?` and `[a-z]` do not; `{a,b}` is either; `!` takes out again what an earlier
pattern matched; the last that matches decides. Pure: paths are strings with "/", and none is looked at on disk.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

MOST_BRACES = 64  # alternatives one pattern may spell out; a pattern with more of them is taken as it is written


@dataclass(frozen=True)
class Glob:
    pattern: re.Pattern[str]
    anchored: bool
    negated: bool


class Globs:
    """An ordered list. `ignore_case` for what is about people's names of things, not about a file system's."""

    def __init__(self, patterns: Iterable[str], *, ignore_case: bool = False) -> None:
        self._globs = [glob for one in patterns for glob in compiled(one, ignore_case)]

    def __bool__(self) -> bool:
        return bool(self._globs)

    def matches(self, path: str, anchored_path: str | None = None) -> bool | None:
        """True: matched; False: taken out again; None: not spoken of.

        path: what patterns of any depth are looked for in; anchored_path: what anchored ones are, default the same.
        """
        found: bool | None = None
        for glob in self._globs:
            if glob.pattern.fullmatch(
                (anchored_path if anchored_path is not None else path) if glob.anchored else path
            ):
                found = not glob.negated
        return found


@lru_cache(maxsize=4096)
def compiled(pattern: str, ignore_case: bool) -> tuple[Glob, ...]:
    """A glob for each spelling of the pattern's braces; none for a blank or a comment."""
    pattern = pattern.rstrip("\r\n")
    if not pattern.endswith("\\ "):
        pattern = pattern.rstrip(" \t")
    if not pattern or pattern.startswith("#"):
        return ()
    negated = pattern.startswith("!")
    pattern = pattern[negated:].removeprefix("\\") if pattern[negated:][:2] in ("\\!", "\\#") else pattern[negated:]
    return tuple(_glob(one, negated, ignore_case) for one in _spelled_out(pattern))


def _glob(pattern: str, negated: bool, ignore_case: bool) -> Glob:
    directory = pattern.endswith("/")
    pattern = pattern.rstrip("/")
    anchored = "/" in pattern and not pattern.startswith("**/")
    head = "" if anchored else "(?:.*/)?"
    body = _regex(pattern.lstrip("/").removeprefix("**/"))
    tail = "/.*" if directory else "(?:/.*)?"
    return Glob(re.compile(head + body + tail, re.S | (re.I if ignore_case else 0)), anchored, negated)


def _regex(pattern: str) -> str:
    out, at = [], 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**", at):
            end = at + 2
            if end < len(pattern) and pattern[end] == "/" and (at == 0 or pattern[at - 1] == "/"):
                out.append("(?:.*/)?")
                end += 1
            else:
                out.append(".*")
            at = end
            continue
        at += 1
        if char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (match := re.compile(r"([!^]?)(\]?[^\]/]*)\]").match(pattern, at)):
            inside = match[2].replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
            try:
                out.append(re.compile(f"[{'^/' if match[1] else ''}{inside}]").pattern)
            except re.error:  # a range that runs backwards, say
                out.append("(?!)")
            at = match.end()
        elif char == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(char))
    return "".join(out)


def _spelled_out(pattern: str) -> list[str]:
    """Without braces: `*.{a,b}` is `*.a` and `*.b`."""
    done, todo = [], [pattern]
    while todo:
        one = todo.pop()
        match = re.search(r"\{([^{}]*,[^{}]*)\}", one)
        if match is None:
            done.append(one)
            continue
        todo += [one[: match.start()] + choice + one[match.end() :] for choice in match[1].split(",")]
        if len(todo) + len(done) > MOST_BRACES:
            return [pattern]
    return done
