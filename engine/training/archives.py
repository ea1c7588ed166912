"""What is in a package's archive: its source files, if its own metadata names a permissive licence.

Contract: `sources` opens what `Package.fetch` kept (a wheel, an npm tarball, a Debian package, the standard library)
and yields the files in the languages that the package's ecosystem is read for. An archive that states no permissive
licence is refused, whatever the list says of it. Knows nothing of clients, filters, tokens or models.
"""

from __future__ import annotations

import email.message
import email.parser
import fnmatch
import io
import json
import re
import subprocess
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from .packages import LANGUAGES, Package, PackageError

SUFFIXES = {
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".go": "go",
    ".rs": "rust",
    # C and C++ are one language here: a header could be either, and their libraries mix both.
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".cxx", ".hh", ".hpp", ".ipp"), "cpp"),
}
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|\bISC\b|\bUnlicense\b|0BSD|Zlib|\bExpat\b|\bBoost\b|\bBSL\b", re.I
)
COPYLEFT = re.compile(r"GPL|Affero|MPL|Mozilla|EUPL|CDDL|Eclipse|SSPL|BUSL|Elastic", re.I)
LICENCE_TEXTS = {
    "MIT": "Permission is hereby granted, free of charge",
    "Apache-2.0": "Apache License",
    "BSD": "Redistribution and use in source and binary forms",
    "BSL-1.0": "Boost Software License",
}
STDLIB_SKIP = re.compile(
    r"^(test|tests|idlelib|lib2to3|site-packages|dist-packages|turtledemo|ensurepip|pydoc_data|encodings|"
    r"__phello__|config-.*|lib-dynload)/|/tests?/"
)


def sources(package: Package, archive: Path | None) -> Iterator[tuple[str, bytes]]:
    """(path inside the package, bytes) of every source file, sorted by path. Raises PackageError for a licence that is
    not permissive and for a damaged Debian package."""
    if archive is None:
        yield from _stdlib()
    elif archive.suffix == ".whl":
        yield from _wheel(package, archive)
    elif archive.suffix == ".deb":
        yield from _deb(package, archive)
    else:
        yield from _tarball(package, archive)


def is_permissive(licence: str) -> bool:
    """Whether a licence expression or classifier allows what we do. `X OR Y` needs only one good side."""
    sides = re.split(r"\s+or\s+", licence, flags=re.I)
    return any(PERMISSIVE.search(side) and not COPYLEFT.search(side) for side in sides)


def _stdlib() -> Iterator[tuple[str, bytes]]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).as_posix()
        if not STDLIB_SKIP.search(inside):
            yield inside, path.read_bytes()


def _wheel(package: Package, archive: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        names = sorted(wheel.namelist())
        info = next(name for name in names if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        found = _wheel_licence(wheel, names, email.parser.BytesParser().parsebytes(wheel.read(info)))
        _check(package, found)
        for name in names:
            if SUFFIXES.get(Path(name).suffix) in LANGUAGES[package.ecosystem] and ".data/" not in name:
                yield name, wheel.read(name)


def _wheel_licence(wheel: zipfile.ZipFile, names: list[str], metadata: email.message.Message) -> str:
    """As the metadata states it; where it states nothing known, as the licence file's wording shows."""
    classifiers = [c.split(" :: ")[-1] for c in metadata.get_all("Classifier", []) if c.startswith("License")]
    stated = metadata.get("License-Expression") or str(metadata.get("License") or "").strip().partition("\n")[0]
    if stated and PERMISSIVE.search(stated) and not COPYLEFT.search("; ".join(classifiers)):
        return stated
    stated = "; ".join(classifiers) or stated
    if PERMISSIVE.search(stated) or COPYLEFT.search(stated):
        return stated
    texts = [name for name in names if ".dist-info/" in name and re.search(r"licen[sc]e|copying", name, re.I)]
    return next(filter(None, (_by_wording(wheel.read(name).decode("utf-8", "replace")) for name in texts)), stated)


def _by_wording(text: str) -> str:
    """The licence that a licence's text is, or empty."""
    return next((licence for licence, phrase in LICENCE_TEXTS.items() if phrase in text), "")


def _tarball(package: Package, archive: Path) -> Iterator[tuple[str, bytes]]:
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as tarball:
        for member in tarball:  # in the archive's order: to seek back in it means to inflate it anew
            name = member.name.partition("/")[2]
            wanted = SUFFIXES.get(Path(name).suffix) in LANGUAGES[package.ecosystem]
            content = tarball.extractfile(member) if wanted or name == "package.json" else None
            if content is not None:
                files[name] = content.read()
    _check(package, str(json.loads(files.pop("package.json", b"{}")).get("license", "")))
    yield from sorted(files.items())


def _deb(package: Package, archive: Path) -> Iterator[tuple[str, bytes]]:
    """A file that the copyright file puts under another, not permissive licence is left out."""
    files: dict[str, bytes] = {}
    copyright_file = ""
    opened = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=False)
    if opened.returncode:
        raise PackageError(f"{archive.name} is damaged: {opened.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(opened.stdout)) as tarball:
        for member in tarball:
            name = member.name.removeprefix("./")
            content = tarball.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if name.startswith("usr/share/doc/") and name.endswith("/copyright"):
                copyright_file = content.read().decode("utf-8", "replace")
            elif SUFFIXES.get(Path(name).suffix) in LANGUAGES[package.ecosystem]:
                files[name] = content.read()
    stated, refused = _debian_licences(copyright_file)
    _check(package, stated)
    kept = (name for name in files if not any(fnmatch.fnmatch(name, f"*/{glob}") for glob in refused))
    yield from ((name, files[name]) for name in sorted(kept))


def _debian_licences(copyright_file: str) -> tuple[str, list[str]]:
    """(licence of the package's files, globs of those under a licence that is not permissive).

    Source: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
    """
    parse = email.parser.Parser().parsestr
    paragraphs = [parse(text.strip("\n") + "\n\n") for text in re.split(r"\n[ \t]*\n(?=\S)", copyright_file)]
    texts: dict[str, str] = {}
    for paragraph in paragraphs:
        name, _, text = str(paragraph.get("License", "")).partition("\n")
        texts[name.strip()] = texts.get(name.strip()) or _by_wording(text)
    listed: list[tuple[list[str], str]] = []
    for paragraph in paragraphs:
        name = str(paragraph.get("License", "")).partition("\n")[0].strip()
        known = is_permissive(name) or COPYLEFT.search(name)
        if globs := str(paragraph.get("Files", "")).split():
            listed.append((globs, name if known else texts.get(name) or name))
    main = next((one for one in listed if "*" in one[0]), listed[0] if listed else ([], ""))
    refused = [glob for one in listed if one is not main and not is_permissive(one[1]) for glob in one[0]]
    return main[1], refused


def _check(package: Package, found: str) -> None:
    if not is_permissive(found) or not is_permissive(package.licence):
        raise PackageError(f"{package.name} {package.version}: licence {found!r} is not on the permissive list")
