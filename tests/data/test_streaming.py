"""Images in files: a stream is as good as memory."""

import dataclasses
import multiprocessing
import os
import signal
import threading
import types
import warnings

import PIL.Image
import pytest
import small
import torch

from helpers import hardware
from helpers.data import decoding, streaming
from helpers.data.dataset import Split
from helpers.models import encoding, heads
from helpers.training import checkpoints, pretraining, sessions, settings, supervised

CPU = torch.device("cpu")
# The machine that tests may have fewer cores than a test has workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture
def stored(dataset, tmp_path):
    """The small data set twice: in memory, and as PNG files."""
    paths = []
    for number, image in enumerate(dataset.pretraining.images):
        paths.append(tmp_path / "images" / f"{number:02}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    return dataset.pretraining.images, streaming.Files(paths, 32, workers=0)


@pytest.mark.parametrize(
    "index",
    [
        3,
        slice(2, 9, 3),
        slice(-3, None),
        torch.tensor([5, 0, 5]),
        torch.tensor([[1, 2], [3, 4]]),
        torch.arange(48) % 7 == 0,
        torch.tensor([], dtype=torch.int64),
    ],
)
def test_files_are_indexed_as_a_tensor_is(index, stored):
    images, files = stored
    assert files.shape == images.shape
    assert len(files) == len(images)
    assert torch.equal(files[index], images[index])


def test_selecting_files_reads_nothing(stored, monkeypatch):
    images, files = stored
    monkeypatch.setattr(decoding, "decode", None)
    order = torch.randperm(48)
    chosen = files.select(order).select(slice(4, 30))
    assert len(chosen) == 26
    monkeypatch.undo()
    assert torch.equal(chosen[:], images[order[4:30]])


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize(("free", "moves"), [(2_000, True), (1_999, False)])
def test_images_go_to_a_gpu_when_they_fill_at_most_half_of_it(
    free, moves, kind, stored, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10_000))
    monkeypatch.setattr(hardware, "free_memory", lambda: free)
    images = types.SimpleNamespace(nbytes=1_000, to=lambda device: device)
    gpu = torch.device(kind)
    assert streaming.fit_on_device(images, gpu) is (gpu if moves else images)
    assert streaming.fit_on_device(stored[1], gpu) is stored[1]
    assert streaming.fit_on_device(stored[0], CPU) is stored[0]


@pytest.fixture(params=["fork", "spawn"])
def start(request, monkeypatch):
    """How this system starts a process: as a copy, or from nothing."""
    monkeypatch.setattr(
        multiprocessing, "get_start_method", lambda allow_none: request.param
    )


def pool_threads():
    """Names of the threads that decode; a DataLoader's own may end a little later."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("ThreadPool")]


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_batches_of_memory(workers, stored):
    images, files = stored
    files.workers = workers
    indexes = torch.randperm(48).split(7)
    state = torch.random.get_rng_state()
    streamed = list(streaming.batches(files, indexes, CPU))
    resident = list(streaming.batches(images, indexes, CPU))
    # Dropout must not see whether images were streamed.
    assert torch.equal(torch.random.get_rng_state(), state)
    assert len(streamed) == len(resident) == 7
    for some, same, index in zip(streamed, resident, indexes, strict=True):
        assert torch.equal(some[0], images[index])
        assert torch.equal(same[0], images[index])
        assert torch.equal(some[1], index)
        assert torch.equal(same[1], index)


def shuffled(images, rank, processes):
    """One epoch's batches of one of several processes."""
    chosen = settings.configure("byol", **small.SETTINGS)
    fabric = types.SimpleNamespace(device=CPU, global_rank=rank, world_size=processes)
    session = sessions.Session(chosen, fabric, None, None, images, None)
    return list(session.shuffled(epoch=1))


def test_several_processes_read_their_slices_of_the_same_batches(stored):
    images, files = stored
    whole = shuffled(images, 0, 1)
    assert len(whole) == 3
    parts = [shuffled(files, rank, 2) for rank in (0, 1)]
    for (pixels, index), *slices in zip(whole, *parts, strict=True):
        assert [len(part[1]) for part in slices] == [8, 8]
        assert torch.equal(torch.cat([part[0] for part in slices]), pixels)
        assert torch.equal(torch.cat([part[1] for part in slices]), index)


def weights(run):
    return checkpoints.Store(run.folder).load_state()["method"]


def test_a_streamed_run_ends_with_the_weights_of_a_resident_one(
    stored, dataset, tmp_path, small_backbone
):
    _, files = stored
    files.workers = 2
    labels = dataset.pretraining.labels
    streamed = dataclasses.replace(dataset, pretraining=Split(files, labels))
    chosen = settings.configure("pirl", **small.SETTINGS | {"epochs": 2})
    whole = pretraining.pretrain(chosen, dataset, folder=tmp_path / "whole")
    pretraining.pretrain(chosen, streamed, folder=tmp_path / "parts", stop_after=1)
    files.workers = 0
    parts = pretraining.pretrain(chosen, streamed, folder=tmp_path / "parts")
    assert [e["knn"] for e in parts.history] == [e["knn"] for e in whole.history]
    expected, made = weights(whole), weights(parts)
    assert "bank.entries" in expected
    for name, value in expected.items():
        assert torch.equal(made[name], value), name


