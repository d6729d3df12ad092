"""The questions, Drive, files and sources of a notebook, without a kernel."""

import builtins
import pathlib
import sys
import types

import IPython.display
import pytest

from helpers import notebook

IMAGES = {"demo": "drawn", "stl10": "2.6 GB", "folder:": "a path of yours"}


@pytest.fixture
def keyboard(monkeypatch):
    """Answer `input()` from a list; beyond its end there is no keyboard."""

    def install(*answers):
        left, prompts = list(answers), []

        def typed(prompt=""):
            prompts.append(prompt)
            if not left:
                raise EOFError
            return left.pop(0)

        monkeypatch.setattr(builtins, "input", typed)
        return prompts

    return install


@pytest.fixture
def colab(monkeypatch):
    """Stand in for `google.colab` with the given modules."""

    def install(**modules):
        package = types.ModuleType("google.colab")
        for name, functions in modules.items():
            setattr(package, name, types.SimpleNamespace(**functions))
        monkeypatch.setitem(sys.modules, "google", types.ModuleType("google"))
        monkeypatch.setitem(sys.modules, "google.colab", package)

    return install


def ask_images(check=str):
    return notebook.ask("Which images?", IMAGES, "demo", "SSL_DATA", check)


def test_environment_answers_before_the_keyboard(monkeypatch, keyboard, capsys):
    prompts = keyboard("demo")
    monkeypatch.setenv("SSL_DATA", "STL10")
    assert ask_images() == "stl10"
    assert prompts == []
    assert capsys.readouterr().out.endswith("Which images? -> stl10\n")


def test_an_empty_environment_variable_is_no_answer(monkeypatch, keyboard):
    keyboard("stl10")
    monkeypatch.setenv("SSL_DATA", "")
    assert ask_images() == "stl10"


def test_a_wrong_environment_variable_is_one_sentence(monkeypatch):
    monkeypatch.setenv("SSL_DATA", "stl11")
    with pytest.raises(ValueError, match=r"SSL_DATA is wrong: 'stl11'.*stl10") as error:
        ask_images()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("", "demo"),
        ("  ", "demo"),
        ("2", "stl10"),
        ("Stl10 ", "stl10"),
        ("folder:/My Pictures", "folder:/My Pictures"),
        ("FOLDER: a:b", "folder:a:b"),
    ],
)
def test_what_may_be_typed(keyboard, typed, answer):
    keyboard(typed)
    assert ask_images() == answer


@pytest.mark.parametrize(
    "wrong", ["no", "0", "4", "3", "folder:", "folder: ", "demo:x"]
)
def test_a_wrong_answer_is_asked_again_with_the_options(keyboard, capsys, wrong):
    prompts = keyboard(wrong, "stl10")
    assert ask_images() == "stl10"
    assert len(prompts) == 2
    printed = capsys.readouterr().out
    assert printed.count("  2. stl10  2.6 GB\n") == 2
    assert repr(wrong.strip()) in printed


@pytest.mark.parametrize(
    "error", [EOFError, OSError, notebook.StdinNotImplementedError]
)
def test_without_a_keyboard_the_default_is_taken(monkeypatch, capsys, error):
    def typed(prompt=""):
        raise error

    monkeypatch.setattr(builtins, "input", typed)
    assert ask_images() == "demo"
    assert capsys.readouterr().out.splitlines()[-1] == "Which images? -> demo"


def test_the_check_makes_the_answer_or_refuses_it(keyboard, capsys):
    def check(answer):
        if answer == "stl10":
            raise ValueError("Not today.")
        return len(answer)

    keyboard("stl10", "demo")
    assert ask_images(check) == 4
    assert "Not today." in capsys.readouterr().out


def test_free_text_is_kept_as_typed(keyboard):
    keyboard("My Name")
    assert notebook.ask("Name?", None, "none", "SSL_NAME") == "My Name"


def test_a_wrong_default_does_not_ask_for_ever(keyboard):
    keyboard("")
    with pytest.raises(ValueError, match="default of 'Which images"):
        notebook.ask("Which images?", IMAGES, "nothing", "SSL_DATA")


def test_numbers_are_checked(keyboard, capsys):
    keyboard("many", "1.5", "0", "11", "-3", "10")
    assert notebook.ask_number("Epochs?", 5, "SSL_EPOCHS", maximum=10) == 10
    assert capsys.readouterr().out.count("whole number (1 or more, 10 at most)") == 5
    keyboard("")
    assert notebook.ask_number("Epochs?", 5, "SSL_EPOCHS") == 5
    keyboard("-3")
    assert notebook.ask_number("Shift?", 5, "SSL_SHIFT", minimum=-4) == -3


def test_choose_returns_the_value_of_a_line(monkeypatch, keyboard, capsys):
    choices = [
        notebook.Choice(
            "here: BYOL, demo, 5 epochs", pathlib.Path("byol"), "here:byol"
        ),
        notebook.Choice("random weights", None, "random"),
    ]
    keyboard("1")
    assert notebook.choose("Which?", choices, 1, "SSL_FROM") == pathlib.Path("byol")
    keyboard("")
    assert notebook.choose("Which?", choices, 1, "SSL_FROM") is None
    assert capsys.readouterr().out.endswith("Which? -> random weights\n")
    for preset in ("here:byol", "1"):
        monkeypatch.setenv("SSL_FROM", preset)
        assert notebook.choose("Which?", choices, 1, "SSL_FROM") == pathlib.Path("byol")


