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


def _description(text: str) -> bytes:
    return encode(picture(), "JPEG", exif=exif({270: text}))


def _tool(text: str) -> bytes:
    return jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + xmp(attributes=f'xmp:CreatorTool="{text}"')))


def _used(text: str) -> bytes:
    body = xmp(attributes=f'Iptc4xmpExt:AISystemUsed="{text}"')
    return jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\x00" + body))


UUID = "0c2f7b1e-5b3a-4f0e-9a55-0123456789ab"
STEPS = "Steps: 30, Size: 832x1216, Sampler: Euler, Seed: 5"

#: Beside what a program writes, what a person may write who has used none.
RIGHT_AND_WRONG = {
    "job": (_description(f"fog --v 6 Job ID: {UUID}"), _description("Scan order, Job ID: 20261126-104455-0001")),
    "job, longer": (_description(f"Job ID: {UUID}"), _description(f"Job ID: {UUID}-0001")),
    "prompt": (png(("prompt", COMFY_TEXT)), png(("prompt", "Caption prompt for the pupils: what do you see?"))),
    "prompt that talks of nodes": (
        png(("prompt", COMFY_TEXT[:-1])),
        png(("prompt", 'Explain why "nodes" have "links", and what a "class_type" and its "inputs" are.')),
    ),
    "workflow": (
        png(("workflow", WORKFLOW_TEXT)),
        png(("workflow", json.dumps({"nodes": [{"id": "1", "type": "n8n-nodes-base.set"}], "connections": {}}))),
    ),
    "table of classes": (
        png(("prompt", COMFY_TEXT)),
        png(("prompt", json.dumps({"1": {"class_type": "Year 7", "pupils": 28}}))),
    ),
    "software": (png(("Software", "Ideogram")), png(("Software", "Ideogram viewer"))),
    "software and version": (
        png(("Software", "Stable Diffusion XL v1.0")),
        png(("Software", "Metadata remover for Stable Diffusion XL v1.0")),
    ),
    "software, two names": (png(("Software", "OpenAI DALL\u00b7E 3")), png(("Software", "ChatGPT screenshot tool 3"))),
    "software of EXIF": (
        encode(picture(), "JPEG", exif=exif({305: "Midjourney v6.1"})),
        encode(picture(), "JPEG", exif=exif({305: "Midjourney archive viewer 6.1"})),
    ),
    "source": (
        png(("Software", "NovelAI"), ("Source", "NovelAI Diffusion V4")),
        png(("Source", "Screenshot of a chatgpt conversation, photographed by A. B.")),
    ),
    "creator tool": (_tool("Adobe Firefly"), _tool("Plugin that asks ChatGPT for captions")),
    "system used": (_used("Imagen 4"), _used("None")),
    "parameters": (
        png(("parameters", f"a cat\n{STEPS}")),
        png(("Comment", "Stairs. Steps: 12, Size: 3x4 m, Model: oak")),
    ),
    "parameters of EXIF": (_description(f"a cat\n{STEPS}"), _description("Steps: 12, Seed shop, Model village")),
    "table": (
        png(("Comment", json.dumps({"Prompt": "a cat", "Base Model": "juggernautXL", "Steps": 30}))),
        png(("Comment", json.dumps({"prompt": "Describe the staircase.", "steps": 12}))),
    ),
    "NovelAI": (
        png(("Software", "NovelAI"), ("Comment", json.dumps(NOVELAI))),
        png(("Source", "Essay on NovelAI"), ("Comment", json.dumps({"page": 3}))),
    ),
    "InvokeAI": (png(("invokeai_metadata", json.dumps(INVOKE))), png(("invokeai_metadata", "removed"))),
    "dream": (png(("Dream", '"a cat" -s50 -W512 -H512 -C7.5 -Ak_lms -S42')), png(("Dream", "I flew at -s night"))),
}


@pytest.mark.parametrize("name", RIGHT_AND_WRONG)
def test_what_a_program_writes_is_told_from_what_people_write(name: str) -> None:
    right, wrong = (read_provenance(data) for data in RIGHT_AND_WRONG[name])
    assert right.tells_of_ai, right
    assert right.headline.startswith("The file states that it was made by an AI system (")
    assert not wrong.tells_of_ai, wrong
    assert "made by" not in wrong.headline
    assert wrong.in_tier("stated")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Made with Google AI", True),
        ("not made with Stable Diffusion", True),
        ("DALL-E was asked", True),
        ("dalle3", True),
        ("from ideogram.ai", True),
        ("asked GPT-4o", True),
        ("midjourney_v6 grid", True),
        ("Vista dalle colline", False),
        ("An ideogram on a stone", False),
        ("Children draw things", False),
        ("unstable diffusion", False),
        ("Rosopenair OpenAIr festival", False),
        ("gothgpt-4", False),
    ],
)
def test_words_of_a_language_are_no_names_of_ai_systems(text: str, named: bool) -> None:
    found = read_provenance(png(("Title", text))).in_tier("stated")
    assert [item.kind for item in found] == ["ai-mention" if named else "text"]


def test_a_prompt_of_which_nothing_else_is_known_is_not_said_to_name_an_ai_system() -> None:
    prompt = ("prompt", "Caption prompt for the pupils")
    assert read_provenance(png(prompt)).headline == (
        f"A text in the file bears a name that AI systems use, as others do (Prompt: {prompt[1]}). {ANYBODY}"
    )
    both = read_provenance(png(prompt, ("Title", "Asked ChatGPT")))
    assert both.headline == f"A text in the file names an AI system (Title: Asked ChatGPT). {ANYBODY}"


@pytest.mark.parametrize(
    "text",
    ["GPT-4o", "gpt-image-1", "ChatGPT (DALL-E 3)", "Leonardo.Ai", "Draw Things", "Midjourney, version 6", "OpenAI-API",
     "Stable Diffusion web UI 1.10.1", "Fooocus v2.5.5", "InvokeAI/3.4.0", "NovelAI"],
)  # fmt: skip
def test_a_name_alone_or_with_a_version_is_an_ai_system(text: str) -> None:
    assert says_ai(read_provenance(png(("Software", text))), f"Software: {text}")


@pytest.mark.parametrize("filler", ["1-", "- ", "v1 ", "(1) ", "dall-e-3 ", "version 1 "])
def test_a_name_that_never_ends_is_looked_at_in_no_time(filler: str) -> None:
    """Where a pattern can be matched in many ways, the last sign would make it try them all: for hours."""
    assert not read_provenance(png(("Software", ("OpenAI " + 100 * filler)[:190] + "!"))).tells_of_ai


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
