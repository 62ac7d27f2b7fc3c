"""The kind: names in a ZIP whose encoding the archive does not say (macOS, Windows in any language)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from detector.importing import ZipLimits, ZipSource
from detector.importing.archive_names import ENCODINGS, archive_names, guess_encoding
from detector.importing.batch import run_import, zip_payload
from detector.importing.labelling import LabelPlan
from detector.storage import functions, imports, samples
from tests.factories import empty_function, make_image, workspace

LIMITS = ZipLimits(max_entries=1000, max_entry_bytes=1_000_000, max_total_bytes=3_000_000)

# fmt: off
LISTS: dict[str, list[list[str]]] = {
    "cp437": [
        ["künstlich/Bild 1.jpg", "künstlich/Bild 2.jpg", "echt/Größe.jpg"],
        ["réel/été.jpg", "réel/forêt.jpg", "généré/à la mer.png"],
        ["künstlich/a.jpg", "künstlich/b.jpg", "echt/c.jpg"],
    ],
    "cp850": [
        ["gerçek/ã1.jpg", "São Paulo/praça.jpg", "Ação/coração.jpg"],
        ["ægte/grøn.jpg", "ægte/blå.jpg", "kunstig/søen.jpg"],
        ["künstlich/Übung.jpg", "künstlich/Übung.jpg", "künstlich/Übung.jpg"],
    ],
    "cp1252": [
        ["künstlich/Bild 1.jpg", "künstlich/Bild 2.jpg", "echt/Größe.jpg"],
        ["réel/été.jpg", "réel/forêt.jpg", "généré/à la mer.png"],
        ["señal/niño.jpg", "montaña/árbol.png", "generado/año.jpg"],
    ],
    "cp932": [
        ["本物/写真1.jpg", "本物/表示.jpg", "生成/ソフト.png"],
        ["実写/東京タワー.jpg", "実写/能力.jpg", "人工/十字.jpg"],
        ["写真/IMG_1.jpg", "合成/IMG_2.jpg", "写真/予定表.jpg"],
    ],
    "gb18030": [
        ["真实/照片1.jpg", "真实/北京.jpg", "生成/图片.png"],
        ["人工智能/图像.jpg", "自然/山水.jpg", "自然/新建文件夹.jpg"],
        ["照片/IMG_1.jpg", "合成/IMG_2.jpg", "照片/微信图片.jpg"],
    ],
    "cp949": [
        ["실제/사진1.jpg", "실제/서울.jpg", "생성/그림.png"],
        ["진짜/한국.jpg", "가짜/인공지능.jpg", "가짜/이미지.jpg"],
        ["사진/IMG_1.jpg", "합성/IMG_2.jpg", "사진/새 폴더.jpg"],
    ],
    "cp950": [
        ["真實/照片1.jpg", "真實/台北.jpg", "生成/圖片.png"],
        ["人工智慧/圖像.jpg", "自然/風景.jpg", "自然/新增資料夾.jpg"],
        ["照片/IMG_1.jpg", "合成/IMG_2.jpg", "照片/電腦.jpg"],
    ],
    "cp866": [
        ["настоящие/фото1.jpg", "настоящие/Москва.jpg", "сгенерированные/рисунок.png"],
        ["Фото/IMG_1.jpg", "Нейросеть/IMG_2.jpg", "Фото/Новая папка.jpg"],
        ["реальные/ёлка.jpg", "фейк/снимок.jpg", "фейк/Изображение.jpg"],
    ],
    "cp1251": [
        ["настоящие/фото1.jpg", "настоящие/Москва.jpg", "сгенерированные/рисунок.png"],
        ["Фото/IMG_1.jpg", "Нейросеть/IMG_2.jpg", "Фото/Новая папка.jpg"],
        ["реальные/ёлка.jpg", "фейк/снимок.jpg", "фейк/Изображение.jpg"],
    ],
    "cp852": [
        ["prawdziwe/zdjęcie.jpg", "sztuczne/łąka.jpg", "sztuczne/żółw.png"],
        ["skutečné/příroda.jpg", "umělé/kůň.jpg", "umělé/obrázek.jpg"],
        ["valódi/tél.jpg", "mesterséges/őz.jpg", "mesterséges/fű.jpg"],
    ],
    "cp737": [
        ["αληθινές/φωτογραφία.jpg", "τεχνητές/εικόνα.jpg", "τεχνητές/θάλασσα.jpg"],
    ],
    "cp1253": [
        ["αληθινές/φωτογραφία.jpg", "τεχνητές/εικόνα.jpg", "τεχνητές/θάλασσα.jpg"],
    ],
    "cp1256": [
        ["حقيقي/صورة.jpg", "مولد/رسم.jpg", "مولد/بحر.jpg"],
    ],
    "cp1255": [
        ["אמיתי/תמונה.jpg", "מלאכותי/ציור.jpg", "מלאכותי/ים.jpg"],
    ],
    "cp874": [
        ["จริง/ภาพถ่าย.jpg", "ปลอม/รูปภาพ.jpg", "ปลอม/ทะเล.jpg"],
    ],
    "cp857": [
        ["gerçek/fotoğraf.jpg", "yapay/ışık.jpg", "yapay/şehir.jpg"],
    ],
    "cp1254": [
        ["gerçek/fotoğraf.jpg", "yapay/ışık.jpg", "yapay/şehir.jpg"],
    ],
    "cp1250": [
        ["prawdziwe/zdjęcie.jpg", "sztuczne/łąka.jpg", "sztuczne/żółw.png"],
        ["skutečné/příroda.jpg", "umělé/kůň.jpg", "umělé/obrázek.jpg"],
    ],
}
# fmt: on


def raw_zip(path: Path, names: list[bytes], flags: int = 0, extra: dict[bytes, bytes] | None = None) -> Path:
    """A ZIP whose names are these very bytes; ``zipfile`` would choose an encoding itself."""
    out, directory = bytearray(), bytearray()
    for number, name in enumerate(names):
        data = make_image(number)
        field = (extra or {}).get(name, b"")
        facts = struct.pack(
            "<HHHHHIIIHH", 20, flags, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), len(name), len(field)
        )
        directory += (
            b"PK\1\2" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + name + field
        )
        out += b"PK\3\4" + facts + name + field + data
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(directory), len(out), 0)
    path.write_bytes(bytes(out + directory) + b"PK\5\6" + end)
    return path


@pytest.mark.parametrize(("encoding", "names"), [(e, names) for e, lists in LISTS.items() for names in lists])
def test_names_of_an_archive_are_read_in_the_encoding_they_were_written_in(encoding: str, names: list[str]) -> None:
    raw = [name.encode(encoding) for name in names]
    found = guess_encoding(raw)
    assert [name.decode(found) for name in raw] == names


def test_names_of_macos_are_utf8_although_no_flag_says_so(tmp_path: Path) -> None:
    """The system's own archiver writes decomposed UTF-8 and leaves the flag away."""
    names = ["ku\u0308nstlich/Bild 1.png", "echt/Gr\u00f6\u00dfe.png", "\u672c\u7269/a.png"]
    with ZipSource(raw_zip(tmp_path / "a.zip", [name.encode() for name in names]), LIMITS) as source:
        assert sorted(entry.path for entry in source.entries()) == sorted(names)
        assert not source.names.guessed


