"""The page: reports as data inside of one HTML file, with the script that shows them.

The file refers to nothing outside of itself. What it shows stands in it as JSON, in an element of
type application/json, where no text can end it: '<' is written as an escape.
"""

from __future__ import annotations

import html as markup
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .stages import Report

_FOLDER = Path(__file__).parent

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<label>graph <select id="graphs"></select></label>
<nav id="views"></nav>
</header>
<main id="main"><noscript>This page shows its data by JavaScript.</noscript></main>
<script type="application/json" id="data">{data}</script>
<script>
{script}</script>
</body>
</html>
"""


def html(reports: Sequence[Report], title: str = "thalweg") -> str:
    """The page of some reports."""
    data = json.dumps([asdict(r) for r in reports], separators=(",", ":"))
    return _PAGE.format(
        title=markup.escape(title),
        style=_read("page.css"),
        script=_read("page.js"),
        data=data.replace("<", "\\u003c"),
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
