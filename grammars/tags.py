"""What a language's definitions and imports look like: one tree-sitter query each, by the language's row.

Captures: `@import`, a whole import; `@function`, `@type` or `@value`, a whole definition, with its `@name`. The tags
queries that come with the grammars serve indexers: they capture every call too, and often less than the definition.
Node kinds that a grammar does not have make its query fail as a whole; a test holds them to the grammars. Data only.
"""

from __future__ import annotations

_JAVASCRIPT = """
(import_statement) @import
(lexical_declaration (variable_declarator value: (call_expression function: (identifier) @_require))
  (#eq? @_require "require")) @import
(variable_declaration (variable_declarator value: (call_expression function: (identifier) @_require))
  (#eq? @_require "require")) @import
(function_declaration name: (_) @name) @function
(generator_function_declaration name: (_) @name) @function
(class_declaration name: (_) @name) @type
(method_definition name: (_) @name) @function
(variable_declarator name: (identifier) @name value: [(arrow_function) (function_expression)]) @function
(assignment_expression left: [(identifier) @name (member_expression property: (_) @name)]
  right: [(arrow_function) (function_expression)]) @function
(program (lexical_declaration (variable_declarator name: (identifier) @name) @value))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier) @name) @value)))
"""

_TYPESCRIPT = """
(function_signature name: (_) @name) @function
(abstract_class_declaration name: (_) @name) @type
(abstract_method_signature name: (_) @name) @function
(interface_declaration name: (_) @name) @type
(type_alias_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @type
(internal_module name: (_) @name) @type
(public_field_definition name: (_) @name) @value
"""

_C = """
(preproc_include) @import
(preproc_def name: (_) @name) @value
(preproc_function_def name: (_) @name) @function
(function_definition declarator: (function_declarator declarator: (_) @name)) @function
(function_definition declarator: (_ declarator: (function_declarator declarator: (_) @name))) @function
(function_definition declarator: (_ declarator: (_ declarator: (function_declarator declarator: (_) @name)))) @function
(declaration declarator: (function_declarator declarator: (identifier) @name)) @function
(declaration declarator: (_ declarator: (function_declarator declarator: (identifier) @name))) @function
(type_definition declarator: (type_identifier) @name) @type
(struct_specifier name: (_) @name body: (_)) @type
(union_specifier name: (_) @name body: (_)) @type
(enum_specifier name: (_) @name body: (_)) @type
(translation_unit (declaration declarator: (init_declarator declarator: (identifier) @name)) @value)
"""

