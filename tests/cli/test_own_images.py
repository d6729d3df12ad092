"""Images of one's own on the command line."""

import numpy as np
import PIL.Image
import pytest

SHORT = "--epochs 1 --batch-size 4 --precision 32-true"


@pytest.fixture
def pets(tmp_path):
    """Two class folders with five photographs each, 120 px wide."""
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for number in range(5):
            file = tmp_path / "pets" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 256, (80, 120, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(file)
    return tmp_path / "pets"


@pytest.mark.usefixtures("small_backbone")
@pytest.mark.filterwarnings("error:.*only enlarges it")
def test_own_images_are_kept_as_large_as_they_are_shown(pets, run):
    evaluate = "evaluate --weights random --protocols k-nn"
    for command in (f"pretrain simclr {SHORT}", "baseline --epochs 1", evaluate):
        for size, kept in ((32, ""), (120, " at 160 px")):
            line = f"{command} --data folder:{pets} --size {size}"
            status, printed, error = run(line)
            assert status == 0, error
            assert f"folder:pets{kept}: 2 classes, " in printed
            assert "; of long images the middle is kept" in printed


@pytest.mark.usefixtures("small_backbone")
def test_a_side_that_was_asked_for_is_kept_and_said(pets, run):
    line = f"pretrain simclr {SHORT} --data folder:{pets} --size 48 --folder-fit pad"
    with pytest.warns(UserWarning, match="kept at 32 px but shown at 48 px"):
        status, printed, _ = run(f"{line} --folder-image-size 32")
    assert status == 0
    assert "long images are padded with black" in printed
