"""Who is told about a name, and since when nothing is missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.filter import EVERY_KEY, Filter
from models.valkey.backend import Round
from models.watching import log as log_module
from models.watching.audience import Audience
from models.watching.log import Log


TEXTS = st.sampled_from(["$", "a$", "ab", "$b", "a$b", "ab$ab", "", r"\$"])
NAMES = st.text("ab$", max_size=6)


def round_of(*names: bytes, clock: int, has_lost_all: bool = False) -> Round:
    return Round(names, has_lost_all=has_lost_all, clock=clock)


def log_of(*rounds: Round) -> Log:
    """Return a log that began at 100 and has taken rounds."""
    found = Log(100)
    for each in rounds:
        found.add(each.names, each.clock)
        found.end_round(each)
    return found


class TestAudience:
    @given(st.lists(st.tuples(st.sampled_from([b"kv:", b"kv:n:"]), TEXTS)), NAMES)
    def test_those_are_told_whose_filter_matches_the_key(self, wanted: list[tuple[bytes, str]], key: str) -> None:
        audience = Audience[int]()
        for number, (prefix, text) in enumerate(wanted):
            audience.add(number, prefix, Filter.parse(text))

        for prefix in (b"kv:", b"kv:n:"):
            name = prefix + key.encode()
            expected = {
                number
                for number, (start, text) in enumerate(wanted)
                if name.startswith(start) and name != start and Filter.parse(text).matches(name[len(start) :])
            }
            assert sorted(audience.of(name)) == sorted(expected)

    def test_who_has_left_is_told_nothing_and_leaves_nothing_behind(self) -> None:
        audience = Audience[str]()
        for who in ("one", "two"):
            audience.add(who, b"kv:", EVERY_KEY)
        audience.remove("one", b"kv:", EVERY_KEY)

        assert [*audience.of(b"kv:a")] == ["two"]

        audience.remove("two", b"kv:", EVERY_KEY)
        assert not [*audience.of(b"kv:a")]
        assert not audience._by_start
        assert not audience._lengths

    def test_filters_that_start_otherwise_are_not_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried: list[str] = []

        def matches(pattern: Filter, _: bytes) -> bool:
            tried.append(pattern.text)
            return True

        monkeypatch.setattr(Filter, "matches", matches)
        audience = Audience[int]()
        for number in range(1_000):
            audience.add(number, b"kv:", Filter.parse(f"user{number}:$"))

        assert [*audience.of(b"kv:user500:name")] == [500]
        assert tried == ["user500:$"]


class TestLog:
    def test_its_mark_is_the_clock_of_the_round_before(self) -> None:
        log = log_of(round_of(b"a", clock=200), round_of(b"b", clock=300))

        assert (log.floor, log.mark, log.clock) == (100, 200, 300)
        assert [*log.since(200)] == [b"b"]
        assert [*log.since(199)] == [b"b", b"a"]

    def test_a_name_stands_at_its_latest_change(self) -> None:
        log = log_of(round_of(b"a", b"b", clock=200), round_of(b"a", clock=300))

        assert [*log.since(100)] == [b"a", b"b"]
        assert [*log.since(200)] == [b"a"]

    def test_what_falls_out_raises_the_floor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_module, "MAX_NAMES", 2)
        log = log_of(round_of(b"a", clock=200), round_of(b"b", b"c", clock=300))

        assert log.floor == 200
        assert [*log.since(200)] == [b"c", b"b"]

    def test_once_everything_is_gone_no_earlier_mark_counts(self) -> None:
        log = log_of(round_of(b"a", clock=200), round_of(b"b", clock=300, has_lost_all=True))

        assert log.floor == 300
        assert [*log.since(300)] == []

    def test_a_clock_that_is_set_back_hides_nothing(self) -> None:
        log = log_of(round_of(b"a", clock=500), round_of(b"b", clock=200), round_of(b"c", clock=300))

        # An id from before, 500, would hide b and c.
        assert log.floor == 501
