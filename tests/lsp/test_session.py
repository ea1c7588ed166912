"""The session's life with an engine whose answers and pace are given: what is computed, when, and what is not."""

import asyncio
from typing import Any

import pytest
from midspan.engine import EngineError, Infill, InfillRequest
from midspan.grammars import syntax
from midspan.lsp import worker
from midspan.lsp.complete import Outcome

from .given import URI, Editor, Given, Live

STILL = 0.3  # seconds in which what is not to happen would have happened


def texts(outcome: Outcome) -> list[str]:
    return [one.text for one in outcome.suggestions]


# -- type-through


def test_typing_what_it_says_asks_nothing_of_the_model(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        assert texts(await editor.ask()) == ["f(a)"]
        for now, rest in (("x = f║\n", "(a)"), ("x = f(║)\n", "a)"), ("x = f(a║)\n", ")"), ("x = ║\n", "f(a)")):
            editor.become(now)
            outcome = await editor.ask()
            assert (texts(outcome), outcome.origin) == ([rest], "remembered")
        assert editor.engine.asked == ["x = "]
        editor.become("x = g║\n")
        assert texts(await editor.ask()) == []
        assert editor.engine.asked == ["x = ", "x = g"]

    live(story, {"x = ": "f(a)"}, prefetch=False)


def test_it_works_while_the_model_is_away(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        editor.session.unload()
        editor.become("x = f║\n")
        assert texts(await editor.ask()) == ["(a)"]
        assert editor.states[-1][0] == "asleep"
        editor.become("y = ║\n")
        assert texts(await editor.ask()) == ["1"]

    live(story, {"x = ": "f(a)", "y = ": "1"}, prefetch=False)


def test_several_alternatives_when_asked_for_and_one_otherwise(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        assert texts(await editor.ask()) == ["a"]
        assert texts(await editor.ask(invoked=True)) == ["a", "b", "c"]
        assert texts(await editor.ask(invoked=True)) == ["a", "b", "c"]
        assert len(editor.engine.asked) == 2
        editor.become("x = b║\n")
        assert texts(await editor.ask()) == ["bb"]

    live(story, {"x = ": "a|b|a|f(|c|d", "x = b": "bb"}, prefetch=False)


# -- prefetch


def test_what_follows_an_acceptance_is_there_before_it(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        await editor.until(lambda: editor.engine.asked == ["x = ", "x = f(a)"])
        await asyncio.sleep(0.05)
        editor.become("x = f(a)║\n")
        outcome = await editor.ask()
        assert (texts(outcome), outcome.origin) == ([" + 1"], "prefetched")
        assert editor.engine.asked[:2] == ["x = ", "x = f(a)"]

    live(story, {"x = ": "f(a)", "x = f(a)": " + 1"})


def test_where_nothing_follows_it_is_the_next_line(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("if a:\n    x = ║\n")
        await editor.ask()
        await editor.until(lambda: len(editor.engine.asked) == 3)
        await asyncio.sleep(0.05)
        editor.become("if a:\n    x = f(a)║\n")
        assert texts(await editor.ask()) == []
        editor.become("if a:\n    x = f(a)\n    ║\n")
        outcome = await editor.ask()
        assert (texts(outcome), outcome.origin) == (["y = 1"], "prefetched"), outcome

    live(story, {"x = ": "f(a)", "x = f(a)": "", "f(a)\n    ": "y = 1"})


def test_it_goes_no_deeper_and_is_not_repeated(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        await editor.until(lambda: len(editor.engine.asked) == 3)
        for now in ("x = f║\n", "x = f(║)\n"):
            editor.become(now)
            await editor.ask()
            await asyncio.sleep(0.1)
        await asyncio.sleep(STILL)
        assert len(editor.engine.asked) == 3

    live(story, {"x = ": "f(a)"})


def test_an_acceptance_waits_for_the_prefetch_that_is_under_way(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        editor.engine.gate.clear()
        await editor.until(lambda: editor.engine.asked == ["x = ", "x = f(a)"])
        editor.become("x = f(a)║\n")
        answer = asyncio.ensure_future(editor.ask())
        await asyncio.sleep(0.02)
        editor.engine.gate.set()
        assert texts(await answer) == [" + 1"]
        assert editor.engine.asked.count("x = f(a)") == 1, "and it is not computed twice"

    live(story, {"x = ": "f(a)", "x = f(a)": " + 1"})


def test_typing_towards_it_keeps_it_and_anything_else_calls_it_off(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        editor.engine.gate.clear()
        await editor.until(lambda: len(editor.engine.asked) == 2)
        editor.become("x = f║\n")
        await editor.ask()
        await asyncio.sleep(0.05)
        assert len(editor.engine.asked) == 2
        editor.become("x = g║\n")
        answer = asyncio.ensure_future(editor.ask())
        await editor.until(lambda: editor.engine.asked[2:] == ["x = g"])  # the prefetch, held up, has given way
        editor.engine.gate.set()
        assert texts(await answer) == ["(b)"]

    live(story, {"x = ": "f(a)", "x = g": "(b)"})


def test_a_request_of_another_document_does_not_wait_for_it(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        await editor.ask()
        editor.engine.gate.clear()
        await editor.until(lambda: len(editor.engine.asked) == 2)
        other = URI.replace("code", "other")
        editor.session.documents.open(other, "python", 1, "y = \n")
        request = editor.session.request(other, (0, 4), False)
        assert request is not None
        answer = asyncio.ensure_future(editor.session.suggest(request))
        await editor.until(lambda: editor.engine.asked[2:] == ["y = "])
        editor.engine.gate.set()
        assert texts(await answer) == ["1"]

    live(story, {"x = ": "f(a)", "y = ": "1"})


@pytest.mark.parametrize("options", [{"prefetch": False}, {"trigger": "invoked"}, {"languages": {"python": "invoked"}}])
def test_no_prefetch_where_it_is_off_or_nobody_would_see_it(live: Live, options: dict[str, Any]) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        assert texts(await editor.ask(invoked=True)) == ["f(a)"]
        await asyncio.sleep(STILL)
        assert len(editor.engine.asked) == 1

    live(story, {"x = ": "f(a)"}, **options)


def test_return_at_the_end_of_a_header_keeps_the_body_that_was_shown(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("for item in items:║\n")
        assert texts(await editor.ask()) == ["\n    print(item)"]
        editor.become("for item in items:\n    ║\n")
        assert texts(await editor.ask()) == ["print(item)"]
        assert len(editor.engine.asked) == 1

    live(story, {"items:\n": "    print(item)"}, prefetch=False)


# -- debounce


def test_a_burst_of_keys_is_one_computation(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("║\n")
        pace = editor.session._pace
        for _ in range(9):
            pace.took(1.0)  # the machine is slow
        editor.become("n║\n")
        answers = [asyncio.ensure_future(editor.ask())]  # the first after a pause is begun at once
        await editor.until(lambda: len(editor.engine.asked) == 1)
        for length in range(2, 6):
            await asyncio.sleep(0.03)
            editor.become(f"{'name =':.{length}}║\n")
            answers.append(asyncio.ensure_future(editor.ask()))
        await asyncio.gather(*answers)
        assert editor.engine.asked[-1] == "name "
        assert len(editor.engine.asked) < len(answers)

    live(story, {}, debounce=1000)


# -- large files


def test_a_large_file_s_tree_is_made_when_the_answer_is_out(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    far = "def f(a):\n    return [a]\n\n\n" * 1000
    parsed_before: list[bool] = []

    async def story(editor: Editor) -> None:
        def parsed() -> bool:
            return "tree" in vars(editor.session._syntaxes[URI][1])

        def infill(request: InfillRequest) -> Infill:
            parsed_before.append(parsed())
            return Given.infill(editor.engine, request)

        editor.open(far + "x = ║\n" + far)
        await editor.ask(invoked=True)
        monkeypatch.setattr(syntax, "STANDING_SECONDS", -1.0)
        monkeypatch.setattr(syntax, "LATER_SECONDS", 60.0)
        monkeypatch.setattr(editor.engine, "infill", infill)
        editor.become(far + "x = [║\n" + far)
        outcome = await editor.ask(invoked=True)
        assert outcome.suggestion is not None and outcome.suggestion.text == "1]"
        await editor.until(parsed)
        assert parsed_before == [False]

    live(story, {"x = [": "1]"}, prefetch=False)  # which would be an infill of its own


# -- the model's life


def test_loaded_on_first_use(live: Live) -> None:
    async def story(editor: Editor) -> None:
        await asyncio.sleep(0.05)
        assert [kind for kind, _ in editor.states] == ["asleep"]
        editor.open("x = ║\n")
        assert texts(await editor.ask()) == ["1"]
        assert [kind for kind, _ in editor.states][:3] == ["asleep", "loading", "ready"]

    live(story, {"x = ": "1"}, load="use")


def test_unloaded_when_idle_and_back_when_needed(live: Live) -> None:
    async def story(editor: Editor) -> None:
        await editor.until(lambda: editor.states[-1][0] == "asleep")
        editor.open("x = ║\n")
        assert texts(await editor.ask()) == ["1"]
        await editor.until(lambda: editor.states[-1][0] == "asleep")

    live(story, {"x = ": "1"}, idleUnload=0.1 / 60, prefetch=False)


def test_a_memory_limit_that_cannot_be_kept_is_an_error(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "over_limit", lambda limit: "it takes 900 MB" if limit else "")

    async def story(editor: Editor) -> None:
        await editor.until(lambda: editor.states[-1] == ("error", "it takes 900 MB"))
        editor.open("x = ║\n")
        assert (await editor.ask()).reason == "there is no model"

    live(story, {"x = ": "1"}, memoryLimit=500)


def test_an_engine_that_runs_out_of_memory_fails_one_request(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(editor: Editor) -> None:
        infill, failing = editor.engine.infill, [True]

        def once(request: InfillRequest) -> Infill:
            if failing.pop() if failing else False:
                raise EngineError("the device ran out of memory")
            return infill(request)

        monkeypatch.setattr(editor.engine, "infill", once)
        editor.open("x = ║\n")
        assert (await editor.ask()).reason == "failed"
        assert editor.troubles == ["the device ran out of memory"]
        assert texts(await editor.ask()) == ["1"]

    live(story, {"x = ": "1"})


# -- what is not looked at


def test_exclusions_hold_at_once_when_they_change(live: Live) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        assert texts(await editor.ask()) == ["1"]
        editor.session.configure({"exclude": ["*.py"]})
        assert (await editor.ask()).reason == "excluded"
        assert editor.session.excluded(URI)
        editor.session.configure({})
        assert texts(await editor.ask()) == ["1"]
        assert len(editor.engine.asked) == 2, "and nothing of it was kept"

    live(story, {"x = ": "1"}, prefetch=False)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"languages": {"python": "off"}}, "off for this language"),
        ({"languages": {"*": "invoked"}}, "not asked for"),
        ({"enable": False}, "off"),
    ],
)
def test_silence_has_its_reason(live: Live, options: dict[str, Any], reason: str) -> None:
    async def story(editor: Editor) -> None:
        editor.open("x = ║\n")
        assert (await editor.ask()).reason == reason
        assert not editor.engine.asked

    live(story, {"x = ": "1"}, **options)
