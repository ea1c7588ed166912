"""The language server: everything that faces the editor. Uses `engine` and `grammars`; nothing uses it."""
