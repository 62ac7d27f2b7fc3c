"""What files state without a signature, in every place and format where programs write it."""

from __future__ import annotations

import binascii
import io

import pillow_heif
import pytest

from detector.imaging.provenance import Provenance, Statement, read_provenance
from tests.imaging.pictures import encode, picture
from tests.imaging.provenance.files import (
    AI_XMP,
    COMFY_TEXT,
    INVOKE,
    MIDJOURNEY,
    NOVELAI,
    PARAMETERS,
    WORKFLOW_TEXT,
    exif,
    jpeg_with,
    json,
    png,
    png_with,
    user_comment,
    xmp,
)

ANYBODY = "Anybody can write or remove that."


def stated(provenance: Provenance) -> dict[str, str]:
    """Values by name."""
    return {item.name: item.value for item in provenance.in_tier("stated")}


def by_kind(provenance: Provenance, kind: str) -> list[Statement]:
    return [item for item in provenance.statements if item.kind == kind]


def says_ai(provenance: Provenance, words: str) -> bool:
    return provenance.headline == f"The file states that it was made by an AI system ({words}). {ANYBODY}"


@pytest.mark.parametrize("packed", [False, True])
def test_parameters_of_stable_diffusion_in_a_png(packed: bool) -> None:
    provenance = read_provenance(png(("parameters", PARAMETERS), packed=packed))
    assert says_ai(provenance, "Stable Diffusion parameters")
    found = stated(provenance)
    assert found["Stable Diffusion parameters"].startswith("a lighthouse at dawn, oil painting Negative prompt: blurry")
    assert found["Model and sampler"] == "Sampler: Euler a, Model: dreamshaper_8"
    assert all("Anybody can" in item.proves for item in provenance.in_tier("stated"))


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "PNG"])
@pytest.mark.parametrize("coding", ["utf-16-be", "utf-16-le", "ascii"])
def test_parameters_of_stable_diffusion_in_the_comment_of_exif(file_format: str, coding: str) -> None:
    comment = user_comment(PARAMETERS)
    if coding != "utf-16-be":
        start = b"ASCII\x00\x00\x00" if coding == "ascii" else b"UNICODE\x00"
        comment = exif({}, {37510: start + PARAMETERS.encode(coding)})
    provenance = read_provenance(encode(picture(), file_format, exif=comment))
    assert says_ai(provenance, "Stable Diffusion parameters")
    assert stated(provenance)["Model and sampler"] == "Sampler: Euler a, Model: dreamshaper_8"


def test_parameters_in_a_heic_and_its_xmp() -> None:
    made = pillow_heif.from_pillow(picture())
    made.info["exif"] = user_comment(PARAMETERS).tobytes()
    made.info["xmp"] = AI_XMP
    provenance = read_provenance(encode_heif(made))
    assert stated(provenance)["Stable Diffusion parameters"].startswith("a lighthouse")
    assert stated(provenance)["AI system used"] == "Imagen 4"


def encode_heif(made: pillow_heif.HeifFile) -> bytes:
    file = io.BytesIO()
    made.save(file, exif=made.info["exif"], xmp=made.info["xmp"])
    return file.getvalue()


def test_a_graph_of_comfyui_tells_model_prompt_and_sampler() -> None:
    provenance = read_provenance(png(("prompt", COMFY_TEXT), ("workflow", WORKFLOW_TEXT)))
    assert says_ai(provenance, "ComfyUI prompt (3 nodes)")
    models = [item.value for item in provenance.statements if item.name == "Model files in the graph"]
    prompts = [item.value for item in provenance.statements if item.name == "Prompt in the graph"]
    assert models == ["sd_xl_base_1.0.safetensors", "flux1-dev.safetensors"]
    assert prompts == ["a red fox in the snow", "a blue whale"]
    assert stated(provenance)["Sampler in the graph"] == "dpmpp_2m; karras"
    # What people understand comes before the graph itself.
    kinds = [item.kind for item in provenance.in_tier("stated")]
    assert kinds[:4] == ["ai-system", "ai-prompt", "ai-parameters", "ai-workflow"]


