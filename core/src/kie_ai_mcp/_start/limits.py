"""Limits of a message, and the setting of the start, for every package that needs them."""

MESSAGE_BYTES = 16 * 1024 * 1024  # the largest message: a file of 10 MB in base64, and what surrounds it
LOAD = "KIE_AI_LOAD"
WAYS_TO_LOAD = ("background", "demand")  # on demand only what is not remembered loads the server
