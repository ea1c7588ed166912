"""How long to wait for the next key before beginning to answer: adaptive debounce, per document.

While keys come faster than the engine answers, an answer begun at once would be thrown away by the next key; waiting
a little longer than the usual pause between two keys costs the typist nothing and the machine nothing. Otherwise
there is nothing to wait for. Pure: times are handed in (seconds of one clock).
"""

PAUSE = 0.6  # seconds between two keys after which a new burst begins
SHARE = 0.3  # of the newest pause in the running mean
PATIENCE = 1.3  # times the usual pause: what the next key is waited for
UNFINISHED = 2.0  # times what was spent on an answer that was given up: what all of it is taken to cost
MOST_SLOW = 1.0  # seconds one answer counts for at most in the mean


class Rhythm:
    """The keys of one document."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._gap: float | None = None  # running mean of the pauses within a burst

    def key(self, now: float) -> None:
        """The text changed."""
        gap = now - self._last if self._last is not None else PAUSE
        self._last = now
        if gap >= PAUSE:
            self._gap = None
        else:
            self._gap = gap if self._gap is None else (1 - SHARE) * self._gap + SHARE * gap

    def wait(self, now: float, answering: float, most: float) -> float:
        """Seconds to wait before an answer that takes `answering` seconds is begun; 0 … most.

        A wait that `most` would cut short is none: the next key would come after it, and find the answer half done.
        """
        if self._gap is None or self._last is None or answering <= self._gap or PATIENCE * self._gap > most:
            return 0.0
        return max(0.0, self._last + PATIENCE * self._gap - now)


class Pace:
    """How long an answer takes here and now: a running mean of those that were computed."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        seconds = min(seconds, MOST_SLOW)
        self.seconds = seconds if self.seconds == 0.0 else (1 - SHARE) * self.seconds + SHARE * seconds

    def gave_up(self, seconds: float) -> None:
        """An answer was called off after so long. On a machine too slow to finish any, nothing else tells how slow."""
        if UNFINISHED * seconds > self.seconds:
            self.took(UNFINISHED * seconds)
