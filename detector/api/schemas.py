"""What goes over the wire: requests and responses as JSON, with the names and shapes of the contract.

Nothing that is absent is ever sent as null, {} or "": whoever builds a response passes None, and routes leave that out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from detector.errors import NotFound
from detector.serving.invoke import Verdict
from detector.storage.functions import Function, Label
from detector.storage.samples import Sample

MAX_METADATA_BYTES = 10_000
MAX_TEXT = 1000
MAX_SAMPLE_SETS = 100


def prefixed(noun: str, plain_id: str) -> str:
    """``ab12`` -> ``function_ab12``."""
    return f"{noun}_{plain_id}"


def plain(noun: str, given: str) -> str:
    """``function_ab12`` or ``ab12`` -> ``ab12``. Raises NotFound for what can be no identifier."""
    stripped = given.removeprefix(f"{noun}_")
    if not (stripped.isascii() and stripped.isalnum() and len(stripped) <= 32):
        raise NotFound(noun, given[:64])
    return stripped.lower()


def _small(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    try:
        size = len(json.dumps(metadata, ensure_ascii=False, allow_nan=False).encode())
    except (ValueError, RecursionError) as error:
        raise ValueError("expected plain JSON without NaN") from error
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"it has {size:,} bytes, at most {MAX_METADATA_BYTES:,} are kept")
    _storable_throughout(metadata)
    return metadata


def storable(text: str) -> str:
    """``text``, where every database and every answer can hold it: the one check of all texts that callers send.

    JSON can name half of a surrogate pair, and addresses a NUL; PostgreSQL stores neither, SQLite both.

    Raises
    ------
    ValueError
    """
    if "\0" in text:
        raise ValueError("expected text without NUL characters")
    try:
        # Not for ASCII: it may be a whole image.
        if not text.isascii():
            text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("expected text; it holds half of a character (a lone surrogate)") from error
    return text


def _storable_throughout(value: Any) -> None:
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, dict):
        for name, item in value.items():
            storable(name)
            _storable_throughout(item)
    elif isinstance(value, list):
        for item in value:
            _storable_throughout(item)


#: Text of a query or form.
Words = Annotated[str, AfterValidator(storable)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(storable)]
Metadata = Annotated[dict[str, Any], AfterValidator(_small)]


class ApiModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    @classmethod
    def inline_schema(cls) -> dict[str, Any]:
        """The JSON schema in one piece, for routes that read the body themselves."""
        schema = cls.model_json_schema()
        definitions = schema.pop("$defs", {})

        def inline(node: Any) -> Any:
            if isinstance(node, dict):
                if "$ref" in node:
                    return inline(definitions[node["$ref"].rsplit("/", 1)[1]])
                return {key: inline(value) for key, value in node.items()}
            return [inline(item) for item in node] if isinstance(node, list) else node

        return dict(inline(schema))


class Asked(ApiModel):
    """A request's body."""

    @model_validator(mode="after")
    def _is_text(self) -> Self:
        for name in type(self).model_fields:
            if isinstance(value := getattr(self, name), str):
                try:
                    storable(value)
                except ValueError as error:
                    raise ValueError(f"{to_camel(name)}: {error}") from error
        return self


class Message(ApiModel):
    """Every error."""

    message: str


class SampleConflict(Message):
    existing_sample_id: str


class LabelConflict(Message):
    id: str


class Deleted(ApiModel):
    id: str


class FunctionRequest(Asked):
    name: str
    input: Annotated[str, Field(json_schema_extra={"enum": ["Image"]})] = "Image"
    output: Annotated[str, Field(json_schema_extra={"enum": ["Classification"]})] = "Classification"


class FunctionChange(Asked):
    name: str


class FunctionResponse(ApiModel):
    id: str
    name: str
    input: str
    output: str

    @classmethod
    def of(cls, function: Function) -> FunctionResponse:
        return cls(
            id=prefixed("function", function.id), name=function.name, input=function.input, output=function.output
        )


class FunctionState(FunctionResponse):
    state: Annotated[str, Field(json_schema_extra={"enum": ["Browsing", "Tuning", "NeedsData"]})]


class FunctionMetrics(ApiModel):
    sample_count: int
    prediction_count: int
    annotated_label_counts: dict[str, int]
    is_training: bool


class ProjectRequest(Asked):
    name: Text | None = None


class Project(ApiModel):
    id: str
    name: str


class LabelRequest(Asked):
    name: str
    description: Text | None = None
    metadata: Metadata | None = None


