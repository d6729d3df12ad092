"""The notebooks in JupyterLab and a real browser: typed answers, stop, restart.

Skipped where there is no Chromium or Chrome: ``apt install chromium`` brings it.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import safetensors.torch
import torch
from playwright import sync_api as playwright

from helpers import data
from helpers.models import weight_files
from helpers.training import pretraining
from helpers.training.settings import configure

PROJECT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
SECONDS = 600  # that a training may take
# Without it, cells outside the window would not be in the page.
SETTINGS = {"@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"}}

if BROWSER is None:
    pytest.skip("there is no chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """JupyterLab on a copy of the project; yields its address and its folder."""
    folder = tmp_path_factory.mktemp("lab")
    copy = folder / "project"
    shutil.copytree(PROJECT / "helpers", copy / "helpers")
    shutil.copytree(PROJECT / "images", copy / "images")
    shutil.copytree(PROJECT / "results", copy / "results")
    for name in ("baseline_accuracy_ResNet18.ipynb", "train_PIRL.ipynb"):
        shutil.copy(PROJECT / name, copy)
    for name, content in SETTINGS.items():
        file = folder / "settings" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STL_")}
    environment |= {
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "STL_DATA_ROOT": str(folder / "data"),
        "STL_CHECKPOINTS": str(folder / "checkpoints"),
        "STL_RESULTS": str(folder / "results"),
    }
    options = ["--no-browser", "--allow-root", f"--port={port}"]
    options += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    log = (folder / "log").open("wb")
    command = [sys.executable, "-m", "jupyterlab", *options]
    lab = subprocess.Popen(command, cwd=copy, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api")
                break
            time.sleep(0.5)
        yield address, folder
    finally:
        lab.terminate()
        lab.wait()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


class Notebook:
    """A notebook in the browser, used as a person would."""

    def __init__(self, browser, address, name):
        self.page = browser.new_page(viewport={"width": 1200, "height": 1000})
        self.page.goto(f"{address}/lab/workspaces/{name}/tree/{name}.ipynb")
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        self.page.wait_for_selector("#jp-main-statusbar >> text=| Idle", timeout=60_000)

    def choose(self, menu, entry):
        self.page.click(f".lm-MenuBar-itemLabel:text-is('{menu}')")
        self.page.click(f".lm-Menu-itemLabel:text-is('{entry}')")

    def run_all(self):
        self.choose("Run", "Run All Cells")

    def answer(self, *typed):
        """Type answers to questions, one after the other; "" presses Enter alone."""
        for text in typed:
            field = self.page.locator(".jp-Stdin-input:not([data-answered])")
            field.fill(text, timeout=SECONDS * 1_000)
            # The field of an answered question may still be there with the next one.
            field.evaluate(
                """field => {
                    field.setAttribute('data-answered', '');
                    const key = {key: 'Enter', keyCode: 13, bubbles: true};
                    field.dispatchEvent(new KeyboardEvent('keydown', key));
                }"""
            )

    def see(self, text, seconds=SECONDS):
        """Wait until a text stands somewhere among the outputs."""
        outputs = self.page.locator(".jp-OutputArea-output", has_text=text)
        outputs.first.wait_for(state="attached", timeout=seconds * 1_000)

    def finish(self):
        """Wait until no cell is waiting or running, and return what went wrong."""
        self.page.wait_for_function(
            """() => ![...document.querySelectorAll('.jp-InputPrompt')]
                     .some(prompt => prompt.textContent.includes('*'))""",
            timeout=SECONDS * 1_000,
        )
        self.page.wait_for_selector("#jp-main-statusbar >> text=| Idle")
        return self.page.locator("[data-mime-type*=error], [data-mime-type*=stderr]")


def test_typed_answers_a_wrong_one_first_and_the_table_in_the_page(server, browser):
    notebook = Notebook(browser, server[0], "baseline_accuracy_ResNet18")
    notebook.run_all()
    # Where to keep; which images, wrong and right; labels, too many and right; epochs;
    # side; repetitions.
    notebook.answer("", "folder:/no/such", "demo-tiny", "500", "all", "2", "32", "2")
    problems = notebook.finish()
    assert problems.all_text_contents() == []
    said = notebook.page.inner_text(".jp-Notebook")
    assert "There is no folder '/no/such'" in said
    assert "ask for 1 to 4 a class" in said
    table = notebook.page.locator(".jp-RenderedHTMLCommon table").last
    assert "baseline" in table.inner_text()
    assert table.bounding_box()["width"] > 100


def test_stopped_and_restarted_in_the_middle_it_goes_on(server, browser, tmp_path):
    notebook = Notebook(browser, server[0], "train_PIRL")
    notebook.run_all()
    notebook.answer("", "demo-tiny", "all", "minutes", "12", "random")
    notebook.see(re.compile(r"pirl pre-training: +[1-9]"))
    notebook.choose("Kernel", "Interrupt Kernel")
    notebook.see("Stopped after")
    notebook.finish()  # while a kernel stops, it drops the cells it is sent
    bars = notebook.page.locator(".jp-OutputArea-output", has_text="pre-training:")
    assert bars.count() == 1
    notebook.run_all()
    notebook.answer("", "")  # where to keep; yes, go on
    notebook.see("Going on")
    notebook.choose("Kernel", "Restart Kernel and Run All Cells…")
    notebook.page.click(".jp-Dialog .jp-mod-accept")
    notebook.answer("", "")
    problems = notebook.finish()
    assert problems.all_text_contents() == []
    said = notebook.page.inner_text(".jp-Notebook")
    assert "unfinished: pirl, demo-tiny" in said
    assert "images seen in" in said
    bars = notebook.page.locator(".jp-OutputArea-output", has_text="pre-training:")
    assert bars.count() <= 1
    assert bars.count() == 0 or bars.first.inner_text().count("pre-training:") == 1
    # Whatever is measured of these weights is what an uninterrupted run would give.
    (made,) = (server[1] / "checkpoints").rglob(weight_files.BACKBONE_FILE)
    settings = configure("pirl", "minutes", epochs=12)
    whole = pretraining.pretrain(settings, data.load("demo-tiny"), folder=tmp_path)
    resumed, whole = map(safetensors.torch.load_file, (made, whole.backbone_file))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
