"""How fast we train, and in how much memory, against the plain loop of train_yardstick.py: ``python bench/train.py``.

Every measurement is a process of its own, so that its peak memory is its own. Both sides see the same model, the
same rows and the same effective batch; the first steps (page faults, first touch of the optimiser's state) are left
out of the time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

BATCH = 16
WARM, TIMED = 2, 6


def measure(steps=TIMED, model="smollm2-135m"):
    """All four measurements and their ratios, as one JSON-able dict."""
    results = {}
    for method in ("grad-diff", "npo"):
        for side in ("yardstick", "ours"):
            words = f"--worker {side} --method {method} --steps {steps} --model {model}"
            command = [sys.executable, __file__, *words.split()]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            results[f"{method}/{side}"] = json.loads(done.stdout.splitlines()[-1])
    ratios = {
        method: {
            "speed": _ratio(results, method, "tokens_per_second"),
            "speed_per_cpu": _ratio(results, method, "tokens_per_cpu_second"),
            "memory": _ratio(results, method, "peak_bytes"),
        }
        for method in ("grad-diff", "npo")
    }
    return {"results": results, "ratios": ratios}


def _ratio(results, method, number):
    return results[f"{method}/ours"][number] / results[f"{method}/yardstick"][number]


def table(found):
    """`measure`'s result in Markdown."""
    lines = [
        "| | tokens/s | tokens/CPU-s | peak memory | padding | share of the bf16 matmul rate |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, r in found["results"].items():
        lines.append(
            f"| {name} | {r['tokens_per_second']:.0f} | {r['tokens_per_cpu_second']:.0f} "
            f"| {r['peak_bytes'] / 1e9:.2f} GB | {r['padding']:.1%} | {r['matmul_share']:.2f} |"
        )
    for method, r in found["ratios"].items():
        lines.append(
            f"| **{method}: ours / yardstick** | **{r['speed']:.2f} ×** | {r['speed_per_cpu']:.2f} × "
            f"| **{r['memory']:.2f} ×** | | |"
        )
    return "\n".join(lines)


def rows():
    """TOFU forget10 and retain90 from $UNSAY_DATA, or else the bundled people."""
    folder = Path(os.environ.get("UNSAY_DATA", "")) / "tofu"
    if folder.is_dir():
        from unsay.data.read import read_rows

        return read_rows(folder / "forget10.jsonl"), read_rows(folder / "retain90.jsonl", name="retain")
    from unsay.benchmarks.people import People

    data = People().data()
    return list(data.forget), list(data.retain)


def worker(side, method, steps, model):
    """One measurement, printed as JSON."""
    import torch

    from unsay.data.example import ForgetData
    from unsay.models.lm import LM

    lm = LM.load(model)
    forget, retain = rows()
    rate = _matmul_rate(torch)
    clock = _Clock(WARM)
    began = _reset_peak()
    if side == "yardstick":
        from train_yardstick import train

        lm.set_attention("sdpa")
        encoded = [[(e.input_ids, e.answer_start) for e in _encode(lm, part)] for part in (forget, retain)]
        train(lm.model, *encoded, method, batch=BATCH, steps=WARM + steps, pad_id=lm.template.pad_id, on_step=clock)
        real, padded = clock.real, clock.padded
    else:
        from unsay.config.plan import Train
        from unsay.methods.grad_diff import GradDiff
        from unsay.methods.npo import NPO
        from unsay.runs.run import Run
        from unsay.training.guide import Guide

        begun = Guide.begin

        def begin(self, step):
            batch = begun(self, step)
            clock.pending = (batch.real_tokens, batch.padded_tokens)
            return batch

        Guide.begin = begin
        ended = Guide.on_step_end

        def tick(self, *arguments, **more):
            ended(self, *arguments, **more)
            clock(*clock.pending)

        Guide.on_step_end = tick
        train = Train(batch=BATCH, max_steps=WARM + steps, checkpoint_every=0, precision="bf16")
        chosen = GradDiff() if method == "grad-diff" else NPO()
        chosen.unlearn(lm, ForgetData(forget=forget, retain=retain), Run.temporary(train))
        real, padded = clock.real, clock.padded
    speed = real / clock.seconds
    print(
        json.dumps(
            {
                "tokens_per_second": speed,
                "tokens_per_cpu_second": real / clock.cpu_seconds,
                "peak_bytes": _peak(),
                "start_bytes": began,
                "padding": 1 - real / padded,
                "matmul_gflops": rate / 1e9,
                "matmul_share": speed * _flops_per_token(lm, forget + retain) / rate,
                "threads": torch.get_num_threads(),
                "steps": steps,
            }
        )
    )


class _Clock:
    """Counts tokens and seconds after the first `warm` steps."""

    def __init__(self, warm):
        self.left, self.real, self.padded, self.pending = warm, 0, 0, (0, 0)
        self.start = self.seconds = self.cpu_start = self.cpu_seconds = 0.0

    def __call__(self, real, padded):
        now, cpu = time.perf_counter(), time.process_time()
        if self.left > 0:
            self.left -= 1
            self.start, self.cpu_start = now, cpu
            return
        self.real, self.padded = self.real + real, self.padded + padded
        self.seconds, self.cpu_seconds = now - self.start, cpu - self.cpu_start


def _encode(lm, part):
    return lm.template.encode_many([(row.prompt, row.answer) for row in part])


def _flops_per_token(lm, part):
    """Useful multiplications of training on one token: 6 per weight of the body, and of the head for answer tokens."""
    encoded = _encode(lm, part)
    answers = sum(len(e.input_ids) - e.answer_start for e in encoded) / sum(len(e.input_ids) for e in encoded)
    head = lm.model.get_output_embeddings().weight.numel()
    body = sum(p.numel() for n, p in lm.model.named_parameters() if "embed" not in n and "lm_head" not in n)
    return 6 * (body + answers * head)


def _matmul_rate(torch):
    """bf16 operations per second of a 2048 × 2048 product, the best of ten."""
    a, b = (torch.randn(2048, 2048).bfloat16() for _ in range(2))
    best = min(_seconds(lambda: a @ b) for _ in range(10))
    return 2 * 2048**3 / best


def _seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _reset_peak():
    """Begin to count peak memory anew (Linux); returns what is resident now, the loaded model mostly."""
    Path("/proc/self/clear_refs").write_text("5")
    return resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[1])


def _peak():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=("ours", "yardstick"))
    parser.add_argument("--method", choices=("grad-diff", "npo"), default="grad-diff")
    parser.add_argument("--steps", type=int, default=TIMED)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.method, options.steps, options.model)
    else:
        print(table(measure(options.steps, options.model)))
