"""What is written from the one schema of settings: README's table, the Vim help's section, VS Code's settings.

    python -m midspan.lsp.settings.schema            print all three
    python -m midspan.lsp.settings.schema --write    put them into the files that have a place for them

`vscode_properties()` is `contributes.configuration.properties` of editors/vscode/package.json, and
`vscode_restricted()` its `capabilities.untrustedWorkspaces.restrictedConfigurations`. The options a client sets for
itself (`status`, `trace`) are in neither. A client should send only what its user has set: what is sent lies over the
user's own midspan.toml, defaults too.

Knows the files' places and marks, and nothing of how settings are read.
"""

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

from .settings import OPTIONS, SECTION, Option

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
VIM_HELP = ROOT / "editors" / "nvim" / "doc" / "midspan.txt"
PACKAGE = ROOT / "editors" / "vscode" / "package.json"

README_MARKS = ("<!-- settings -->\n", "<!-- /settings -->")
VIM_WIDTH = 78
_VIM_SECTION = re.compile(r"(?<=\n)SETTINGS +\*midspan-settings\*\n.*?(?=\n={78}\n|\n vim:)", re.S)
_MARKUP = re.compile(r"`([^`]*)`")


def vscode_properties() -> dict[str, Any]:
    """By full name: type, default, bounds, description and scope."""
    properties: dict[str, Any] = {}
    for place, option in enumerate(shown()):
        properties[f"{SECTION}.{option.name}"] = {
            **option.kind.schema,
            "default": option.default,
            "markdownDescription": option.text,
            "scope": "machine" if option.guarded else "resource",
            "order": place,
        }
    return properties


def vscode_restricted() -> list[str]:
    """What an untrusted workspace may not set."""
    return [f"{SECTION}.{option.name}" for option in shown() if option.guarded]


def readme_section() -> str:
    """A Markdown table."""
    rows = ["| setting | default | values | what it does |", "|---|---|---|---|"]
    for option in shown():
        mark = "" if option.narrow else " ¹"
        rows.append(f"| `{option.name}`{mark} | `{json.dumps(option.default)}` | {option.kind.words} | {option.text} |")
    rows += ["", "¹ Not by a project's own `midspan.toml`, which may only ask for less than the user allows."]
    return "\n".join(rows) + "\n"


def vim_section() -> str:
    """From its heading up to the next section's ruler."""
    head = "SETTINGS"
    tag = "*midspan-settings*"
    lines = [head + tag.rjust(VIM_WIDTH - len(head)), ""]
    lines += textwrap.wrap(
        "What `settings` in |midspan-setup| takes, what `midspan.toml` in the user's configuration directory "
        "and in a project's root holds, and, as MIDSPAN_UPPER_CASE, the environment.  A project may set those marked "
        "with + only to less than the user allows, and the others not at all.",
        VIM_WIDTH,
    )
    lines.append("")
    for option in shown():
        left = f"{option.name}{' +' if option.narrow else ''}"
        right = f"default {json.dumps(option.default)}; {option.kind.words}"
        if len(left) + len(right) + 2 <= VIM_WIDTH:
            lines.append(left + right.rjust(VIM_WIDTH - len(left)))
        else:
            lines += [left, *(line.rjust(VIM_WIDTH) for line in textwrap.wrap(right, VIM_WIDTH - 8))]
        text = _MARKUP.sub(r"\1", option.text)
        lines += textwrap.wrap(text, VIM_WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return "\n".join(lines) + "\n"


def shown() -> list[Option]:
    """The options that are a user's choice."""
    return [option for option in OPTIONS.values() if not option.wire]


def with_readme(text: str) -> str | None:
    """The file with its section made anew; None when it has no place for one."""
    begin, end = README_MARKS
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    return f"{head}{begin}{readme_section()}{end}{tail}" if found and closed else None


def with_vim_help(text: str) -> str | None:
    return _VIM_SECTION.sub(lambda _: vim_section(), text) if _VIM_SECTION.search(text) else None


def with_package(text: str) -> str | None:
    """What the manifest says beyond the schema, of these settings and of others, is kept."""
    manifest = json.loads(text)
    configuration = manifest.get("contributes", {}).get("configuration")
    if not isinstance(configuration, dict):
        return None
    own = configuration.get("properties", {})
    made = {name: {**own.get(name, {}), **offered} for name, offered in vscode_properties().items()}
    configuration["properties"] = {**{name: one for name, one in own.items() if name not in made}, **made}
    trust = manifest.get("capabilities", {}).get("untrustedWorkspaces")
    if isinstance(trust, dict):
        known = trust.get("restrictedConfigurations", [])
        trust["restrictedConfigurations"] = [*known, *(name for name in vscode_restricted() if name not in known)]
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


PLACES = ((README, with_readme), (VIM_HELP, with_vim_help), (PACKAGE, with_package))


def main() -> int:
    if sys.argv[1:] not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    if not sys.argv[1:]:
        print(readme_section(), vim_section(), json.dumps(vscode_properties(), indent=2), sep="\n")
        return 0
    for path, made in PLACES:
        before = path.read_text(encoding="utf-8") if path.exists() else None
        after = made(before) if before is not None else None
        if after is None:
            print(f"{path}: no place for the settings")
        elif after != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
