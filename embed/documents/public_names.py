"""Under which public name something written in a private module is meant to be used.

`from ._base import Future` in concurrent/futures/__init__.py makes `concurrent.futures.Future` the
name that people know. An import counts as a re-export if the importing module lists the name in
`__all__`, or imports `*`, or is an `__init__` without `__all__`. The twins of C modules follow the
same rule: `_pyio` stands for `_io`, which `io` re-exports."""

import ast
from collections import defaultdict
from collections.abc import Iterator


def is_private(name: str) -> bool:
    """A leading underscore, special names (`__init__`) aside."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


class PublicNames:
    """Fed with every module of a library, then asked."""

    def __init__(self) -> None:
        self._importers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._aliases: dict[str, str] = {}

    def note(self, module: str, tree: ast.Module, is_package: bool) -> None:
        """Remembers what `module` re-exports."""
        exported = _exported(tree)
        for node in _statements(tree):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and is_private(node.value.id):
                for target in node.targets:
                    if public := _stands_for(target, module):
                        self._aliases.setdefault(node.value.id, public)
        for node in _statements(tree):
            if not isinstance(node, ast.ImportFrom):
                continue
            origin = _origin(node, module, is_package)
            for alias in node.names:
                renamed = alias.asname not in (None, alias.name)
                listed = is_package if exported is None else alias.name in exported
                if not renamed and (alias.name == "*" or listed):
                    self._importers[origin, alias.name].append(module)

    def public(self, module: str, qualname: str) -> str | None:
        """The module that shows it: `module` itself if that is public, else its re-exporter; None
        if there is none.
        """
        top = qualname.partition(".")[0]
        for _step in range(4):  # a re-export of a re-export; more than a few is a cycle
            if not any(part.startswith("_") for part in module.split(".")):
                return module
            if module in self._aliases:
                return self._aliases[module]
            if not top:
                return None
            importers = self._importers_of(module, top)
            if not importers:
                return None
            public = [name for name in importers if not any(part.startswith("_") for part in name.split("."))]
            module = min(public or importers, key=lambda name: (len(name), name))
        return None

    def _importers_of(self, module: str, top: str) -> list[str]:
        twin = f"_{module.removeprefix('_py')}" if module.startswith("_py") else module
        found = [
            importer
            for origin in dict.fromkeys((module, twin))
            for name in (top, "*")
            for importer in self._importers.get((origin, name), [])
        ]
        return [importer for importer in found if importer != module]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Statements of the module, also inside its `if` and `try`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler):
            yield from _statements(child)
        else:
            yield child


def _stands_for(target: ast.expr, module: str) -> str | None:
    """The public module name that an assignment gives to a private module.

    collections.abc is made by `sys.modules[__name__] = _collections_abc` in 3.13.0 and by `abc = _collections_abc` in
    collections/__init__.py since.
    """
    if isinstance(target, ast.Name) and not is_private(target.id):
        return f"{module}.{target.id}"
    if isinstance(target, ast.Subscript) and ast.unparse(target) == "sys.modules[__name__]":
        return module
    return None


def _exported(tree: ast.Module) -> set[str] | None:
    """The strings assigned or added to `__all__`; None where there is no `__all__` written out."""
    names: set[str] | None = None
    for node in _statements(tree):
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AugAssign):
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets) and isinstance(
            value, ast.List | ast.Tuple
        ):
            literal = {item.value for item in value.elts if isinstance(item, ast.Constant)}
            names = (names or set()) | {name for name in literal if isinstance(name, str)}
    return names


def _origin(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute name of the module imported from."""
    if not node.level:
        return node.module or ""
    parents = module.split(".")
    keep = len(parents) - node.level + (1 if is_package else 0)
    return ".".join(parents[: max(keep, 0)] + ([node.module] if node.module else []))
