"""One page of a headless Chromium, over the DevTools protocol's pipe: keys in, what stands on the screen out.

Knows nothing of VS Code. A key is named as browsers name it: `a`, `Tab`, `ctrl+ArrowRight`.
"""

import base64
import json
import os
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

VIRTUAL_KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "Backspace": 8, "End": 35, "Home": 36}
VIRTUAL_KEYS |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
PUNCTUATION = {".": ("Period", 190)}
MODIFIERS = {"alt": 1, "ctrl": 2, "shift": 8}


class Page:
    """One page of a headless Chromium, over the DevTools protocol's pipe."""

    def __init__(self, browser: Path, url: str, folder: Path, width: int, height: int) -> None:
        commands, self._send = os.pipe()
        self._receive, answers = os.pipe()
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"]
        flags += [
            "--headless",
            "--remote-debugging-pipe",
            f"--user-data-dir={folder}",
            f"--window-size={width},{height}",
        ]
        shell = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, str(browser), *flags, "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._pending = b""
        self._ids = count(1)
        self._session: str | None = None
        target = self.call("Target.createTarget", url=url, width=width, height=height)
        self._session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._send)
        os.close(self._receive)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        while True:
            *messages, self._pending = self._pending.split(b"\0")
            for position, text in enumerate(messages):
                answer = json.loads(text)
                if answer.get("id") == number:
                    self._pending = b"\0".join([*messages[position + 1 :], self._pending])
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']['message']}")
                    return answer["result"]
            piece = os.read(self._receive, 1 << 16)
            if not piece:
                raise RuntimeError(f"the browser ended during {method}")
            self._pending += piece

    def look(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """One key, for example `a`, `Tab` or `ctrl+ArrowRight`."""
        *modifiers, name = key.split("+") if len(key) > 1 else [key]
        mask = sum(MODIFIERS[modifier] for modifier in modifiers)
        event: dict[str, Any] = {"key": name, "modifiers": mask, "code": name}
        if len(name) == 1:
            code = f"Key{name.upper()}" if name.isalpha() else f"Digit{name}" if name.isdigit() else ""
            number = ord(name.upper()) if name.isalnum() and name.isascii() else 0
            event["code"], event["windowsVirtualKeyCode"] = PUNCTUATION.get(name, (code, number))
            text = "" if mask & ~MODIFIERS["shift"] else name
        else:
            event["windowsVirtualKeyCode"] = VIRTUAL_KEYS[name]
            text = "\r" if name == "Enter" else ""
        if text:
            event["text"] = text
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **event)
        self.call("Input.dispatchKeyEvent", type="keyUp", **{**event, "text": ""})

    def click(self, selector: str) -> bool:
        """Click in the middle of the first such element; whether there was one."""
        place = self.look(
            f"(() => {{ const found = document.querySelector({json.dumps(selector)}); if (!found) return null;"
            " const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        if place is None:
            return False
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)
        return True

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
