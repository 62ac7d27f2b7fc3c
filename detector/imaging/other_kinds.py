"""Files that are whole but of no kind that is read here, told by how they begin: so that they can be called by name."""

from __future__ import annotations

_STARTS = (
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 file"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL file"),
    (b"\xff\x0a", "a JPEG XL file"),
    (b"II\xbc", "a JPEG XR file"),
    (b"v/1\x01", "an OpenEXR file"),
    (b"#?RADIANCE", "a Radiance HDR file"),
    (b"#?RGBE", "a Radiance HDR file"),
    (b"\x00\x00\x01\x00", "an icon file (ICO)"),
    (b"\x00\x00\x02\x00", "a cursor file (CUR)"),
    (b"icns", "an icon file (ICNS)"),
    (b"DDS ", "a DirectDraw texture (DDS)"),
    (b"qoif", "a QOI file"),
    (b"BPG\xfb", "a BPG file"),
    (b"FLIF", "a FLIF file"),
    (b"gimp xcf", "a GIMP file"),
    (b"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (b"\x8bJNG\r\n\x1a\n", "a JNG file"),
    (b"\x01\xda", "an SGI picture"),
    (b"AT&TFORM", "a DjVu document"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"%PDF-", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"\x00\x00\x01\xba", "a video"),
)
# Portable pixmaps begin with a letter, a digit and white space.
_PIXMAPS = {bytes([b"P"[0], digit, blank]) for digit in b"1234567fF" for blank in b" \t\r\n"}
_SVG_WITHIN = 4096


def other_kind(data: bytes) -> str | None:
    """What a file is that none of the accepted formats begins like; None where it cannot be told."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:3] in _PIXMAPS:
        return "a portable pixmap (PNM)"
    if data[128:132] == b"DICM":
        return "a DICOM file"
    if data[4:8] == b"ftyp" or data[4:8] in (b"moov", b"mdat", b"wide"):
        return "a video"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "a video"
    if data.endswith(b"TRUEVISION-XFILE.\x00"):
        return "a Targa file (TGA)"
    head = data[:_SVG_WITHIN].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith((b"<svg", b"<?xml", b"<!DOCTYPE svg", b"<!--")) and b"<svg" in head:
        return "an SVG drawing"
    return None
