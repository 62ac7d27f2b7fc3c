"""Files as AI systems, cameras and editors write them, and blocks that are put into files by hand."""

from __future__ import annotations

import json
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.imaging.pictures import encode, picture

PARAMETERS = (
    "a lighthouse at dawn, oil painting\nNegative prompt: blurry, people\n"
    "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1234, Size: 512x512, Model hash: abcdef12, Model: dreamshaper_8"
)
MIDJOURNEY = "a harbour in the fog --ar 3:2 --v 6 Job ID: 0c2f7b1e-5b3a-4f0e-9a55-0123456789ab"
COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {"seed": 5, "steps": 20, "sampler_name": "dpmpp_2m", "scheduler": "karras", "model": ["4", 0]},
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox in the snow", "clip": ["4", 1]}},
}
COMFY_WORKFLOW = {
    "nodes": [
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["flux1-dev.safetensors"]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a blue whale"]},
    ],
    "links": [],
}
NOVELAI = {"prompt": "1girl, garden", "steps": 28, "sampler": "k_euler", "seed": 7, "scale": 5.0, "uc": "lowres"}
INVOKE = {"positive_prompt": "a stone bridge", "model": {"name": "juggernaut-xl"}, "steps": 30}


def png(*texts: tuple[str, str], packed: bool = False, exif: Image.Exif | None = None) -> bytes:
    """A PNG with text chunks."""
    info = PngInfo()
    for key, text in texts:
        if text.isascii() or packed:
            info.add_text(key, text, zip=packed)
        else:
            info.add_itxt(key, text)
    return encode(picture(), "PNG", pnginfo=info, **({"exif": exif} if exif else {}))


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks of any bytes before its end."""
    data = encode(picture(), "PNG")
    made = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    return data[:-12] + made + data[-12:]


def jpeg_with(*segments: tuple[int, bytes], **options: Any) -> bytes:
    """A JPEG with segments of any bytes after its beginning."""
    data = encode(picture(), "JPEG", **options)
    made = b"".join(b"\xff" + bytes([marker]) + (len(body) + 2).to_bytes(2, "big") + body for marker, body in segments)
    return data[:2] + made + data[2:]


def exif(fields: dict[int, Any], inner: dict[int, Any] | None = None) -> Image.Exif:
    """EXIF data with fields of the first directory and of the EXIF directory."""
    made = Image.Exif()
    # Pillow writes nothing for some formats where the first directory is empty.
    made.update({296: 2, **fields})
    made.get_ifd(34665).update(inner or {})
    return made


def phone() -> Image.Exif:
    """The fields of a phone's photograph."""
    return exif(
        {271: "Fairphone", 272: "FP5", 305: "FP5.TT4G.A.153", 306: "2026:11:03 10:12:13"},
        {36867: "2026:11:03 10:12:11", 42036: "FP5 main camera"},
    )


def user_comment(text: str) -> Image.Exif:
    """EXIF with a user's comment as AUTOMATIC1111 writes it."""
    return exif({}, {37510: b"UNICODE\x00" + text.encode("utf-16-be")})


def xmp(inside: str = "", attributes: str = "") -> bytes:
    """A packet of XMP with properties as elements and as attributes."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        f'{attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


AI_XMP = xmp(
    "<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    "</Iptc4xmpExt:DigitalSourceType><Iptc4xmpExt:AISystemUsed>Imagen 4</Iptc4xmpExt:AISystemUsed>"
    "<dc:creator><rdf:Seq><rdf:li>Ada</rdf:li><rdf:li>Grace</rdf:li></rdf:Seq></dc:creator>",
    'xmp:CreatorTool="Adobe Photoshop 26.0" photoshop:Credit="Made with Google AI"',
)

COMFY_TEXT, WORKFLOW_TEXT = json.dumps(COMFY), json.dumps(COMFY_WORKFLOW)
