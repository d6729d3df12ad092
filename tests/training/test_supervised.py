"""The supervised loop learns, repeats, and keeps its validation images apart."""

import dataclasses

import lightning_fabric
import pytest
import small
import torch
from test_sessions import half_precision

from helpers import hardware, views
from helpers.data.dataset import Split, stratified_split
from helpers.evaluation import probes
from helpers.models import encoding, heads
from helpers.training import checkpoints, engine, optimizers, supervised, watch
from helpers.views.randomness import StepRandom
from helpers.views.settings import ViewSettings

SETTINGS = supervised.FineTuningSettings(
    epochs=12,
    batch_size=8,
    learning_rate=2e-2,
    warmup_epochs=1,
    validation=0.25,
    # Colours are what the classes differ in.
    view=ViewSettings(size=20, scale=(0.5, 1.0), jitter=0, grayscale=0),
)


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """Compute in float32 whatever the CPU could do faster."""
    monkeypatch.setattr(hardware, "precision", lambda: "32-true")


def classifier(seed=0):
    torch.manual_seed(seed)
    return heads.Classifier(small.backbone(), classes=3)


def weights(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def test_it_learns_what_is_easy(dataset):
    network = classifier()
    history = supervised.train_on_images(network, dataset.train, SETTINGS)
    outputs = encoding.outputs(network, dataset.test.images, image_size=20)
    assert outputs.shape == (18, 3)
    assert probes.score(outputs, dataset.test.labels).top1 > 90
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert [entry["epoch"] for entry in history] == list(range(1, 13))
    validated = [e["epoch"] for e in history if "validation" in e]
    assert validated == [5, 10, 12]
    assert history[-1]["validation"] > 80
    assert all(entry["seconds"] > 0 for entry in history)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(dataset):
    found = []
    for seed in (3, 3, 4):
        network = classifier()
        settings = dataclasses.replace(SETTINGS, epochs=2, seed=seed)
        torch.rand(seed)  # what was drawn before does not matter
        supervised.train_on_images(network, dataset.train, settings)
        found.append(weights(network)["head.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_training_that_is_all_warm_up_says_so(dataset, capsys):
    for warmup in (0.5, 1):
        chosen = dataclasses.replace(SETTINGS, epochs=1, warmup_epochs=warmup)
        supervised.train_on_images(classifier(), dataset.train, chosen)
        said = "rate only rises in this training, whose warm-up takes 1 epoch(s)"
        assert (said in capsys.readouterr().out) == (warmup == 1)


def test_of_two_labels_a_class_none_is_spared_for_validation(dataset):
    few = dataset.train[: 2 * 3]
    settings = dataclasses.replace(SETTINGS, epochs=1, batch_size=6, validation=0.1)
    seen = []
    network = classifier()
    network.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    history = supervised.train_on_images(network, few, settings)
    assert seen == [6]
    assert "validation" not in history[-1]


def test_validation_images_are_not_trained_on(dataset):
    """Their labels could be anything: the weights are the same."""
    train = dataset.train
    _, held = stratified_split(train.labels, 0.25, SETTINGS.seed)
    black = train.images.clone()
    black[held] = 0
    settings = dataclasses.replace(SETTINGS, epochs=3)
    found = []
    for images in (train.images, black):
        network = classifier()
        history = supervised.train_on_images(
            network, Split(images, train.labels), settings
        )
        found.append((weights(network), history[-1]["validation"]))
    for name, value in found[0][0].items():
        assert torch.equal(value, found[1][0][name]), name
    # Equal images cannot be told apart, so one class in three is right.
    assert found[1][1] == pytest.approx(100 / 3, abs=0.1)


def test_without_validation_every_image_is_trained_on(dataset):
    settings = dataclasses.replace(SETTINGS, epochs=1, validation=0, batch_size=24)
    seen = []

    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 3)

        def forward(self, features):
            seen.extend(features[:, 0].int().tolist())
            return self.layer(features)

    numbers = torch.arange(24.0)[:, None]
    history = supervised.train_on_features(
        Watching(), numbers, dataset.train.labels, settings
    )
    assert sorted(seen) == list(range(24))
    assert "validation" not in history[-1]


def test_a_training_that_diverges_is_stopped_and_not_kept(tmp_path):
    settings = dataclasses.replace(SETTINGS, epochs=5, batch_size=8, optimizer="sgd")
    settings = dataclasses.replace(settings, learning_rate=1e6, momentum=0.99)
    store, features = checkpoints.Store(tmp_path), torch.randn(24, 4)
    with pytest.raises(
        FloatingPointError, match=r"training diverged in epoch \d: a weight"
    ):
        supervised.train_on_features(
            heads.MLP(4, 3), features, torch.arange(24) % 3, settings, store=store
        )
    state = store.load_state()  # of the epoch before, if any
    assert state is None or engine.are_finite(state["network"].values())


def test_every_image_is_learned_from_over_the_epochs_in_its_own_order():
    """Nine images in batches of four: the one left over changes."""
    settings = dataclasses.replace(SETTINGS, epochs=12, validation=0, batch_size=4)
    seen = []

    class Watching(torch.nn.Linear):
        def forward(self, features):
            seen.append(features[:, 0].int().tolist())
            return super().forward(features)

    for seed in (1, 2):
        settings = dataclasses.replace(settings, seed=seed)
        supervised.train_on_features(
            Watching(1, 3), torch.arange(9.0)[:, None], torch.arange(9) % 3, settings
        )
    assert len(seen) == 48
    assert seen[:24] != seen[24:]
    epochs = [sorted(a + b) for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert set().union(*epochs) == set(range(9))


@pytest.fixture
def built(monkeypatch):
    """The optimizers that are built, to be looked into."""
    found = []
    build = optimizers.build

    def watch(*args, **kwargs):
        found.append(build(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(optimizers, "build", watch)
    return found


def test_fine_tuning_moves_the_head_ten_times_as_fast(dataset, built):
    network = classifier()
    settings = dataclasses.replace(
        SETTINGS, epochs=1, backbone_scale=0.1, optimizer="sgd", warmup_epochs=0
    )
    supervised.train_on_images(network, dataset.train, settings)
    rates = {id(p): g["lr"] for g in built[0].param_groups for p in g["params"]}
    head = {rates[id(p)] for p in network.head.parameters()}
    backbone = {rates[id(p)] for p in network.backbone.parameters()}
    assert len(head) == len(backbone) == 1
    assert head.pop() == pytest.approx(10 * backbone.pop())
    assert len(rates) == len(list(network.parameters()))


@pytest.fixture
def rates(monkeypatch):
    """AdamW's learning rate at every step that is taken."""
    seen = []
    step = torch.optim.AdamW.step

    def watch(optimizer, *args, **kwargs):
        seen.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", watch)
    return seen


def test_the_rate_follows_the_schedule_to_the_end(dataset, built, rates):
    settings = dataclasses.replace(SETTINGS, epochs=4, warmup_epochs=1)
    supervised.train_on_images(classifier(), dataset.train, settings)
    total = len(rates)
    assert total == 4 * 2  # 18 images in batches of 8
    expected = [
        2e-2 * optimizers.schedule(n, total=total, warmup=2) for n in range(total)
    ]
    assert rates == pytest.approx(expected)


def test_a_plateau_of_the_training_loss_lowers_the_rate(dataset, rates):
    settings = dataclasses.replace(
        SETTINGS, epochs=5, warmup_epochs=0, schedule="plateau", patience=0
    )
    settings = dataclasses.replace(settings, learning_rate=1.0)  # too high to fall
    history = supervised.train_on_images(classifier(), dataset.train, settings)
    losses = [entry["loss"] for entry in history]
    expected = [optimizers.plateau(losses[:epoch], 0) for epoch in range(5)]
    assert rates[::2] == rates[1::2] == pytest.approx(expected)
    assert expected[-1] < 1


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 2"):
        supervised.FineTuningSettings(batch_size=1)
    assert supervised.HeadSettings(batch_size=1).batch_size == 1


def test_a_single_image_to_train_on_is_one_sentence(dataset):
    with pytest.raises(ValueError, match=r"1 image\(s\) cannot be trained on"):
        supervised.train_on_images(classifier(), dataset.train[:1], SETTINGS)


@pytest.mark.parametrize("name", ["validation", "label_smoothing"])
def test_a_share_of_all_or_more_is_refused(name):
    with pytest.raises(ValueError, match=rf"{name} is in \[0, 1\), not 1.0"):
        supervised.HeadSettings(**{name: 1.0})


def test_a_batch_that_processes_cannot_share_is_refused(dataset, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="A batch of 8 cannot be shared equally by 3"):
        supervised.train_on_images(classifier(), dataset.train, SETTINGS)


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_a_loss_scaler_that_starts_too_high_costs_steps_only(
    dataset, monkeypatch, clip
):
    monkeypatch.setattr(lightning_fabric, "Fabric", half_precision)
    settings = dataclasses.replace(SETTINGS, gradient_clip=clip)
    network = classifier()
    history = supervised.train_on_images(network, dataset.train, settings)
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert all(weight.isfinite().all() for weight in network.parameters())


def test_a_trained_network_is_ready_to_be_used(dataset):
    network = classifier()
    settings = dataclasses.replace(SETTINGS, epochs=1, validation=0)
    supervised.train_on_images(network, dataset.train, settings)
    assert not any(module.training for module in network.modules())
    assert type(network) is heads.Classifier


def test_gradients_are_clipped(dataset, built):
    for limit in (0.0, 1e-3):
        settings = dataclasses.replace(
            SETTINGS, epochs=1, optimizer="sgd", gradient_clip=limit
        )
        supervised.train_on_images(classifier(), dataset.train, settings)
    norms = [
        torch.cat(
            [p.grad.flatten() for g in o.param_groups for p in g["params"]]
        ).norm()
        for o in built
    ]
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(1e-3, rel=1e-3)


def test_a_frozen_backbone_is_not_touched_by_a_head_on_its_features(dataset):
    backbone = classifier().backbone
    before = weights(backbone)
    features = encoding.encode(backbone, dataset.train.images, image_size=20)
    head = heads.MLP(16, 3)
    start = weights(head)
    supervised.train_on_features(head, features, dataset.train.labels, SETTINGS)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in head.state_dict().items():
        assert not torch.equal(value, start[name]), name


def test_a_batch_larger_than_the_data_is_made_to_fit():
    settings = dataclasses.replace(SETTINGS, epochs=2, batch_size=1_000, validation=0)
    history = supervised.train_on_features(
        torch.nn.Linear(4, 3), torch.randn(6, 4), torch.arange(6) % 3, settings
    )
    assert len(history) == 2
    assert history[-1]["loss"] > 0


def test_label_smoothing_reaches_the_loss():
    losses = []
    for smoothing in (0.0, 0.5):
        settings = dataclasses.replace(
            SETTINGS, epochs=1, batch_size=6, validation=0, label_smoothing=smoothing
        )
        head = torch.nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            head.weight.copy_(10 * torch.eye(3))
        labels = torch.arange(6) % 3
        features = torch.eye(3)[labels]
        history = supervised.train_on_features(head, features, labels, settings)
        losses.append(history[0]["loss"])
    assert losses[0] < 0.01
    assert losses[1] == pytest.approx(0.5 * 20 / 3, rel=0.01)


@pytest.mark.parametrize("kind", ["plain", "drops", "scaled"])
def test_a_training_that_goes_on_ends_with_the_same_weights(
    kind, tmp_path, monkeypatch
):
    """Also where layers draw from the global generator, or a loss scaler adapts."""
    monkeypatch.setattr(watch, "SAVING_PAYS", 0)
    if kind == "scaled":
        monkeypatch.setattr(lightning_fabric, "Fabric", half_precision)
    settings = dataclasses.replace(SETTINGS, epochs=5, optimizer="sgd", batch_size=2)
    features = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    store = checkpoints.Store(tmp_path)

    def train(epochs, store=None):
        torch.manual_seed(1)
        dropout = [torch.nn.Dropout(0.5)] if kind == "drops" else []
        head = torch.nn.Sequential(*dropout, torch.nn.Linear(4, 3))
        chosen = dataclasses.replace(settings, schedule="constant", epochs=epochs)
        labels = torch.arange(24) % 3
        history = supervised.train_on_features(
            head, features, labels, chosen, store=store
        )
        return head[-1].weight, [entry["loss"] for entry in history]

    train(4, store)  # its last state is that after the third epoch
    assert len(store.load_state()["history"]) == 3
    weight, losses = train(5, store)
    expected, all_losses = train(5)
    assert torch.equal(weight, expected)
    assert losses == all_losses


def test_every_step_has_random_views_of_its_own_and_validation_whole_ones(
    dataset, monkeypatch
):
    drawn, sides = [], []
    random_view, whole_view = views.random_view, views.whole_view

    def watch(images, view, random):
        drawn.append((view, random.generator.initial_seed()))
        return random_view(images, view, random)

    def watch_side(images, size):
        sides.append(size)
        return whole_view(images, size)

    monkeypatch.setattr(views, "random_view", watch)
    monkeypatch.setattr(views, "whole_view", watch_side)
    settings = dataclasses.replace(SETTINGS, epochs=2, seed=7)
    supervised.train_on_images(classifier(), dataset.train, settings)
    seeds = [StepRandom(7, step, 8).generator.initial_seed() for step in range(4)]
    assert drawn == [(settings.view, seed) for seed in seeds]
    assert set(sides) == {20}
