"""YAML 1.2 scalars on PyYAML: ``1e-5`` is a number, ``no`` is a word, a key given twice is an error."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, ClassVar

import yaml

from ..errors import PlanError

_SCALARS = (
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # none of YAML 1.1's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(str(node.value))  # 1.1 would read 010 as octal


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # none of YAML 1.1's

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _cls in (_Loader, _Dumper):
    for _tag, _pattern, _first in _SCALARS:
        _cls.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_first))


def load(text: str, where: str = "plan") -> Any:
    """Parse one document.

    Raises:
        PlanError: not YAML, or a key is given twice; names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader with stricter scalars
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise PlanError(
            f"{where}{line}: {getattr(error, 'problem', None) or error}", "check the YAML at that line"
        ) from None


def load_file(path: Path) -> Any:
    """Parse the document in `path`."""
    return load(path.read_text(encoding="utf-8"), str(path))


def dump(value: Any) -> str:
    """`value` as a block-style document that `load` reads back equal."""
    options: dict[str, Any] = {"Dumper": _Dumper, "sort_keys": False, "default_flow_style": False, "width": 120}
    text: str = yaml.dump(value, allow_unicode=True, **options)
    if any(mark in text for mark in "\x85\u2028\u2029\ufeff"):  # PyYAML folds these away unless it escapes them
        text = yaml.dump(value, allow_unicode=False, **options)
    return text