def test_evaluation_reads_a_stream(stored, dataset):
    images, files = stored
    backbone = small.backbone()
    encoded = [
        encoding.outputs(backbone, some, image_size=20, batch_size=20)
        for some in (images, files)
    ]
    assert torch.equal(*encoded)
    outputs = []
    for some in (dataset.train.images, files.select(slice(24))):
        torch.manual_seed(0)
        classifier = heads.Classifier(small.backbone(), 3)
        chosen = supervised.FineTuningSettings(epochs=1, batch_size=8)
        train = Split(some, dataset.train.labels)
        history = supervised.train_on_images(classifier, train, chosen)
        outputs.append(encoding.outputs(classifier, some, image_size=20))
        assert "validation" in history[-1]
    assert torch.equal(*outputs)


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("workers", [0, 2])
def test_the_next_image_stands_in_for_a_broken_one(workers, stored, tmp_path):
    images, files = stored
    files.workers = workers
    for number in (3, 4, 47):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(b"nothing")
    expected = images.clone()
    expected[3] = expected[4] = images[5]
    expected[47] = images[0]
    indexes = torch.randperm(48).split(16)
    with pytest.warns(UserWarning, match=r"\.png' cannot be read \(Pillow kn") as said:
        made = list(streaming.batches(files, indexes, CPU))
    assert sum("stands in" in str(one.message) for one in said) == 1
    for (pixels, _), index in zip(made, indexes, strict=True):
        assert torch.equal(pixels, expected[index])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said
        assert torch.equal(files[:], expected)


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_broken_images_is_one_sentence(workers, stored):
    _, files = stored
    files.workers = workers
    for path in files.paths:
        open(path, "wb").close()
    with pytest.raises(ValueError, match=r"Neither '.*\.png' nor the im") as raised:
        list(streaming.batches(files, [torch.arange(4)], CPU))
    assert "\n" not in str(raised.value)


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_stands_in_for_an_image_with_a_label(workers, stored, tmp_path):
    files = stored[1]
    marked = streaming.Files(list(map(os.fsdecode, files.paths)), 32, workers, 24)
    for number in (3, 30):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(b"nothing")
    order = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    chosen = marked.select(order)
    with pytest.warns(UserWarning, match=r"30\.png' cannot be read \(Pillow"):
        shown = chosen[order.argsort()[24:]]
    assert len(shown) == 24
    with pytest.raises(ValueError, match=r"03\.png' could be read before and canno"):
        list(streaming.batches(chosen, order.argsort()[:24].split(8), CPU))


def test_workers_finish_their_batch_when_all_processes_are_asked_to_stop(stored):
    images, files = stored
    files.workers = 1
    batches = streaming.batches(files, [torch.arange(4)] * 30, CPU)
    next(batches)
    for worker in multiprocessing.active_children():
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(worker.pid, name)
    for pixels, _ in batches:
        assert torch.equal(pixels, images[:4])


def test_threads_take_the_place_of_processes_that_are_no_copies(stored, monkeypatch):
    images, files = stored
    files.workers = 2
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: None)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    monkeypatch.setattr(streaming, "DataLoader", None)
    batches = streaming.batches(files, torch.arange(48).split(4), CPU)
    assert torch.equal(next(batches)[0], images[:4])
    assert pool_threads()
    batches.close()  # as an error in the step does
    assert not pool_threads()


@pytest.mark.usefixtures("start")
def test_an_error_leaves_no_worker_behind_while_it_is_kept(stored):
    """A worker that nobody has told to end would keep the program from ending."""
    _, files = stored
    files.workers = 2
    open(os.fsdecode(files.paths[0]), "wb").close()
    files.is_labelled[:] = True
    with pytest.raises(ValueError, match="could be read before") as kept:
        list(streaming.batches(files, torch.arange(48).split(4), CPU))
    assert kept.traceback
    assert not multiprocessing.active_children()
    assert not pool_threads()


def test_no_batches_are_no_error(stored):
    assert list(streaming.batches(stored[1], [], CPU)) == []


def test_what_stands_in_does_not_depend_on_the_selection(stored, tmp_path):
    images, files = stored
    for number in (3, 47):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(b"nothing")
    order = torch.tensor([47, 3, 20, 9])
    with pytest.warns(UserWarning, match="stands in"):
        shown = files.select(order).select(slice(0, 3))[:]
    assert torch.equal(shown, images[[0, 4, 20]])
