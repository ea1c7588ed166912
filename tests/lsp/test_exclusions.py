"""What is never looked at: secrets by their path, the user's globs, and what git ignores as context."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midspan.lsp.settings.exclusions import Exclusions, Ignored
from midspan.lsp.settings.globs import Globs
from midspan.lsp.wire.client import Client

from .conftest import Launcher


@pytest.mark.parametrize(
    "path",
    [
        "/p/.env",
        "/p/.env.local",
        "/p/.ENV.Production",
        "/p/prod.env",
        "/p/.envrc",
        "/p/server.pem",
        "/p/server.KEY",
        "/home/me/.ssh/id_rsa",
        "/home/me/.ssh/config",
        "/p/id_ed25519",
        "/p/id_rsa.pub",
        "/p/.netrc",
        "/p/_netrc",
        "/p/.npmrc",
        "/p/.pypirc",
        "/p/.git-credentials",
        "/p/infra/prod.tfvars",
        "/p/infra/prod.tfvars.json",
        "/p/terraform.tfstate",
        "/home/me/.aws/credentials",
        "/home/me/.aws/config",
        "/home/me/.kube/config",
        "/home/me/.docker/config.json",
        "/p/credentials.json",
        "/p/my-credentials.json",
        "/p/service-account.json",
        "/p/service_account_prod.json",
        "/p/secrets.yaml",
        "/p/secrets.py",
        "/p/secret.txt",
        "/p/.bash_history",
        "/p/store.jks",
        "/p/passwords.kdbx",
    ],
)
def test_secrets_are_known_by_their_path(path: str) -> None:
    exclusions = Exclusions()
    assert exclusions.excluded(f"file://{path}")
    assert exclusions.excluded(f"vscode-remote://ssh-remote%2Bhost{path}")
    assert exclusions.excluded("file://" + path.replace(".", "%2E"))


@pytest.mark.parametrize(
    "path",
    [
        "/p/environment.py",
        "/p/env.py",
        "/p/keys.py",
        "/p/monkey.py",
        "/p/credentials.py",
        "/p/token.py",
        "/p/config.json",
        "/p/rsa.py",
        "/p/history.py",
        "/p/secretary.py",
        "/p/aws/client.py",
        "/p/docker/config.json",
    ],
)
def test_code_about_secrets_is_code(path: str) -> None:
    assert not Exclusions().excluded(f"file://{path}")


def test_documents_that_are_no_files() -> None:
    exclusions = Exclusions()
    assert exclusions.excluded("untitled:.env")
    assert exclusions.excluded("git:/p/.env?ref=HEAD")
    assert not exclusions.excluded("untitled:Untitled-1")
    assert not exclusions.excluded("")
    assert not exclusions.excluded("file://[")


def test_the_user_s_globs() -> None:
    exclusions = Exclusions(["vendor/", "/generated/**", "*.min.js", "!public.pem", "~/private/**"], ["/w", "/w/inner"])
    for path in ("/w/vendor/a.py", "/w/a/vendor/b.py", "/w/generated/x.py", "/w/inner/generated/x.py", "/w/x.min.js"):
        assert exclusions.excluded(f"file://{path}"), path
    assert exclusions.excluded((Path.home() / "private" / "a.py").as_uri())
    for path in ("/w/a/generated/x.py", "/w/vendor.py", "/w/public.pem", "/w/a.js"):
        assert not exclusions.excluded(f"file://{path}"), path
    assert exclusions.excluded("file:///w/other.pem")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege")
def test_a_link_to_a_secret_is_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("")
    link = tmp_path / "settings.sh"
    link.symlink_to(tmp_path / ".env")
    assert Exclusions().excluded(link.as_uri())


# -- what git ignores

RULES = ["*.log", "!keep.log", "build/", "/top.txt", "docs/**/*.tmp", "a?c", "[xy].z", "\\!odd", "sp ace", "# no rule"]
PATHS = [
    "a.log",
    "deep/er/a.log",
    "keep.log",
    "deep/keep.log",
    "build/x.py",
    "sub/build/x.py",
    "build",
    "top.txt",
    "sub/top.txt",
    "docs/a/b/c.tmp",
    "docs/c.tmp",
    "c.tmp",
    "abc",
    "a/c",
    "x.z",
    "w.z",
    "!odd",
    "sp ace",
    "sp",
    "mod/own.txt",
    "mod/top.txt",
]


def test_the_rules_are_git_s(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for path in PATHS:
        if path not in ("build", "a/c"):  # also names of folders here
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("")
    (tmp_path / ".gitignore").write_text("\n".join(RULES) + "\n")
    (tmp_path / "mod" / ".gitignore").write_text("own.txt\n!*.log\n")
    (tmp_path / ".git" / "info" / "exclude").write_text("w.z\n")
    for path in PATHS:
        if (tmp_path / path).is_file():
            told = subprocess.run(["git", "-C", str(tmp_path), "check-ignore", "-q", path], check=False).returncode == 0
            assert Ignored().ignored(tmp_path / path, tmp_path) == told, path


def test_what_git_ignores_may_be_edited_but_is_no_context(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("local.py\n")
    exclusions = Exclusions((), [tmp_path.as_posix()])
    local = tmp_path / "local.py"
    assert not exclusions.excluded(local.as_uri())
    assert not exclusions.is_context(local)
    assert exclusions.is_context(tmp_path / "other.py")
    assert not exclusions.is_context(tmp_path / ".env")
    (tmp_path / ".gitignore").write_text("other.py\n")
    os.utime(tmp_path / ".gitignore", (1, 1))
    assert exclusions.is_context(local), "the rules are read again"


@given(st.text(alphabet="ab*?[]!{},\\/.-^ #", max_size=12), st.text(alphabet="ab/.{}", max_size=12))
def test_no_pattern_raises(pattern: str, path: str) -> None:
    assert Globs([pattern]).matches(path) in (True, False, None)


def test_braces_spell_out_alternatives_and_no_more_than_that() -> None:
    globs = Globs(["*.{a,b{c,d}}"])
    assert [globs.matches(name) for name in ("x.a", "x.bc", "x.bd", "x.b", "x.ab")] == [True, True, True, None, None]
    assert Globs(["{a,b}" * 40]).matches("a" * 40) is None  # 2 ** 40 spellings


# -- in a server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    launcher = Launcher(tmp_path_factory.mktemp("exclusions") / "stderr")
    client = launcher()
    client.initialize({"exclude": ["private/"], "load": "use", "trace": True, "status": True})
    assert client.notification("midspan/status")["kind"] == "ready"
    yield client
    launcher.close()


@pytest.mark.parametrize("uri", ["file:///p/.env", "file:///p/private/code.py", "untitled:.env.local"])
def test_an_excluded_file_gets_nothing_and_the_trace_says_why(server: Client, uri: str) -> None:
    server.open(uri, "shellscript", "KEY=abc\nOTHER=\n")
    for kind in (1, 2):
        assert server.result(server.begin_completion(uri, 1, 6, kind)) is None
        trace = server.notification("midspan/trace", uri=uri)
        assert (trace["outcome"], trace["model"]) == ("excluded", "")
    states = [message for message in server.notifications if message["method"] == "midspan/status"]
    assert not states, "no model was loaded for it"
