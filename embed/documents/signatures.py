"""How a definition is written in one line: in full for the payload, short for the title that is
embedded.

The title carries names, since those are what people type ("compresslevel"), and leaves out what
only costs tokens of the model's 256: annotations, `self`, long defaults, and the default values
altogether where the line would pass LONGEST_TITLE characters (subprocess.Popen has 26 parameters).
"""

import ast

LONGEST_DEFAULT = 20
LONGEST_TITLE = 120
PROPERTIES = {"property", "cached_property"}

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
Constants = dict[str, ast.Constant]


def signature(node: Definition, constants: Constants) -> str:
    """`def compress(data: bytes, level: int = 9) -> bytes` with long defaults as `...`; `class
    Name(Base)`.
    """
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in [*node.bases, *(k.value for k in node.keywords)])
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{word} {node.name}({ast.unparse(_shortened(node.args, constants))}){returns}"


def title(name: str, node: Definition, kind: str, constants: Constants) -> str:
    """`gzip.compress(data, compresslevel=9)`; a class shows the parameters of its `__init__`; a
    property shows none.
    """
    if isinstance(node, ast.ClassDef):
        init = next(
            (child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__"), None
        )
        return f"{name}({_parameters(init, True, name, constants)})" if init else name
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if decorators & PROPERTIES:
        return name
    bound = kind == "method" and "staticmethod" not in decorators
    return f"{name}({_parameters(node, bound, name, constants)})"


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, bound: bool, name: str, constants: Constants) -> str:
    arguments = _shortened(node.args, constants)
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    for argument in every:
        argument.annotation = None
    if bound:
        first = arguments.posonlyargs or arguments.args
        if first:
            del first[0]
            # A first parameter with a default value (rare, but legal) takes its default along.
            spare = len(arguments.defaults) - len(arguments.posonlyargs) - len(arguments.args)
            del arguments.defaults[: max(0, spare)]
    written = ast.unparse(arguments)
    if len(name) + len(written) <= LONGEST_TITLE:
        return written
    names = [argument.arg for argument in every if argument.arg not in ("self", "cls")]
    while names not in ([], ["..."]) and len(name) + len(", ".join(names)) > LONGEST_TITLE:
        names[-2:] = ["..."]
    return ", ".join(names)


def _shortened(arguments: ast.arguments, constants: Constants) -> ast.arguments:
    """A copy with constants of the module written out, and every default that is still long replaced by `...`."""
    return ast.arguments(
        posonlyargs=[_copied(each) for each in arguments.posonlyargs],
        args=[_copied(each) for each in arguments.args],
        vararg=arguments.vararg and _copied(arguments.vararg),
        kwonlyargs=[_copied(each) for each in arguments.kwonlyargs],
        kw_defaults=[default and _short(default, constants) for default in arguments.kw_defaults],
        kwarg=arguments.kwarg and _copied(arguments.kwarg),
        defaults=[_short(default, constants) for default in arguments.defaults],
    )


def _copied(argument: ast.arg) -> ast.arg:
    return ast.arg(argument.arg, argument.annotation)


def _short(default: ast.expr, constants: Constants) -> ast.expr:
    if isinstance(default, ast.Name):
        default = constants.get(default.id, default)
    return default if len(ast.unparse(default)) <= LONGEST_DEFAULT else ast.Constant(...)


def constants_of(tree: ast.Module) -> Constants:
    """What `NAME = 9` at the top level of the module binds."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
