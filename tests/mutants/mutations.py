"""Small changes of a module's logic, each as a text edit of its source. Pure.

A mutant is known by what it changes and in which function, not by its line: an edit elsewhere in
the module leaves it what it is, in the sample and in survivors.toml.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

Needed = Callable[[str, str], bool]
STATUSES = {"added": "changed", "removed": "changed", "changed": "added"}
USUAL = {  # what another member of these becomes, and what this one does
    "RunStatus": ("OK", "PARTIAL"),
    "StreamStatus": ("OK", "INCOMPLETE"),
    "Operation": ("UPDATED", "CREATED"),
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
METHODS = {"is_": "is_not", "is_not": "is_", "in_": "not_in", "not_in": "in_", "add": "discard"}
CLAUSES = ("order_by", "limit", "with_for_update", "distinct", "group_by")
CONDITIONS = ("where", "and_", "or_", "filter")
NEGATED = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # turned around anyway


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change. lines: those of the statement it is in. start, end: bytes of the source.

    occurrence: how many of the same kind come before it in the function.
    """

    module: str
    function: str
    kind: str
    old: str
    new: str
    occurrence: int
    lines: range
    start: int
    end: int
    text: str
    cached: bool

    @property
    def change(self) -> str:
        """What survivors.toml calls it."""
        again = f" #{self.occurrence}" if self.occurrence > 1 else ""
        return f"{self.kind}: {self.old} -> {self.new}{again}"

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is known by."""
        return self.module, self.function, self.change

    @property
    def order(self) -> bytes:
        """Its place in a sample, as good as random and always the same."""
        return blake2b(f"{self.function}|{self.change}".encode(), digest_size=8).digest()

    def applied(self, source: bytes) -> bytes:
        """The module with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants_of(
    module: str, source: bytes, needed: Needed = lambda _call, _name: False
) -> list[Mutant]:
    """All changes inside functions of a module, in its order.

    needed: whether a call cannot be without an argument; to leave it out says nothing.
    """
    found = _Finder(module, source, needed)
    found.visit(ast.parse(source))
    return found.mutants


class _Finder(ast.NodeVisitor):
    """Goes through a module, knowing the function and the statement it is in."""

    def __init__(self, module: str, source: bytes, needed: Needed) -> None:
        self.module, self.source, self.needed = module, source, needed
        self.mutants: list[Mutant] = []
        self.names: list[str] = []
        self.cached = False
        self.lines = range(0)
        self.inside = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            self.lines = range(node.lineno, max(last, node.lineno) + 1)
        if self.inside and isinstance(node, ast.stmt | ast.expr):
            for kind, changed, new in _changes(node):
                if not (isinstance(changed, ast.keyword) and self._is_needed(node, changed)):
                    self._add(kind, changed, new)
        if isinstance(node, ast.JoinedStr | ast.AnnAssign) and not self._has_value(node):
            return
        super().visit(node)

    def _is_needed(self, node: ast.AST, keyword: ast.keyword) -> bool:
        return isinstance(node, ast.Call) and self.needed(ast.unparse(node.func), keyword.arg or "")

    @staticmethod
    def _has_value(node: ast.AST) -> bool:
        return isinstance(node, ast.AnnAssign) and node.value is not None

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and self.inside:
            self.visit(node.value)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.append(node.name)
        for inner in node.body:
            self.visit(inner)
        self.names.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.names.append(node.name)
        before, self.inside = self.cached, self.inside + 1
        marks = [ast.unparse(one) for one in node.decorator_list]
        self.cached = before or any("cache" in mark for mark in marks)
        for inner in node.body:
            self.visit(inner)
        self.cached, self.inside = before, self.inside - 1
        self.names.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)  # type: ignore[arg-type]  # has the same parts

    def _add(self, kind: str, node: ast.stmt | ast.expr | ast.keyword, new: str) -> None:
        start = self.starts[node.lineno - 1] + node.col_offset
        end = self.starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        old = " ".join(self.source[start:end].decode().split())
        text = new if isinstance(node, ast.stmt) else f"({new})"
        if isinstance(node, ast.keyword):
            text = new
            if self.source[end : end + 1] == b",":
                end += 1
        told, function = " ".join(new.split()), ".".join(self.names)
        if isinstance(node, ast.Dict):
            old, told = "{...}", "{...}"
        self.counts[function, f"{kind}{old}{told}"] += 1
        self.mutants.append(
            Mutant(
                module=self.module,
                function=function,
                kind=kind,
                old=old,
                new=told,
                occurrence=self.counts[function, f"{kind}{old}{told}"],
                lines=self.lines,
                start=start,
                end=end,
                text=text,
                cached=self.cached,
            )
        )


Change = tuple[str, "ast.stmt | ast.expr | ast.keyword", str]


