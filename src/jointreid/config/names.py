"""The values that settings and options may have, as types: help and checks need nothing of the rooms that use them.

Where the code has a table of them, tests/project/test_vocabularies.py compares it.
"""

from typing import Literal

# Of the settings of a run.
MissingCamid = Literal["refuse", "one_camera"]
Cuhk03Boxes = Literal["labeled", "detected"]
CameraIds = Literal["global", "local"]
CacheMode = Literal["disk", "memory", "off"]
Interpolation = Literal["bicubic", "bilinear"]
SystemName = Literal["bot", "agw", "bot-dcsd", "agw-dcsd", "bot-dn", "bot-snr"]
TrunkName = Literal["resnet50", "resnet101", "resnet50-w16", "mobilenetv2_100", "efficientnet_lite0", "convnext_tiny"]
PretrainSource = Literal[
    "none",
    "tv_in1k",
    "a1_in1k",
    "ddf_imagenet",
    "dcsd_imagenet",
    "r50_imagenet",
    "r50_partial",
    "mobilenetv2_100",
    "mobilenetv2_100.ra_in1k",
    "efficientnet_lite0",
    "efficientnet_lite0.ra_in1k",
    "convnext_tiny.fb_in1k",
]
StemPoolChoice = Literal["auto", "pad", "ceil", "2x2"]
Factor = Literal["sample", "domain", "camera"]
Base = Literal["none", "static"]
ContextSource = Literal["block", "block-stats", "network", "labels"]
TripletNumerics = Literal["stable", "published"]
Inject = Literal["kernel", "film", "norm"]
ContextLabels = Literal["correct", "shuffled"]
Mining = Literal["any", "within", "across"]
IdHead = Literal["softmax", "per_domain", "masked"]
Compile = Literal["auto", "always", "never"]
Metric = Literal["cosine", "euclidean"]
SamplerKind = Literal[
    "union_pk",
    "interleaved",
    "id_uniform",
    "domain_balanced",
    "domain_temperature",
    "domain_weighted",
    "grouped_domains",
]
EpochLength = Literal["images", "pass"]

# Of the options of `jointreid data ingest`.
Layout = Literal[
    "auto", "market", "imagefolder", "mot", "viper", "sysu-mm01", "regdb", "veri-776", "vehicleid", "prid2011",
    "ilids-vid", "mars", "cuhk01", "grid", "3dpes", "ltcc", "prcc", "celeb-reid", "personx", "randperson",
]  # fmt: skip
# How a test split is asked: its queries ask its gallery, or every image asks all others.
EvaluationProtocol = Literal["query_gallery", "leave_one_out"]
CameraChoice = Literal["auto", "name", "folder", "none"]
SplitChoice = Literal["auto", "draw"]
# Of `jointreid weights convert`.
PeerName = Literal["fastreid", "bot", "agw", "transreid", "torchreid"]
PoolChoice = Literal["auto", "mean", "gem"]
# Of `jointreid export`.
FileFormat = Literal["onnx", "pt2"]
GraphPrecision = Literal["fp32", "fp16", "int8"]
InputKind = Literal["uint8", "raw255", "unit", "imagenet"]
InputChoice = Literal["auto", "uint8", "raw255", "unit", "imagenet"]
ToolName = Literal["boxmot", "ultralytics", "deepstream", "deep-sort-realtime", "norfair"]
ToolChoice = Literal["any", "boxmot", "ultralytics", "deepstream", "deep-sort-realtime", "norfair"]
