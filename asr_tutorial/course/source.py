"""Source text in, source text out: stubs and solutions cut from the library, a learner's definitions put into it.

Everything works on the text by the line numbers of the syntax tree, so that comments and layout survive.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from asr_tutorial.course.manifest import Exercise
from asr_tutorial.course.versions import planted
from asr_tutorial.errors import CourseError

Function = ast.FunctionDef | ast.AsyncFunctionDef
Statement = ast.stmt


class CellError(CourseError):
    """A learner's cell that cannot become part of the library; the message is for the learner."""


# ------------------------------------------------------------------------------------------------ library to notebook


def stub(exercise: Exercise, library: str) -> str:
    """The cell that a learner starts from.

    Signatures, decorators, docstrings and the checks that open a body stay; the rest is left to the learner. Where a
    mistake is planted, its body is there to be repaired.

    Args:
        exercise: which functions.
        library: source text of the exercise's module.
    """
    if exercise.planted:
        return _cell(exercise, library, blank=True, body_of=planted(exercise).code)
    return _cell(exercise, library, blank=True)


def solution(exercise: Exercise, library: str) -> str:
    """The same cell with the library's bodies."""
    return _cell(exercise, library, blank=False)


def _cell(exercise: Exercise, library: str, blank: bool, body_of: str = "") -> str:
    tree, other = ast.parse(library), ast.parse(body_of)
    parts = []
    for name in exercise.objects:
        wanted = [full for full in exercise.names if full.split(".")[0] == name]
        texts = [_function_text(exercise, library, _find(tree, full, exercise), blank) for full in wanted]
        if body_of:
            bodies = [_body(body_of, _find_in_cell(other, full, exercise)) for full in wanted]
            texts = [text.replace(_blank(exercise), body) for text, body in zip(texts, bodies, strict=True)]
        if wanted == [name]:
            parts.append(texts[0])
        else:
            header = f"class {name}:  # these methods become part of {exercise.module}.{name}"
            parts.append(header + "\n" + textwrap.indent("\n\n".join(texts), "    "))
    decorated = [f'@exercise("{exercise.id}")\n{parts[0]}', *parts[1:]]
    return "\n\n\n".join(decorated)


def _function_text(exercise: Exercise, library: str, node: Function, blank: bool) -> str:
    lines = library.splitlines()
    first, last = _first_line(node), node.end_lineno or node.lineno
    if not blank:
        return textwrap.dedent("\n".join(lines[first - 1 : last]))
    kept = _opening(node)
    # Without a docstring the signature ends where the first statement begins, comments above that left out.
    last = kept[-1].end_lineno or 0 if kept else node.body[0].lineno - 1
    head = lines[first - 1 : last]
    while head[-1].lstrip().startswith("#") or not head[-1].strip():
        head.pop()
    indent = " " * (node.col_offset + 4)
    return textwrap.dedent("\n".join([*head, indent + _blank(exercise)]))


def _blank(exercise: Exercise) -> str:
    return f'raise NotImplementedError("exercise {exercise.id}")'


def _body(text: str, node: Function) -> str:
    """The statements of a function, comments between them included, indented but for the first line."""
    first, last = node.body[0], node.body[-1]
    lines = text.splitlines()[first.lineno - 1 : last.end_lineno]
    return textwrap.indent(textwrap.dedent("\n".join(lines)), "    ").lstrip()


def _opening(node: Function) -> list[Statement]:
    """Docstring and checks at the start of a body: statements that can only raise, or calls of ``_check...``."""
    kept: list[Statement] = []
    for index, statement in enumerate(node.body):
        is_docstring = index == 0 and ast.get_docstring(node, clean=False) is not None
        if not (is_docstring or _is_guard(statement)):
            break
        kept.append(statement)
    return kept


def _is_guard(statement: Statement) -> bool:
    if isinstance(statement, ast.Raise):
        return True
    if isinstance(statement, ast.If):
        *before, last = statement.body
        return not statement.orelse and _is_guard(last) and all(isinstance(item, ast.Assign) for item in before)
    if isinstance(statement, ast.For):
        return all(map(_is_guard, statement.body))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return ast.unparse(statement.value.func).rpartition(".")[2].startswith("_check")
    return False