def _changes(node: ast.stmt | ast.expr) -> Iterator[Change]:
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    else:
        yield from _of_expression(node)
    for test in _tests(node):
        turned = isinstance(test, ast.Compare) and isinstance(test.ops[0], NEGATED)
        if not turned and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            yield "negated", test, f"not ({ast.unparse(test)})"
        if not isinstance(test, ast.BoolOp):
            yield "always", test, "True"


def _tests(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.If | ast.IfExp):
        yield node.test
    for one in getattr(node, "generators", ()):
        yield from one.ifs


def _of_statement(node: ast.stmt) -> Iterator[Change]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield "dropped", node, "pass"
        case ast.AugAssign() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            yield "dropped", node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield "dropped", node, "pass"
        case ast.Return(value=None):
            yield "dropped", node, "pass"
    if isinstance(node, ast.AugAssign) and (other := OPERATORS.get(type(node.op))):
        turned = ast.AugAssign(node.target, other(), node.value)
        yield "operator", node, ast.unparse(turned)


def _of_expression(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool()):
            yield "turned", node, str(not node.value)
        case ast.Constant(value=int()):
            yield "off by one", node, str(node.value + 1)  # type: ignore[operator]
        case ast.Constant(value=str()) if node.value in STATUSES:
            yield "status", node, repr(STATUSES[str(node.value)])
        case ast.Attribute(value=ast.Name(id=name), attr=member) if name in USUAL:
            usual, second = USUAL[name]
            yield "status", node, f"{name}.{second if member == usual else usual}"
        case ast.BoolOp():
            yield from _of_condition(node)
        case ast.Compare():
            for place, op in enumerate(node.ops):
                yield "comparison", node, _compared(node, place, COMPARISONS[type(op)])
        case ast.BinOp() if not _of_texts(node):
            if other := OPERATORS.get(type(node.op)):
                yield "operator", node, ast.unparse(ast.BinOp(node.left, other(), node.right))
            if isinstance(node.op, ast.Sub):
                yield "swapped", node, ast.unparse(ast.BinOp(node.right, node.op, node.left))
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub()):
            yield "negated", node, ast.unparse(node.operand)
        case ast.Dict():
            yield from _of_dict(node)
        case ast.Call():
            yield from _of_call(node)


def _of_condition(node: ast.BoolOp) -> Iterator[Change]:
    other: ast.boolop = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield "operator", node, ast.unparse(ast.BoolOp(other, node.values))
    for place in range(len(node.values)):
        rest = node.values[:place] + node.values[place + 1 :]
        left = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        yield "dropped", node, ast.unparse(left)


def _compared(node: ast.Compare, place: int, other: str) -> str:
    parts = [f"({ast.unparse(node.left)})"]
    for at, (op, value) in enumerate(zip(node.ops, node.comparators, strict=True)):
        parts += [other if at == place else _SIGNS[type(op)], f"({ast.unparse(value)})"]
    return " ".join(parts)


_SIGNS = {
    one: ast.unparse(ast.Compare(ast.Name("a"), [one()], [ast.Name("b")])).strip("ab ")
    for one in COMPARISONS
}


def _of_texts(node: ast.BinOp) -> bool:
    """Whether it joins texts or lists, where another operator is an error at once."""
    joined = ast.JoinedStr | ast.List | ast.ListComp | ast.Tuple | ast.Dict
    return any(
        isinstance(side, joined) or (isinstance(side, ast.Constant) and isinstance(side.value, str))
        for side in (node.left, node.right)
        if isinstance(node.op, ast.Add | ast.Mult | ast.Mod)
    )


def _of_dict(node: ast.Dict) -> Iterator[Change]:
    for place, key in enumerate(node.keys):
        if isinstance(key, ast.Constant) and len(node.keys) > 1:
            rest = ast.Dict(
                node.keys[:place] + node.keys[place + 1 :],
                node.values[:place] + node.values[place + 1 :],
            )
            yield f"without {key.value!r}", node, ast.unparse(rest)


def _of_call(node: ast.Call) -> Iterator[Change]:
    name = node.func.id if isinstance(node.func, ast.Name) else None
    method = node.func.attr if isinstance(node.func, ast.Attribute) else None
    if name in NAMES and not (name == "sorted" and node.keywords):
        yield "function", node.func, NAMES[name]
    if isinstance(node.func, ast.Attribute) and method in METHODS:
        other = ast.Attribute(node.func.value, METHODS[method])
        yield "method", node.func, ast.unparse(other)
    if isinstance(node.func, ast.Attribute) and method in CLAUSES:
        yield "dropped", node, ast.unparse(node.func.value)
    if method in CONDITIONS or name in CONDITIONS:
        for place in range(len(node.args)):
            rest = node.args[:place] + node.args[place + 1 :]
            if rest:
                yield "dropped", node, ast.unparse(ast.Call(node.func, rest, node.keywords))
            elif isinstance(node.func, ast.Attribute):
                yield "dropped", node, ast.unparse(node.func.value)
    for one in node.keywords:
        if one.arg is not None:
            yield "without", one, ""