TAGS: dict[str, str] = {
    "python": """
(import_statement) @import
(import_from_statement) @import
(future_import_statement) @import
(function_definition name: (_) @name) @function
(class_definition name: (_) @name) @type
(module (expression_statement (assignment left: (identifier) @name)) @value)
(class_definition body: (block (expression_statement (assignment left: (identifier) @name)) @value))
(type_alias_statement left: (type (identifier) @name)) @type
""",
    "javascript": _JAVASCRIPT + "(field_definition property: (_) @name) @value",
    "typescript": _JAVASCRIPT + _TYPESCRIPT,
    "typescriptreact": _JAVASCRIPT + _TYPESCRIPT,
    "rust": """
(use_declaration) @import
(extern_crate_declaration) @import
(function_item name: (_) @name) @function
(function_signature_item name: (_) @name) @function
(macro_definition name: (_) @name) @function
(struct_item name: (_) @name) @type
(enum_item name: (_) @name) @type
(union_item name: (_) @name) @type
(trait_item name: (_) @name) @type
(type_item name: (_) @name) @type
(impl_item type: (_) @name) @type
(mod_item name: (_) @name body: (_)) @type
(const_item name: (_) @name) @value
(static_item name: (_) @name) @value
""",
    "go": """
(import_declaration) @import
(function_declaration name: (_) @name) @function
(method_declaration name: (_) @name) @function
(type_spec name: (_) @name) @type
(type_alias name: (_) @name) @type
(source_file (const_declaration (const_spec name: (_) @name) @value))
(source_file (var_declaration (var_spec name: (_) @name) @value))
""",
    "java": """
(import_declaration) @import
(class_declaration name: (_) @name) @type
(interface_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @type
(record_declaration name: (_) @name) @type
(annotation_type_declaration name: (_) @name) @type
(constructor_declaration name: (_) @name) @function
(method_declaration name: (_) @name) @function
(field_declaration declarator: (variable_declarator name: (_) @name)) @value
""",
    "c": _C,
    "cpp": _C
    + """
(using_declaration) @import
(namespace_definition name: (_) @name) @type
(class_specifier name: (_) @name body: (_)) @type
(alias_declaration name: (_) @name) @type
(field_declaration declarator: (function_declarator declarator: (_) @name)) @function
(field_declaration declarator: (_ declarator: (function_declarator declarator: (_) @name))) @function
(field_declaration declarator: (field_identifier) @name) @value
""",
    "csharp": """
(using_directive) @import
(namespace_declaration name: (_) @name) @type
(class_declaration name: (_) @name) @type
(struct_declaration name: (_) @name) @type
(interface_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @type
(record_declaration name: (_) @name) @type
(delegate_declaration name: (_) @name) @type
(constructor_declaration name: (_) @name) @function
(method_declaration name: (_) @name) @function
(property_declaration name: (_) @name) @value
(field_declaration (variable_declaration (variable_declarator name: (_) @name))) @value
""",
    "ruby": """
(call method: (identifier) @_require arguments: (_) (#any-of? @_require "require" "require_relative")) @import
(method name: (_) @name) @function
(singleton_method name: (_) @name) @function
(class name: (_) @name) @type
(module name: (_) @name) @type
(assignment left: (constant) @name) @value
""",
    "php": """
(namespace_use_declaration) @import
(function_definition name: (_) @name) @function
(method_declaration name: (_) @name) @function
(class_declaration name: (_) @name) @type
(interface_declaration name: (_) @name) @type
(trait_declaration name: (_) @name) @type
(enum_declaration name: (_) @name) @type
(const_declaration (const_element (name) @name)) @value
""",
    "shellscript": """
(command name: (command_name) @_source (#any-of? @_source "source" ".")) @import
(function_definition name: (_) @name) @function
(program (variable_assignment name: (_) @name) @value)
""",
    "lua": """
(function_declaration name: [(identifier) @name (_ field: (_) @name) (_ method: (_) @name)]) @function
(assignment_statement (variable_list name: [(identifier) @name (_ field: (_) @name)])
  (expression_list value: (function_definition))) @function
(chunk (variable_declaration (assignment_statement (variable_list name: (identifier) @name))) @value)
""",
    "kotlin": """
(import_header) @import
(class_declaration name: (_) @name) @type
(object_declaration name: (_) @name) @type
(function_declaration name: (_) @name) @function
""",
    "swift": """
(import_declaration) @import
(class_declaration name: (_) @name) @type
(protocol_declaration name: (_) @name) @type
(typealias_declaration name: (type_identifier) @name) @type
(function_declaration name: (simple_identifier) @name) @function
(protocol_function_declaration name: (simple_identifier) @name) @function
(init_declaration "init" @name) @function
(property_declaration name: (pattern bound_identifier: (_) @name)) @value
""",
    "scala": """
(import_declaration) @import
(trait_definition name: (_) @name) @type
(class_definition name: (_) @name) @type
(object_definition name: (_) @name) @type
(enum_definition name: (_) @name) @type
(type_definition name: (_) @name) @type
(function_definition name: (_) @name) @function
(function_declaration name: (_) @name) @function
(template_body (val_definition pattern: (identifier) @name) @value)
""",
    "zig": """
(variable_declaration (builtin_function (builtin_identifier) @_import) (#eq? @_import "@import")) @import
(function_declaration name: (_) @name) @function
(variable_declaration (identifier) @name [(struct_declaration) (enum_declaration) (union_declaration)]) @type
(source_file (variable_declaration . (identifier) @name) @value)
""",
    "sql": """
(create_table (object_reference name: (_) @name)) @type
(create_view (object_reference name: (_) @name)) @type
(create_function (object_reference name: (_) @name)) @function
""",
}
"""By `Language.id`."""
