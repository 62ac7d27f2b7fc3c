"""How the names inside a ZIP archive are written: the format only knows DOS's code page and, by a flag, UTF-8.

macOS writes UTF-8 and forgets the flag; Windows writes the code page of whoever sat before it. So bytes that are valid
UTF-8 are UTF-8, and for the others one encoding is guessed for the whole archive: single names are too short. The guess
is shown to people, who can choose another.

On 39 lists of three file names in 18 encodings, charset-normalizer (3.4) read 28 rightly and what follows 39; of the
116 names alone, what follows reads 108. Texts are what such programs are made for, not names. The lists are those of
``tests/importing/test_archive_names.py``.
"""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UTF8 = "utf-8"
#: What unflagged names are by the format's definition; every byte means something in it.
DOS = "cp437"

#: What can be chosen, in words. The order decides between encodings that fit equally well.
ENCODINGS: dict[str, str] = {
    UTF8: "UTF-8",
    DOS: "Western European (DOS, 437)",
    "cp850": "Western European (DOS, 850)",
    "cp1252": "Western European (Windows)",
    "cp932": "Japanese (Shift-JIS)",
    "gb18030": "Chinese, simplified (GBK)",
    "cp949": "Korean",
    "cp950": "Chinese, traditional (Big5)",
    "euc_jp": "Japanese (EUC)",
    "cp866": "Cyrillic (DOS)",
    "cp1251": "Cyrillic (Windows)",
    "koi8_r": "Cyrillic (KOI8-R)",
    "cp852": "Central European (DOS)",
    "cp1250": "Central European (Windows)",
    "cp737": "Greek (DOS)",
    "cp1253": "Greek (Windows)",
    "cp857": "Turkish (DOS)",
    "cp1254": "Turkish (Windows)",
    "cp862": "Hebrew (DOS)",
    "cp1255": "Hebrew (Windows)",
    "cp720": "Arabic (DOS)",
    "cp1256": "Arabic (Windows)",
    "cp874": "Thai",
}
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
# Enough to tell; a million names would say the same.
_NAMES_LOOKED_AT = 2000

# Two-byte encodings put their everyday characters at lead bytes of their own; the rest are rare ones.
_EVERYDAY_LEADS = {
    "cp932": (range(0x82, 0x98),),
    "gb18030": (range(0xB0, 0xD8),),
    "cp949": (range(0xB0, 0xC9),),
    "cp950": (range(0xA4, 0xC7),),
    "euc_jp": (range(0xA4, 0xA6), range(0xB0, 0xD0)),
}
# How often an encoding is met where it and another one both fit: a letter that all have is as likely in each.
_PRIOR = {
    DOS: 0.04, "cp850": 0.03, "cp1252": 0.02, "cp932": 0.04, "gb18030": 0.04, "cp949": 0.02, "cp866": 0.04,
    "cp1251": 0.03, "euc_jp": -0.05, "koi8_r": -0.05, "cp857": -0.04, "cp1254": -0.04,
}  # fmt: skip
_WESTERN = set("äöüßÄÖÜéèêëáàâãçíîïñóôõúûœÉÇÑÁÍÓÚÀÈ")
_CYRILLIC = set("абвгдежзийклмнопрстуфхцчшьыюяАБВГДЕЖЗИКЛМНОПРСТУФХЧШЭЮЯії")
_GREEK = set("αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ")
# The characters that most Chinese names are made of; Korean bytes read as Chinese give any.
_CHINESE = set(
    "的一是在不了有人我中大上个国这年到说们时要就出会可也你对生能而子那得于着下自之后作里用道行所然家种事成方多经么去"
    "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情"
    "明性知全三又关点正业外将两高间由问很最重并物手应向头文体政美相见被利什二等产或新己制身加西斯月话合回特代内信表化"
    "老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报"
    "才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光"
    "放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运"
    "图片照相像影拍摄假伪京文件夹截屏微信花草树猫狗风景州城脸合成样例测试训练集副本"
)
# Some of each alphabet's letters are in most words, others in hardly any.
_USUAL = {
    DOS: _WESTERN, "cp850": _WESTERN, "cp1252": _WESTERN,
    "cp866": _CYRILLIC, "cp1251": _CYRILLIC, "koi8_r": _CYRILLIC,
    "cp852": set("ąćęłńóśźżáčďéěíňřšťúůýžőűöüäßĄĆĘŁŃÓŚŹŻÁČĎÉĚÍŇŘŠŤÚŮÝŽŐŰÖÜăâîșțşţ"),
    "cp1250": set("ąćęłńóśźżáčďéěíňřšťúůýžőűöüäßĄĆĘŁŃÓŚŹŻÁČĎÉĚÍŇŘŠŤÚŮÝŽŐŰÖÜăâîșțşţ"),
    "cp737": _GREEK, "cp1253": _GREEK,
    "cp857": set("çğıöşüÇĞİÖŞÜâîû"), "cp1254": set("çğıöşüÇĞİÖŞÜâîû"),
}  # fmt: skip


@dataclass(frozen=True)
class ArchiveNames:
    """The names of an archive's entries, in their order, and how those without a flag were read.

    ``encoding`` is a key of ``ENCODINGS``; ``guessed`` is True where nothing in the archive says so and another choice
    would give other names.
    """

    names: tuple[str, ...]
    encoding: str
    guessed: bool


