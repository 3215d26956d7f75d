"""Unsay makes a language model forget chosen data, and shows how far it really forgot.

    import unsay
    run = unsay.run(model="smollm2-135m", forget="forget.jsonl", retain="retain.jsonl", method=unsay.NPO(beta=0.1))
    print(run.dir / "report.html")

Public names are loaded when first used: importing this package imports no torch.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "run": "pipeline",
    "evaluate": "pipeline",
    "evaluate_harness": "harness",
    "Plan": "config.plan",
    "ModelSpec": "config.plan",
    "DataSpec": "config.plan",
    "Train": "config.plan",
    "Teach": "config.plan",
    "Adapter": "config.plan",
    "Example": "data.example",
    "ForgetData": "data.example",
    "read_rows": "data.read",
    "LM": "models.lm",
    "Run": "runs.run",
    "Method": "methods._protocol",
    "Score": "metrics.score",
    "UnsayError": "errors",
    "FineTune": "methods.fine_tune",
    "Retrain": "methods.retrain",
    "GradAscent": "methods.grad_ascent",
    "GradDiff": "methods.grad_diff",
    "KLMin": "methods.kl_min",
    "NPO": "methods.npo",
    "SimNPO": "methods.sim_npo",
    "IDK": "methods.idk",
    "UNDIAL": "methods.undial",
    "CEU": "methods.ce_u",
    "WGA": "methods.wga",
    "SatImp": "methods.sat_imp",
    "PDU": "methods.pdu",
    "MaxEntropy": "methods.max_entropy",
    "DPO": "methods.dpo",
    "AltPO": "methods.alt_po",
    "IDKAP": "methods.idk_ap",
    "RMU": "methods.rmu",
    "AdaptiveRMU": "methods.adaptive_rmu",
    "DTO": "methods.dto",
    "ICU": "methods.icu",
    "SURE": "methods.sure",
    "MemFlex": "methods.memflex",
    "SparseDelta": "methods.sparse_delta",
    "TaskVector": "methods.task_vector",
    "LoraSubtraction": "methods.lora_subtraction",
    "IAU": "methods.iau",
    "Influence": "methods.influence",
    "EUL": "methods.eul",
    "UniErase": "methods.unierase",
    "AlphaEdit": "methods.alpha_edit",
    "MEMIT": "methods.memit",
    "ROME": "methods.rome",
    "Lunar": "methods.lunar",
    "LogitOffset": "methods.logit_offset",
    "PromptGuard": "methods.prompt_guard",
    "Extrapolate": "methods.extrapolate",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'unsay' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
