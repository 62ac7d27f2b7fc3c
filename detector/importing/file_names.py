"""Names from anywhere made fit for files and folders: on Windows, macOS and Linux, and for our own import."""

from __future__ import annotations

import re
from collections.abc import Iterable

from detector.imaging.formats import ENDINGS_BY_FORMAT, IMAGE_ENDINGS
from detector.importing.clutter import is_clutter
from detector.storage.label_names import label_key

#: Linux allows 255 bytes a name; unpacking puts folders before it, and Windows has 260 characters for all together.
_MOST_BYTES = 160
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
#: Devices on Windows, with whatever ending. See "Naming Files, Paths, and Namespaces" in Microsoft's documentation.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """``name`` as a file or folder may be called everywhere; what is forbidden becomes ``_``."""
    shown = "".join(character if character.isprintable() else "_" for character in name)
    # Windows drops spaces and dots at the end of a name.
    shown = _FORBIDDEN.sub("_", shown).strip().rstrip(". ")
    if not shown:
        return "_"
    # An import passes over what is hidden and over the clutter of operating systems, by beginning or by end.
    if is_clutter(shown) or _DEVICE.fullmatch(shown):
        shown = f"_{shown}"
    return f"{shown}_" if is_clutter(shown) else shown


def image_name(path: str, image_format: str) -> str:
    """The name of an image file: the last part of ``path``, with the ending of what the file really is."""
    name = safe_name(re.split(r"[/\\]", path)[-1])
    endings = ENDINGS_BY_FORMAT.get(image_format, ())
    if endings and not name.lower().endswith(endings):
        if name.lower().endswith(IMAGE_ENDINGS):
            name = name.rpartition(".")[0]
        name = f"{name}{endings[0]}"
    return name


class NameTaker:
    """Hands out names of one folder, each once: the second ``name.jpg`` is ``name (2).jpg``.

    Names that differ only in case, or in how an accented letter is written, are the same file on Windows and macOS.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._next = {label_key(name): 2 for name in taken}

    def take(self, name: str, has_ending: bool = True) -> str:
        """``name`` or, when it is taken, the next one like it; cut so that a file system allows it."""
        at = name.rfind(".") if has_ending else -1
        stem, ending = (name[:at], name[at:]) if at > 0 else (name, "")
        stem = _cut(stem, _MOST_BYTES - len(ending.encode()))
        first = found = f"{stem}{ending}"
        key = label_key(first)
        while label_key(found) in self._next:
            # Counted on from the last one: thousands of files may be called "image.png".
            found = f"{stem} ({self._next[key]}){ending}"
            self._next[key] += 1
        self._next[label_key(found)] = 2
        return found


def _cut(text: str, most_bytes: int) -> str:
    data = text.encode()
    return text if len(data) <= most_bytes else data[:most_bytes].decode("utf-8", "ignore").rstrip(". ")