@pytest.mark.parametrize("encoding", ["cp932", "gb18030", "cp950"])
def test_a_byte_that_looks_like_a_separator_is_part_of_its_letter(encoding: str, tmp_path: Path) -> None:
    """In Shift-JIS, GBK and Big5 the second byte of a letter may be a backslash: files were lost without a line."""
    leads = {"cp932": (0x95, 0x83), "gb18030": (0x8B, 0x91), "cp950": (0xA4, 0xB3)}[encoding]
    letters = "".join(bytes([lead, 0x5C]).decode(encoding) for lead in leads)
    names = [f"{letters}/{letters}{number}.png" for number in range(4)] + [letters]
    raw = raw_zip(tmp_path / "a.zip", [name.encode(encoding) for name in names])
    with ZipSource(raw, LIMITS, encoding=encoding) as source:
        assert sorted(entry.path for entry in source.entries()) == sorted(names)
        assert all(entry.read() for entry in source.entries())
        assert source.names.guessed
    with ZipSource(raw, LIMITS) as source:
        # Whatever is guessed: none is lost.
        assert len(source.entries()) == len(names)


def test_what_an_entry_says_of_its_own_name_goes_before_any_guess(tmp_path: Path) -> None:
    """The flag of UTF-8, and Info-ZIP's extra field where its checksum is that of the name."""
    name = "k\u00fcnstlich.png".encode("cp850")
    field = b"\1" + struct.pack("<I", zlib.crc32(name)) + "k\u00fcnstlich \u8868.png".encode()
    stale = b"\1" + struct.pack("<I", 1) + b"other.png"
    for extra, expected in ((field, "k\u00fcnstlich \u8868.png"), (stale, "k\u00fcnstlich.png")):
        packed = struct.pack("<HH", 0x7075, len(extra)) + extra
        with ZipSource(raw_zip(tmp_path / "a.zip", [name], extra={name: packed}), LIMITS) as source:
            assert [entry.path for entry in source.entries()] == [expected]
    with ZipSource(raw_zip(tmp_path / "b.zip", ["\u8868.png".encode()], flags=0x800), LIMITS) as source:
        assert [entry.path for entry in source.entries()] == ["\u8868.png"]
        assert not source.names.guessed


def test_a_choice_of_encoding_holds_for_every_name_without_a_flag(tmp_path: Path) -> None:
    raw = [b"\x95\x5c.png", "gr\u00fcn.png".encode()]
    with zipfile.ZipFile(raw_zip(tmp_path / "a.zip", raw)) as archive:
        assert archive_names(archive.infolist(), "cp932").names[0] == "\u8868.png"
        for encoding in ENCODINGS:
            # None of them fails: what cannot be read is a mark.
            assert len(archive_names(archive.infolist(), encoding).names) == 2


def test_names_that_fit_nothing_are_shown_all_the_same() -> None:
    assert guess_encoding([bytes(range(128, 256))]) in ENCODINGS
    assert guess_encoding([]) in ENCODINGS


def test_labels_of_a_mac_and_a_windows_archive_are_one_label(tmp_path: Path) -> None:
    """One label in NFC and in NFD became two, trained against each other."""
    ws = workspace(tmp_path)
    function = empty_function(ws, labels=("echt", "k\u00fcnstlich"))
    for number, raw in enumerate(
        ("ku\u0308nstlich".encode(), "K\u00dcNSTLICH".encode("cp850"), "k\u00fcnstlich".encode())
    ):
        path = raw_zip(tmp_path / f"{number}.zip", [raw + b"/%d.png" % n for n in range(number + 1)])
        batch = imports.create_batch(ws.db, function.id, "zip", path.name)
        run_import(ws, function.id, batch, zip_payload(path, LabelPlan("folders", level=0), path.name))
    labels = functions.list_labels(ws.db, function.id)
    assert [label.name for label in labels] == ["echt", "k\u00fcnstlich"]
    assert samples.count_by(ws.db, function.id).by_label == {labels[1].id: 3}
    ws.close()
