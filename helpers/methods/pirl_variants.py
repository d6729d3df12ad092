r"""PIRL with all that was published: pretexts, losses, heads, and recipes for them.

``pirl`` is the method as it is taught: jigsaw, InfoNCE and MLP heads. Here are the
image turned, the paper's and VISSL's losses and heads, and the values they used.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers import views
from helpers.methods import base, losses, memory, pirl
from helpers.views.randomness import StepRandom

CHOICES = {
    "pretext": ("jigsaw", "rotation", "both"),
    "loss": ("infonce", "nce", "vissl_nce"),
    "head": ("linear", "mlp", "vissl_mlp"),
}

# Heads, loss and colours that belong together, for images of any size.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "head": "linear",  # the paper, section 3, as are the next three
        "loss": "nce",
        "temperature": 0.07,
        "negatives": 32_000,
        "jitter": 1.0,  # the colours: VISSL, pirl_jigsaw_4node_resnet50.yaml
        "hue": 0.2,
        "photometric": 0.66,
    },
    # VISSL's best models.
    "mlp_blur": {
        "head": "vissl_mlp",  # models/resnet50_mlphead.yaml, as are the next three
        "loss": "infonce",
        "temperature": 0.1,
        "negatives": 32_000,
        "brightness": 0.8,  # transforms/photo_gblur.yaml, as are all below
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.2,
        "blur": 0.5,
        "patch_blur": 0.5,
    },
}

# How both were trained: ResNet-50, ImageNet, 32 GPUs. What is not as in VISSL:
# - the bank starts full of features, from one pass, not of random directions;
# - BatchNorm sees the images of all GPUs, not the 32 of one;
# - an image is never its own negative; in VISSL it is for 1 of 40 images a step;
# - the rate falls every step, not every epoch, and a blur comes before the colours.
IMAGENET = {
    "backbone": "resnet50",  # these five: the paper, section 3
    "epochs": 800,
    "batch_size": 1_024,
    "optimizer": "sgd",
    "weight_decay": 1e-4,
    "learning_rate": 0.03,  # 0.12 for 1,024 images: the paper, section 3
    "final_factor": 0.001,  # to 0.00012: the paper, section 3
    # VISSL, configs/config/pretrain/pirl/pirl_jigsaw_4node_resnet50.yaml:
    "warmup_epochs": 0.0,
    "hidden_dim": 2_048,  # of mlp_blur's heads: models/resnet50_mlphead.yaml
    "size": 224,
    "scale": (0.08, 1.0),
    "cell": 85,  # the patches of 64 px: the paper, section 3, too
    "patch": 64,
}

# The demo images share a few palettes, which say nothing about their classes. On
# drawings of two other seeds these colours gave 6 to 7 points more in k-NN accuracy
# than the weaker default.
COLOURS = {"brightness": 0.6, "contrast": 0.6, "saturation": 0.8, "hue": 0.5}

# long: the head with BatchNorm and the whole bank are ours, τ is that of mlp_blur.
RECIPES = base.recipes(
    short={"cell": 27, "patch": 20},
    minutes={"epochs": 9, "learning_rate": 12e-3, **COLOURS},
    hour={"epochs": 40},
    gpu_hour={**base.GPU_HOUR, "pretext": "rotation", "negatives": 4_096},
    paper={**IMAGENET, **PRESETS["paper"]},
    mlp_blur={**IMAGENET, **PRESETS["mlp_blur"]},
)


@dataclasses.dataclass(frozen=True)
class PIRLVariantOptions(pirl.PIRLOptions):
    """PIRL's options, and which of its published variants to use.

    Attributes:
        pretext: what is done to the image: ``jigsaw``, ``rotation`` or ``both``.
        loss: ``infonce``, ``nce`` (the paper's) or ``vissl_nce``.
        head: ``linear`` (the paper's), ``mlp`` or ``vissl_mlp``.
    """

    pretext: str = "jigsaw"
    loss: str = "infonce"
    head: str = "mlp"

    def __post_init__(self) -> None:
        """Check what can be checked before anything is built.

        Raises:
            ValueError: for an unknown variant, or sizes and numbers that cannot be.
        """
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Unknown {name} {getattr(self, name)!r} of pirl: choose one of "
                    f"{', '.join(known)}."
                )
        if self.negatives < 0:
            raise ValueError(f"negatives must be at least 0, not {self.negatives}.")
        super().__post_init__()

    @property
    def smallest_side(self) -> int:
        """Side in pixels of the smallest pictures the backbone sees."""
        return self.view.size if self.pretext == "rotation" else super().smallest_side


class PIRL(pirl.PIRL):
    """Misra & van der Maaten 2020, arXiv:1912.01991, with its published variants."""

    Options = PIRLVariantOptions
    recipes = RECIPES

    def __init__(
        self, backbone: nn.Module, count: int, options: PIRLVariantOptions
    ) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        if options.loss == "vissl_nce":
            self.criterion = ConstantNCE(count)

    def build_heads(self) -> None:
        """Build heads of their own for the image and for every pretext in use."""
        options = self.options
        if (options.pretext, options.head) == ("jigsaw", "mlp"):
            super().build_heads()
            return
        self.image_head = self.head()
        if options.pretext != "rotation":
            d = options.output_dim
            self.patch_head = self.head()
            if options.head == "vissl_mlp":  # one more ReLU before patches are joined
                self.patch_head.append(nn.ReLU(inplace=True))
            self.jigsaw_head = nn.Linear(options.grid**2 * d, d)
        if options.pretext != "jigsaw":
            self.rotation_head = self.head()

    def head(self) -> nn.Module:
        """A head from features (B, D) to (B, d), by the option ``head``.

        ``linear``     Linear, the paper's
        ``mlp``        Linear, BatchNorm, ReLU, Linear
        ``vissl_mlp``  Linear, ReLU, Linear: VISSL's ``mlphead``
        """
        width, hidden = self.backbone.feature_dim, self.options.hidden_dim
        d = self.options.output_dim
        if self.options.head == "linear":
            return nn.Linear(width, d)
        if self.options.head == "mlp":
            return base.mlp(width, hidden, d)
        first, last = nn.Linear(width, hidden), nn.Linear(hidden, d)
        return nn.Sequential(first, nn.ReLU(inplace=True), last)

    def views(self, images: Tensor, random: StepRandom) -> tuple[Any, ...]:
        """As in ``pirl``; v_It is the jigsaw, a view turned, or a pair of both."""
        options = self.options
        if options.pretext == "jigsaw":
            return super().views(images, random)
        image = views.random_view(images, options.view, random)  # (B, 3, S, S)
        if options.pretext == "both":
            view, cut = options.patch_view, options.cut
            jigsaw = views.jigsaw_patches(images, view, random, **cut)
            transformed = jigsaw, views.rotated_view(images, options.view, random)
        else:
            transformed = views.rotated_view(images, options.view, random)
        uniform = random.table(options.negatives) * (self.count - 1)  # (B, K)
        return image, transformed, uniform.long()

    def g(self, transformed: Tensor | tuple[Tensor, ...]) -> Any:
        """The feature g(v_It), (B, d), or a pair of them, by heads of their own."""
        if isinstance(transformed, tuple):
            return tuple(self.g(one) for one in transformed)
        if transformed.dim() == 4:  # a view turned, (B, 3, S, S)
            return self.rotation_head(self.backbone(transformed))
        return super().g(transformed)

    def compare(
        self, q: Tensor | tuple[Tensor, ...], index: Tensor, negatives: Tensor | None
    ) -> Tensor:
        """L(m_I, q) by the option ``loss``; of a pair of queries, the mean."""
        if isinstance(q, tuple):
            return sum(self.compare(one, index, negatives) for one in q) / len(q)
        if self.options.loss == "infonce":
            return super().compare(q, index, negatives)
        m, tau = self.bank.entries, self.options.temperature
        logits, own = losses.scores(q, m, index, tau, negatives)
        return (nce if self.options.loss == "nce" else self.criterion)(logits, own)

    @torch.no_grad()
    def distances(self, images: Tensor) -> Tensor:
        """‖f/|f| − g/|g|‖ of images and their transforms, the paper's figure 4.

        Args:
            images: uint8 (N, 3, H, W).

        Returns:
            float32 (N,), or (2·N,) with both pretexts, between 0 (the same) and 2
            (opposite).
        """
        self.eval()
        device = next(self.parameters()).device
        found = []
        for number, batch in enumerate(images.split(128)):
            random = StepRandom(0, number, len(batch), device)
            _, transformed, _ = self.views(batch.to(device), random)
            image = views.whole_view(batch.to(device), self.options.view.size)
            f, g = memory.unit(self.f(image)), self.g(transformed)  # (B, d)
            every_g = g if isinstance(g, tuple) else (g,)
            found += [(f - memory.unit(g)).norm(dim=1) for g in every_g]
        return torch.cat(found).cpu()


def nce(logits: Tensor, own: Tensor) -> Tensor:
    r"""Tell the own image from each of the others: the paper's loss (τ = 0.07).

        L(m_i, q) = −log h(m_i, q) − Σ_{j in D_N} log(1 − h(m_j, q))

    with the h of ``losses.info_nce``; arguments are what ``losses.scores`` returns.
    Negatives are compared with the second argument, q. The paper leaves open which sum
    the h of a negative is divided by; here it is the same as for m_i.
    Source: Misra & van der Maaten 2020, arXiv:1912.01991, equations 3 to 5.
    """
    log_h = functional.log_softmax(logits, dim=1)  # (B, candidates)
    # The largest h may round to 1: its 1 − h is the share of all others instead.
    first = logits.argmax(dim=1, keepdim=True)  # (B, 1)
    others = logits.scatter(1, first, -torch.inf)  # (B, candidates)
    rest, every = (each.logsumexp(dim=1, keepdim=True) for each in (others, logits))
    rejected = torch.log1p(-log_h.exp().clamp(max=0.5))  # (B, candidates)
    rejected = rejected.scatter(1, first, rest - every)
    column = own[:, None]  # (B, 1)
    loss = rejected.gather(1, column)[:, 0] - log_h.gather(1, column)[:, 0]  # (B,)
    return (loss - rejected.sum(dim=1)).mean()


class ConstantNCE(nn.Module):
    r"""The loss of VISSL's released models with linear heads (τ = 0.07).

    A logistic regression that tells the own image from K noise images of probability
    1 / N each, in place of a softmax:

        P_j = exp(s(q, m_j) / τ) / Z
        L = −log P_i / (P_i + K/N) − Σ_{j in D_N} log (K/N) / (P_j + K/N)

    Z is a constant: N times the mean of exp(s / τ) over the first queries, the g(v_It)
    of the first batch. Unlike in VISSL, no image is its own negative.
    Source: Wu et al. 2018, arXiv:1805.01978, section 3.2; VISSL's ``nce_loss.py``.

    Args:
        count: number of images N.
    """

    def __init__(self, count: int) -> None:
        """See the class; log Z is infinite until the first batch."""
        super().__init__()
        self.count = count
        self.register_buffer("log_z", torch.tensor(math.inf))

    def forward(self, logits: Tensor, own: Tensor) -> Tensor:
        """The loss of what ``losses.scores`` returns."""
        self.set_normaliser_once(logits.detach())
        noise = math.log((logits.shape[1] - 1) / self.count)  # log K/N
        u = logits - self.log_z - noise  # log of the odds P_j / (K/N)
        # −log σ(u_i) − Σ log σ(−u_j), where −log σ(−u) = softplus(u) = u − log σ(u).
        loss = functional.softplus(u).sum(dim=1) - u.gather(1, own[:, None])[:, 0]
        return loss.mean()

    def set_normaliser_once(self, logits: Tensor) -> None:
        """Set log Z from the first batch of all processes, (B, candidates).

        ``torch.where`` in place of ``if``, so that the CPU need not wait for the GPU.
        """
        each = memory.gather(logits.logsumexp(dim=1))  # (B,) of all processes
        mean = each.logsumexp(dim=0) - math.log(len(each) * logits.shape[1])
        guess = mean + math.log(self.count)
        self.log_z = torch.where(self.log_z.isinf(), guess, self.log_z)
