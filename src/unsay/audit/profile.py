"""Which attacks an audit runs, as data. One that this version does not have is named among what was not tested."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import registry
from ..config.decode import decode
from ..errors import PlanError


@dataclass(frozen=True, kw_only=True)
class Item:
    """One attack of a profile."""

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the attack's defaults."""
    speaks: bool = False
    """Let every attacked model answer freely, too; otherwise answers are only scored, and a few are shown."""
    seeds: int = 1
    """How often it is run, with how many seeds; values are averaged."""


_DRAWN = {"sampling": {"runs": 32, "temperature": 1.0, "top_p": 0.9, "top_k": 0}}
"""Answers as the model gives them, but for the unlikeliest tenth of every token."""
_RATES = {"lr": 5e-5, "lrs": (2e-5, 1e-4)}
_QUICK = (
    Item(attack="removal"),
    Item(attack="quantisation", settings={"formats": ("int4", "nf4")}),
    Item(attack="retain-finetune", settings={"steps": (2,)}),
    Item(attack="jailbreak", settings={"limit": 8}),
    Item(attack="leak-at-k"),
    Item(attack="linear-path", settings={"places": (0.5,)}),
)
_STANDARD = (
    Item(attack="removal"),
    Item(attack="quantisation", speaks=True),
    Item(attack="precision"),
    Item(attack="retain-finetune", speaks=True),
    Item(attack="jailbreak"),
    Item(attack="leak-at-k", settings=_DRAWN),
    Item(attack="linear-path", settings={"places": (0.25, 0.5, 0.75)}),
    Item(attack="full-relearn"),
    Item(attack="relearn", settings={"steps": (8,), **_RATES}),
    Item(attack="relearn", settings={"steps": (8,), "by": "entities", **_RATES}),
    Item(attack="benign-finetune", speaks=True),
    Item(attack="paraphrase"),
    Item(attack="prefill", speaks=True),
    Item(attack="token-suppressed", speaks=True),
    Item(attack="logit-lens"),
    Item(attack="activation-patching"),
)
_FULL = (
    Item(attack="removal"),
    Item(attack="quantisation", speaks=True),
    Item(attack="precision", speaks=True),
    Item(attack="retain-finetune", speaks=True, seeds=3),
    Item(attack="jailbreak", speaks=True),
    Item(attack="leak-at-k", settings=_DRAWN),
    Item(attack="linear-path", settings={"places": (0.25, 0.5, 0.75)}),
    Item(attack="full-relearn", seeds=3),
    Item(attack="relearn", settings={"steps": (2, 8), **_RATES}, seeds=3),
    Item(attack="relearn", settings={"steps": (8,), "by": "entities", **_RATES}, seeds=3),
    Item(attack="benign-finetune", speaks=True, seeds=3),
    Item(attack="paraphrase", speaks=True),
    Item(attack="prefill", speaks=True),
    Item(attack="token-suppressed", speaks=True),
    Item(attack="in-context"),
    Item(attack="multi-hop"),
    Item(attack="direction-ablation"),
    Item(attack="pruning"),
    Item(attack="logit-lens"),
    Item(attack="linear-probe"),
    Item(attack="activation-patching"),
    Item(attack="search-prefix", seeds=3),
)
PROFILES: Mapping[str, tuple[Item, ...]] = {"quick": _QUICK, "standard": _STANDARD, "full": _FULL}
"""quick: minutes for a small model on two cores; standard: an hour or so; full: everything, trainings three times."""

BEYOND = (
    ("per-example membership with shadow models (U-LiRA)", "it needs dozens of models taught the same way"),
    ("other languages", "nothing here translates the questions"),
    ("gradient-searched suffixes (GCG)", "it takes hours on a graphics card"),
    ("model inversion and reconstruction", "there is no such attack here"),
)
"""What no profile tests, and why."""


def items(profile: str) -> tuple[Item, ...]:
    """The attacks of a profile.

    Raises:
        PlanError: there is no profile of that name.
    """
    if profile not in PROFILES:
        raise PlanError(f"no profile named {profile!r}", f"--profile {' or '.join(PROFILES)}")
    return PROFILES[profile]


def attacks(profile: str) -> tuple[tuple[Any, ...], dict[str, str]]:
    """The attacks of a profile, made; and, by name, why others are not.

    Raises:
        PlanError: there is no profile of that name, or its settings do not fit an attack.
    """
    known = set(registry.names("attacks"))
    wanted = items(profile)
    here = [{"name": item.attack, **item.settings} for item in wanted if item.attack in known]
    absent = {item.attack: "this version does not have it" for item in wanted if item.attack not in known}
    return decode({"attacks": here}).attacks, absent


def left_out(profile: str, ran: Collection[str]) -> dict[str, str]:
    """Attacks of any profile that were not run, and why: others were asked for, or only a larger profile has them."""
    order = list(PROFILES)
    found: dict[str, str] = {}
    for number, name in enumerate(order):
        why = f"only in the profile {name}" if number > order.index(profile) else "other attacks were asked for"
        for item in PROFILES[name]:
            if item.attack not in ran:
                found.setdefault(item.attack, why)
    return found
