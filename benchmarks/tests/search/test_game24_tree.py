"""Answers that one puzzle may lend another."""

from benchmarks.search.game24_tree import RecordedTree


def row(puzzle, state_id, parent, *, depth, left, expanded):
    """Return a recorded state."""
    return {
        "puzzle": puzzle,
        "id": state_id,
        "parent": parent,
        "depth": depth,
        "left": left,
        "expanded": expanded,
    }


def lending_tree(puzzles):
    """Return a tree in which each puzzle has the same two first steps; odd ones lack theirs."""
    rows = []
    for puzzle in range(puzzles):
        root = f"{puzzle}"
        rows += [
            row(puzzle, root, None, depth=0, left=f"1 2 3 {puzzle}", expanded=1),
            row(puzzle, f"{root}a", root, depth=1, left="3 3 4", expanded=int(puzzle % 2 == 0)),
            row(puzzle, f"{root}b", root, depth=1, left="4 3 3", expanded=0),
        ]
        if puzzle % 2 == 0:
            rows.append(row(puzzle, f"{root}aa", f"{root}a", depth=2, left="6 4", expanded=0))
    return RecordedTree(rows)


def test_a_gap_is_filled_from_an_equal_state_of_another_puzzle():
    """The same numbers in any order count as equal; the borrowed steps have the borrower's id."""
    tree = lending_tree(4)
    assert tree.borrow() == 2
    assert tree.children["1a"] == ["1a<0aa"]
    assert tree.rows["1a<0aa"]["puzzle"] == 1
    assert tree.rows["1a"]["expanded"] == 1
    assert [each["id"] for each in tree.line("1a<0aa")] == ["1", "1a", "1a<0aa"]


def test_nothing_is_lent_twice_to_a_puzzle_nor_by_itself():
    """The second equal state of a puzzle stays a gap, and so does a puzzle's own twin."""
    tree = lending_tree(4)
    tree.borrow()
    assert tree.children["1b"] == []
    assert tree.children["0b"] == []


def test_nothing_is_lent_across_the_halves():
    """A puzzle whose half has no lender keeps its gap."""
    tree = lending_tree(2)
    assert tree.borrow() == 0
