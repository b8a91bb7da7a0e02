"""The kit's own dataclasses behave as the standard library's, which costs each start more."""

import dataclasses
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deploy.agent import dataclass as ours

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
both = pytest.mark.parametrize("made_by", [ours, dataclasses], ids=["ours", "the standard library's"])


def classes(made_by: Any) -> tuple[type, type, type]:
    """A frozen one, one derived from it, and one that can be changed."""

    @made_by.dataclass(frozen=True)
    class Tide:
        place: str
        metres: float = 1.5
        marks: tuple[str, ...] = ()

    @made_by.dataclass(frozen=True)
    class Spring(Tide):
        metres: float = 3.0
        moon: str = "full"

    @made_by.dataclass
    class Log:
        lines: list[str] = made_by.field(default_factory=list)
        height: int = made_by.field(default=2, metadata={"unit": "m"})

    return Tide, Spring, Log


@both
def test_values_are_taken_by_place_by_name_and_from_defaults(made_by: ModuleType):
    tide, spring, log = classes(made_by)
    assert vars(tide("Brest", marks=("low",))) == {"place": "Brest", "metres": 1.5, "marks": ("low",)}
    assert list(vars(spring("Brest", 4.0)).values()) == ["Brest", 4.0, (), "full"]
    assert log(["a"]).lines == ["a"] and log().height == log.height == 2
    assert log().lines is not log().lines


@both
@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("Brest", 1.0, (), "more"), {}), (("Brest",), {"place": "Brest"}), ((), {"plaice": "Brest"})],
    ids=["too few", "too many", "twice", "unknown"],
)
def test_values_that_do_not_fit_are_an_error(made_by: ModuleType, values: tuple[Any, ...], named: dict[str, Any]):
    with pytest.raises(TypeError):
        classes(made_by)[0](*values, **named)


@both
def test_equal_values_are_equal_and_have_one_hash(made_by: ModuleType):
    tide, spring, log = classes(made_by)
    assert tide("Brest") == tide("Brest") != tide("Lorient")
    assert len({tide("Brest"), tide("Brest"), tide("Lorient")}) == 2
    assert tide("Brest", 3.0) != spring("Brest")
    assert log() == log() and log(["a"]) != log()
    with pytest.raises(TypeError):
        hash(log())


@both
def test_a_frozen_one_cannot_be_changed(made_by: ModuleType):
    tide, _, log = classes(made_by)
    brest, kept = tide("Brest"), log()
    with pytest.raises(AttributeError):
        brest.place = "Lorient"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        del brest.place  # type: ignore[attr-defined]
    kept.height = 3  # type: ignore[attr-defined]
    assert kept == log(height=3)


@both
def test_it_prints_as_it_is_made(made_by: ModuleType):
    tide = classes(made_by)[0]
    assert repr(tide("Brest", 2.0)).endswith("Tide(place='Brest', metres=2.0, marks=())")


@both
def test_methods_of_the_class_itself_stay(made_by: ModuleType):
    @made_by.dataclass(frozen=True)
    class Hidden:
        value: str

        def __repr__(self) -> str:
            return "[hidden]"

        def __eq__(self, other: object) -> bool:
            return True

    assert repr(Hidden("a")) == "[hidden]" and Hidden("a") == Hidden("b")
    assert hash(Hidden("a")) == hash(Hidden("a"))


@both
def test_fields_tell_what_they_were_told(made_by: ModuleType):
    tide, spring, log = classes(made_by)
    assert [(field.name, field.default) for field in made_by.fields(tide)][1:] == [("metres", 1.5), ("marks", ())]
    assert made_by.fields(tide)[0].default is made_by.MISSING
    assert [(field.name, field.default) for field in made_by.fields(spring("Brest"))][1] == ("metres", 3.0)
    assert made_by.fields(log)[1].metadata["unit"] == "m"
    assert made_by.is_dataclass(tide) and made_by.is_dataclass(tide("Brest")) and not made_by.is_dataclass("Brest")


@both
def test_a_copy_differs_in_what_it_is_told(made_by: ModuleType):
    tide, spring, _ = classes(made_by)
    assert made_by.replace(tide("Brest"), metres=2.0) == tide("Brest", 2.0)
    with pytest.raises(TypeError):
        made_by.replace(spring("Brest"), plaice="Lorient")


@both
def test_it_becomes_a_mapping_with_all_that_is_in_it(made_by: ModuleType):
    tide, _, log = classes(made_by)
    nested = log([tide("Brest", marks=({"at": tide("Lorient")},))])
    brest = {"place": "Brest", "metres": 1.5, "marks": ({"at": {"place": "Lorient", "metres": 1.5, "marks": ()}},)}
    assert made_by.asdict(nested) == {"lines": [brest], "height": 2}


def test_the_kit_uses_no_others():
    texts = {path.relative_to(DEPLOY).as_posix(): path.read_text("utf-8") for path in DEPLOY.rglob("*.py")}
    assert not [path for path, text in texts.items() if re.search(r"^(from|import) dataclasses", text, re.M)]


def test_what_a_type_checker_is_told_of_is_ours():
    for name in ours.__all__:
        assert getattr(ours, name) is not getattr(dataclasses, name)
