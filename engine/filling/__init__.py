"""One gap from request to answer: who proposes, how long it is, what is repaired, which text wins."""
