"""Extrapolating a checkpoint of SmolLM2-135M's shapes, folder to folder: ``python bench/extrapolate.py``.

Random weights in float32, 538 MB a folder. The measurement is a process of its own, so that its memory is its own:
counted is what it holds besides the two mapped files.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SHAPES = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


def measure(shapes=None):
    """Seconds, and bytes above the two mapped files, as one JSON-able dict.

    Args:
        shapes: Fields of the Llama configuration; SmolLM2-135M's when None.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(Path(__file__).resolve()), "--in", folder]
        subprocess.run([*command, "--make", json.dumps(shapes or SHAPES)], check=True)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def table(found):
    """`measure`'s result in Markdown."""
    return (
        f"`unsay extrapolate` of {found['parameters'] / 1e6:.1f} M parameters in float32, folder to folder, sha256 of "
        f"all files included: {found['seconds']:.1f} s, {found['cpu']:.1f} CPU seconds; memory above the two mapped "
        f"files {found['peak_bytes'] / 1e6:.0f} MB (the largest tensor has {found['largest_bytes'] / 1e6:.0f} MB)."
    )


def make(folder, shapes):
    """Two random states of one model."""
    from unsay.testing import tiny_lm

    for seed, name in enumerate(("before", "after")):
        tiny_lm("llama", seed=seed, **shapes).save(folder / name)


def worker(folder):
    """Extrapolate, and watch the memory of this process that is no file's."""
    from unsay.models.stream import write_between

    (folder / "warm").mkdir()
    make(folder / "warm", {})
    write_between(folder / "warm" / "before", folder / "warm" / "after", 1.5, folder / "warm" / "out")  # starts threads
    began, top, done = _own_bytes(), [0], threading.Event()

    def watch():
        while not done.wait(0.001):
            top[0] = max(top[0], _own_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    wall, cpu = time.perf_counter(), time.process_time()
    written = write_between(folder / "before", folder / "after", 1.5, folder / "out")
    spent = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    done.set()
    watcher.join()
    largest = _largest(folder / "after" / "model.safetensors")
    peak = max(0, top[0] - began)
    print(json.dumps(spent | {"parameters": written.parameters, "peak_bytes": peak, "largest_bytes": largest}))


def _own_bytes():
    """Resident memory of this process that is no file's (Linux)."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def _largest(file):
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return max(opened.get_tensor(name).nbytes for name in opened.keys())  # noqa: SIM118 (not a dict)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="folder", type=Path, help="work in this folder (made by the measurement itself)")
    parser.add_argument("--make", type=json.loads, help="only write the two folders")
    arguments = parser.parse_args()
    if arguments.folder is None:
        result = measure()
        print(json.dumps(result, indent=1))
        print(table(result))
    elif arguments.make is not None:
        make(arguments.folder, arguments.make)
    else:
        worker(arguments.folder)
