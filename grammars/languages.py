"""The table of languages: which grammar parses a document, and what its nodes and its lexis are called.

Knows nothing of documents, cursors or models. A grammar wheel is imported when its language is first asked for;
a wheel that is missing or refused by tree-sitter means "no tree", never an error, and every caller then works from
`literals`, `line_comment` and `block_comment` alone. An unknown languageId gets a row of its own with only those.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from functools import lru_cache

from tree_sitter import Language as Grammar

# A literal is (pattern of the whole literal, pattern of one that is never closed). Used where no tree can be trusted.
Literal = tuple[str, str]

_DOUBLE: Literal = (r'"(?:\\[\s\S]|[^"\\\r\n])*"', r'"(?:\\[\s\S]|[^"\\\r\n])*\\?')
_SINGLE: Literal = (r"'(?:\\[\s\S]|[^'\\\r\n])*'", r"'(?:\\[\s\S]|[^'\\\r\n])*\\?")
_DOUBLE_LINES: Literal = (r'"(?:\\[\s\S]|[^"\\])*"', r'"[\s\S]*')
_TRIPLE_DOUBLE: Literal = (r'"""(?:\\[\s\S]|[^\\])*?"""', r'"""[\s\S]*')
_TRIPLE_SINGLE: Literal = (r"'''(?:\\[\s\S]|[^\\])*?'''", r"'''[\s\S]*")
_TEMPLATE: Literal = (r"`(?:\\[\s\S]|[^`\\])*`", r"`[\s\S]*")
_GO_RAW: Literal = (r"`[^`]*`", r"`[\s\S]*")
_RUST_RAW: Literal = (r'(?<![A-Za-z0-9_])b?r(?P<hashes>#*)"[\s\S]*?"(?P=hashes)', r'(?<![A-Za-z0-9_])b?r#*"[\s\S]*')
_RUST_CHAR: Literal = (r"'(?:\\[^\r\n']+|[^'\\\r\n])'", r"(?!)")  # a lone quote begins a lifetime
_CPP_RAW: Literal = (r'R"(?P<tag>[^()\\\s]{0,16})\([\s\S]*?\)(?P=tag)"', r'R"[^()\\\s]{0,16}\([\s\S]*')
# In C++ a quote may separate digits; in an unknown language it may be an apostrophe.
_CHAR: Literal = (r"(?<![0-9])'(?:\\[\s\S]|[^'\\\r\n])*'", r"(?<![0-9])'(?:\\[\s\S]|[^'\\\r\n])*\\?")
_QUOTED: Literal = (r"(?<!\w)'(?:\\[\s\S]|[^'\\\r\n])*'", r"(?!)")


@dataclass(frozen=True)
class Language:
    """One row of the table; immutable and hashable.

    `blocks` are the nodes whose braces (or header colon) hold statements or members, as against a literal's braces.
    `embedded` are nodes of code inside a string. `prose` nodes are silent unless prose is asked for.
    """

    id: str
    module: str = ""
    function: str = "language"
    indented: bool = False  # a header's colon and the indentation make blocks, not braces
    unit: str = "    "  # one level of indentation where the file does not show its own
    line_comment: str = ""
    block_comment: tuple[str, str] | None = None
    literals: tuple[Literal, ...] = (_DOUBLE, _QUOTED)
    long_quotes: tuple[str, ...] = ()  # quotes that close a string of several lines as they open it
    statements: frozenset[str] = frozenset()
    blocks: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    comments: frozenset[str] = frozenset()
    embedded: frozenset[str] = frozenset()

    @property
    def known(self) -> bool:
        """Whether the table has a row for it (its grammar may still be missing)."""
        return bool(self.module)

    def grammar(self) -> Grammar | None:
        """The tree-sitter grammar, loaded at the first call; None where there is none to load."""
        return _load(self.module, self.function) if self.module else None


@lru_cache(maxsize=128)
def _load(module: str, function: str) -> Grammar | None:
    try:
        return Grammar(getattr(importlib.import_module(module), function)())
    except (ImportError, AttributeError, OSError, TypeError, ValueError):
        return None


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


_C_COMMENTS = ("/*", "*/")

_PYTHON = Language(
    "python",
    "tree_sitter_python",
    indented=True,
    line_comment="#",
    literals=(_TRIPLE_DOUBLE, _TRIPLE_SINGLE, _DOUBLE, _SINGLE),
    long_quotes=('"""', "'''"),
    statements=_names(
        "expression_statement return_statement import_statement import_from_statement future_import_statement "
        "assert_statement delete_statement raise_statement pass_statement break_statement continue_statement "
        "global_statement nonlocal_statement type_alias_statement"
    ),
    blocks=_names("block module"),
    strings=_names("string"),
    comments=_names("comment"),
    embedded=_names("interpolation"),
)

