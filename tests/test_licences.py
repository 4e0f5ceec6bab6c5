"""What the project is built on says under which licence it may be used."""

from tests.support.licences import direct, table


def test_every_direct_dependency_states_a_licence_that_allows_every_use() -> None:
    found = table()
    assert len(found) > 0.8 * len(direct())  # some exist for some machines only
    assert [package for package, _, licence in found if not licence] == []
    limited = ("GPL", "General Public", "Noncommercial", "NonCommercial", "CC-BY-NC", "Proprietary")
    shared = ("LGPL", "Lesser General Public")  # of libraries that are loaded, not built in
    stated = [(name, "" if any(word in licence for word in shared) else licence) for name, _, licence in found]
    assert [row for row in stated if any(word in row[1] for word in limited)] == []
