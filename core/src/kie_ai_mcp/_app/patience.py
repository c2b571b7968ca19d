"""Patience of clients: how long each waits for one call before it gives up."""

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


def patience_of(client: str) -> float:
    """Return how long a client of this name waits for one call, in seconds."""
    name = client.lower()
    return next((seconds for word, seconds in PATIENCE_S if word in name), USUAL_PATIENCE_S)
