"""Voices of Gemini's speech models, and how ElevenLabs names its own."""

import re

_GEMINI = """
Achernar Achird Algenib Algieba Alnilam Aoede Arlo Autonoe Bodi Brio Callirrhoe Charon Cleo Cruz Daro Despina Elio
Enceladus Enya Enzo Erinome Fenrir Finn Fola Gacrux Gero Hali Iapetus Jett Jori Kira Knox Koda Kore Laomedeia Leda
Lora Ludo Lumi Mako Milo Neno Nika Nyla Olin Orus Puck Pulcherrima Rami Rasalgethi Riko Rina Sadachbia Sadaltager
Sami Schedar Sola Sulafat Tari Tavi Tova Umbriel Varo Veda Vindemiatrix Zali Zeno Zephyr Zubenelgenubi Zuri
"""
GEMINI = frozenset(_GEMINI.split())
EXAMPLES = ("Kore", "Puck", "Zephyr", "Charon")
USUAL_OF_ELEVENLABS = "EkK5I93UQWFDigLMpZcX"

ID_OF_ELEVENLABS = re.compile(r"[0-9A-Za-z]{20}")


def is_elevenlabs(voice: str) -> bool:
    """Return whether a voice can only be one of ElevenLabs, by its id."""
    return ID_OF_ELEVENLABS.fullmatch(voice) is not None
