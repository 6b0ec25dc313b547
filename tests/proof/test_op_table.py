"""The op table: complete, stable, and equal to docs/ops.md."""

from pathlib import Path

from thalweg.ops import COMPOSITES, FUNCTIONS, PRIMITIVES
from thalweg.ops.contract import FIELDS
from thalweg.ops.table import as_markdown, as_text, first_sentence, rows

DOCS = Path(__file__).resolve().parents[2] / "docs" / "ops.md"


def test_every_op_and_function_has_one_row():
    found = [(row.kind, row.name) for row in rows()]
    wanted = {"primitive": PRIMITIVES, "composite": COMPOSITES, "function": FUNCTIONS}
    assert sorted(found) == sorted((k, n) for k, names in wanted.items() for n in names)


def test_primitive_rows_account_for_every_field():
    for row in rows():
        if row.kind == "primitive":
            assert sorted([*row.given, *row.declined]) == sorted(FIELDS), row.name


def test_text_and_markdown_name_everything():
    text, page = as_text(), as_markdown()
    for row in rows():
        assert f"  {row.name}" in text and f"`{row.name}`" in page, row.name
        assert all(why in text for why in row.declined.values()), row.name


def test_table_rows_have_one_width():
    for block in as_markdown().split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths = {line.replace("\\|", "").count("|") for line in lines}
        assert len(widths) <= 1, block[:300]


def test_docs_are_up_to_date():
    assert DOCS.read_text(encoding="utf-8") == as_markdown(), "run ./scripts/generate"


def test_first_sentence():
    assert first_sentence("Sum. Halves in float32.\n\nMore.") == "Sum"
    assert first_sentence("Two\n  lines") == "Two lines"
    assert first_sentence(None) == ""
