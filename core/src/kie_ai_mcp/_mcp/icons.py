"""Icons of the server, its prompts and its resources: small drawings on a ground of their own, for light and dark."""

import base64

import mcp_types as types

# Lines on a square of 24 by 24.
_LINES = {
    "kie": "M8 5v14M17 5l-8 7 8 7",
    "picture": "M5 6h14v12H5zM5 16l5-5 4 4 2-2 3 3",
    "clip": "M8 4h8v16H8zM11 9.500l3 2.500-3 2.500z",
    "face": "M12 5a3 3 0 010 7 3 3 0 010-7M6 19c0-6 12-6 12 0",
}


def icons(name: str) -> list[types.Icon]:
    """Return the icon of a name."""
    drawing = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24'><rect width='24' height='24' rx='5' fill='#63c'/>"
        f"<path d='{_LINES[name]}' fill='none' stroke='#fff' stroke-width='2'/></svg>"
    )
    source = f"data:image/svg+xml;base64,{base64.b64encode(drawing.encode()).decode()}"
    return [types.Icon(src=source, mime_type="image/svg+xml", sizes=["any"])]
