"""Every mutant of a source text, made by Cosmic Ray's operators."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from cosmic_ray import plugins
from cosmic_ray.mutating import mutate_code

_SWAPS = (
    (
        "ReplaceBinaryOperator",
        ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "BitOr_BitAnd"),
    ),
    ("ReplaceBinaryOperator", ("BitAnd_BitOr", "LShift_RShift", "RShift_LShift", "Pow_Mul")),
    (
        "ReplaceComparisonOperator",
        ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot"),
    ),
    ("ReplaceComparisonOperator", ("IsNot_Is", "Lt_Gt", "Gt_Lt")),
    ("ReplaceUnaryOperator", ("USub_UAdd", "Delete_Not")),
)
OPERATORS = (
    *(f"core/{group}_{swap}" for group, swaps in _SWAPS for swap in swaps),
    *(
        f"core/{name}"
        for name in ("NumberReplacer", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "AddNot")
    ),
    *(f"core/{name}" for name in ("ReplaceAndWithOr", "ReplaceOrWithAnd", "ZeroIterationForLoop")),
    *(f"core/{name}" for name in ("ReplaceBreakWithContinue", "ReplaceContinueWithBreak")),
)
"""Of Cosmic Ray's operators those that change one thing to its neighbour: the others say the same louder."""

_DECISIONS = ast.Constant | ast.BinOp | ast.UnaryOp
"""A module's constants of numbers are decisions: a test of one would only say it again."""


class Mutant(NamedTuple):
    """A source text with one change, and what that is: the operator's name and the first changed line."""

    text: str
    operator: str
    line: int
    before: str
    after: str


def mutants(text: str) -> Iterator[Mutant]:
    """Those that behave differently from ``text``, as far as their syntax can tell."""
    meaning = _meaning(text)
    for name in OPERATORS:
        operator = plugins.get_operator(name)()
        for occurrence in count():
            changed = mutate_code(text, operator, occurrence)
            if changed is None:
                break
            if _meaning(changed) not in (meaning, None):
                yield Mutant(changed, name.removeprefix("core/"), *_difference(text, changed))


def _difference(before: str, after: str) -> tuple[int, str, str]:
    pairs = zip(before.splitlines(), after.splitlines(), strict=False)
    return next(
        (number, one.strip(), other.strip()) for number, (one, other) in enumerate(pairs, 1) if one != other
    )


_PROMISES = {"eq", "frozen", "frozen_default", "kw_only", "kw_only_default", "slots", "strict"}
"""Arguments that say what happens nowhere: records that change, are compared or are made without names, and
lists of different length."""


class _Noticeable(ast.NodeTransformer):
    """Takes out what no test could notice: annotations, what the type checker reads, and decided numbers."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = [one for one in node.body if not _decides(one)]
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        if node.arg in _PROMISES:
            node.value = ast.Constant(None)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        # A star among parameters, taken for a product: who calls by name sees no difference.
        node.args = node.posonlyargs + node.args + node.kwonlyargs
        node.defaults = node.defaults + [one for one in node.kw_defaults if one]
        node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


def _decides(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, _DECISIONS)


def _meaning(text: str) -> str | None:
    """What runs of a text; None if it cannot."""
    try:
        return ast.dump(_Noticeable().visit(ast.parse(text)))
    except SyntaxError:
        return None
