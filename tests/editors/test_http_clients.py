"""What plugins that were made for llama.cpp and OpenAI get from `midspan serve-http`, by curl as llama.vim runs it.

The plugins themselves are not run; the requests have the fields theirs have. That the text inserted is good is the
model's affair; that it can be inserted is tested.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from .sample import BRACKETS, INDENTATION, PLAIN, ROW, TEXT, lines_with
from .terminal import SERVER, server_settings

pytestmark = pytest.mark.e2e

TOKEN = "a-token-of-the-tests"


class Endpoint:
    """A served endpoint, and curl."""

    def __init__(self) -> None:
        environment = {**server_settings(), "MIDSPAN_HTTP_TOKEN": TOKEN, "MIDSPAN_DISK_CACHE": "false"}
        argv = [SERVER, "serve-http", "--port", "0"]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})
        assert self.process.stdout is not None
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)", self.process.stdout.readline())
        assert found is not None
        self.address = found[1]

    def post(self, path: str, body: dict[str, Any]) -> str:
        argv = ["curl", "--silent", "--no-buffer", "--max-time", "60", "--request", "POST"]
        argv += ["--url", self.address + path, "--header", "Content-Type: application/json", "--data", "@-"]
        argv += ["--header", f"Authorization: Bearer {TOKEN}"]
        done = subprocess.run(argv, input=json.dumps(body), capture_output=True, text=True, timeout=90, check=True)
        return done.stdout


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    endpoint = Endpoint()
    yield endpoint
    endpoint.process.terminate()
    assert endpoint.process.wait(20) == 0


def llama_vim(endpoint: Endpoint, lines: list[str], column: int, chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """As it asks while one types: the line up to the cursor is the prompt, and no field says which file this is."""
    line = lines[ROW]
    body = {
        "id_slot": 0,
        "input_prefix": "\n".join(lines[:ROW]) + "\n",
        "prompt": line[:column],
        "input_suffix": line[column:] + "\n" + "\n".join(lines[ROW + 1 :]) + "\n",
        "input_extra": chunks,
        "n_predict": 128,
        "n_indent": len(line) - len(line.lstrip()),
        "top_k": 40,
        "top_p": 0.9,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 20_000,
        "response_fields": ["content", "timings/prompt_n", "timings/predicted_ms", "truncated", "tokens_cached"],
    }
    return json.loads(endpoint.post("/infill", body))


CHUNK = {"text": TEXT[: TEXT.index("def names")], "time": [7, 12_345], "filename": "sample.py"}


@pytest.mark.parametrize(("beginnings", "after"), [(PLAIN, ""), (BRACKETS, ")")], ids=["end of line", "brackets"])
@pytest.mark.parametrize("chunks", [[], [CHUNK]], ids=["alone", "with another chunk"])
def test_llama_vim_gets_text_to_insert(
    endpoint: Endpoint, beginnings: tuple[str, ...], after: str, chunks: list[dict[str, Any]]
) -> None:
    answers: list[dict[str, Any]] = []
    for beginning in beginnings:
        lines = lines_with(beginning + after)
        answers.append(llama_vim(endpoint, lines, len(INDENTATION + beginning), chunks))
        content = answers[-1]["content"]
        assert set(answers[-1]) >= {"content", "timings/predicted_ms", "truncated", "tokens_cached"}
        if content:
            assert not after or not content.endswith(after), "the bracket stands there already"
            return
    pytest.fail(f"nothing was ever filled: {answers}")


def test_llama_vim_may_warm_a_cache(endpoint: Endpoint) -> None:
    body = {
        "input_prefix": "",
        "input_suffix": "",
        "input_extra": [CHUNK],
        "prompt": "",
        "n_predict": 0,
        "temperature": 0.0,
        "stream": False,
        "samplers": [],
        "cache_prompt": True,
        "t_max_prompt_ms": 1,
        "t_max_predict_ms": 1,
        "response_fields": [""],
    }
    assert "error" not in json.loads(endpoint.post("/infill", body))


def test_minuet_gets_the_fill_as_a_stream(endpoint: Endpoint) -> None:
    for beginning in PLAIN:
        lines = lines_with(beginning)
        before, after = "\n".join(lines[: ROW + 1]), "\n" + "\n".join(lines[ROW + 1 :])
        body = {"model": "midspan", "stream": True, "max_tokens": 128}
        comment = "# language: python\n# indentation: use 4 spaces for a tab\n"
        reply = endpoint.post("/v1/completions", {**body, "prompt": comment + before, "suffix": after})
        events = [line.removeprefix("data: ") for line in reply.split("\n\n") if line]
        assert events[-1] == "[DONE]"
        if "".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]):
            return
    pytest.fail("nothing was ever filled")


def test_zed_gets_the_fill_for_a_prompt_with_marks(endpoint: Endpoint) -> None:
    for beginning in PLAIN:
        lines = lines_with(beginning)
        before, after = "\n".join(lines[: ROW + 1]), "\n" + "\n".join(lines[ROW + 1 :])
        prompt = f"<|fim_prefix|>{before}<|fim_suffix|>{after}<|fim_middle|>"
        stop = ["<|endoftext|>", "<|file_sep|>", "<|fim_pad|>"]
        body = {"model": "midspan", "prompt": prompt, "max_tokens": 128, "temperature": 0.2, "stop": stop}
        answer = json.loads(endpoint.post("/v1/completions", body))
        text = answer["choices"][0]["text"]
        assert "<|" not in text
        if text:
            return
    pytest.fail("nothing was ever filled")