_JAVASCRIPT = Language(
    "javascript",
    "tree_sitter_javascript",
    unit="  ",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_DOUBLE, _SINGLE, _TEMPLATE),
    long_quotes=("`",),
    statements=_names(
        "expression_statement lexical_declaration variable_declaration return_statement throw_statement "
        "import_statement export_statement break_statement continue_statement debugger_statement"
    ),
    blocks=_names("program statement_block class_body switch_body"),
    strings=_names("string template_string regex"),
    comments=_names("comment html_comment"),
    embedded=_names("template_substitution"),
)

_TYPESCRIPT = replace(
    _JAVASCRIPT,
    id="typescript",
    module="tree_sitter_typescript",
    function="language_typescript",
    statements=_JAVASCRIPT.statements | _names("type_alias_declaration import_alias"),
    blocks=_JAVASCRIPT.blocks | _names("interface_body object_type enum_body"),
)

_RUST = Language(
    "rust",
    "tree_sitter_rust",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_RUST_RAW, _DOUBLE_LINES, _RUST_CHAR),
    statements=_names("let_declaration expression_statement use_declaration const_item static_item type_item"),
    blocks=_names("source_file block declaration_list field_declaration_list enum_variant_list match_block"),
    strings=_names("string_literal raw_string_literal char_literal"),
    comments=_names("line_comment block_comment"),
)

_GO = Language(
    "go",
    "tree_sitter_go",
    unit="\t",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_DOUBLE, _CHAR, _GO_RAW),
    long_quotes=("`",),
    statements=_names(
        "expression_statement assignment_statement short_var_declaration var_declaration const_declaration "
        "return_statement inc_statement dec_statement go_statement defer_statement send_statement "
        "break_statement continue_statement goto_statement import_declaration package_clause type_declaration"
    ),
    blocks=_names(
        "source_file block field_declaration_list interface_type expression_switch_statement type_switch_statement "
        "select_statement"
    ),
    strings=_names("interpreted_string_literal raw_string_literal rune_literal"),
    comments=_names("comment"),
)

_JAVA = Language(
    "java",
    "tree_sitter_java",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_TRIPLE_DOUBLE, _DOUBLE, _CHAR),
    long_quotes=('"""',),
    statements=_names(
        "expression_statement local_variable_declaration field_declaration return_statement throw_statement "
        "break_statement continue_statement yield_statement assert_statement import_declaration package_declaration"
    ),
    blocks=_names(
        "program block class_body interface_body enum_body enum_body_declarations switch_block constructor_body "
        "annotation_type_body"
    ),
    strings=_names("string_literal character_literal"),
    comments=_names("line_comment block_comment"),
    embedded=_names("string_interpolation"),
)

_C = Language(
    "c",
    "tree_sitter_c",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_DOUBLE, _CHAR),
    statements=_names(
        "expression_statement declaration field_declaration return_statement break_statement continue_statement "
        "goto_statement type_definition preproc_include preproc_def"
    ),
    blocks=_names("translation_unit compound_statement field_declaration_list enumerator_list declaration_list"),
    strings=_names("string_literal char_literal"),
    comments=_names("comment"),
)

_CPP = replace(
    _C,
    id="cpp",
    module="tree_sitter_cpp",
    literals=(_CPP_RAW, _DOUBLE, _CHAR),
    statements=_C.statements | _names("throw_statement using_declaration alias_declaration"),
    strings=_C.strings | _names("raw_string_literal"),
)

# JSON's strings are its code, so none of them counts as prose.
_JSON = Language(
    "json",
    "tree_sitter_json",
    unit="  ",
    line_comment="//",
    block_comment=_C_COMMENTS,
    literals=(_DOUBLE,),
    blocks=_names("object"),
    comments=_names("comment"),
)

LANGUAGES: dict[str, Language] = {
    "c": _C,
    "cpp": _CPP,
    "cuda-cpp": _CPP,
    "go": _GO,
    "java": _JAVA,
    "javascript": _JAVASCRIPT,
    "javascriptreact": _JAVASCRIPT,
    "json": _JSON,
    "jsonc": _JSON,
    "python": _PYTHON,
    "rust": _RUST,
    "typescript": _TYPESCRIPT,
    "typescriptreact": replace(_TYPESCRIPT, id="typescriptreact", function="language_tsx"),
}
"""LSP languageId → row."""


def language_for(language_id: str) -> Language:
    """The row for an LSP languageId (case does not matter); a bare fallback row where the table has none."""
    return LANGUAGES.get(language_id.lower()) or Language(language_id)
