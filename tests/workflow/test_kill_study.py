"""The smoke study killed and resumed, and on Ray; ``kill_study.py`` does the first at as many moments as one likes."""

import json

import pytest
from kill_study import finished, kill_and_resume, outcome, run_to_the_end


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_study_whose_driver_is_killed_goes_on_and_gives_the_same(smoke, tmp_path, share):
    whole_s = json.loads((smoke / "results.json").read_text(encoding="utf-8"))["timings"]["wall_s"]
    # The run that was timed may have shared the machine, so that this one would end before the moment.
    for attempt in range(3):
        killed = kill_and_resume(tmp_path / f"killed-{attempt}", share * whole_s / 2**attempt, smoke)
        if killed.n_finished < len(finished(smoke)):
            break
    assert killed.n_finished < len(finished(smoke))
    assert killed.n_again == 0
    assert killed.is_same


@pytest.mark.slow
def test_a_study_on_ray_gives_the_same(smoke, tmp_path):
    pytest.importorskip("ray")
    run_to_the_end(tmp_path / "ray", ["--executor", "ray"])
    assert outcome(tmp_path / "ray") == outcome(smoke)