def test_storage_elsewhere_than_colab(monkeypatch, capsys):
    monkeypatch.delenv("SSL_CHECKPOINTS", raising=False)
    assert notebook.storage("here") == pathlib.Path("checkpoints")
    assert capsys.readouterr().out == ""
    assert notebook.storage("drive") == pathlib.Path("checkpoints")
    assert "only on Colab" in capsys.readouterr().out
    monkeypatch.setenv("SSL_CHECKPOINTS", "runs/latest/checkpoints")
    assert notebook.storage("here") == pathlib.Path("runs/latest/checkpoints")
    with pytest.raises(ValueError, match="'drive'"):
        notebook.storage("Drive")


def test_a_refusing_drive_is_a_sentence_and_a_local_folder(monkeypatch, colab, capsys):
    def refuse(folder):
        raise RuntimeError("credential propagation\nwas unsuccessful")

    monkeypatch.delenv("SSL_CHECKPOINTS", raising=False)
    colab(drive={"mount": refuse})
    assert notebook.storage("drive") == pathlib.Path("/content/checkpoints")
    printed = capsys.readouterr().out
    assert "credential propagation" in printed
    assert printed.count("\n") == 1


def test_a_mounted_drive_is_used(monkeypatch, colab, tmp_path):
    mounted = []
    monkeypatch.setattr(notebook, "DRIVE_PROJECT", tmp_path / "MyDrive" / "project")
    colab(drive={"mount": mounted.append})
    assert notebook.storage("drive") == tmp_path / "MyDrive" / "project"
    assert mounted == ["/content/drive"]
    assert (tmp_path / "MyDrive" / "project").is_dir()


def test_upload_takes_a_path_or_nothing(keyboard, tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"x")
    keyboard("nowhere", str(file))
    assert notebook.upload() == file
    assert "no file 'nowhere'" in capsys.readouterr().out
    keyboard("")
    assert notebook.upload() is None


def test_upload_on_colab(colab, capsys):
    colab(files={"upload": lambda: {"weights.safetensors": b"x"}})
    assert notebook.upload() == pathlib.Path("weights.safetensors")
    colab(files={"upload": dict})
    assert notebook.upload() is None
    colab(files={})  # a frontend that cannot upload
    assert notebook.upload() is None
    assert "Nothing was uploaded" in capsys.readouterr().out


def test_download(monkeypatch, colab, tmp_path, capsys):
    shown, fetched = [], []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    monkeypatch.chdir(tmp_path)
    notebook.download("weights.txt")
    assert capsys.readouterr().out == "There is no file weights.txt to download yet.\n"
    file = tmp_path / "weights.txt"
    file.write_text("x")
    notebook.download(file, wanted=True)
    assert "href='weights.txt'" in shown[0]._repr_html_()
    colab(files={"download": fetched.append})
    notebook.download(file)
    assert fetched == []
    notebook.download(file, wanted=True)
    assert fetched == [str(file)]


def test_show_source_names_the_place_and_fences_the_code(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append(data)
    )
    notebook.show_source(notebook.Choice, notebook.storage, notebook)
    assert [next(iter(data["text/plain"].split())) for data in shown] == [
        "@dataclasses.dataclass(frozen=True)",
        "def",
        '"""What',
    ]
    caption, _, code = shown[1]["text/markdown"].partition("\n\n")
    start = int(caption.removeprefix("`helpers/notebook.py`, lines ").split()[0])
    lines = pathlib.Path(notebook.__file__).read_text().splitlines()
    assert lines[start - 1].startswith("def storage")
    assert code.startswith("```python\ndef storage") and code.endswith(
        "return local\n```\n"
    )
    assert shown[2]["text/markdown"].startswith("`helpers/notebook.py`\n\n")


def test_show_source_dedents_methods_and_survives_fences(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda data, raw: shown.append(data)
    )

    class Lesson:
        def step(self):
            return "```"

    notebook.show_source(Lesson.step)
    assert shown[0]["text/plain"].startswith("def step")
    assert "~~~~python\ndef step" in shown[0]["text/markdown"]
    with pytest.raises(ValueError, match="has no source"):
        notebook.show_source(len)


@pytest.mark.parametrize(
    ("gpus", "on_colab", "words"),
    [
        (2, False, "2 x T4 with 15 GiB"),
        (0, True, "Change runtime type"),
        (0, False, "CPU"),
    ],
)
def test_the_device_is_one_sentence(monkeypatch, colab, gpus, on_colab, words):
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(
            is_available=lambda: gpus > 0,
            device_count=lambda: gpus,
            get_device_name=lambda index: "T4",
            get_device_properties=lambda index: types.SimpleNamespace(
                total_memory=15 * 2**30
            ),
        ),
        backends=types.SimpleNamespace(
            mps=types.SimpleNamespace(is_available=lambda: False)
        ),
        get_num_threads=lambda: 2,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    if on_colab:
        colab()
    sentence = notebook.device_sentence()
    assert words in sentence
    assert sentence.endswith(".") and "\n" not in sentence
