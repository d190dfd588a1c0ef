"""How a definition is written in one line: in full for the payload, short for the title that is embedded.

The title carries names, since those are what people type ("compresslevel"). It leaves out what only costs tokens of the
model's 256: annotations, `self`, long defaults, and all default values where the line would pass LONGEST_TITLE
characters (subprocess.Popen has 26 parameters).
"""

import ast
import copy

LONGEST_DEFAULT = 20
LONGEST_TITLE = 120
PROPERTIES = {"property", "cached_property"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Constants = dict[str, ast.Constant]


def signature(node: ast.ClassDef | Function, constants: Constants) -> str:
    """`def compress(data: bytes, level: int=9) -> bytes` with long defaults as `...`; `class Name(Base)`."""
    bare = copy.copy(node)
    bare.body, bare.decorator_list = [], []
    if not isinstance(bare, ast.ClassDef):
        bare.args = _shortened(bare.args, constants)
    return ast.unparse(bare).removesuffix(":")


def title(name: str, node: ast.ClassDef | Function, kind: str, constants: Constants) -> str:
    """`gzip.compress(data, compresslevel=9)`; a class shows the parameters of its `__init__`, a property shows none."""
    bound = kind != "function"
    if isinstance(node, ast.ClassDef):
        inits = (child for child in node.body if isinstance(child, ast.FunctionDef) and child.name == "__init__")
        init = next(inits, None)
        return f"{name}({_parameters(init, bound, name, constants)})" if init else name
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    if decorators & PROPERTIES:
        return name
    return f"{name}({_parameters(node, bound and 'staticmethod' not in decorators, name, constants)})"


def _parameters(node: Function, bound: bool, name: str, constants: Constants) -> str:
    arguments = _shortened(node.args, constants)
    if bound and (first := arguments.posonlyargs or arguments.args):
        del first[0]
        # A first parameter with a default value (rare, but legal) takes its default along.
        spare = len(arguments.defaults) - len(arguments.posonlyargs) - len(arguments.args)
        del arguments.defaults[: max(0, spare)]
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    for argument in every:
        argument.annotation = None
    written = ast.unparse(arguments)
    if len(name) + len(written) <= LONGEST_TITLE:
        return written
    names = [argument.arg for argument in every]
    while names not in ([], ["..."]) and len(name) + len(", ".join(names)) > LONGEST_TITLE:
        names[-2:] = ["..."]
    return ", ".join(names)


def _shortened(arguments: ast.arguments, constants: Constants) -> ast.arguments:
    """A copy with constants of the module written out, and every default that is still long replaced by `...`."""
    short = copy.deepcopy(arguments)
    for defaults in (short.defaults, short.kw_defaults):
        for place, default in enumerate(defaults):
            if isinstance(default, ast.Name):
                default = defaults[place] = constants.get(default.id, default)
            if default and len(ast.unparse(default)) > LONGEST_DEFAULT:
                defaults[place] = ast.Constant(...)
    return short


def constants_of(tree: ast.Module) -> Constants:
    """What `NAME = 9` at the top level of the module binds."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