# ------------------------------------------------------------------------------------------------ notebook to library


def started(exercise: Exercise, cell: str) -> bool:
    """Whether something else than the stub stands in a cell; a cell that cannot be parsed has been worked on."""
    try:
        tree = ast.parse(cell)
    except SyntaxError:
        return True
    if exercise.planted:
        # A mutant has the same bodies, but nobody has marked it as the cell of an exercise.
        as_it_came = stub(exercise, exercise.path.read_text(encoding="utf-8"))
        return not (any(map(_is_mark, _decorators(tree))) and same_bodies(cell, as_it_came))
    left = f"raise NotImplementedError('exercise {exercise.id}')"
    return not any(isinstance(node, ast.Raise) and ast.unparse(node) == left for node in ast.walk(tree))


def same_code(first: str, second: str) -> bool:
    """Whether two cells are the same program, comments and layout aside."""
    try:
        return ast.dump(ast.parse(first)) == ast.dump(ast.parse(second))
    except SyntaxError:
        return first == second


def same_bodies(first: str, second: str) -> bool:
    """Whether the functions of two cells do the same, statement by statement; docstrings make no difference."""

    def bodies(text: str) -> list[str]:
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        return [ast.dump(ast.Module(node.body[ast.get_docstring(node) is not None :], [])) for node in functions]

    return bodies(first) == bodies(second)


def _decorators(tree: ast.Module) -> list[ast.expr]:
    return [each for node in tree.body if isinstance(node, Function | ast.ClassDef) for each in node.decorator_list]


@dataclass
class _Edits:
    """Replacements of line ranges, to be made together."""

    lines: list[str]
    ranges: list[tuple[int, int, str]] = field(default_factory=list)  # first line, line after the last, new text

    def text(self) -> str:
        lines = list(self.lines)
        for first, after, new in sorted(self.ranges, reverse=True):
            lines[first:after] = new.splitlines()
        return "\n".join(lines) + "\n"


def splice(library: str, cells: Mapping[Exercise, str]) -> str:
    """A module's source text with a learner's definitions in the place of ours.

    A cell's functions replace those of the same name. What else they need of the cell (imports, helper functions and
    classes, constants) is put above the first of them; other statements of the cell are left out.

    Args:
        library: source text of the module.
        cells: cell text for each exercise of this module.

    Raises:
        CellError: a cell that cannot be parsed, lacks a function, changes a signature, or defines a helper under a name
            that the module has already.
    """
    tree = ast.parse(library)
    edits = _Edits(library.splitlines())
    taken = {name: source for statement in tree.body for name, source in _bindings(statement).items()}
    appended: list[str] = []
    for exercise, cell in cells.items():
        cell_tree = _parse(cell)
        definitions = {name: _find_in_cell(cell_tree, name, exercise) for name in exercise.names}
        for name, node in definitions.items():
            library_node = _find(tree, name, exercise)
            _check_signature(name, node, library_node)
            text = _reindent(cell, node, library_node.col_offset)
            edits.ranges.append((_first_line(library_node) - 1, library_node.end_lineno or 0, text))
        for owner in {name.split(".")[0] for name in exercise.names if "." in name}:
            edits.ranges += _helper_methods(tree, cell_tree, cell, owner, exercise)
        place = min(_first_line(_top_level(tree, name)) for name in exercise.objects) - 1
        new = []
        for bound, statement in _helper_statements(cell_tree, exercise, _definitions(cell_tree, exercise)):
            _check_free(bound, statement, taken, exercise)
            if not bound.keys() <= taken.keys():
                new.append(_lines(cell, statement))
            taken |= bound
        if new:
            edits.ranges.append((place, place, "\n".join([f"# For exercise {exercise.id}.", *new, "", ""])))
        if exercise.append and exercise.append not in appended:
            appended.append(exercise.append)
    return edits.text() + "".join(f"\n{line}\n" for line in appended)


