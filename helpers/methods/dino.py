r"""DINO: give every view the label that a slow teacher gives the large views.

The teacher is a slow copy of the student. A head turns features into $K$ scores $g$,
cosines with $K$ learned directions: classes without names. The teacher sees the two
large views, the student sees all of them and, from any other view, has to agree:

$$\mathcal{L} = -\sum_k P_t^{(k)} \log P_s^{(k)}, \qquad
P_t = \operatorname{softmax}\Bigl(\frac{g_t - c}{\tau_t}\Bigr), \quad
P_s = \operatorname{softmax}\Bigl(\frac{g_s}{\tau_s}\Bigr).$$

Subtracting the *centre* $c$, a running mean of the teacher's scores, keeps one class
from winning every image. *Sharpening*, a teacher temperature $\tau_t$ below $\tau_s$,
keeps all classes from being equally likely.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from lightly.loss import dino_loss
from lightly.models.modules import heads
from torch import Tensor, nn

from helpers.methods import base, ema, memory


@dataclasses.dataclass(frozen=True)
class DINOOptions(base.MultiCropOptions):
    """DINO's own options; ``output_dim`` is the number K of scores.

    Attributes:
        teacher_temperature: τ_t at the start and after 30 % of the run.
        target_momentum: m at the start of the run; it climbs to 1 along a cosine.
        frozen: share of the run, at its start, in which the directions do not move.
        result: which network's backbone is scored and saved. The authors take the
            teacher; after a short run, in which it lags behind, the student is better.
    """

    teacher_temperature: tuple[float, float] = (0.04, 0.04)
    target_momentum: float = 0.99
    frozen: float = 0.005
    result: Literal["teacher", "student"] = "teacher"
    hidden_dim: int = 2048
    output_dim: int = 2048


class DINO(base.Method):
    """Caron et al. 2021, arXiv:2104.14294: equations 1 to 4, algorithm 1."""

    Options = DINOOptions
    recipes = base.recipes(
        short={
            "small_size": 24,
            "target_momentum": 0.97,
            "teacher_temperature": (0.02, 0.02),
            "output_dim": 256,
            "result": "student",
        },
        # SGD, 0.06 for 128 images, 2048 scores and m from 0.99: lightly's CIFAR-10
        # benchmark. Its m stays; that of the authors climbs, as here.
        long={"learning_rate": 0.12, **base.ASYMMETRIC},
    )
    formula = (dino_loss.DINOLoss.forward, ema)

    def __init__(self, backbone: nn.Module, count: int, options: DINOOptions) -> None:
        """See ``base.Method``."""
        super().__init__(backbone, count, options)
        width, hidden = backbone.feature_dim, options.hidden_dim
        sides = [(width, hidden), (hidden, hidden)]
        blocks = [(*pair, nn.BatchNorm1d(hidden), nn.GELU()) for pair in sides]
        mlp = heads.ProjectionHead([*blocks, (hidden, 256, None, None)])
        mlp.apply(initialize)
        self.projection_head = nn.Sequential(mlp, Directions(256, options.output_dim))
        self.student = nn.Sequential(self.backbone, self.projection_head)
        self.teacher = ema.slow_copy(self.student)
        self.dino = dino_loss.DINOLoss(options.output_dim)
        self.before_step(1.0)

    def before_step(self, progress: float) -> None:
        """τ_t rises in a straight line for 30 % of the run; first, directions stay."""
        self.projection_head[-1].frozen = progress < self.options.frozen
        start, end = self.options.teacher_temperature
        self.temperature = start + (end - start) * min(1.0, progress / 0.3)

    def loss(self, views: tuple[Tensor, ...], index: Tensor, labels: Tensor) -> Tensor:
        """The student's cross-entropy with the teacher, over all pairs of views."""
        features = base.features(self.backbone, views)  # (V·B, D)
        student = self.projection_head(features).chunk(len(views))  # V times (B, K)
        with torch.no_grad():
            teacher = self.teacher(torch.cat(views[:2])).chunk(2)  # twice (B, K)
        self.embedding = student[0].detach()
        with memory.full_precision(student[0]):
            return self.dino(teacher, student, self.temperature)

    def by_hand(self, views: Any, index: Tensor, labels: Tensor) -> Tensor:
        """The same loss in a few lines; it does not move the centre."""
        features = base.features(self.backbone, views)  # (V·B, D)
        student = self.projection_head(features).chunk(len(views))  # V times (B, K)
        teacher = self.teacher(torch.cat(views[:2])).chunk(2)  # twice (B, K)
        total = torch.zeros(())
        for t in range(2):  # a large view: the teacher's target
            centred = teacher[t].detach() - self.dino.center[0]
            target = (centred / self.temperature).softmax(dim=1)
            for s in range(len(views)):  # every other view: the student's prediction
                if s != t:
                    log_p = (student[s] / self.dino.student_temp).log_softmax(dim=1)
                    total = total - (target * log_p).sum(dim=1).mean()
        return total / (2 * (len(views) - 1))

    def after_backward(self) -> None:
        """Frozen directions get no gradient."""
        self.projection_head[-1].after_backward()

    def after_step(self, progress: float) -> None:
        """The teacher follows the student."""
        momentum = ema.momentum(self.options.target_momentum, progress)
        ema.follow(self.teacher, self.student, momentum)

    @property
    def final_backbone(self) -> nn.Module:
        """The backbone of the teacher or of the student, by the option ``result``."""
        return self.teacher[0] if self.options.result == "teacher" else self.backbone


class Directions(memory.Prototypes):
    """The head's last layer; only the directions of its weights count."""

    def forward(self, features: Tensor) -> Tensor:
        """Cosines of features (B, d) with all directions: float32 (B, K)."""
        with memory.full_precision(features):
            return memory.unit(features) @ memory.unit(self.weight).T


def initialize(layer: nn.Module) -> None:
    """Draw the weights of a linear layer as the authors do."""
    if isinstance(layer, nn.Linear):
        nn.init.trunc_normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
