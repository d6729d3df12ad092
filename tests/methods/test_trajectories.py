"""Ten steps of every method are those of a slow version written out in loops."""

import naive
import pytest
import tiny
import torch

from helpers import methods
from helpers.training import optimizers

STEPS, RATE, DECAY = 10, 0.05, 1e-2
# Small enough for loops, and everything that happens in a run happens in ten steps.
FEW = {"small_views": 1, "small_size": 18}
CASES = {
    "pirl": {"grid": 2, "weight": 0.3, "bank_momentum": 0.7},
    "pirl nce": {"grid": 2, "loss": "nce", "negatives": 5, "temperature": 0.3},
    "byol": {"predictor_scale": 2.0, "target_momentum": 0.8, "asymmetric": True},
    "simclr": {"temperature": 0.3},
    "simsiam": {},
    "supcon": {"temperature": 0.3},
    "swav": {
        **FEW,
        "prototypes": 5,
        "queue_size": 9,
        "queue_start": 0.5,
        "frozen": 0.25,
        "epsilon": 0.1,
    },
    "moco": {"queue_size": 15, "target_momentum": 0.8, "bn_splits": 2},
    "barlow_twins": {"redundancy": 0.02},
    "vicreg": {"invariance": 3.0, "variance": 5.0, "covariance": 0.5},
    "dino": {
        **FEW,
        "teacher_temperature": (0.05, 0.08),
        "frozen": 0.25,
        "target_momentum": 0.8,
    },
}
# Where losses are large, float32 and float64 part sooner.
RATES = {"simsiam": 0.01, "vicreg": 0.005, "barlow_twins": 0.001}


def test_every_method_is_here():
    assert {name.split()[0] for name in CASES} == set(naive.NAIVE)
    assert set(naive.NAIVE) == set(methods.METHODS)


def as_double(views):
    """Views in float64; drawn numbers stay whole."""
    return [v.double() if v.is_floating_point() else v for v in views]


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_leave_the_same_weights_and_buffers(case, dataset):
    name = case.split()[0]
    method = tiny.create(name, count=12, output_dim=8, **CASES[case])
    rate = RATES.get(name, RATE)
    slow = naive.NAIVE[name](method, rate, DECAY)
    optimizer = optimizers.build(
        method.groups(), "sgd", learning_rate=rate, weight_decay=DECAY
    )
    start = {k: v.clone() for k, v in method.state_dict().items()}
    pictures = dataset.pretraining.images[:12]
    labels = torch.tensor([0, 1, 0, -1, 2, 1, -1, 0, 1, 2, -1, 0])
    for step in range(STEPS):
        factor, index = 1 - step / 20, (torch.arange(6) * 5 + step) % 12
        progress = step / STEPS, (step + 1) / STEPS
        method.before_step(progress[0])
        views = tiny.views(method, pictures[index], step)
        loss = method(views, index, labels[index])
        optimizers.set_learning_rate(optimizer, rate, factor)
        optimizer.zero_grad()
        loss.backward()
        method.after_backward()
        optimizer.step()
        method.after_step(progress[1])
        expected = slow.step(as_double(views), index, labels[index], *progress, factor)
        assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    final = slow.it.state_dict()
    for key, value in method.state_dict().items():
        if not value.is_floating_point():
            continue
        moved = (value - start[key]).abs().max()
        wrong = (value.double() - final[key]).abs().max()
        assert wrong < 1e-3 * moved + 1e-6, (key, wrong, moved)
    backbone = method.state_dict()["backbone.0.weight"]
    assert (backbone - start["backbone.0.weight"]).abs().max() > 1e-4
