"""The page of `thalweg dump --html`: well-formed, alone, and complete."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

import thalweg as torch
from thalweg import inspect
from thalweg.app.cli import main
from thalweg.inspect.stages import changed
from thalweg.ir.text import parse_graph
from thalweg.ops import COMPOSITES, PRIMITIVES
from thalweg.pipeline import PASSES

SCRIPT = """
import thalweg as torch
torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(net(torch.randn(32, 8)), torch.zeros(32).long())
    loss.backward()
    optimizer.step()
"""
VOID = {"meta", "br"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers the text of those with an id and all addresses."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.addresses, self.now = [], {}, [], None
        self.feed(text)
        self.close()
        assert not self.open, f"elements that do not end: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for name, v in attrs if name in ("src", "href")]
        self.now = dict(attrs).get("id")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.now is not None:
            self.found[self.now] = self.found.get(self.now, "") + data
            self.now = None


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "script.py").write_text(SCRIPT)
    assert main(["dump", "--html", str(folder / "page.html"), str(folder / "script.py")]) == 0
    return (folder / "page.html").read_text("utf-8")


@pytest.fixture(scope="module")
def reports(page):
    return json.loads(Page(page).found["data"])


def test_it_is_well_formed_and_stands_alone(page):
    found = Page(page)
    assert not found.addresses and "http" not in re.sub(r"http://www.w3.org/2000/svg", "", page)
    assert "@import" not in page and "fetch(" not in page
    assert page.startswith("<!DOCTYPE html>") and "<title>script.py</title>" in page
    assert page.count("<script") == page.count("</script>") == 2


def test_every_pass_is_there_and_its_text_parses(reports):
    names = ["recorded", *(p.__name__ for p in PASSES), "fuse"]
    for report in reports:
        assert [s["name"] for s in report["stages"]] == names
        for stage in report["stages"]:
            text = "\n".join(stage["lines"])
            graph = parse_graph(text, {**PRIMITIVES, **COMPOSITES})
            assert len(graph.nodes) == stage["nodes"] == sum(stage["ops"].values())
            assert repr(graph) == text
            assert stage["about"].endswith(".")
    assert sum(r["runs"] for r in reports) == 3


def test_changes_lead_from_stage_to_stage(reports):
    for report in reports:
        for before, after in pairwise(report["stages"]):
            apply(before["lines"], after["lines"], after["changes"])


def apply(before, after, changes):
    a = c = 0
    for kind, i1, i2, j1, j2 in changes:
        assert (i1, j1) == (a, c)
        a, c = i2, j2
        if kind == "equal":
            for old, new in zip(before[i1:i2], after[j1:j2], strict=True):
                assert re.sub(r"%\d+", "%", old) == re.sub(r"%\d+", "%", new)
    assert (a, c) == (len(before), len(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [([], []), ([], ["%1 = a"]), (["a"], []), (["x", "%1 = a", "z"], ["x", "%7 = a", "b", "z"]),
     (["a"] * 3, ["a"] * 5), ([f"%{i} = {i % 7}" for i in range(4000)], ["%1 = 3"] * 9)],
)  # fmt: skip
def test_changes_of_lines(before, after):
    apply(before, after, changed(before, after))


def test_kernels_schedule_and_memory_agree(reports):
    for report in reports:
        assert {s["kernel"] for s in report["steps"]} == set(range(len(report["kernels"])))
        for kernel in report["kernels"]:
            assert kernel["text"] and kernel["size"] > 0 and kernel["kind"] != "host"
            if kernel["kind"] == "loops":
                assert kernel["text"].startswith("kernel ")
        live = [s["live"] for s in report["steps"]]
        assert max(live) <= report["least"] <= report["arena"]
        for offset, size, first, last, what in report["blocks"]:
            assert offset >= 0 and offset + size <= report["arena"] and first <= last
            assert what == "scratch" or re.match(r"(%\d+|copy): \w+\[", what)
        for i, one in enumerate(report["blocks"]):
            for other in report["blocks"][:i]:
                apart = one[3] < other[2] or other[3] < one[2]
                assert apart or one[0] + one[1] <= other[0] or other[0] + other[1] <= one[0]


def test_what_stays_apart_has_reasons(reports):
    assert any(r["refused"] for r in reports)
    for report in reports:
        before, after = report["traffic"]
        assert after < before
        for op, why, _ in report["refused"]:
            assert "→" in op and len(why) > 10


def test_text_of_the_user_cannot_end_the_page(tmp_path):
    with inspect.page(tmp_path / "a.html", title="</title><script>x"):
        (torch.ones(3) + 1).sum().item()
    found = Page((tmp_path / "a.html").read_text("utf-8"))
    assert len(json.loads(found.found["data"])) == 1


def test_no_graphs(tmp_path):
    with inspect.page(tmp_path / "a.html"):
        pass
    assert json.loads(Page((tmp_path / "a.html").read_text("utf-8")).found["data"]) == []
