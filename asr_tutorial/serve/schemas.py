"""What goes over the wire. The page at ``/docs`` and the schema at ``/openapi.json`` are made from these classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from asr_tutorial.config import Search

MOST_ALTERNATIVES = 50


class Choices(BaseModel):
    """How a recording is to be recognised: keys beside ``features`` in JSON, form fields beside ``file``."""

    model_config = ConfigDict(extra="forbid")

    search: Search | None = Field(None, description="How the text is looked for; left out: what suits the model.")
    nbest: Annotated[int, Field(ge=1, le=MOST_ALTERNATIVES)] | None = Field(
        None, description="Alternatives in the answer; of the beam searches prefix, attention and joint."
    )
    lm_weight: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = Field(
        None, description="Weight of the language model, where the service has one; of the beam searches."
    )


class FeaturesRequest(Choices):
    """Log-mel frames as the library makes them, before normalisation."""

    features: list[list[float]] = Field(description="One list of mel values for each frame (80 by default).")


class Word(BaseModel):
    word: str
    start: float | None = Field(description="Seconds; null where the text has no place in the sound.")
    end: float | None = Field(description="Seconds.")
    confidence: float = Field(description="Product of the probabilities of its tokens.")


class Alternative(BaseModel):
    text: str
    score: float = Field(description="What the search ranks by: a log-probability in nats, with penalties.")


class Timing(BaseModel):
    queue_ms: float = Field(description="Wait for a place in a batch.")
    compute_ms: float = Field(description="The batch that the request was part of.")
    total_ms: float = Field(description="From the request's arrival to its answer.")
    batch_size: int = Field(description="Requests in the batch.")


class Transcription(BaseModel):
    """The answer of ``/transcribe``."""

    text: str
    confidence: float = Field(description="Geometric mean of the probabilities of the tokens.")
    words: list[Word]
    duration: float = Field(description="Seconds of sound.")
    search: Search
    nbest: list[Alternative]
    timing: Timing


class Picture(BaseModel):
    """A matrix as bytes: 0 stands for ``low``, 255 for ``high``."""

    shape: tuple[int, int]
    data: str = Field(description="Base64 of unsigned bytes, row after row.")
    low: float
    high: float


class Mel(Picture):
    frame_shift: float = Field(description="Seconds from one frame (row) to the next.")
    low_hz: float = Field(description="Lower edge of the first band.")
    high_hz: float = Field(description="Upper edge of the last band.")


class TokenSpan(BaseModel):
    token: str
    start: float
    end: float
    confidence: float = Field(description="Mean probability in its frames.")


class BestPath(BaseModel):
    token: str
    probability: float


class Alignment(BaseModel):
    """Where the CTC head hears the text."""

    frame_shift: float = Field(description="Seconds from one frame of the encoder to the next.")
    start: float = Field(description="Seconds at which the first frame of the encoder begins; may be below 0.")
    tokens: list[TokenSpan] | None = Field(description="The text's tokens; null where it has no path in the sound.")
    path: list[BestPath] = Field(description="The most probable token of each frame, blank included.")
    columns: list[str] = Field(description="What the columns of ``posteriors`` are: the text's tokens, and blank.")
    posteriors: Picture = Field(description="Frames by columns: how probable each token is in each frame.")


class Attention(Picture):
    """Where the decoder looks when it writes: tokens by encoder frames, mean of the last layer's heads."""

    frame_shift: float
    start: float
    tokens: list[str]


class Compared(BaseModel):
    search: str = Field(description="Its name; ``joint+lm`` is the joint search with the language model.")
    text: str | None
    score: float | None = Field(description="What the search ranks by; not comparable from search to search.")
    ms: float | None = Field(description="Milliseconds of the search, encoder included.")
    reason: str | None = Field(None, description="Why there is no text.")


class Explanation(Transcription):
    """The answer of ``/explain``."""

    mel: Mel
    alignment: Alignment
    attention: Attention | None = Field(description="null: the model's decoder does not write token by token.")
    comparison: list[Compared]


class Health(BaseModel):
    status: str = Field(description="``ok`` or ``stopping``.")
    model: str
    parameters: int = Field(description="Weights of the model.")
    version: str
    queue: int = Field(description="Requests that wait.")
    queue_limit: int
    running: int = Field(description="Requests in the batch that is being recognised.")
    device: str
    searches: list[str] = Field(description="The first one is the default.")
    language_model: str | None
    streaming: bool = Field(description="Whether the WebSocket /stream is there.")
    sample_rate: int
    n_mels: int
    frame_shift: float
    max_seconds: float
    max_bytes: int
    streams: int = Field(description="People who speak to it by /stream.")
    max_streams: int


class Problem(BaseModel):
    code: str
    message: str
    remedy: str


class ErrorAnswer(BaseModel):
    error: Problem


def request_body(n_mels: int, max_frames: int, searches: list[str]) -> dict[str, Any]:
    """The body of ``/transcribe`` and ``/explain`` for OpenAPI: the routes read it themselves, to bound it."""
    choices = {
        "search": {"type": "string", "enum": searches, "description": "How the text is looked for."},
        "nbest": {"type": "integer", "minimum": 1, "maximum": MOST_ALTERNATIVES, "description": "Alternatives."},
        "lm_weight": {"type": "number", "minimum": 0, "maximum": 10, "description": "Of the language model."},
    }
    frame = {
        "type": "array",
        "items": {"type": "number", "minimum": -100, "maximum": 100},
        "minItems": n_mels,
        "maxItems": n_mels,
    }
    features = {
        "type": "array",
        "items": frame,
        "minItems": 1,
        "maxItems": max_frames,
        "description": f"Log-mel frames of {n_mels} values, before normalisation.",
    }
    file = {"type": "string", "format": "binary", "description": "A sound file of any format that libsndfile reads."}

    def body(name: str, schema: dict[str, Any]) -> dict[str, Any]:
        properties = {name: schema, **choices}
        return {
            "schema": {"type": "object", "required": [name], "additionalProperties": False, "properties": properties}
        }

    content = {"application/json": body("features", features), "multipart/form-data": body("file", file)}
    return {"required": True, "content": content}