def test_what_tells_of_an_ai_system_is_not_crowded_out_by_other_texts() -> None:
    data = png(*((f"Key {n}", f"text {n}") for n in range(150)), ("parameters", PARAMETERS))
    provenance = read_provenance(data)
    assert provenance.in_tier("stated")[0].name == "Stable Diffusion parameters"
    assert says_ai(provenance, "Stable Diffusion parameters")


def test_a_graph_of_comfyui_in_the_camera_fields_of_a_webp() -> None:
    fields = exif({272: f"prompt:{COMFY_TEXT}", 271: f"workflow:{WORKFLOW_TEXT}"})
    provenance = read_provenance(encode(picture(), "WEBP", exif=fields))
    assert {item.name for item in by_kind(provenance, "ai-workflow")} == {
        "ComfyUI prompt (3 nodes)",
        "ComfyUI workflow (2 nodes)",
    }
    assert by_kind(provenance, "camera") == []
    assert by_kind(provenance, "no-camera")


def test_a_workflow_too_large_to_be_understood_is_still_one_of_comfyui() -> None:
    large = json.dumps({str(n): {"class_type": "Note", "inputs": {"text": "x" * 4000}} for n in range(600)})
    provenance = read_provenance(png(("prompt", large), packed=True))
    assert provenance.headline.startswith("The file states that it was made by an AI system (ComfyUI")


def test_novelai_invokeai_dream_and_midjourney() -> None:
    novelai = png(("Software", "NovelAI"), ("Source", "NovelAI Diffusion V4"), ("Comment", json.dumps(NOVELAI)))
    assert says_ai(read_provenance(novelai), "NovelAI parameters")
    assert "k_euler" in stated(read_provenance(novelai))["NovelAI parameters"]
    invoke = read_provenance(png(("invokeai_metadata", json.dumps(INVOKE))))
    assert says_ai(invoke, "InvokeAI parameters (invokeai_metadata)")
    assert stated(invoke)["Model"] == "juggernaut-xl"
    assert stated(invoke)["Prompt"] == "a stone bridge"
    assert says_ai(read_provenance(png(("Dream", "a cat -s 50 -S 42"))), "Stable Diffusion parameters (Dream)")
    midjourney = read_provenance(png(("Description", MIDJOURNEY), ("Author", "someone")))
    assert says_ai(midjourney, "Midjourney description")
    assert stated(midjourney)["Midjourney description"] == MIDJOURNEY
    described = encode(picture(), "JPEG", exif=exif({270: MIDJOURNEY}))
    assert says_ai(read_provenance(described), "Midjourney description")


def test_graphs_and_tables_of_settings_in_the_comment_of_exif() -> None:
    """As image hosts for AI pictures, SwarmUI and Fooocus write them."""
    swarm = json.dumps({"sui_image_params": {"prompt": "a cat", "model": "flux1-schnell"}})
    fooocus = json.dumps({"Prompt": "a cat", "Base Model": "juggernautXL", "Steps": 30})
    for text, words in (
        (COMFY_TEXT, "ComfyUI prompt (3 nodes)"),
        (swarm, "SwarmUI parameters"),
        (fooocus, "AI parameters (a table)"),
    ):
        assert says_ai(read_provenance(encode(picture(), "JPEG", exif=user_comment(text))), words)
    assert says_ai(read_provenance(png(("parameters", swarm))), "SwarmUI parameters")
    # A table of anything else is a text.
    other = read_provenance(png(("Comment", json.dumps({"prompt": "What do you see?", "answer": "A cat"}))))
    assert [item.kind for item in other.in_tier("stated")] == ["text"]


def test_a_text_that_only_names_an_ai_system_is_no_statement_that_one_was_used() -> None:
    provenance = read_provenance(png(("Comment", "This photograph was not made with Stable Diffusion.")))
    assert provenance.headline == (
        "A text in the file names an AI system (Comment: This photograph was not made with Stable Diffusion.). "
        + ANYBODY
    )


def test_a_text_of_any_other_program_is_stated_as_it_is() -> None:
    provenance = read_provenance(png(("Title", "Harbour"), ("Software", "Krita 5.2"), ("Straße", "Größe")))
    assert stated(provenance) == {"Title": "Harbour", "Software": "Krita 5.2", "Straße": "Größe"}
    assert provenance.headline == f"The file states something about its origin (Title: Harbour). {ANYBODY}"


