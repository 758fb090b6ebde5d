"""What a reader tells panels and methods apart by: titles that say once what all share, and a look for every method."""

from __future__ import annotations

import pytest
from figure_rows import drawn
from figure_rows import full as full
from matplotlib.figure import Figure

import figures
from figures import approaches, headings, selection, style
from repro.measures import BACKPROPAGATION
from repro.results import Results


def test_numbers_of_tangents_are_told_apart_without_colours() -> None:
    names = [f"{of}, k={k}" for of in ("mean", "projection", "mine") for k in (2, 4, 16)]
    looks = approaches.looks([*selection.BOTH, *names])
    shapes = {(look.marker, look.open) for look in looks.values()}
    assert len(shapes) == len(looks)
    for of in ("mean", "projection", "mine"):
        few, some, most = (looks[f"{of}, k={k}"] for k in (2, 4, 16))
        assert (few.open, some.open, most.open) == (True, False, False)
        assert len({str(look.dashes) for look in (few, some, most)}) == 3
        assert len({look.color for look in (few, some, most)}) == 1
        assert few.line["mfc"] == "white"
        assert most.line["mfc"] == most.color


def test_what_panels_share_is_said_once() -> None:
    def titled(*notes: dict[str, str]) -> list[str]:
        figure = Figure()
        panels = figure.subplots(1, len(notes), squeeze=False).flat
        headings.titles((axes, "a name", each) for axes, each in zip(panels, notes, strict=True))
        return [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]

    few, full_ = {"n": "n=3"}, {"n": "n=5", "scale": "full scale"}
    reduced = {"n": "n=5", "scale": "reduced scale"}
    assert titled(few) == ["", "a name\nn=3"]
    assert titled(few, few) == ["All panels: n=3", "a name", "a name"]
    assert titled(few, few, {}) == ["All panels: n=3", "a name", "a name", "a name"]
    assert titled(full_, full_) == ["All panels: n=5", "a name", "a name"]
    assert titled(full_, reduced) == ["All panels: n=5", "a name", "a name\nreduced scale"]
    assert titled(reduced, reduced, full_) == [
        "Unless a panel says otherwise: n=5, reduced scale",
        "a name",
        "a name",
        "a name\nfull scale",
    ]
    # what is not known of a panel is not said of it
    assert titled(reduced, reduced, few)[0] == "Unless a panel says otherwise: n=5"


@pytest.mark.parametrize("name", figures.names())
def test_titles_of_panels_have_two_lines_at_most(name: str, full: Results) -> None:
    module = figures.module_of(name)
    figure = drawn(module, module.select(full))
    assert max(axes.get_title().count("\n") for axes in figure.axes) <= 1


def test_methods_without_a_look_get_one_each() -> None:
    looks = style.looks(["mine", BACKPROPAGATION, "yours"])
    assert looks[BACKPROPAGATION] == style.LOOKS[BACKPROPAGATION]
    assert looks["mine"] != looks["yours"]
