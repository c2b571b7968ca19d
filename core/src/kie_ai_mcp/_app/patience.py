"""Patience of clients: how long each waits for one call before it gives up."""

FIRST_WAIT_S = 4.0  # how long a wait lasts at first where nothing is known of a client: some give up after 5 s
USUAL_PATIENCE_S = 45.0  # how long a client waits for one call when nothing is known of it

# Seconds a wait may last before hosts give up, by a word in the client's name, most particular first.
PATIENCE_S = (
    ("claude-code", 900.0),
    ("claude code", 900.0),
    ("visual studio code", 900.0),
    ("vscode", 900.0),
    ("gemini", 540.0),
    ("codex", 240.0),
    ("cursor", 240.0),
    ("claude", 200.0),
)


class Waits(dict[str, float]):
    """The longest waits of clients of unknown patience: each that ends by itself lets the next last longer."""

    def learn(self, client: str, took_s: float, *, given_up: bool) -> None:
        """Learn from a call that has ended; after one that was given up, waits stay shorter, marked by a minus."""
        most_s = self.get(client, FIRST_WAIT_S)
        if given_up and took_s < abs(most_s):
            self[client] = -max(FIRST_WAIT_S, 0.8 * took_s)
        elif not given_up and took_s > 0.9 * most_s > 0:
            self[client] = min(2 * most_s, USUAL_PATIENCE_S)


def patience_of(client: str) -> float:
    """Return how long a client of this name waits for one call, in seconds."""
    name = client.lower()
    return next((seconds for word, seconds in PATIENCE_S if word in name), USUAL_PATIENCE_S)
