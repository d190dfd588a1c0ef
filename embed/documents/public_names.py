"""Under which public name something written in a private module is meant to be used.

`from ._base import Future` in concurrent/futures/__init__.py makes `concurrent.futures.Future` the name that people
know. An import counts as a re-export if the importing module lists the name in `__all__`, or imports `*`, or is an
`__init__` without `__all__`. The twins of C modules follow the same rule: `_pyio` stands for `_io`, which `io`
re-exports."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib.util import resolve_name


def is_private(name: str) -> bool:
    """A leading underscore, special names (`__init__`) aside."""
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Statements of a module or class body, also inside its `if`, `try` and `with`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from statements(child)
        else:
            yield child


class PublicNames:
    """Is told of every module of a library, then asked."""

    def __init__(self) -> None:
        # Modules that show a name of a private module: all of them ("*") and what it says of itself ("") with an alias.
        self._shown: defaultdict[tuple[str, str], list[str]] = defaultdict(list)

    def note(self, module: str, tree: ast.Module, is_package: bool) -> None:
        """Remembers what `module` re-exports."""
        exported = _exported(tree)
        for node in statements(tree):
            # collections.abc is made by `sys.modules[__name__] = _collections_abc` in Python 3.13.0 and by
            # `abc = _collections_abc` in collections/__init__.py otherwise.
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and is_private(node.value.id):
                for target in map(ast.unparse, node.targets):
                    if target == "sys.modules[__name__]" or (target.isidentifier() and not is_private(target)):
                        shown = f"{module}.{target}" if target.isidentifier() else module
                        self._shown[node.value.id, ""].append(shown)
                        self._shown[node.value.id, "*"].append(shown)
            elif isinstance(node, ast.ImportFrom):
                try:
                    package = module if is_package else module.rpartition(".")[0]
                    origin = resolve_name("." * node.level + (node.module or ""), package)
                except ImportError:  # it reaches above its package
                    continue
                for alias in node.names:
                    listed = is_package if exported is None else alias.name in exported
                    if alias.asname in (None, alias.name) and (alias.name == "*" or listed):
                        self._shown[origin, alias.name].append(module)

    def public(self, module: str, qualname: str) -> str | None:
        """The module that shows it: `module` itself if that is public, else its re-exporter; None if there is none."""
        top = qualname.partition(".")[0]
        for _step in range(4):  # a re-export of a re-export; more than a few is a cycle
            if _is_public(module):
                return module
            twin = f"_{module.removeprefix('_py')}" if module.startswith("_py") else module
            sources = [(origin, name) for origin in (module, twin) for name in (top, "*" if top else "")]
            shown = [name for source in sources for name in self._shown.get(source, []) if name != module]
            if not shown:
                return None
            module = min(
                filter(_is_public, shown) if any(map(_is_public, shown)) else shown, key=lambda name: (len(name), name)
            )
        return None


def _is_public(module: str) -> bool:
    return not any(part.startswith("_") for part in module.split("."))


def _exported(tree: ast.Module) -> set[object] | None:
    """The strings assigned or added to `__all__`; None where there is no `__all__` written out."""
    names: set[object] | None = None
    for node in statements(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name("__all__")], value=ast.List(listed) | ast.Tuple(listed))
                | ast.AugAssign(target=ast.Name("__all__"), value=ast.List(listed) | ast.Tuple(listed))
            ):
                names = (names or set()) | {item.value for item in listed if isinstance(item, ast.Constant)}
    return names
