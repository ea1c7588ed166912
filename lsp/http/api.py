"""What a client of the loopback endpoint is answered, in the dialect it speaks.

Pure: values in, JSON values out; knows nothing of sockets or engines.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .wish import Wish


@dataclass(frozen=True)
class Filled:
    """Texts to insert between prefix and suffix, best first; none: nothing worth showing, `reason` says why."""

    texts: tuple[str, ...] = ()
    reason: str = ""
    model: str = ""
    n_tokens: int = 0
    steps: int = 0  # denoise steps
    prompt_seconds: float = 0.0
    seconds: float = 0.0


def answer(wish: Wish, filled: Filled, id_: str, created: int) -> dict[str, Any]:
    """The whole reply in the wish's dialect."""
    texts = tuple(_stopped(text, wish.stop) for text in filled.texts) or ("",)
    if wish.dialect == "completions":
        choices = [_choice(index, text, "stop") for index, text in enumerate(texts[: wish.n_choices])]
        return _completion(filled, id_, created, choices)
    return _picked(_infilled(wish, filled, texts[0], stop=True), wish.fields)


def events(wish: Wish, filled: Filled, id_: str, created: int) -> Iterator[str]:
    """The reply as server-sent events: all text in one, then the end. A canvas is done at once, not token by token."""
    texts = tuple(_stopped(text, wish.stop) for text in filled.texts) or ("",)
    if wish.dialect == "completions":
        for index, text in enumerate(texts[: wish.n_choices]):
            yield _event(_completion(filled, id_, created, [_choice(index, text, None)]))
            yield _event(_completion(filled, id_, created, [_choice(index, "", "stop")]))
        yield "data: [DONE]\n\n"
        return
    yield _event(_picked(_infilled(wish, filled, texts[0], stop=False), wish.fields))
    yield _event(_picked(_infilled(wish, filled, "", stop=True), wish.fields))


def failure(status: int, message: str) -> dict[str, Any]:
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 503: "unavailable_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"code": status, "message": message, "type": kind}}


def models(name: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": name, "object": "model", "created": 0, "owned_by": "midspan"}]}


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


def _completion(filled: Filled, id_: str, created: int, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "text_completion",
        "created": created,
        "model": filled.model,
        "choices": choices,
        "usage": {
            "prompt_tokens": 0,  # mostly encoded before; nobody is billed
            "completion_tokens": filled.n_tokens,
            "total_tokens": filled.n_tokens,
        },
    }


def _choice(index: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def _infilled(wish: Wish, filled: Filled, text: str, stop: bool) -> dict[str, Any]:
    return {
        "index": 0,
        "content": text,
        "tokens": [],
        "id_slot": 0,
        "stop": stop,
        "model": filled.model,
        "tokens_predicted": filled.n_tokens,
        "tokens_evaluated": 0,
        "generation_settings": {"n_ctx": 0, "n_predict": wish.n_tokens, "seed": wish.seed, "stream": wish.stream},
        "prompt": "",
        "has_new_line": "\n" in text,
        "truncated": False,
        "stop_type": "eos",
        "stopping_word": "",
        "tokens_cached": 0,
        "reason": filled.reason,
        "timings": {
            **_rate("prompt", 0, filled.prompt_seconds),
            **_rate("predicted", filled.n_tokens, max(0.0, filled.seconds - filled.prompt_seconds)),
        },
    }


def _rate(name: str, n: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": n,
        f"{name}_ms": 1000 * seconds,
        f"{name}_per_token_ms": 1000 * seconds / n if n else 0.0,
        f"{name}_per_second": n / seconds if seconds else 0.0,
    }


def _picked(value: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """llama.cpp: fields that are missing are left out; a path's value moves to the top under the path as its name."""
    if not fields:
        return value
    picked: dict[str, Any] = {}
    for path in fields:
        found: Any = value
        for name in path.split("/"):
            found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
        if found is not _MISSING:
            picked[path] = found
    return picked


_MISSING = object()


def _stopped(text: str, stop: tuple[str, ...]) -> str:
    return min((text.split(word, 1)[0] for word in stop), key=len, default=text)