class LabelChange(Asked):
    name: str | None = None
    description: Text | None = None
    metadata: Metadata | None = None


class LabelResponse(ApiModel):
    id: str
    name: str
    description: str | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def of(cls, label: Label) -> LabelResponse:
        return cls(
            id=prefixed("label", label.id),
            name=label.name,
            description=label.description or None,
            metadata=label.metadata or None,
        )


class AnnotationRequest(Asked):
    label_name: str


class SampleSet(Asked):
    sample_set_id: Text


class ImageRequest(Asked):
    data: Annotated[str, Field(description="The image as a data URI with base64; its media type is ignored.")]

    def take_data(self) -> str:
        """``data``, once: whoever decodes it should not have to keep it beside the bytes."""
        data, self.data = self.data, ""
        return data


class SampleRequest(ImageRequest):
    external_id: Text | None = None
    annotation: AnnotationRequest | None = None
    sample_sets: Annotated[list[SampleSet], Field(max_length=MAX_SAMPLE_SETS)] | None = None


class SampleFields(Asked):
    """The fields beside the file in a multipart post."""

    label_name: str | None = None
    external_id: Text | None = None


class Annotation(ApiModel):
    label_id: str


class Prediction(ApiModel):
    label_id: str
    confidence: float


class SampleResponse(ApiModel):
    id: str
    data: Annotated[str, Field(description="A short-lived address of exactly the bytes that were posted.")]
    external_id: str | None = None
    annotation: Annotation | None = None
    prediction: Prediction | None = None
    sample_sets: list[SampleSet] | None = None

    @classmethod
    def of(cls, sample: Sample, url: str) -> SampleResponse:
        prediction = None
        if sample.predicted_label_id is not None and sample.confidence is not None:
            prediction = Prediction(label_id=prefixed("label", sample.predicted_label_id), confidence=sample.confidence)
        return cls(
            id=prefixed("sample", sample.id),
            data=url,
            external_id=sample.external_id or None,
            annotation=Annotation(label_id=prefixed("label", sample.label_id)) if sample.label_id else None,
            prediction=prediction,
            sample_sets=[SampleSet(sample_set_id=item) for item in sample.sample_sets or []] or None,
        )


class InvokeRequest(ImageRequest):
    pass


class LabelConfidence(ApiModel):
    label_name: str
    label_id: str
    confidence: float


class InvokeResponse(LabelConfidence):
    model_id: str
    verdict: Annotated[str, Field(description="The label's name where it is sure enough of it, else `can't tell`.")]
    verdict_reason: Annotated[
        str | None,
        Field(
            description="Only where too few images are why it can't tell, with how many different ones it has and "
            "needs; where the picture or its file is unlike the samples, with in what; or where the pictures that it "
            "is adapted to speak against this label."
        ),
    ] = None
    grade: Annotated[
        str,
        Field(
            description="How far the verdict is backed by measured error. `strong`: the score is beyond the threshold "
            "that also kept to the limit on false accusations on sources that were left out of the training. "
            "`moderate`: it is beyond the one that keeps to it for images like the samples; never more for a function "
            "that is adapted to pictures of one place. `can't tell`: below both, "
            "or the file is unlike the samples (its size, how much it was enlarged, or the quality it was saved with), "
            "or the picture is (noise, an empty page, a chart: it lies farther from them than 19 of 20 of them do); "
            "where the function is told to judge such images all the same, the grade is `moderate` at most."
        ),
    ]
    reason: Annotated[
        str | None,
        Field(
            description="What stands behind the grade, in counts of images, or what keeps it from being higher: a "
            "picture or a file that is unlike the samples (said first), too few images, too few sources to try it on, "
            "the few pictures that it is adapted to, or the image's score."
        ),
    ] = None
    label_confidences: list[LabelConfidence] | None = None
    label_metadata: dict[str, Any] | None = None

    @classmethod
    def of(cls, verdict: Verdict, label_count: int | None, metadata: dict[str, Any] | None) -> InvokeResponse:
        scores = [
            LabelConfidence(
                label_name=score.label, label_id=prefixed("label", score.label_id), confidence=score.confidence
            )
            for score in verdict.scores[: label_count or 1]
        ]
        return cls(
            **scores[0].model_dump(),
            model_id=prefixed("model", verdict.model_id),
            verdict=verdict.verdict,
            verdict_reason=None if verdict.sure else verdict.reason or None,
            grade=verdict.grade,
            reason=verdict.reason or None,
            label_confidences=scores if label_count else None,
            label_metadata=metadata or None,
        )