def archive_names(infos: Sequence[zipfile.ZipInfo], encoding: str | None = None) -> ArchiveNames:
    """Read the names of entries.

    Parameters
    ----------
    infos : sequence of zipfile.ZipInfo
        As ``zipfile`` read them, without ``metadata_encoding``.
    encoding : str, optional
        What a person chose for names that do not say it themselves; a key of ``ENCODINGS``.
    """
    said = [_said(info) for info in infos]
    open_names = [_raw(info) for info, name in zip(infos, said, strict=True) if name is None]
    foreign = [raw for raw in open_names if not raw.isascii()]
    if encoding is None:
        unreadable = [raw for raw in foreign if _as_utf8(raw) is None]
        chosen = guess_encoding(unreadable) if unreadable else UTF8
        guessed = bool(unreadable)
    else:
        chosen, guessed = encoding, bool(foreign)
    names = []
    for info, name in zip(infos, said, strict=True):
        if name is None:
            raw = _raw(info)
            # What is valid UTF-8 by chance is rare, and what a person chose goes before chance.
            as_utf8 = _as_utf8(raw) if encoding is None else None
            name = as_utf8 if as_utf8 is not None else raw.decode(chosen, "replace")
        # A NUL would end the name for some programs and not for others.
        names.append(name.replace("\0", "\N{REPLACEMENT CHARACTER}"))
    return ArchiveNames(tuple(names), chosen, guessed)


def guess_encoding(names: Iterable[bytes]) -> str:
    """The encoding in which these names look most like names; ``DOS`` where none does."""
    looked_at = list(dict.fromkeys(names))[:_NAMES_LOOKED_AT]
    best, found = float("-inf"), DOS
    for encoding in ENCODINGS:
        if encoding == UTF8:
            continue
        score = _plausibility(looked_at, encoding)
        if score is not None and score + _PRIOR.get(encoding, 0.0) > best:
            best, found = score + _PRIOR.get(encoding, 0.0), encoding
    return found


def _raw(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode(DOS)


def _said(info: zipfile.ZipInfo) -> str | None:
    """The name where the entry itself says how it is written: by the flag or by Info-ZIP's extra field."""
    if info.flag_bits & _UTF8_FLAG:
        return info.orig_filename
    raw, extra = _raw(info), info.extra
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        # Version 1, the checksum of the name it belongs to, the name in UTF-8.
        if kind == _UNICODE_PATH and len(field) > 5 and field[0] == 1:
            if int.from_bytes(field[1:5], "little") == zlib.crc32(raw):
                return _as_utf8(field[5:])
            return None
    return None


def _as_utf8(raw: bytes) -> str | None:
    try:
        return raw.decode(UTF8)
    except UnicodeDecodeError:
        return None


def _plausibility(names: Sequence[bytes], encoding: str) -> float | None:
    """How much names look like names in this encoding, up to about 1; None where they cannot be written in it."""
    total = weight = 0.0
    for raw in names:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            return None
        previous = ""
        for character in unicodedata.normalize("NFC", text):
            if not character.isascii():
                total += _letter(character, encoding) - _beside(previous, character)
                weight += 1
            elif previous and not previous.isascii() and character.isalpha():
                total -= _beside(previous, character)
            previous = character
    return total / weight if weight else None


def _letter(character: str, encoding: str) -> float:
    category = unicodedata.category(character)
    if category[0] == "C":
        return -3.0
    if category in ("Lo", "Lm") and encoding in _EVERYDAY_LEADS:
        written = character.encode(encoding)
        if len(written) == 1:
            return -0.5  # half-width katakana: every second byte of anything else
        everyday = len(written) == 2 and any(written[0] in leads for leads in _EVERYDAY_LEADS[encoding])
        if encoding == "gb18030" and everyday:
            return 1.1 if character in _CHINESE else 0.7
        return 1.0 if everyday else 0.2
    if category[0] == "L":
        usual = _USUAL.get(encoding)
        return 1.0 if usual is None or character in usual else 0.5
    if category[0] == "M":
        return 0.8
    # Punctuation of East Asia and typographic marks occur in names; box drawings and fractions hardly.
    return 0.3 if category[0] in "PZ" or 0x3000 <= ord(character) < 0x3040 or ord(character) >= 0xFF00 else -1.0


def _beside(previous: str, character: str) -> float:
    """What a pair of neighbours costs that no language writes: two scripts in a word, or a capital inside one."""
    if not previous or not previous.isalpha() or not character.isalpha():
        return 0.0
    scripts = {_script(previous), _script(character)}
    if len(scripts) > 1 and not scripts <= {"CJK", "HIRAGANA", "KATAKANA"}:
        # "写真A" is common, "k写stlich" is not: what counts is a Latin small letter.
        return 0.6 if any(letter.islower() and _script(letter) == "LATIN" for letter in (previous, character)) else 0.1
    return 0.7 if previous.islower() and character.isupper() else 0.0


def _script(character: str) -> str:
    return unicodedata.name(character, "").split(" ")[0].split("-")[0]
