"""What AI systems write into a file: ComfyUI, AUTOMATIC1111 and its kin, NovelAI, InvokeAI, Midjourney.

Each writes as it likes; what is known of it comes from the programs' own sources and from files. Nothing here can be
certain: a text is whatever somebody wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from detector.imaging.provenance.source_types import is_ai_system, names_ai_system
from detector.imaging.provenance.statement import Statement

#: Characters of a JSON text that is understood: more would take memory that no graph is worth.
_LONGEST_JSON = 2 << 20
#: Characters at both ends of a text in which settings are looked for.
_END = 20_000
#: Lines that may be one of settings, and nodes of a graph, that are looked at.
_MOST_LINES = 200
_MOST_NODES = 2_000

_STEPS = re.compile(r"\bSteps: \d+, ")
#: Characters of a line of settings behind its steps, and what stands there; a staircase, too, has steps and a model.
_LINE = 600
_SETTINGS = re.compile(r"\b(Sampler|Schedule type|CFG scale|Guidance scale|Seed|Model hash|Size(?=: \d+x\d)): ", re.I)
_JOB_ID = re.compile(r"\bJob ID: ?[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![\w-])", re.IGNORECASE)
#: Options of the commands that "Dream" holds.
_DREAM = re.compile(r"(?:^|\s)-([sSWHC]) ?\d")
_NOVELAI = re.compile(r"novelai(?!\w)", re.IGNORECASE)
_TABLE_KEYS = frozenset(
    {"steps", "num inference steps", "sampler", "sampler name", "scheduler", "seed", "base model", "cfg scale"}
    | {"guidance scale", "negative prompt", "uc"}
)

_BY_TOOL = "Tools for Stable Diffusion and similar models write this. Anybody can write or remove it."
_BY_COMFY = "ComfyUI saves its graph like this. Anybody can write or remove it."
_BY_TEXT = "A text in the file. Anybody can write or remove it."
_USUAL = f"Usual for AI systems, not only for them. {_BY_TEXT}"


def statements_of_texts(texts: list[tuple[str, str]]) -> Iterator[Statement]:
    """What the texts of a file say, each with its keyword; what no known program writes as a plain text."""
    keys = {key.lower(): text for key, text in texts}
    for key, text in texts:
        yield from _of_text(key, text, keys)


def _of_text(key: str, text: str, keys: dict[str, str]) -> Iterator[Statement]:
    low = key.lower()
    if low in ("prompt", "workflow") and (graph := _object(text)) is not None and _is_comfy(graph):
        yield from _of_comfy(key, text, graph)
    elif low in ("prompt", "workflow") and _looks_like_comfy(text):
        yield Statement.of("stated", "ai-workflow", f"ComfyUI {low}", text, _BY_COMFY)
    elif low in ("parameters", "usercomment", "exif usercomment", "comment") and is_parameters(text):
        yield from of_parameters(text)
    elif low == "comment" and (found := _object(text)) is not None and _is_novelai(found, keys):
        yield from _of_novelai(text, found)
    elif low in ("invokeai_metadata", "invokeai_graph", "sd-metadata") and text.lstrip().startswith("{"):
        yield from _of_invokeai(key, text)
    elif (found := _object(text)) is not None and (tool := _settings_of(found)) is not None:
        yield Statement.of("stated", "ai-parameters", tool, text, _BY_TOOL)
    elif low == "dream" and len(set(_DREAM.findall(text[-_END:]))) >= 2:
        yield Statement.of("stated", "ai-parameters", "Stable Diffusion parameters (Dream)", text, _BY_TOOL)
    elif low in ("description", "imagedescription") and _JOB_ID.search(text):
        yield Statement.of(
            "stated",
            "ai-prompt",
            "Midjourney description",
            text,
            "Midjourney writes the prompt and a job's number like this. Anybody can write or remove it.",
        )
    elif low == "software" and is_ai_system(text):
        yield Statement.of("stated", "ai-system", key, text, f"The name of an AI system. {_BY_TEXT}")
    elif low == "prompt":
        # Pupils are given prompts, and prompters prompt.
        yield Statement.of("stated", "ai-mention", "Prompt", text, _USUAL)
    elif names_ai_system(text):
        yield Statement.of("stated", "ai-mention", key, text, f"It names an AI system. {_BY_TEXT}")
    else:
        yield Statement.of("stated", "text", key, text, _BY_TEXT)


def is_parameters(text: str) -> bool:
    """Whether a text is what AUTOMATIC1111's web UI and its kin write: a prompt, and a line of settings."""
    # The line stands last; after it some programs write more.
    ends = text if len(text) <= 2 * _END else f"{text[:_END]}\n{text[-_END:]}"
    return any(
        len(set(_SETTINGS.findall(ends[found.end() : found.end() + _LINE].lower()))) >= 2
        for found in islice(_STEPS.finditer(ends), _MOST_LINES)
    )


def of_parameters(text: str) -> Iterator[Statement]:
    """The whole text, and of its line of settings the model."""
    yield Statement.of("stated", "ai-parameters", "Stable Diffusion parameters", text, _BY_TOOL)
    line = text[text.rfind("Steps: ") :][:_END]
    parts = [f"{key}: {value}" for key, value in re.findall(r"(Model|Sampler|Version): ([^,\n]{1,200})", line)]
    if parts:
        yield Statement.of("stated", "ai-system", "Model and sampler", ", ".join(parts), _BY_TOOL)