def parts(exercise: Exercise, cell: str) -> tuple[str, str]:
    """A cell's helpers, and its definitions of the exercise's functions and classes, without ``@exercise``.

    Both texts have the lines of the cell, the others blank, so that tracebacks point into the cell.
    """
    tree = _parse(cell)
    owners = _definitions(tree, exercise)
    helpers = [statement for _, statement in _helper_statements(tree, exercise, owners)]
    return _only(cell, helpers), _only(cell, owners)


def _definitions(tree: ast.Module, exercise: Exercise) -> list[Function | ast.ClassDef]:
    """What a cell defines under the exercise's top-level names."""
    return [node for node in tree.body if isinstance(node, Function | ast.ClassDef) and node.name in exercise.objects]


def _only(cell: str, statements: Sequence[Statement]) -> str:
    kept = set()
    for statement in statements:
        kept |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
        for decorator in getattr(statement, "decorator_list", []):
            if not _is_mark(decorator):
                kept |= set(range(decorator.lineno, (decorator.end_lineno or 0) + 1))
    return "\n".join(line if number in kept else "" for number, line in enumerate(cell.splitlines(), start=1)) + "\n"


def _is_mark(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).startswith("exercise(")


def _parse(cell: str) -> ast.Module:
    try:
        return ast.parse(cell)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise CellError(f"Python cannot read the cell: {error.msg}, line {error.lineno}: {line}") from None
    except ValueError as error:  # a zero byte
        raise CellError(f"Python cannot read the cell: {error}") from None


def _find_in_cell(tree: ast.Module, name: str, exercise: Exercise) -> Function:
    owner, _, method = name.rpartition(".")
    bodies = [tree.body]
    if owner:
        bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner]
    # The last definition counts, as it does in Python.
    found = [node for body in bodies for node in body if isinstance(node, Function) and node.name == (method or name)]
    if not found:
        where = f"class {owner} of the cell" if owner else "the cell"
        raise CellError(f"{where} must define a function {method or name}: bring it back, or reset the exercise")
    return found[-1]


def _check_signature(name: str, mine: Function, ours: Function) -> None:
    def parameters(node: Function) -> list[str]:
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return [argument.arg for argument in (*named, arguments.vararg, arguments.kwarg) if argument is not None]

    wanted, got = parameters(ours), parameters(mine)
    if got[: len(wanted)] != wanted:
        raise CellError(
            f"{name} must keep its parameters, the rest of the library calls it with them: "
            f"expected ({', '.join(wanted)}), got ({', '.join(got)})"
        )
    decorators = [set(map(ast.unparse, node.decorator_list)) for node in (ours, mine)]
    if missing := decorators[0] - decorators[1]:
        raise CellError(f"{name} must keep the line @{sorted(missing)[0]} above it")


def _helper_methods(
    tree: ast.Module, cell_tree: ast.Module, cell: str, owner: str, exercise: Exercise
) -> Iterator[tuple[int, int, str]]:
    """Further methods of a learner's partial class, put at the end of the library's class."""
    library_class = _top_level(tree, owner)
    assert isinstance(library_class, ast.ClassDef)
    existing = {node.name for node in library_class.body if isinstance(node, Function)}
    wanted = {name.split(".")[1] for name in exercise.names if name.startswith(f"{owner}.")}
    for node in cell_tree.body:
        if not (isinstance(node, ast.ClassDef) and node.name == owner):
            continue
        for method in node.body:
            if not isinstance(method, Function) or method.name in wanted:
                continue
            if method.name in existing:
                raise CellError(f"{owner}.{method.name} is not part of exercise {exercise.id}: take it out of the cell")
            end = library_class.end_lineno or 0
            yield end, end, "\n" + _reindent(cell, method, library_class.col_offset + 4)


