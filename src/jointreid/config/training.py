"""Settings of the training: loss, learning rate, optimiser, processes; and of the evaluation."""

import math
from dataclasses import dataclass
from typing import Literal

from jointreid.config.fields import conform_fields, require, setting
from jointreid.config.names import Compile, ContextLabels, EpochLength, IdHead, Metric, Mining, TripletNumerics
from jointreid.custom import require_known_or_custom
from jointreid.machine.device import Device, Precision

# One field a line reads better than the formatter's three.
# fmt: off


@dataclass(frozen=True)
class LossConfig:
    """The loss: the terms of Eq. 5 and their weights."""

    kind: str = setting("paper", "paper (Eq. 5, with the terms below), or a custom one, my_package.module:function", custom=True)
    triplet: Literal["batch_hard", "wrt"] = setting("batch_hard", "triplet term: batch_hard (BoT, Eq. 3), or wrt (AGW's weighted regularised triplet, without a margin)")
    wrt_numerics: TripletNumerics = setting("stable", "softmax weights of wrt: stable, or as in the published code, which loses the negatives when all are far away")
    mining: Mining = setting("any", "negatives of the triplet term: any identity, within the anchor's data set, or across, of other data sets; an anchor that has none in its batch is left out of the mean")
    margin: float = setting(0.3, "margin of batch_hard, in distance of embeddings")
    context_labels: ContextLabels = setting("correct", "labels that train domain and camera: correct, or shuffled (a control: drawn at random for each image of each step, so that nothing can be learnt of them)")
    id_head: IdHead = setting("softmax", "identity term: softmax over the identities of all data sets, masked (over those of the image's own data set), or per_domain (the same, with a mean for each data set, which count alike)")
    id_smoothing: float = setting(0.1, "label smoothing of the identity term")
    aux_smoothing: float = setting(0.0, "label smoothing of the domain and camera terms")
    w_triplet: float = setting(1.0, "weight of the triplet term (Eq. 3)")
    w_id: float = setting(1.0, "weight of the identity term (Eq. 4)")
    w_domain: float = setting(1.0, "weight of the domain term, the mean over blocks")
    w_camera: float = setting(1.0, "weight of the camera term, the mean over blocks")
    snr: bool = setting(True, "bot-snr: add the dual causality loss of its modules")
    w_snr: tuple[float, float, float, float] = setting((0.1, 0.1, 0.5, 0.5), "weights of the dual causality loss after each of the four stages")

    def __post_init__(self) -> None:
        conform_fields(self, "loss.")
        require_known_or_custom("loss.kind", "loss", self.kind, ("paper",))
        for name in ("id_smoothing", "aux_smoothing"):
            require(0 <= getattr(self, name) < 1, f"loss.{name}", getattr(self, name), "a share in [0, 1)")
        for name in ("margin", "w_triplet", "w_id", "w_domain", "w_camera"):
            require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        require(min(self.w_snr) >= 0, "loss.w_snr", self.w_snr, "weights of 0 or more")


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time."""

    kind: Literal["paper", "fastreid", "bot-repo"] = setting("paper", "paper: decay after the milestones as printed; fastreid: milestones count from the end of warm-up; bot-repo: lr changes between epochs only")
    epochs: int = setting(120, "epochs to train; epoch_length says how long one is")
    epoch_length: EpochLength = setting("images", "batches of an epoch: images, floor(train images / batch), as in fast-reid; pass, as many as one pass of the sampler has, as in the BoT and AGW repositories (4-7 % fewer on most data sets, 15-17 % on CUHK-SYSU and CUHK03). A custom sampler has its own length")
    milestones: tuple[int, ...] = setting((40, 90), "epochs after which lr is multiplied by gamma")
    gamma: float = setting(0.1, "factor at each milestone")
    warmup_epochs: int = setting(10, "epochs of linear warm-up; 0 for none")
    warmup_max_iters: int = setting(2000, "steps of warm-up at most")
    warmup_factor: float = setting(0.1, "share of lr that warm-up starts from")

    def __post_init__(self) -> None:
        conform_fields(self, "schedule.")
        require(self.epochs >= 1, "schedule.epochs", self.epochs, "1 or more")
        require(list(self.milestones) == sorted(set(self.milestones)) and all(m >= 1 for m in self.milestones), "schedule.milestones", self.milestones, "rising epochs >= 1")
        require(0 < self.gamma <= 1, "schedule.gamma", self.gamma, "a factor in (0, 1]")
        require(self.warmup_epochs >= 0 and self.warmup_max_iters >= 0, "schedule.warmup_*", (self.warmup_epochs, self.warmup_max_iters), "0 or more")
        require(0 < self.warmup_factor <= 1, "schedule.warmup_factor", self.warmup_factor, "a share in (0, 1]")


@dataclass(frozen=True)
class OptimConfig:
    """Adam, as in BoT."""

    lr: float = setting(3.5e-4, "learning rate after warm-up")
    weight_decay: float = setting(5e-4, "L2 penalty on every parameter, added to the gradient")
    bias_lr_factor: float = setting(1.0, "learning rate of biases, as a multiple of lr")
    clip_norm: float = setting(0.0, "largest gradient norm; 0 never clips")
    generator_lr: float = setting(1.0, "learning rate of what generates kernels (both branches, the gain, the layers by which a context enters the blocks, the domain and camera MLPs or the context network), as a multiple of lr; 0 chooses: 6 where the trunk starts from weights (model.pretrain or train.init), 1 from random ones")

    def __post_init__(self) -> None:
        conform_fields(self, "optim.")
        require(self.lr > 0 and math.isfinite(self.lr), "optim.lr", self.lr, "a positive number")
        for name in ("weight_decay", "bias_lr_factor", "clip_norm", "generator_lr"):
            require(getattr(self, name) >= 0, f"optim.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Training: where, how long and in which arithmetic."""

    out: str = setting("", "run directory; empty: runs/<label>-<hash8>", metavar="DIR", short="--out")
    label: str = setting("", "name of the run in tables; empty: the name of the recipe")
    seed: int = setting(0, "seed of weights, batches and augmentation")
    device: Device = setting("auto", "device; auto takes cuda, then mps, then cpu", short="--device")
    precision: Literal["auto", Precision] = setting("auto", "precision of the network (losses are in fp32); auto: bf16-mixed on GPUs that have it, else 32-true", short="--precision")
    compile: Compile = setting("auto", "torch.compile the network, which takes a minute or more before the first step; auto: on CUDA only")
    accumulate: int = setting(1, "batches whose gradients are averaged for one step")
    ema: float = setting(0.0, "decay per step of a moving average of the weights, which is what evaluation uses; 0 for none")
    eval_every: int = setting(10, "epochs between evaluations on every domain; 0 for the end only")
    save_every: int = setting(200, "steps between saves of the checkpoint `last`; it is also saved at the end, with 0 only there")
    log_every: int = setting(20, "steps between lines of metrics.jsonl")
    log_domains: bool = setting(True, "log the identity loss of each data set too, for the report of `conflict`")
    max_steps: int = setting(0, "stop at this step, with the schedule unchanged; 0 for no limit", short="--max-steps")
    minutes: float = setting(0.0, "stop after this many minutes and save; 0 for no limit", short="--minutes")
    resume: bool = setting(False, "resume the run in train.out, or the one that --resume RUN names", short="--resume")
    init: str = setting("", "run directory or .safetensors file with the weights to start from; heads start anew", metavar="RUN", short="--init")
    init_classes: bool = setting(False, "init names a run: identities, domains and cameras that it knows keep the rows of its classifiers; the other rows start anew")
    deterministic: bool = setting(False, "refuse operations whose results differ from run to run", short="--deterministic")
    workers: int = setting(2, "threads that decode images")
    devices: int = setting(1, "processes on each machine, each with its own GPU, or a share of the CPU cores; torchrun and SLURM set it themselves", short="--devices")
    nodes: int = setting(1, "machines; start several by torchrun or SLURM, or on each by hand with MASTER_ADDR, MASTER_PORT and NODE_RANK", short="--nodes")
    batch: Literal["global", "per_process"] = setting("global", "several processes: global, they share the P identities of a batch, or per_process, each has P identities and lr is multiplied by the number of processes")
    gather: bool = setting(False, "several processes: compute the loss, and so its triplets, on the outputs of all processes instead of on each part of the batch")
    sync_bn: bool = setting(False, "several GPUs: batch normalisation with the statistics of the whole batch instead of each part")

    def __post_init__(self) -> None:
        conform_fields(self, "train.")
        require(self.seed >= 0, "train.seed", self.seed, "0 or more")
        require(self.accumulate >= 1, "train.accumulate", self.accumulate, "1 or more batches")
        require(0 <= self.ema < 1, "train.ema", self.ema, "a decay in [0, 1)")
        for name in ("eval_every", "save_every", "max_steps", "minutes"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        for name in ("log_every", "workers", "devices", "nodes"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a model."""

    batch_size: int = setting(64, "images in a forward pass")
    metric: Metric = setting("cosine", "distance between embeddings")
    flip: bool = setting(False, "average the embeddings of an image and its mirror image; off in the paper")
    rerank: bool = setting(False, "re-rank by k-reciprocal neighbours (k1 20, k2 6, lambda 0.3); off in the paper")
    max_memory: int = setting(2**30, "bytes of memory for one block of distances")

    def __post_init__(self) -> None:
        conform_fields(self, "eval.")
        require(self.batch_size >= 1, "eval.batch_size", self.batch_size, "1 or more")
        require(self.max_memory >= 2**20, "eval.max_memory", self.max_memory, "at least 1 MiB")
