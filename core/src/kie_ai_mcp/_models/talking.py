"""Pictures and clips that are to speak, clips with sound, and names of files, in the words of people."""

import re

_SHOWN = r"(photo|photograph|picture|image|portrait|drawing|painting|sketch|illustration|selfie|headshot|cartoon)s?"
_CLIP = r"(clip|video|film|movie|footage|animation|scene)s?"
_SEEN = (
    r"(persons?|people|m[ae]n|wom[ae]n|girls?|boys?|guys?|lady|kids?|child|children|baby|faces?|heads?|avatars?|"
    r"characters?|presenters?|him|her|he|she|dogs?|cats?|pets?|grandmother|grandma|grandfather|grandpa|son|daughter|"
    r"wife|husband|mother|mum|mom|father|dad|sister|brother)"
)
_SPEAKS = r"(sa(y|ys|ying)|speak(s|ing)?|talk(s|ing)?|sing(s|ing)?|lip[- ]?sync\w*)"
_READS = r"(read(s|ing)?|tell(s|ing)?|narrat\w+|recit\w+|repeat\w*)"
_RECORDING = (
    r"(record(ed|ings?)|voice (message|memo|note)s?|mp3|wav|m4a|"
    r"(my|this|that|our) (own )?(voice|audio|sound|speech|song)|(from|with|by|and|to) (an? )?(audio|sound|song|voice))"
)
_HERE = r"(this|these|that|my|our|the|his|her|their|\w+['’]s)"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b{pattern}\b", re.IGNORECASE)


SHOWN, PICTURE, CLIP, RECORDING = map(_words, (_SHOWN, f"({_SHOWN}|{_SEEN})", _CLIP, _RECORDING))
VOICE = _words(r"voices?(?! ?-?over)")
SPEAKS, UTTERS = _words(_SPEAKS), _words(f"({_SPEAKS}|{_READS})")
OWN_PICTURE, OWN_CLIP = _words(rf"{_HERE} (\w+ ){{0,2}}{_SHOWN}"), _words(rf"{_HERE} (\w+ ){{0,2}}{_CLIP}")
# Words that stand in a picture, what is asked of a recording alone, and a picture of someone who talks: none speaks.
WRITTEN = _words(
    r"(signs?|banners?|captions?|texts?|words|labels?|cards?|t?-?shirts?|posters?|logos?|titles?|letters|bubbles?) "
    r"(\w+ )?(that |which )?(says?|saying|reads?|reading)"
)
OF_SOUND = _words(r"(transcri\w+|subtitles?|captions?|noise|denoise|isolate|clean|clone|translate|what (does|do|did))")
NEW_PICTURE = _words(rf"(an?|draw|paint) (\w+ )?{_SHOWN} of (?!this|my|our|these).*ing")
# A clip that is to be made with sound of its own; one with my sound, or this one, is to speak a file.
SOUNDING = re.compile(
    rf"^(?!.*\b(my|this|these) (\w+ )?{_CLIP}\b).*\b{_CLIP}\b.*"
    r"\b(of|with|has|have|having|includ\w+|where|which|who|that)\b(?!.*\b(my|this|these)\b).*"
    r"\b(sounds?|audio|speech|dialog(ue)?s?|voices?|music|(say|speak|talk|sing)(s|ing)?|conversation)\b",
    re.IGNORECASE,
)
SILENT = _words(r"((without|no) (any )?(sound|audio|speech|music)|silent|mute)")
SPOKEN_TEXT = _words(
    r"(say|speak|voice)(s|ing)? (\w+ ){0,3}"
    r"(texts?|words|sentences?|lines?|scripts?|articles?|paragraphs?|story|aloud|loud)"
)
FILES = {
    "photo": re.compile(r"\S+\.(jpe?g|png|webp|gif|heic|bmp|tiff?)\b", re.IGNORECASE),
    "clip": re.compile(r"\S+\.(mp4|mov|mkv|webm|avi)\b", re.IGNORECASE),
    "recording": re.compile(r"\S+\.(mp3|wav|m4a|aac|ogg|flac)\b", re.IGNORECASE),
}


def plain_words(text: str) -> str:
    """Return words with each file's kind in place of its name, and without the sound that a clip is not to have.

    Where nobody is seen, to speak a text is to read it aloud.
    """
    for word, name in FILES.items():
        text = name.sub(f"this {word}", text)
    if not CLIP.search(text):
        return text if PICTURE.search(text) else SPOKEN_TEXT.sub("read aloud", text)
    return SILENT.sub(" ", text)


def speaker_in(text: str) -> str:
    """Return what words want to speak, "photo" or "video"; "nobody" where it is only seen to, and "" without."""
    has_recording = RECORDING.search(text) is not None
    is_voiced = SHOWN.search(text) is not None and VOICE.search(text) is not None
    if OF_SOUND.search(text) or not (is_voiced or UTTERS.search(text)):
        return ""
    if WRITTEN.search(text) or (not has_recording and NEW_PICTURE.search(text)):
        return "nobody"
    if PICTURE.search(text) and (has_recording or (OWN_PICTURE.search(text) and (is_voiced or SPEAKS.search(text)))):
        return "photo"
    return "video" if has_recording and OWN_CLIP.search(text) else ""
