"""What lies beside pictures without being meant as one: files and folders that systems, NAS and programs leave behind.

One list for every import, for ``train`` and for ``invoke``. What is on it is passed over and counted, never reported
file by file: a NAS keeps four thumbnails beside each picture, and as samples they would be near-duplicates of it under
the label of the folder.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from detector.formatting import count

# All compared without case. Names that begin with a dot are hidden files and need no entry of their own: .DS_Store,
# ._picture.jpg, .Spotlight-V100, .Trashes, .fseventsd, .thumbnails, .@__thumb, .picasa.ini, .ipynb_checkpoints, .git.
_NAMES = {
    # macOS
    "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder", "desktop db",
    "desktop df",
    # Windows
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "recycler",
    "recycled", "system volume information", "folder.htt", "albumart.ini", "$windows.~bt", "hiberfil.sys",
    "pagefile.sys",
    # Synology, QNAP, Buffalo and other NAS
    "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@snapshot", "@tmp", "@__thumb", "@transcode",
    "@sharebin", "@appdata", "@database", "@syncthing", "trashbox", "trashbox.db",
    # Linux
    "lost+found", "aquota.user", "aquota.group",
    # Programs that manage and edit pictures
    "picasa.ini", "zbthumbnail.info", "pspbrwse.jbf", "acdsee.dbf", "comics.dat", "_thumb", "_thumbs",
    "__pycache__",
}  # fmt: skip

_PATTERNS = re.compile(
    r"""
    \..*                              # hidden
    | ~\$.*                           # an open document of an office program
    | .*~                             # the backup of an editor
    | \#.*\#                          # the autosave of Emacs
    | .*\.(?:sw[op]|bak|tmp|temp|part|partial|crdownload|download|filepart|lnk|url|webloc|lock)
    | found\.[0-9]{3}                 # what chkdsk found
    | thumbs\.db.*
    | synofile_thumb_.*
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_clutter(path: str) -> bool:
    """Whether any part of a path is a name that is never meant as a sample.

    Parameters
    ----------
    path : str
        Relative, with "/".
    """
    return clutter_in(path) is not None


def clutter_in(path: str) -> str | None:
    """The first part of a path that is clutter; None where there is none."""
    for part in path.split("/"):
        if part not in ("", ".", "..") and (part.casefold() in _NAMES or _PATTERNS.fullmatch(part)):
            return part
    return None


def passed_over(names: Iterable[str]) -> str:
    """One sentence about what was passed over, from the names of `clutter_in`; empty where there was nothing."""
    counts = Counter(names)
    if not counts:
        return ""
    named = ", ".join(name.strip() or "unnamed" for name, _ in counts.most_common(4))
    more = f" and {len(counts) - 4:,} more names" if len(counts) > 4 else ""
    total = counts.total()
    return (
        f"{count(total, 'file or folder', 'files and folders')} of systems and programs "
        f"{'was' if total == 1 else 'were'} passed over: {named}{more}."
    )
