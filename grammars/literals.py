"""How string literals are written, by name: what the table of languages refers to.

Knows nothing of languages or trees. A literal is a pair of patterns: the whole literal, and one that is never closed
within the line or the text (`NEVER` where that cannot be told from something else). Used where no tree can be trusted.
"""

from __future__ import annotations

Literal = tuple[str, str]

NEVER = r"(?!)"

LITERALS: dict[str, Literal] = {
    "double": (r'"(?:\\[\s\S]|[^"\\\r\n])*"', r'"(?:\\[\s\S]|[^"\\\r\n])*\\?'),
    "single": (r"'(?:\\[\s\S]|[^'\\\r\n])*'", r"'(?:\\[\s\S]|[^'\\\r\n])*\\?"),
    "double_lines": (r'"(?:\\[\s\S]|[^"\\])*"', r'"[\s\S]*'),
    "single_lines": (r"'(?:\\[\s\S]|[^'\\])*'", r"'[\s\S]*"),
    "triple_double": (r'"""(?:\\[\s\S]|[^\\])*?"""', r'"""[\s\S]*'),
    "triple_single": (r"'''(?:\\[\s\S]|[^\\])*?'''", r"'''[\s\S]*"),
    "template": (r"`(?:\\[\s\S]|[^`\\])*`", r"`[\s\S]*"),
    "backquote": (r"`[^`]*`", r"`[\s\S]*"),
    # In C++ a quote may separate digits; in an unknown language it may be an apostrophe; in others it may end a name.
    "char": (r"(?<![0-9])'(?:\\[\s\S]|[^'\\\r\n])*'", r"(?<![0-9])'(?:\\[\s\S]|[^'\\\r\n])*\\?"),
    "quoted": (r"(?<!\w)'(?:\\[\s\S]|[^'\\\r\n])*'", NEVER),
    "char_only": (r"(?<!\w)'(?:\\[^\r\n']+|[^'\\\r\n])'", NEVER),
    "single_word": (r"(?<!\w)'(?:\\[\s\S]|[^'\\])*'", r"(?<!\w)'[\s\S]*"),
    # Single quotes of a shell know no escapes.
    "shell_single": (r"(?<!\\)'[^']*'", r"(?<!\\)'[\s\S]*"),
    "sql_single": (r"'(?:''|[^'])*'", r"'[\s\S]*"),
    "sql_double": (r'"(?:""|[^"\r\n])*"', r'"(?:""|[^"\r\n])*'),
    "dollar_quote": (r"\$(?P<dollar>\w*)\$[\s\S]*?\$(?P=dollar)\$", r"\$\w*\$[\s\S]*"),
    "powershell_double": (r'"(?:`[\s\S]|""|[^"`])*"', r'"[\s\S]*'),
    "verbatim": (r'(?:\$@|@\$|@)"(?:""|[^"])*"', r'(?:\$@|@\$|@)"[\s\S]*'),
    "lua_long": (r"(?<!-)\[(?P<level>=*)\[[\s\S]*?\](?P=level)\]", r"(?<!-)\[=*\[[\s\S]*"),
    "swift_raw": (r'(?P<pounds>#+)"[\s\S]*?"(?P=pounds)', r'#+"[\s\S]*'),
    "zig_lines": (r"\\\\[^\r\n]*(?=[\r\n])", r"\\\\[^\r\n]*"),
    "nix_lines": (r"''(?:''[$'\\]|'[^']|[^'])*''", r"''[\s\S]*"),
    "rust_raw": (r'(?<![A-Za-z0-9_])b?r(?P<hashes>#*)"[\s\S]*?"(?P=hashes)', r'(?<![A-Za-z0-9_])b?r#*"[\s\S]*'),
    "rust_char": (r"'(?:\\[^\r\n']+|[^'\\\r\n])'", NEVER),  # a lone quote begins a lifetime
    "cpp_raw": (r'R"(?P<tag>[^()\\\s]{0,16})\([\s\S]*?\)(?P=tag)"', r'R"[^()\\\s]{0,16}\([\s\S]*'),
}
