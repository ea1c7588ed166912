"""Documents and edits for the property tests: code of every language, code gone wrong, and text that is no code."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from hypothesis import strategies as st

from .samples import SAMPLES

OFFICIAL = [
    *["python", "javascript", "typescript", "typescriptreact", "rust", "go", "java", "c", "cpp", "csharp", "ruby"],
    *["php", "shellscript", "html", "css", "json", "lua", "toml", "yaml", "markdown", "sql", "kotlin", "swift"],
    *["scala", "zig"],
]
"""languageIds of the main languages."""

_OWN = {
    "python": 'def f(a, b):\n    """doc"""\n    x = [1, 2, {"a": f"{a}b"}]\n    if x:\n        return foo(x, b=1)\n'
    "    else:\n        pass\n\n\nclass A:\n    def g(self): return self.x + 1\n",
    "javascript": "function f(a) {\n  const x = {a: 1, b: `q${a}`};\n  if (x) { return foo(x, 1); }\n"
    '  return <div a="b">{x}</div>;\n}\nclass A { g() { return this.x; } }\n',
    "typescript": "interface A<T> { x: number; f(a: T): void }\n"
    "export const x: A<string> = { x: 1, f(a) { return; } };\n"
    "function g<T>(a: T[]): T { return a[0]; }\n",
    "typescriptreact": 'const A = (p: P) => <div a="b">{p.x ? <b/> : null} text</div>;\n',
    "rust": "fn f<'a>(x: &'a str) -> Vec<u8> {\n    let y = x.len();\n"
    '    match y { 0 => vec![], _ => r#"a"#.into() }\n}\n/// doc\nstruct A { x: i32 }\n',
    "go": 'package main\nimport "fmt"\n'
    "func f(a int) (int, error) {\n\tfor i := 0; i < a; i++ {\n\t\tfmt.Println(i)\n\t}\n"
    "\treturn a, nil // done\n}\n",
    "java": "class A {\n  int f(int a) {\n    for (int i = 0; i < a; i++) { g(i); }\n    return a + 1;\n  }\n}\n",
    "c": '#include <a.h>\n#define X(a) ((a)+1)\nint f(int a) {\n  if (a) { return X(a); }\n  char *s = "abc";\n'
    "  return 0; /* end */\n}\n",
    "cpp": 'template <typename T> class A { public: T f(T a) { auto s = R"x(abc)x"; return a; } };\n'
    "int main() { A<int> a; return a.f(1); }\n",
    "json": '{"a": [1, 2, {"b": null}], "c": "d"}\n',
    "no-such-language": 'sub add {\n    my $a = "x";\n    return $a;\n}\n',
}

CODE = {name: SAMPLES[name] for name in OFFICIAL} | _OWN
"""languageId → a document that parses, for each of the main languages and one without a grammar."""

# What a user types, what breaks a lexer, and what breaks a count of positions.
_BITS = [
    *[
        "x",
        "name",
        "1",
        ".",
        " ",
        "    ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "if ",
        "return ",
        "def f():\n",
        "=",
        "==",
        "<",
        ">",
    ],
    *["(", ")", "[", "]", "{", "}", ":", ";", ",", '"', "'", "`", '"""', "#", "//", "/*", "*/", "\\", "${", 'f"{', "é"],
    *["数", "😀", "\ufeff", "\u2028", "\x0c", "\x85", "\x00", "\ud83d", "\ude00", "\u0301", 'R"x(', 'r#"'],
]
PIECES = st.lists(st.sampled_from(_BITS), max_size=8).map("".join)
TEXTS = st.one_of(PIECES, st.text(max_size=40), st.text(st.characters(categories=["Cs", "Cc", "So", "Po", "Ps", "Pe"])))

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]


@st.composite
def documents(draw: Draw) -> tuple[str, str]:
    """(languageId, text): code with pieces thrown in, or no code at all."""
    language_id = draw(st.sampled_from(sorted(CODE)))
    text = draw(st.one_of(st.just(CODE[language_id]), TEXTS))
    for _ in range(draw(st.integers(0, 2))):
        start, end, new = draw(edits(text))
        text = text[:start] + new + text[end:]
    return language_id, text


@st.composite
def edits(draw: Draw, text: str) -> tuple[int, int, str]:
    """(start, end, new): a range of the text, mostly small, and what replaces it."""
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.sampled_from([0, 0, 0, 1, 2, 10, 1000])))
    return start, end, draw(TEXTS)
