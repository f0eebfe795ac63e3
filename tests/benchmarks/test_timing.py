from benchmarks import timing


def test_turns(monkeypatch):
    class Recorder:
        def __init__(self, name):
            self.name = name

        def take_steps(self, count):
            taken.append((self.name, count))
            return [float(len(taken))] * count

    taken = []
    monkeypatch.setattr(timing, "PAUSE", 0)
    times = timing.alternate([Recorder("a"), Recorder("b")], steps=3, rounds=3, warm_up=6)
    assert [name for name, _ in taken] == list("ab" + "ab" + "ba" + "ab")
    assert {count for _, count in taken[2:]} == {3}
    assert times == [[[3.0] * 3, [6.0] * 3, [7.0] * 3], [[4.0] * 3, [5.0] * 3, [8.0] * 3]]


def test_ratio_is_of_medians_by_round():
    ours, others = [[2.0, 2.0, 9.0], [3.0], [1.0]], [[1.0], [2.0, 2.0], [1.0]]
    assert timing.ratio(ours, others) == "1.500 (1.000 - 2.000)"
