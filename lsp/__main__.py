"""`python -m midspan.lsp` is `midspan`."""

from .cli import main

main()
