"""What a client of the loopback endpoint asks for: a POST's body → a `Wish`.

Two dialects: llama.cpp's `/infill` (llama.vim, llama.vscode, minuet) and OpenAI's `/v1/completions` with `suffix`
(minuet, Zed). Zed has no `suffix`: it writes prefix and suffix into the prompt between a model's fill-in-the-middle
marks, so those are read too. Pure; knows nothing of sockets or engines.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 256
BUDGET, LEAST_BUDGET, MOST_BUDGET = 2.0, 0.05, 30.0  # seconds
LANGUAGE_COMMENT = re.compile(r"\A\W{0,4}\s*language:\s*([\w+#-]+)")
"""Clients without a field for it say the language in the first line."""

MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen, CodeGemma
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # GLM
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # DeepSeek
    ("<PRE> ", " <SUF>", " <MID>"),  # Code Llama
)
SUFFIX_FIRST = ("[SUFFIX]", "[PREFIX]")  # Codestral


class RefusalError(Exception):
    """The request is not answered. `status` is HTTP's, the message one sentence for whoever set up the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Wish:
    """What a request asks for. extra: (file name, text) of other code, the most important first; budget: seconds."""

    dialect: str  # "infill" | "completions"
    prefix: str
    suffix: str
    extra: tuple[tuple[str, str], ...] = ()
    filename: str = ""
    language: str = ""
    n_tokens: int = MOST_TOKENS
    n_choices: int = 1
    seed: int = 0
    budget: float = BUDGET
    stream: bool = False
    stop: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # the only ones of the answer that are wanted; "a/b": b of a, under that name


def wish(dialect: str, body: bytes) -> Wish:
    """The wish a POST's body holds. Raises RefusalError."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusalError(400, "the body is not JSON") from None
    if not isinstance(fields, dict):
        raise RefusalError(400, "the body is not a JSON object")
    return _infill(fields) if dialect == "infill" else _completions(fields)


def _infill(fields: dict[str, Any]) -> Wish:
    """llama.cpp: input_prefix + prompt is what stands left of the gap, input_suffix what stands right of it."""
    extra: list[tuple[str, str]] = []
    for one in _list(fields, "input_extra"):
        if not isinstance(one, dict):
            raise RefusalError(400, "input_extra holds something that is no object")
        extra.append((_text(one, "filename"), _text(one, "text")))
    prefix = _text(fields, "input_prefix") + _text(fields, "prompt")
    milliseconds = _number(fields, "t_max_predict_ms", 0)
    return Wish(
        dialect="infill",
        prefix=prefix,
        suffix=_text(fields, "input_suffix"),
        extra=tuple(reversed(extra)),  # clients send the newest last
        filename=_text(fields, "filename"),
        language=_language(fields, prefix),
        n_tokens=_tokens(fields, "n_predict"),
        seed=_seed(fields),
        budget=min(max(milliseconds / 1000, LEAST_BUDGET), MOST_BUDGET) if milliseconds > 0 else BUDGET,
        stream=_flag(fields, "stream"),
        stop=_stop(fields),
        fields=tuple(str(name) for name in _list(fields, "response_fields") if name),
    )


def _completions(fields: dict[str, Any]) -> Wish:
    prompt = fields.get("prompt", "")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise RefusalError(400, "prompt must be one string")
    suffix = _text(fields, "suffix")
    if not suffix:
        prompt, suffix = unmarked(prompt)
    return Wish(
        dialect="completions",
        prefix=prompt,
        suffix=suffix,
        filename=_text(fields, "filename"),
        language=_language(fields, prompt),
        n_tokens=_tokens(fields, "max_tokens"),
        n_choices=int(min(max(_number(fields, "n", 1), 1), 8)),
        seed=_seed(fields),
        stream=_flag(fields, "stream"),
        stop=_stop(fields),
    )


def unmarked(prompt: str) -> tuple[str, str]:
    """(prefix, suffix) of a prompt with fill-in-the-middle marks; without them all of it is prefix."""
    for before, between, behind in MARKS:
        if prompt.startswith(before) and prompt.endswith(behind) and between in prompt:
            prefix, _, suffix = prompt[len(before) : len(prompt) - len(behind)].partition(between)
            return prefix, suffix
    if prompt.startswith(SUFFIX_FIRST[0]) and SUFFIX_FIRST[1] in prompt:
        suffix, _, prefix = prompt[len(SUFFIX_FIRST[0]) :].partition(SUFFIX_FIRST[1])
        return prefix, suffix
    return prompt, ""


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusalError(400, f"{name} must be a string")
    return value


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RefusalError(400, f"{name} must be an array")
    return value


def _number(fields: Mapping[str, Any], name: str, default: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise RefusalError(400, f"{name} must be a number")
    return min(max(value, -(2**53)), 2**53)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    return fields.get(name) is True


def _tokens(fields: Mapping[str, Any], name: str) -> int:
    """0: nothing is to be written (clients warm a cache with it); below: as much as there is room for."""
    n = int(_number(fields, name, -1))
    return MOST_TOKENS if n < 0 else min(n, MOST_TOKENS)


def _seed(fields: Mapping[str, Any]) -> int:
    """Negative is "any" elsewhere; the same request has the same answer here."""
    return max(0, int(_number(fields, "seed", 0))) % 2**31


def _stop(fields: Mapping[str, Any]) -> tuple[str, ...]:
    value = fields.get("stop")
    words = [value] if isinstance(value, str) else _list(fields, "stop")
    if not all(isinstance(word, str) for word in words):
        raise RefusalError(400, "stop must be strings")
    return tuple(word for word in words if word)


def _language(fields: Mapping[str, Any], prefix: str) -> str:
    said = LANGUAGE_COMMENT.match(prefix[:200])
    return _text(fields, "language") or (said[1].lower() if said else "")