def _helper_statements(
    tree: ast.Module, exercise: Exercise, definitions: Sequence[ast.AST]
) -> list[tuple[dict[str, str], Statement]]:
    """Statements of a cell that its definitions need, directly or through one another, with the names they bind."""
    owners = set(exercise.objects)
    candidates = [(bound, node) for node in tree.body if (bound := _bindings(node)) and not owners & bound.keys()]
    needed, chosen = _used_names(definitions), []
    while more := [node for bound, node in candidates if node not in chosen and needed & bound.keys()]:
        chosen += more
        needed |= _used_names(more)
    return [(bound, node) for bound, node in candidates if node in chosen]  # in the order of the cell


def _used_names(nodes: Sequence[ast.AST]) -> set[str]:
    return {child.id for node in nodes for child in ast.walk(node) if isinstance(child, ast.Name)}


def _bindings(statement: Statement) -> dict[str, str]:
    """The names that a statement defines, each with what it stands for."""
    if isinstance(statement, ast.Import):
        return {
            alias.asname
            or alias.name.split(".")[0]: f"import {alias.name if alias.asname else alias.name.split('.')[0]}"
            for alias in statement.names
        }
    if isinstance(statement, ast.ImportFrom):
        return {a.asname or a.name: f"from {statement.module} import {a.name}" for a in statement.names}
    if isinstance(statement, Function | ast.ClassDef):
        return {statement.name: ast.unparse(statement)}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return dict.fromkeys(names, ast.unparse(statement))
    return {}


def _check_free(bound: dict[str, str], statement: Statement, taken: Mapping[str, str], exercise: Exercise) -> None:
    for name, value in bound.items():
        if name in taken and _target(taken[name]) != _target(value):
            raise CellError(
                f"the cell gives the name {name!r} a meaning of its own, and {exercise.module} uses it already: "
                f"rename yours (line {statement.lineno} of the cell)"
            )


def _target(binding: str) -> str:
    """What a binding stands for: ``import torch.nn as nn`` is ``from torch import nn``."""
    if binding.startswith("from ") and "\n" not in binding:
        module, name = binding.removeprefix("from ").split(" import ")
        return f"{module}.{name}"
    return binding.removeprefix("import ") if "\n" not in binding else binding


# ------------------------------------------------------------------------------------------------ shared by both ways


def find_source(library: str, name: str) -> str:
    """Source text of a function, class or method (``Class.method``) of a module.

    Raises:
        CourseError: the module does not define it.
    """
    node: ast.AST = ast.parse(library)
    for part in name.split("."):
        body = getattr(node, "body", [])
        found = [child for child in body if isinstance(child, Function | ast.ClassDef) and child.name == part]
        if not found:
            raise CourseError(f"no {name} in this module")
        node = found[-1]
    assert isinstance(node, Function | ast.ClassDef)
    return textwrap.dedent("\n".join(library.splitlines()[_first_line(node) - 1 : node.end_lineno]))


def _find(tree: ast.Module, name: str, exercise: Exercise) -> Function:
    owner, _, method = name.rpartition(".")
    node = _top_level(tree, owner or name)
    if owner:
        assert isinstance(node, ast.ClassDef)
        methods = [child for child in node.body if isinstance(child, Function) and child.name == method]
        if not methods:
            raise CourseError(f"exercise {exercise.id}: {exercise.module} has no {name}")
        node = methods[-1]
    assert isinstance(node, Function)
    return node


def _top_level(tree: ast.Module, name: str) -> Function | ast.ClassDef:
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and node.name == name:
            return node
    raise CourseError(f"the module does not define {name}")


def _first_line(node: Function | ast.ClassDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _lines(text: str, statement: Statement) -> str:
    first = _first_line(statement) if isinstance(statement, Function | ast.ClassDef) else statement.lineno
    return "\n".join(text.splitlines()[first - 1 : statement.end_lineno])


def _reindent(cell: str, node: Function, indent: int) -> str:
    """A function's text, ``@exercise`` above it left out, moved to another column."""
    lines = cell.splitlines()
    decorators = [
        line
        for decorator in node.decorator_list
        if not _is_mark(decorator)
        for line in lines[decorator.lineno - 1 : decorator.end_lineno]
    ]
    text = textwrap.dedent("\n".join([*decorators, *lines[node.lineno - 1 : node.end_lineno]]))
    return textwrap.indent(text, " " * indent)
