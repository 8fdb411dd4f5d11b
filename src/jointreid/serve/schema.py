"""Requests and answers of the API, from which its OpenAPI schema is made. None has a path of this machine."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Short = Annotated[str, Field(max_length=200)]
Box = Annotated[list[float], Field(min_length=4, max_length=4, description="left, top, width, height in pixels")]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class SearchRequest(_Request):
    """An image, or boxes in it, to search for; filters apply before the search."""

    image: str = Field(description="a JPEG, PNG, WebP, BMP, TIFF, GIF or PPM file in base64")
    boxes: list[Box] = Field(default=[], description="people in the upright image; none for all of it")
    top: int = Field(default=10, ge=1, le=100, description="people to list")
    images: int = Field(default=3, ge=1, le=20, description="images to list of each")
    pid: list[Short] = Field(default=[], max_length=1000, description="only images of these people")
    camera: list[Short] = Field(default=[], max_length=1000, description="only images of these cameras")
    domain: list[Short] = Field(default=[], max_length=1000, description="only images of these domains")
    since: Short = Field(default="", description="only images taken then or later, ISO 8601, UTC without a zone")
    until: Short = Field(default="", description="only images taken before")
    where: str = Field(
        default="", max_length=2000, description="a filter such as `camera in (3, 7) and source != loan`"
    )
    thumbnails: bool = Field(default=True, description="send the small images that the gallery keeps")


class SeenAnswer(BaseModel):
    """The domain and the camera that the network believes it sees; null where it has no such head."""

    domain: str | None
    domain_probability: float | None
    camera: str | None
    camera_probability: float | None


class ImageAnswer(BaseModel):
    """An image of the gallery."""

    key: str = Field(description="names it for /api/erase")
    similarity: float
    box: list[int] | None
    camera: str | None
    time: str | None
    domain: str | None
    source: str | None
    thumbnail: str | None = Field(description="a JPEG in base64, if the gallery keeps one")


class PersonAnswer(BaseModel):
    """A person, or an image of nobody known (pid is null)."""

    pid: str | None
    name: str | None
    domain: str | None
    similarity: float = Field(description="cosine with the nearest image, -1 to 1")
    verdict: Literal["same", "different", "unsure"] | None = Field(description="null where no threshold is known")
    images: list[ImageAnswer]


class BoxAnswer(BaseModel):
    """The answer for one box: people, the nearest first, whether they are close or not."""

    box: list[int] | None = Field(description="as it was cut: left, top, width, height; null for all of the image")
    seen: SeenAnswer
    nobody: bool = Field(description="everybody listed is different")
    people: list[PersonAnswer]
    searched: int = Field(description="images that the filters left")
    searched_people: int = Field(description="different people on them; an image without pid counts as a person")
    exact: bool = Field(description="every one was compared; otherwise an index chose")
    same_from: float | None = Field(description="similarity from which on it is the same person")
    different_below: float | None = Field(description="similarity below which it is another person")
    note: str


class SearchAnswer(BaseModel):
    """The answers to a search, one for each box."""

    width: int
    height: int
    total: int = Field(description="images in the gallery")
    answers: list[BoxAnswer]


class AddRequest(_Request):
    """An image of a person, or a box in it, for the gallery."""

    image: str = Field(description="see SearchRequest")
    box: Box | None = None
    pid: Annotated[str, Field(min_length=1, max_length=200)]
    name: Short = ""
    camera: Short = ""
    time: Short = Field(default="", description="ISO 8601, UTC without a zone")
    domain: Short = ""
    source: Short = ""
    consent: Short = Field(default="", description="on which basis it is here, such as the number of a form")
    retention: Short = Field(default="", description="a day after which it is to be erased, ISO 8601")
    thumbnail: bool = Field(default=False, description="keep a small image of the box, 128 pixels high")


class AddAnswer(BaseModel):
    """The outcome of an addition."""

    key: str
    added: bool = Field(description="false if this box of this image is in the gallery already; it stays as it was")


class EraseRequest(_Request):
    """People or images to remove for good: no byte of them stays in the gallery's files."""

    pid: Short | None = Field(default=None, description="a person; with `domain`, that of the pid")
    domain: Short | None = Field(default=None, description="null for a pid without a domain")
    keys: list[Annotated[str, Field(pattern="^[0-9a-f]{32}$")]] = Field(default=[], max_length=1000)
    dry_run: bool = Field(default=False, description="only count")


class EraseAnswer(BaseModel):
    """The outcome of an erasure."""

    images: int
    people: list[str]
    erased: bool
    files: int = Field(description="files of features that they had been added from, which are as they were")
    note: str


class CameraAnswer(BaseModel):
    """A camera of the gallery."""

    domain: str | None
    camera: str | None
    images: int


class LimitsAnswer(BaseModel):
    """The limits of the server."""

    bytes: int
    pixels: int
    boxes: int
    requests_per_minute: int


class InfoAnswer(BaseModel):
    """The contents of the gallery, and the limits of the server."""

    version: str
    images: int
    people: int
    cameras: list[CameraAnswer] = Field(description="the first 1,000")
    first_retention_date: str | None
    expired: int = Field(description="images past their retention date")
    model: str = Field(description="the first 12 digits of its fingerprint")
    read_only: bool
    limits: LimitsAnswer


class ErrorAnswer(BaseModel):
    """A refusal."""

    detail: str