def _object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for everything else."""
    if len(text) > _LONGEST_JSON or text.lstrip()[:1] != "{":
        return None
    try:
        # ComfyUI writes NaN where a node's input changes each time; Python reads it.
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_comfy(graph: dict[str, Any]) -> bool:
    """A prompt is a table of nodes, each with its class; a workflow has them as a list, and beside it their links."""
    nodes = graph.get("nodes")
    if isinstance(nodes, list):
        linked = isinstance(graph.get("links"), list) or "last_node_id" in graph
        return linked and any(
            isinstance(node, dict) and "id" in node and "type" in node for node in nodes[:_MOST_NODES]
        )
    return any(
        isinstance(node, dict) and "class_type" in node and "inputs" in node
        for node in list(graph.values())[:_MOST_NODES]
    )


def _looks_like_comfy(text: str) -> bool:
    """The same of a graph that is too large to be understood, or broken."""
    if not text.lstrip().startswith("{"):
        return False
    prompt = '"class_type"' in text and '"inputs"' in text
    return prompt or ('"nodes"' in text and ('"links"' in text or '"last_node_id"' in text))


def _of_comfy(key: str, text: str, graph: dict[str, Any]) -> Iterator[Statement]:
    listed = graph.get("nodes")
    nodes = listed if isinstance(listed, list) else list(graph.values())
    nodes = [node for node in nodes[:_MOST_NODES] if isinstance(node, dict)]
    plain = "prompt" if not isinstance(listed, list) else "workflow"
    models: dict[str, None] = {}
    prompts: dict[str, None] = {}
    samplers: dict[str, None] = {}
    for node in nodes:
        kind = str(node.get("class_type") or node.get("type") or "")
        inputs = node.get("inputs") if isinstance(node.get("inputs"), dict) else {}
        assert isinstance(inputs, dict)
        widgets = node.get("widgets_values")
        values = [value for value in widgets[:30] if isinstance(value, str)] if isinstance(widgets, list) else []
        for name in ("ckpt_name", "unet_name", "model_name", "lora_name"):
            if isinstance(inputs.get(name), str):
                models[inputs[name]] = None
        if "Loader" in kind and not inputs and values:
            models[values[0]] = None
        if "CLIPTextEncode" in kind:
            for value in (*(inputs.get(name) for name in ("text", "text_g", "t5xxl", "clip_l")), *values[:1]):
                if isinstance(value, str) and value.strip():
                    prompts[value] = None
        for name in ("sampler_name", "scheduler"):
            if isinstance(inputs.get(name), str):
                samplers[inputs[name]] = None
    for found, kind, name in (
        (models, "ai-system", "Model files in the graph"),
        (prompts, "ai-prompt", "Prompt in the graph"),
        (samplers, "ai-parameters", "Sampler in the graph"),
    ):
        if found:
            yield Statement.of("stated", kind, name, "; ".join(list(found)[:6]), _BY_COMFY)
    yield Statement.of("stated", "ai-workflow", f"ComfyUI {plain} ({len(nodes)} nodes)", text, _BY_COMFY)


def _settings_of(found: dict[str, Any]) -> str | None:
    """What to call a table of settings by which AI systems make a picture; None for another table."""
    if "sui_image_params" in found:
        return "SwarmUI parameters"
    keys = {key.lower().replace("_", " ") for key in list(found)[:200]}
    if "prompt" in keys and len(keys & _TABLE_KEYS) >= 2:
        return "AI parameters (a table)"
    return None


def is_graph(text: str) -> bool:
    """Whether a text is a graph of ComfyUI."""
    return (found := _object(text)) is not None and _is_comfy(found)


def _is_novelai(found: dict[str, Any], keys: dict[str, str]) -> bool:
    named = any(_NOVELAI.match(keys.get(key, "")) for key in ("software", "source"))
    if named and found.keys() & {"prompt", "steps", "sampler", "seed", "uc"}:
        return True
    return {"steps", "sampler", "seed"} <= found.keys() and ("uc" in found or "prompt" in found)


def _of_novelai(text: str, found: dict[str, Any]) -> Iterator[Statement]:
    by = "NovelAI writes its settings like this. Anybody can write or remove it."
    yield Statement.of("stated", "ai-parameters", "NovelAI parameters", text, by)
    if isinstance(found.get("prompt"), str):
        yield Statement.of("stated", "ai-prompt", "Prompt", found["prompt"], by)


def _of_invokeai(key: str, text: str) -> Iterator[Statement]:
    by = "InvokeAI writes its settings like this. Anybody can write or remove it."
    yield Statement.of("stated", "ai-parameters", f"InvokeAI parameters ({key})", text, by)
    found = _object(text) or {}
    model = found.get("model")
    name = model.get("name") or model.get("model_name") if isinstance(model, dict) else found.get("model_weights")
    if isinstance(name, str):
        yield Statement.of("stated", "ai-system", "Model", name, by)
    if isinstance(found.get("positive_prompt"), str):
        yield Statement.of("stated", "ai-prompt", "Prompt", found["positive_prompt"], by)
