import pytest

from sklstm import StackedLSTMRegressor
from sklstm.training import room

GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Have the system say which groups the process is in, and their limits; it has 64 GiB."""

    def say(groups, limits):
        (tmp_path / "groups").write_text(groups)
        for place, text in limits.items():
            file = tmp_path / "limits" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        monkeypatch.setattr(room, "GROUPS", tmp_path / "groups")
        monkeypatch.setattr(room, "LIMITS", tmp_path / "limits")
        monkeypatch.setattr(room, "physical_memory", lambda: 64 * GIB)

    return say


VERSION_1 = "12:cpuset:/a\n4:memory:/a/b\n1:name=systemd:/x\n"
NO_LIMIT_1 = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": f"{2 * GIB}\n"}, 2),
        ("0::/\n", {"memory.max": "max\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{3 * GIB}\n"}, 3),
        ("0::/a/b\n", {"a/b/memory.max": f"{GIB}\n", "a/memory.max": f"{3 * GIB}\n"}, 1),
        ("0::/not/seen:here\n", {"memory.max": f"{5 * GIB}\n"}, 5),
        ("0::/../..\n", {"memory.max": f"{5 * GIB}\n"}, 5),
        (VERSION_1, {"memory/a/b/memory.limit_in_bytes": f"{GIB}\n"}, 1),
        (VERSION_1, {"memory/a/memory.limit_in_bytes": f"{2 * GIB}\n"}, 2),
        (VERSION_1, {"memory/memory.limit_in_bytes": f"{4 * GIB}\n"}, 4),
        (VERSION_1, {"memory/a/b/memory.limit_in_bytes": NO_LIMIT_1}, 64),
        (VERSION_1, {"cpuset/a/memory.limit_in_bytes": "1\n", "memory.max": "1\n"}, 64),
        ("0::/\n", {"memory.max": f"{100 * GIB}\n"}, 64),
        ("", {}, 64),
        ("nothing known\n", {}, 64),
    ],
)
def test_the_limit_of_a_container_is_seen(groups, limits, expected, system):
    system(groups, limits)
    assert room.usable_memory() == expected * GIB


def test_where_there_are_no_groups_the_machine_counts(tmp_path, system, monkeypatch):
    system("", {})
    monkeypatch.setattr(room, "GROUPS", tmp_path / "not there")
    assert room.usable_memory() == 64 * GIB


def test_sizes_beyond_any_number_of_bytes_are_refused_by_name():
    model = StackedLSTMRegressor(units=10**400, max_epochs=0)
    with pytest.raises(ValueError, match=r"A model of units=10{400}, .* GiB of memory or more"):
        model.fit([[[0.0]], [[1.0]]], [0.0, 1.0])


def test_a_model_that_a_container_has_no_room_for_is_refused_before_it_is_made(system):
    system("0::/\n", {"memory.max": f"{GIB}\n"})
    model = StackedLSTMRegressor(units=20_000, max_epochs=0)
    with pytest.raises(ValueError, match=r"units=20000.* of its memory, this process may use 1\.0"):
        model.fit([[[0.0]], [[1.0]]], [0.0, 1.0])