def _jpeg() -> bytes:
    return jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + AI_XMP))


def _long_jpeg() -> bytes:
    """XMP of which the second half lies in an extension, in two segments in the wrong order."""
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    main = xmp(attributes=f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{guid.decode()}"')
    half = len(AI_XMP) // 2
    start = b"http://ns.adobe.com/xmp/extension/\x00" + guid + len(AI_XMP).to_bytes(4, "big")
    return jpeg_with(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + main),
        (0xE1, start + half.to_bytes(4, "big") + AI_XMP[half:]),
        (0xE1, start + bytes(4) + AI_XMP[:half]),
    )


def _png_of_imagemagick() -> bytes:
    block = b"http://ns.adobe.com/xap/1.0/\x00" + AI_XMP
    text = b"\nxmp\n%8d\n" % len(block) + binascii.hexlify(block)
    return png_with((b"tEXt", b"Raw profile type xmp\x00" + text))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_jpeg(), id="JPEG"),
        pytest.param(_long_jpeg(), id="JPEG, extended"),
        pytest.param(png_with((b"iTXt", b"XML:com.adobe.xmp" + 5 * b"\x00" + AI_XMP)), id="PNG"),
        pytest.param(_png_of_imagemagick(), id="PNG of ImageMagick"),
        pytest.param(encode(picture(), "WEBP", xmp=AI_XMP), id="WebP"),
        pytest.param(encode(picture(), "TIFF", tiffinfo={700: AI_XMP}), id="TIFF"),
        pytest.param(encode(picture(), "AVIF", xmp=AI_XMP), id="AVIF"),
    ],
)
def test_xmp_is_read_in_every_format_that_carries_it(data: bytes) -> None:
    provenance = read_provenance(data)
    found = stated(provenance)
    assert found["Digital source type"] == "made by an AI system (trainedAlgorithmicMedia)"
    assert found["AI system used"] == "Imagen 4"
    assert found["Creator tool"] == "Adobe Photoshop 26.0"
    assert found["Credit"] == "Made with Google AI"
    assert found["Creator"] == "Ada; Grace"
    assert [item.tier for item in by_kind(provenance, "ai-source-type")] == ["stated"]
    assert provenance.headline.startswith("The file states that it was made by an AI system (")


def test_forged_xmp_is_never_more_than_stated() -> None:
    """It may claim a camera, an agency and a signature: all of it is text that anybody can write."""
    forged = xmp(
        attributes='Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture" '
        'photoshop:Credit="World Press, signed and verified"'
    )
    provenance = read_provenance(jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + forged)))
    assert provenance.in_tier("signed") == ()
    assert stated(provenance)["Digital source type"] == "taken with a digital camera (digitalCapture)"
    assert all("Anybody can" in item.proves or "anybody can" in item.proves for item in provenance.in_tier("stated"))
    assert provenance.headline.endswith(ANYBODY)


def test_the_older_records_of_agencies_are_read() -> None:
    records = b"".join(
        b"\x1c\x02" + bytes([number]) + len(text).to_bytes(2, "big") + text
        for number, text in ((80, b"Ada Lovelace"), (110, b"Agency / Ada"), (25, b"keyword"))
    )
    resource = b"8BIM\x04\x04\x00\x00" + len(records).to_bytes(4, "big") + records + b"\x00" * (len(records) % 2)
    provenance = read_provenance(jpeg_with((0xED, b"Photoshop 3.0\x00" + resource)))
    assert stated(provenance) == {"By-line (IPTC)": "Ada Lovelace", "Credit (IPTC)": "Agency / Ada"}


def test_json_has_tier_kind_name_value_and_what_it_proves_in_this_order() -> None:
    for item in read_provenance(png(("parameters", PARAMETERS))).to_json():
        assert list(item) == ["tier", "kind", "name", "value", "proves"]
    assert [item["tier"] for item in read_provenance(png(("Title", "a"))).to_json()] == ["stated", "hint"]
